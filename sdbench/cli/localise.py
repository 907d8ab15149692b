"""``sdbench localise``."""

import itertools
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from sdbench import __version__
from sdbench.cli.completion import complete_stack, complete_stacks
from sdbench.cli.localise_across import across as search_in_each
from sdbench.cli.localise_across import names_in
from sdbench.cli.options import (
    force_option,
    json_option,
    lora_option,
    mode_option,
    parts_option,
    revision_option,
    strength_option,
)
from sdbench.cli.output import console, print_json, print_next
from sdbench.cli.overwriting import not_ours, spare_others
from sdbench.errors import UsageError
from sdbench.localise.demonstrate import demonstrate
from sdbench.localise.localisation import Demonstration, Localisation
from sdbench.localise.ranking import JudgedCall, ranked
from sdbench.localise.script import OPERANDS_FILE, SCRIPT_FILE, Origin
from sdbench.localise.search import LocaliseRequest, Search, conclude, locate, prepare_search
from sdbench.machine import open_system, probe_machine
from sdbench.privacy.redact_recorded import hide_path
from sdbench.process.executor import Executor
from sdbench.process.interrupt import InterruptFlag
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import Dtype, Mode
from sdbench.report.terminal.lines import say_plain
from sdbench.report.terminal.model_progress import prepare_model
from sdbench.report.terminal.operators import localisation_json, render_localisation
from sdbench.report.terminal.search_progress import SearchProgress
from sdbench.runner.prepare import machine_record
from sdbench.stacks import resolve_stack


@click.command(name="localise")
@click.option("--model", default="synthetic/tiny", show_default=True, help="As for run.")
@lora_option
@mode_option
@strength_option
@parts_option
@revision_option
@click.option(
    "--device",
    type=click.Choice(["auto", "mps", "cuda", "cpu"]),
    default="auto",
    show_default=True,
    help="Device to compare with the CPU. [default: mps, else cuda, else cpu]",
)
@click.option(
    "--stack",
    default="current",
    show_default=True,
    metavar="S",
    shell_complete=complete_stack,
    help="As for run.",
)
@click.option(
    "--across",
    multiple=True,
    metavar="S,S…",
    shell_complete=complete_stacks,
    help="Search in each of these environments and report on which releases of torch an operator "
    "is wrong. More than three are bisected. Writes no script.",
)
@click.option(
    "--resolution", default="256x256", show_default=True, metavar="WxH", help="Size of the image."
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    help="Data type under test. [default: float16 on mps and cuda, float32 on the cpu]",
)
@click.option("--slicing", is_flag=True, help="Enable attention slicing.")
@click.option("--vae-tiling", is_flag=True, help="Decode with VAE tiling.")
@click.option("--batch", default=1, show_default=True, metavar="N", help="Images in the pass.")
@click.option("--steps", default=2, show_default=True, metavar="N", help="Denoising steps.")
@click.option(
    "--top", type=click.IntRange(1), default=10, show_default=True, help="Operators to show."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the script of the worst operator. [default: ./sdbench-localise-OPERATOR]",
)
@click.option("--allow-pickle", is_flag=True, help="Also read weights in pickle files.")
@force_option
@json_option
def command(
    model: str,
    lora: tuple[str, ...],
    mode: Mode | None,
    strength: float | None,
    parts: str | None,
    revision: str | None,
    device: str,
    stack: str,
    across: tuple[str, ...],
    resolution: str,
    dtype: Dtype | None,
    slicing: bool,
    vae_tiling: bool,
    batch: int,
    steps: int,
    top: int,
    output: Path | None,
    allow_pickle: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Find operators whose results differ between device and CPU.

    One pass runs on the CPU. Every operator in it is repeated on the device with the same operands
    in the same memory layout. Operators whose results differ by more than the CPU's own rounding
    explains are listed, the worst first. For the worst one a script is written that shows the fault
    without sdbench. For operators that add up, the report says whether the depth of their sums
    explains the error. The exit code is 1 if an operator is wrong or beyond rounding. Also called
    `localize`.
    """
    request = LocaliseRequest(
        *(model, lora, parts or "", revision or "", device, stack, resolution, dtype),
        *(slicing, vae_tiling, batch, steps, allow_pickle, mode or "text-to-image", strength),
    )
    names = names_in(across) if across else []
    if names and (stack != "current" or output is not None):
        raise UsageError("--across: expected neither --stack nor --output with it")
    if output is not None and not force:
        _spare_others(output)
    executor = ProcessExecutor()
    try:
        if names:
            return search_in_each(
                *(request, names, lambda one: _localise(one, executor, None, prove=False), top),
                json_wanted=as_json,
            )
        result = _localise(request, executor, output)
    finally:
        executor.close()
    if as_json:
        print_json({**localisation_json(result, top), **_measured_by(stack)})
    else:
        render_localisation(result, console(), top)
    if result.right:
        return 0
    if result.proof is not None:
        print_next("python", result.proof.script, result.device)
    else:
        print_next("sdbench", "doctor", "--deep")
    return 1


def _measured_by(stack: str) -> dict[str, Any]:
    """The machine and the software of a search, as in the documents of runs."""
    identity = probe_machine(open_system(), Path.cwd()).identity
    info = resolve_stack(stack)
    versions = {hide_path(stack): {"python": info.python, **info.packages}}
    return {"machine": machine_record(identity), "versions": versions}


def _localise(
    request: LocaliseRequest, executor: Executor, output: Path | None, *, prove: bool = True
) -> Localisation:
    began = time.monotonic()
    remarks = console(err=True)
    search = prepare_search(request, executor, lambda source: prepare_model(source, remarks))
    say_plain(
        remarks,
        f"One pass of {request.model} on the CPU at {request.resolution}; every operator is "
        f"repeated on {search.device.kind} in {search.dtype}. Ctrl-C stops the search.",
    )
    with InterruptFlag() as flag, SearchProgress(remarks) as screen:
        found = locate(search, executor, screen.tick, lambda: flag.requested)
    if found.interrupted:
        raise click.Abort
    groups = ranked(found.judged)
    proof = None
    if prove and groups and groups[0].beyond:
        proof = _demonstrate(groups[0].worst, search, output, executor, remarks)
    return conclude(search, found, proof, time.monotonic() - began)


def _demonstrate(
    worst: JudgedCall, search: Search, output: Path | None, executor: Executor, remarks: Console
) -> Demonstration:
    op = worst.call.op
    # aten::add_.Tensor as part of a folder's name
    folder = output or _free_folder(f"sdbench-localise-{op.rpartition('::')[2].replace('.', '-')}")
    remarks.print(
        f"{op} is wrong. Writing a script that shows the fault, and running it …", markup=False
    )
    origin = Origin(
        search.model.name,
        search.case.resolution,
        search.dtype,
        search.device.kind,
        __version__,
    )
    return demonstrate(worst, search, origin, folder, executor)


def _spare_others(folder: Path) -> None:
    """Refuse to overwrite the user's files in a folder.

    The operands' format has no room for a mark, so they are recognised by the script next to them.

    Raises:
        UsageError: the folder holds a file of such a name that sdbench did not write.
    """
    script, operands = folder / SCRIPT_FILE, folder / OPERANDS_FILE
    spare_others(script, force=False)
    if operands.exists() and not script.exists():
        raise not_ours(operands)


def _free_folder(name: str) -> Path:
    """The folder of that name, or with a number added where the user's own files are in it.

    To refuse here would lose the result of a search that took minutes.
    """
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(folder for folder in map(Path, names) if _is_free(folder))


def _is_free(folder: Path) -> bool:
    try:
        _spare_others(folder)
    except UsageError:
        return False
    return True
