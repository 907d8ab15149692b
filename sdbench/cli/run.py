"""``sdbench run``."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
import msgspec

from sdbench.analysis.run_summary import RunSummary, as_json
from sdbench.cli.models import confirm
from sdbench.cli.options import (
    json_option,
    lora_option,
    mode_option,
    parts_option,
    results_option,
    revision_option,
    strength_option,
)
from sdbench.cli.output import console, print_json
from sdbench.cli.report import write_page
from sdbench.cli.selftest import mention_selftest
from sdbench.errors import UsageError
from sdbench.files.user_folders import cache_folder
from sdbench.models.offline import question_before_making
from sdbench.privacy.redact_recorded import hidden_run
from sdbench.process.executor import Executor
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import ModelInfo, Run
from sdbench.report.terminal.model_progress import prepare_model
from sdbench.report.terminal.plan_page import introduce, show_plan
from sdbench.report.terminal.progress import ScreenWatcher
from sdbench.report.terminal.session_end import import_words, offer_docs, show_table
from sdbench.runner.loop import Watcher
from sdbench.runner.memory_fit import fit_document
from sdbench.runner.prepare import Prepared, make_run, prepare, require_room
from sdbench.runner.request import Request
from sdbench.runner.session import SessionResult, run_session
from sdbench.runs import RunFolder
from sdbench.selftest.kept import last_selftest
from sdbench.words import printable, shell


@click.command(name="run")
@click.argument("config", required=False)
@results_option
@click.option(
    "--model",
    help="Model: synthetic/…, a folder, a .safetensors or .gguf file, or a Hub id. "
    "[default: the config's]",
)
@lora_option
@mode_option
@strength_option
@parts_option
@revision_option
@click.option(
    "--device",
    type=click.Choice(["auto", "mps", "cuda", "cpu"]),
    help="Device to measure. [default: the config's, usually auto: mps, else cuda, else cpu]",
)
@click.option(
    "--stack",
    "--python",
    "stacks",
    multiple=True,
    metavar="S",
    help="Measure in this environment: 'current', a stack (see sdbench stacks), or the path of an "
    "interpreter or virtual environment. Give it twice to compare two, interleaved.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one key of the configuration, e.g. --set replicates=8 --set steps=20.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="AXIS=V[,V]",
    help="Keep only these cases, e.g. --only resolution=512x512 --only warmup=true.",
)
@click.option("--label", help="A word of yours to find the run by, at most 200 characters.")
@click.option("--allow-pickle", is_flag=True, help="Also read weights that are pickle files.")
@click.option(
    "--unsafe-memory",
    is_flag=True,
    help="Allow PYTORCH_MPS_HIGH_WATERMARK_RATIO=0: no memory limit, which can freeze a Mac.",
)
@click.option(
    "--until-decided",
    is_flag=True,
    help="Measure on until every comparison of the run is decided: looks after 3, 5, 8, 13 and 21 "
    "processes.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and what it would cost; run nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask, whatever it takes.")
@click.option(
    "--fail-on",
    multiple=True,
    type=click.Choice(["wrong", "skipped"]),
    help="Exit with 1 also when a picture is wrong (or none could be checked), or a case was "
    "skipped.",
)
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
    as_json: bool,
) -> int:
    """Measure the matrix and keep every result.

    CONFIG is the name of a shipped configuration (default, quick, mps-docs, full, ci,
    torch-1-vs-2) or the path of a TOML file. Every case runs in processes of its own, so a crash
    costs one row and not the run. Results go to a new folder in the results folder; Ctrl-C keeps
    what is measured, and `sdbench resume` goes on with it.
    """
    request = Request(
        *(config, model, lora, parts, revision, device, stacks, overrides, only, label),
        *(allow_pickle, unsafe_memory, until_decided, None, mode, strength),
    )
    executor = ProcessExecutor()
    try:
        prepared = prepare(request, executor)
        if dry_run:
            _show_plan(prepared, as_json)
            return 0
        agree(prepared, root, yes=yes)
        model_here = prepare_model(prepared.model, console(err=True))
        sat, run = measure(prepared, model_here, root, executor)
        finish(sat, run, as_json)
        if not as_json and sat.end == "complete":
            offer_docs(prepared, sat, console(lossy=True))
    finally:
        executor.close()
    closed = _why_closed(sat.summary, fail_on)
    if closed is not None:
        console(err=True).print(f"sdbench: {closed}", markup=False, soft_wrap=True)
    return exit_code(sat) or _fails_on(sat.summary, fail_on) or int(closed is not None)


def agree(prepared: Prepared, root: Path, *, yes: bool) -> None:
    """Say what will be measured, and ask where a person would want to be asked."""
    require_room(root, prepared.config)
    introduce(prepared, console(err=True))
    mention_selftest(prepared.device.kind)
    if not yes:
        _ask(prepared)


def measure(
    prepared: Prepared, model: ModelInfo, root: Path, executor: Executor
) -> tuple[SessionResult, Run]:
    """A new run in a folder of its own."""
    run = make_run(prepared, model)
    run = msgspec.structs.replace(run, selftest=last_selftest(run.device))
    folder = RunFolder.create(root, hidden_run(run))
    say_if_not_noted(folder)
    try:
        sat = run_session(folder, run, executor, watcher_for(folder.path))
    finally:
        folder.close()
    say_if_not_noted(folder)  # run.json may have been written again, with a longer plan
    return sat, run


def say_if_not_noted(folder: RunFolder) -> None:
    """A run that cannot be recognised as one's own later costs a question, and no measuring."""
    if folder.not_noted is not None:
        console(err=True).print(
            f"note: {folder.not_noted}; so resume will ask whether to trust this run",
            markup=False,
            soft_wrap=True,
        )


def watcher_for(path: Path) -> Any:
    """Opens the screen for a run in a folder."""

    def open_watcher(run: Run) -> AbstractContextManager[Watcher]:
        return ScreenWatcher(run, console(err=True), str(path))

    return open_watcher


def exit_code(sat: SessionResult) -> int:
    """130 when interrupted, 1 when the guard ended the run, 3 where the stack cannot be imported;
    else what the outcomes say."""
    codes = {"interrupted": 130, "swapped-out": 1, "cannot-import": 3}
    return codes.get(sat.end, sat.summary.exit_code)


def finish(sat: SessionResult, run: Run, json_wanted: bool) -> None:
    """The final table or document, what to do next, and last the page, which takes seconds.

    The page is written even where the table cannot be shown.
    """
    try:
        _show_results(sat, run, json_wanted)
    finally:
        page = None if sat.unimportable is not None else write_page(Path(sat.summary.path))
    if page is not None:
        (console(err=True) if json_wanted else console(lossy=True)).print(
            f"Report to look at: {page}", markup=False, soft_wrap=True
        )


def _show_results(sat: SessionResult, run: Run, json_wanted: bool) -> None:
    remarks = console(err=True)
    if json_wanted:
        print_json(as_json(sat.summary), lossy=True)
    if sat.unimportable is not None:
        for line in import_words(sat.unimportable, sat.summary):
            remarks.print(printable(line), markup=False, soft_wrap=True)
        return
    if not json_wanted:
        show_table(sat, run, console(lossy=True))
    words = {
        "interrupted": "stopped; everything measured is kept",
        "budget": "the time budget (max_minutes) is used up; the rest was not run",
        "swapped-out": "stopped to protect your disk: more was written to swap than "
        "guard.max_swapped_out_bytes allows; everything measured is kept",
        "stuck": "a worker could not be ended even by SIGKILL: restart the machine",
    }
    if sat.end in words:
        remarks.print(
            f"{words[sat.end]}. Go on with: sdbench resume {shell(sat.summary.path)}", markup=False
        )


def _ask(prepared: Prepared) -> None:
    """Ask only where a person would want to be asked; never into a pipe."""
    questions = prepared.questions()
    if questions and (sys.stdin is None or not sys.stdin.isatty()):
        raise UsageError(f"{'; '.join(questions)}: there is nobody to ask here, so add --yes")
    model = prepared.model
    making = None
    if model.must_be_built:
        making = question_before_making(model.bytes_on_disk, model.name, cache_folder())
    confirm([*questions, *([] if making is None else [making])])


def _show_plan(prepared: Prepared, json_wanted: bool) -> None:
    plan = prepared.plan
    if json_wanted:
        print_json(
            {
                "config": msgspec.to_builtins(prepared.config),
                "device": prepared.device.kind,
                "simulated": prepared.device.simulated,
                "plan": msgspec.to_builtins(plan),
                "estimate": {
                    "duration_s": prepared.estimate.duration_s,
                    "at_most_s": prepared.at_most.duration_s,
                    "peak_memory_bytes": prepared.at_most.peak_memory_bytes or None,
                    "disk_bytes": prepared.at_most.disk_bytes,
                    "download_bytes": getattr(prepared.model.download, "size_bytes", 0),
                },
                "memory": fit_document(prepared.memory),
            }
        )
        return
    show_plan(prepared, console())


def _why_closed(summary: RunSummary, conditions: tuple[str, ...]) -> str | None:
    """Why the gate fails where no picture could be judged; None where one was, or none asks."""
    judged = any(row.correct != "unknown" or row.content is not None for row in summary.cases)
    if "wrong" not in conditions or judged:
        return None
    reasons = dict.fromkeys(row.correct_reason for row in summary.cases if row.correct_reason)
    return f"--fail-on wrong: no picture could be judged: {'; '.join(reasons) or 'none was made'}"


def _fails_on(summary: RunSummary, conditions: tuple[str, ...]) -> int:
    wrong = "wrong" in conditions and any(
        row.correct == "broken" or row.content == "wrong" for row in summary.cases
    )
    skipped = "skipped" in conditions and "skipped" in summary.outcomes
    return 1 if wrong or skipped else 0
