"""``sdbench run``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from sdbench.cli.completion import (
    complete_axis_value,
    complete_config,
    complete_key,
    complete_stack,
)
from sdbench.cli.devices import (
    chosen_devices,
    device_wanted,
    measure_on,
    show_devices,
)
from sdbench.cli.models import confirm
from sdbench.cli.options import (
    devices_option,
    json_option,
    lora_option,
    mode_option,
    parts_option,
    results_option,
    revision_option,
    save_baseline_option,
    strength_option,
    with_option,
)
from sdbench.cli.output import console
from sdbench.cli.run_output import fails_on, show_run_plan, why_closed
from sdbench.cli.selftest import mention_selftest
from sdbench.cli.session import (
    end_with,
    exit_code,
    finish,
    keep_baseline,
    say_if_not_noted,
    watcher_for,
)
from sdbench.errors import UsageError
from sdbench.files.user_folders import cache_folder
from sdbench.models.offline import question_before_making
from sdbench.plan.read_config import shipped_configs
from sdbench.privacy.redact_recorded import hidden_run
from sdbench.process.executor import Executor
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import ModelInfo, Run
from sdbench.report.terminal.model_progress import prepare_model
from sdbench.report.terminal.plan_page import introduce
from sdbench.report.terminal.session_end import offer_docs
from sdbench.runner.prepare import Prepared, make_run, prepare, require_room
from sdbench.runner.request import Request
from sdbench.runner.session import SessionResult, run_session
from sdbench.runner.start_warnings import slowdown_of
from sdbench.runs import RunFolder
from sdbench.runs.baselines import check_baseline_name
from sdbench.selftest.kept import last_selftest

if TYPE_CHECKING:
    from sdbench.cli.measured import OnYourChip
    from sdbench.devices.host import Device

_HELP = f"""Measure the matrix and keep every result.

CONFIG is the name of a shipped configuration ({", ".join(shipped_configs())}) or the path of a TOML
file. Every case runs in processes of its own, so a crash costs one row and not the run. Results go
to a new folder in the results folder; Ctrl-C keeps what is measured, and `sdbench resume` continues
it.
"""


@click.command(name="run", help=_HELP)
@click.argument("config", required=False, shell_complete=complete_config)
@results_option
@click.option(
    "--model",
    help="Model: synthetic/…, a folder, a .safetensors or .gguf file, or a Hub id. [default: from "
    "the configuration]",
)
@lora_option
@mode_option
@strength_option
@parts_option
@revision_option
@click.option(
    "--device",
    type=click.Choice(["auto", "mps", "cuda", "cpu"]),
    help="Device to measure. [default: from the configuration, usually auto: mps, else cuda, else "
    "cpu]",
)
@devices_option
@click.option(
    "--stack",
    "--python",
    "stacks",
    multiple=True,
    metavar="S",
    shell_complete=complete_stack,
    help="Measure in this environment: 'current', an environment (see sdbench stacks), or the path "
    "of an interpreter or virtual environment. Give it twice to compare two environments, "
    "interleaved.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_key,
    help="Change one key of the configuration, e.g. --set replicates=8 --set steps=20.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="AXIS=V[,V]",
    shell_complete=complete_axis_value,
    help="Keep only these cases, e.g. --only resolution=512x512 --only warmup=true.",
)
@click.option("--label", help="Label to find the run by, at most 200 characters.")
@click.option("--allow-pickle", is_flag=True, help="Also read weights in pickle files.")
@click.option(
    "--unsafe-memory",
    is_flag=True,
    help="Allow PYTORCH_MPS_HIGH_WATERMARK_RATIO=0: no memory limit, which can freeze a Mac.",
)
@click.option(
    "--until-decided",
    is_flag=True,
    help="Continue until every comparison of the run is decided, with analyses after 3, 5, 8, 13 "
    "and 21 processes.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and its estimated cost; run nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["wrong", "skipped"]),
    help="Exit with 1 also if an image is wrong (or none was checked), or if a case was skipped.",
)
@save_baseline_option
@with_option
@json_option
def command(
    config: str | None,
    root: Path,
    model: str | None,
    lora: tuple[str, ...],
    mode: str | None,
    strength: float | None,
    parts: str | None,
    revision: str | None,
    device: str | None,
    devices: str | None,
    stacks: tuple[str, ...],
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    label: str | None,
    allow_pickle: bool,
    unsafe_memory: bool,
    until_decided: bool,
    dry_run: bool,
    yes: bool,
    fail_on: tuple[str, ...],
    saved_as: str | None,
    site: Path | None,
    as_json: bool,
) -> int:
    """Measure the matrix and keep every result; the help is built from the shipped files."""
    device = device_wanted(devices, device)
    request = Request(
        *(config, model, lora, parts, revision, device, stacks, overrides, only, label),
        *(allow_pickle, unsafe_memory, until_decided, None, mode, strength),
    )
    if saved_as is not None:
        check_baseline_name(saved_as)
    executor = ProcessExecutor()
    try:
        prepared = prepare(request, executor)
        chosen = chosen_devices(devices, prepared)
        measured = None if site is None else _measured(site, prepared)
        if dry_run:
            show_run_plan(prepared, measured, chosen, as_json)
            return 0
        words = () if measured is None else measured.words
        agree(prepared, root, yes=yes, measured=words, devices=chosen)
        model_here = prepare_model(prepared.model, console(err=True))
        sat, run = measure(prepared, model_here, root, executor, chosen)
        finish(sat, run, as_json)
        if saved_as is not None:
            keep_baseline(root, saved_as, Path(sat.summary.path), complete=sat.summary.complete)
        if not as_json and sat.end == "complete":
            offer_docs(prepared, sat, console(lossy=True))
    finally:
        executor.close()
    closed = why_closed(sat.summary, fail_on)
    if closed is not None:
        console(err=True).print(f"sdbench: {closed}", markup=False, soft_wrap=True)
    code = exit_code(sat) or fails_on(sat.summary, fail_on) or int(closed is not None)
    return end_with(code, sat)


def agree(
    prepared: Prepared,
    root: Path,
    *,
    yes: bool,
    measured: Sequence[str] = (),
    devices: "Sequence[Device]" = (),
) -> None:
    """Say what will be measured, and ask where a person would want to be asked.

    ``measured`` says what similar machines of a board measured.
    """
    require_room(root, prepared.config)
    introduce(prepared, console(err=True), measured)
    show_devices(prepared, devices, console(err=True))
    mention_selftest(prepared.device.kind)
    if not yes:
        _ask(prepared)


def measure(
    prepared: Prepared,
    model: ModelInfo,
    root: Path,
    executor: Executor,
    devices: "Sequence[Device]" = (),
) -> tuple[SessionResult, Run]:
    """A new run in a folder of its own."""
    run = make_run(prepared, model)
    records = [one.record for one in devices]
    run = msgspec.structs.replace(run, selftest=last_selftest(run.device), devices=records)
    folder = RunFolder.create(root, hidden_run(run))
    say_if_not_noted(folder)
    try:
        watcher, on_devices = watcher_for(folder.path), measure_on(devices)
        sat = run_session(folder, run, executor, watcher, measure=on_devices)
    finally:
        folder.close()
    say_if_not_noted(folder)  # run.json may have been written again, with a longer plan
    return sat, run


def _ask(prepared: Prepared) -> None:
    """Ask only where a person would want to be asked; never into a pipe."""
    questions = prepared.questions()
    if questions and (sys.stdin is None or not sys.stdin.isatty()):
        raise UsageError(
            f"{'; '.join(questions)}: no terminal is available for a question, so add --yes"
        ).then_with("--yes")
    model = prepared.model
    making = None
    if model.must_be_built:
        making = question_before_making(model.bytes_on_disk, model.name, cache_folder())
    # The load is said above; a script is not stopped by it.
    busy = ["times will mean little under this load"] if slowdown_of(prepared) > 1 else []
    confirm([*questions, *([] if making is None else [making]), *busy])


def _measured(site: Path, prepared: Prepared) -> "OnYourChip":
    from sdbench.cli.measured import measured_for_plan

    return measured_for_plan(site, prepared)
