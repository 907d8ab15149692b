"""``sdbench run``."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from sdbench.analysis.case_words import case_words
from sdbench.analysis.run_summary import RunSummary, TimeShares, as_json
from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.cli.report import write_page
from sdbench.diagnosis.diagnose import above
from sdbench.errors import UsageError
from sdbench.models.builtin import BUILTIN
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.resolve import OFFLINE, ModelSource
from sdbench.plan.config import UntilDecided
from sdbench.plan.cost import estimate_run
from sdbench.privacy.redact import hidden_run
from sdbench.process.execution import ProcessExecutor
from sdbench.process.executor import Executor
from sdbench.process.import_failures import ImportFailure
from sdbench.records import ModelInfo, Plan, Run
from sdbench.report.terminal.progress import ScreenWatcher
from sdbench.report.terminal.tables import render_lines, render_summary
from sdbench.report.view import diagnosed
from sdbench.runner.loop import Watcher
from sdbench.runner.prepare import (
    DEFAULT_CONFIG,
    Prepared,
    Request,
    make_run,
    prepare,
    require_room,
)
from sdbench.runner.session import Sat, sit
from sdbench.runs import RunFolder, load_run
from sdbench.stats import LOOKS, MIN_PROCESSES
from sdbench.words import counted, duration, memory_words, printable, shell, size, system_words

_DOCS_CONFIG = "mps-docs"
_SHOWN_PICTURES = 4
# Nobody reads more, and painting a line takes half a millisecond.
_SHOWN_PROCESSES = 1000
# Three steady passes outvote a disturbed one: 8 processes find a change of 10% in 98 of 100
# simulated runs, with one steady pass less in 77.
_PASSES_TO_COMPARE = 4


@click.command(name="run")
@click.argument("config", required=False)
@results_option
@click.option("--model", help="Model: synthetic/…, a folder, or a Hub id. [default: the config's]")
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
        config,
        model,
        device,
        stacks,
        overrides,
        only,
        label,
        allow_pickle,
        unsafe_memory,
        until_decided,
    )
    executor = ProcessExecutor()
    try:
        prepared = prepare(request, executor)
        if dry_run:
            _show_plan(prepared, as_json)
            return 0
        require_room(root, prepared.config)
        introduce(prepared, console(err=True))
        if not yes:
            ask(prepared)
        summary = _run(prepared, root, executor, as_json)
    finally:
        executor.close()
    closed = _why_closed(summary[0], fail_on)
    if closed is not None:
        console(err=True).print(f"sdbench: {closed}", markup=False, soft_wrap=True)
    return summary[1] or _fails_on(summary[0], fail_on) or int(closed is not None)


def _run(
    prepared: Prepared, root: Path, executor: Executor, json_wanted: bool
) -> tuple[RunSummary, int]:
    model = prepare_model(prepared.model, console(err=True))
    run = make_run(prepared, model)
    folder = RunFolder.create(root, hidden_run(run))
    say_if_not_noted(folder)
    try:
        sat = sit(folder, run, executor, watcher_for(folder.path))
    finally:
        folder.close()
    say_if_not_noted(folder)  # run.json may have been written again, with a longer plan
    finish(sat, run, json_wanted)
    if not json_wanted and sat.end == "complete":
        _offer_docs(prepared, sat, console(lossy=True))
    return sat.summary, exit_code(sat)


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


def exit_code(sat: Sat) -> int:
    """130 when interrupted, 1 when the guard ended the run, 3 where the stack cannot be imported;
    else what the outcomes say."""
    codes = {"interrupted": 130, "swapped-out": 1, "cannot-import": 3}
    return codes.get(sat.end, sat.summary.exit_code)


def finish(sat: Sat, run: Run, json_wanted: bool) -> None:
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


def _show_results(sat: Sat, run: Run, json_wanted: bool) -> None:
    remarks = console(err=True)
    if json_wanted:
        print_json(as_json(sat.summary), lossy=True)
    if sat.unimportable is not None:
        for line in _import_words(sat.unimportable, sat.summary):
            remarks.print(printable(line), markup=False, soft_wrap=True)
        return
    if not json_wanted:
        _show_table(sat, run, console(lossy=True))
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


def _show_table(sat: Sat, run: Run, out: Console) -> None:
    render_summary(sat.summary, out)
    if not run.model.trained:
        out.print(
            f"Pictures are noise by design: {run.model.name} has random weights "
            "(time and memory are the real architecture's). So “same as CPU” says nothing "
            "about numbers too large for float16, which real weights may bring."
        )
    for line in _picture_words(Path(sat.summary.path), run):
        out.print(line, markup=False, soft_wrap=True)
    out.print(_shares_words(sat.shares), soft_wrap=True)
    path = shell(sat.summary.path)
    out.print(f"Results, pictures included: {sat.summary.path}", markup=False, soft_wrap=True)
    out.print(f"Look closer: sdbench show {path} CASE", markup=False, soft_wrap=True)
    if len(run.plan.arms) > 1 or run.config.get("until_decided"):
        out.print(f"Verdicts: sdbench compare {path}", markup=False, soft_wrap=True)
    out.print(_findings_words(sat), soft_wrap=True)


def _import_words(failure: ImportFailure, summary: RunSummary) -> list[str]:
    """The error in one line, its cause, the remedy, and where the whole error is kept."""
    measured = sum(row.outcome == "ok" for row in summary.cases)
    before = f" and {counted(measured, 'case')} measured before" if measured else ""
    return [
        f"sdbench: {failure.sentence}",
        *([] if failure.cause is None else [f"  {failure.cause}"]),
        f"  → {failure.remedy}",
        f"  The whole error{before}: sdbench show {shell(summary.path)}",
    ]


def _picture_words(path: Path, run: Run) -> list[str]:
    """Where the pictures of one pass are and what they should show, for a trained model."""
    if not run.model.trained:
        return []
    prompts = run.config["prompts"]
    for replicate in load_run(path).replicates:
        for entry in replicate.of_kind("measured"):
            return [
                f"Picture: {path / 'images' / image.pixels_sha256}.png – "
                f"{prompts[index % len(prompts)]}"
                for index, image in enumerate(entry.images[:_SHOWN_PICTURES])
            ]
    return []


def _findings_words(sat: Sat) -> str:
    """How much is wrong, and where it is said what."""
    path = Path(sat.summary.path)
    diagnosis = diagnosed(load_run(path))
    codes = Counter(entry.code for entry in above(diagnosis.findings))
    words = diagnosis.headline.rstrip(".")
    if codes:
        listed = ", ".join(
            code if count == 1 else f"{count} {code}" for code, count in codes.items()
        )
        words += f" ({counted(codes.total(), 'finding')}: {listed})"
    return f"Diagnosis: {words}. Causes, claims and what to use: sdbench diagnose {shell(path)}"


def _shares_words(shares: TimeShares) -> str:
    parts = (
        ("making pictures", shares.passes_s),
        ("loading the model", shares.load_s),
        ("importing torch in each process", shares.import_s),
        ("waiting for the machine", shares.waited_s),
        ("comparing with the CPU", shares.comparing_s),
        ("the rest", shares.rest_s),
    )
    words = ", ".join(f"{spent / shares.wall_s:.0%} {what}" for what, spent in parts if spent)
    return f"Took {duration(shares.wall_s)}: {words}."


def prepare_model(source: ModelSource, remarks: Console) -> ModelInfo:
    """Build, fetch or hash the model, with progress where that takes a while."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    if not source.must_be_built:
        return source.prepare()
    columns = (
        TextColumn("making {task.description} (once)"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=remarks, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task(source.name, total=source.bytes_on_disk)
        return source.prepare(lambda done, _total: bar.update(task, completed=done))


def introduce(prepared: Prepared, remarks: Console) -> None:
    """The first lines: what, where, how long, how much, and that nothing is sent anywhere."""
    config, plan = prepared.config, prepared.plan
    skipped = sum(planned.skip_reason is not None for planned in plan.cases)
    arms = f" × {len(plan.arms)} arms" if len(plan.arms) > 1 else ""
    processes = f"{counted(len(plan.slots), 'process', 'processes')}: "
    processes += f"{counted(len(plan.cases) - skipped, 'case')}{arms}"
    processes += f" × {config.fewest_processes}" if config.fewest_processes > 1 else ""
    lines = [
        ("plan", f"{config.name} – {processes}" + (f", {skipped} skipped" if skipped else "")),
        ("machine", _machine_words(prepared)),
        ("model", _model_words(prepared)),
        ("device", _device_words(prepared)),
        ("takes", _cost_words(prepared)),
    ]
    if config.until_decided is not None:
        lines.insert(1, ("until", _until_words(config.until_decided)))
    render_lines(lines, remarks)
    for hint in (*prepared.remarks, *_hints(prepared)):
        remarks.print(f"note: {hint}", markup=False, soft_wrap=True)
    if prepared.facts.simulated:
        remarks.print("SIMULATED: what is said of the machine comes from a recording")
    for flag, cases in _flags(plan).items():
        remarks.print(
            f"known: {flag}, in {cases} of {len(plan.cases)} cases", markup=False, soft_wrap=True
        )
    if prepared.model.name not in OFFLINE:
        remarks.print("No safety checker is loaded: it returns black pictures, which hide faults.")
    if config.reference.budget_s:
        remarks.print(
            "Afterwards the CPU makes the pictures to compare with, where they are not known yet: "
            f"at most {duration(config.reference.budget_s)} (reference.budget_s)."
        )
    nothing = "" if prepared.model.download else "Nothing is downloaded; "
    remarks.print(
        f"{nothing}{'n' if nothing else 'N'}othing leaves this machine. "
        "Ctrl-C stops and keeps everything measured."
    )


def _hints(prepared: Prepared) -> list[str]:
    """What would keep a comparison from finding anything (PROTOCOL 2; ``error_rates.py``)."""
    config, passes = prepared.config, prepared.fewest_passes
    if len(prepared.plan.arms) < 2 and config.until_decided is None:
        return []
    hints = []
    if config.fewest_processes < MIN_PROCESSES:
        hints.append(
            f"with replicates = {config.fewest_processes} there are figures and no verdicts: "
            "--until-decided, or --set replicates=8"
        )
    if passes < _PASSES_TO_COMPARE:
        auto = " of a case" if config.passes == "auto" else ""
        hints.append(
            f"with {passes} passes{auto} one disturbed pass decides what a process counts for: "
            f"--set passes={_PASSES_TO_COMPARE} finds changes far more often"
        )
    return hints


def _flags(plan: Plan) -> Counter[str]:
    """Known issues that planned cases meet, and in how many cases."""
    return Counter(flag for planned in plan.cases for flag in planned.flags)


def _machine_words(prepared: Prepared) -> str:
    """What is known of the machine; of a recorded one that may be little."""
    facts = prepared.machine
    words = [str(facts["chip"] or facts["architecture"] or "a machine that does not tell its chip")]
    if facts["cores_physical"]:
        words.append(f"{facts['cores_physical']} cores")
    if facts["memory_bytes"]:
        words.append(memory_words(facts["memory_bytes"]))
    system = system_words(facts)
    return ", ".join([*words, system] if system else words)


def _model_words(prepared: Prepared) -> str:
    source = prepared.model
    words = f"{source.name}, {size(source.bytes_on_disk)} of weights"
    if source.name in SYNTHETIC:
        words += ", random by design (the real architecture, no download)"
    if source.name in BUILTIN:
        words += ", trained, in the package: its pictures can be checked against the prompt"
    if source.must_be_built:
        words += "; made now, once"
    return words


def _device_words(prepared: Prepared) -> str:
    stacks = [stack.packages for stack in prepared.stacks.values()]
    versions = (
        f"{name} {' / '.join(dict.fromkeys(packages[name] for packages in stacks))}"
        for name in ("torch", "diffusers")
    )
    name = prepared.device.facts.get("name")
    simulated = " – SIMULATED" if prepared.device.simulated else ""
    return f"{prepared.device.kind}{f' ({name})' if name else ''}, {', '.join(versions)}{simulated}"


def _until_words(until: UntilDecided) -> str:
    """``decided by arm: looks after 3, 5, 8, 13 and 21 processes``."""
    *looks, last = (str(count) for count in LOOKS if count <= until.max_processes)
    counts = f"{', '.join(looks)} and {last}" if looks else last
    return (
        f"every comparison by {until.by} is decided (a difference counts from "
        f"{until.threshold:.0%} on): looks after {counts} processes a case and arm"
    )


def _cost_words(prepared: Prepared) -> str:
    least, most = prepared.estimate, prepared.at_most
    limit = prepared.config.max_minutes
    words = f"about {duration(least.duration_s)}"
    if most.duration_s > least.duration_s:
        words = f"at least {words}, at most {duration(most.duration_s)}"
    words += f", never more than {limit:g} min" if limit else ""
    return (
        f"{words}; up to {size(most.peak_memory_bytes)} of memory, {size(most.disk_bytes)} of "
        "disk (rough estimates)"
    )


def ask(prepared: Prepared) -> None:
    """Ask only where a person would want to be asked; never into a pipe."""
    questions = prepared.questions()
    if not questions:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{'; '.join(questions)}: there is nobody to ask here, so add --yes")
    if not click.confirm(f"Note: {'; '.join(questions)}. Go on?", err=True):
        raise UsageError("not started")


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
                    "peak_memory_bytes": prepared.at_most.peak_memory_bytes,
                    "disk_bytes": prepared.at_most.disk_bytes,
                    "download_bytes": getattr(prepared.model.download, "size_bytes", 0),
                },
            }
        )
        return
    out = console()
    introduce(prepared, out)
    out.print(f"\nWorkers are started by {plan.start}. In order:")
    cases = {planned.case_id: planned for planned in plan.cases}
    for slot in plan.slots[:_SHOWN_PROCESSES]:
        arm = f" [{slot.arm}]" if len(plan.arms) > 1 else ""
        words = case_words(cases[slot.case_id].case)
        out.print(f"  {slot.index + 1:>4}  block {slot.block + 1}  {words}{arm}", markup=False)
    if plan.slots[_SHOWN_PROCESSES:]:
        more = len(plan.slots) - _SHOWN_PROCESSES
        out.print(f"  and {more:,} more processes (all of them: --json)")
    until = prepared.config.until_decided
    if until is not None and until.max_processes > prepared.config.fewest_processes:
        out.print(
            f"  and on in the same way, to at most block {until.max_processes}, until decided"
        )
    remarks = [*_plan_remarks(plan)]
    for line in remarks[:_SHOWN_PROCESSES]:
        out.print(f"  {line}", markup=False)
    if remarks[_SHOWN_PROCESSES:]:
        out.print(f"  and {len(remarks) - _SHOWN_PROCESSES:,} more skipped or merged (--json)")


def _plan_remarks(plan: Plan) -> Iterator[str]:
    for planned in plan.cases:
        if planned.skip_reason is not None:
            yield f"skipped: {case_words(planned.case)} – {planned.skip_reason}"
        for merged in planned.merged:
            yield f"merged: {merged} → {planned.case_id}"


def _offer_docs(prepared: Prepared, sat: Sat, out: Console) -> None:
    """After a default run on a GPU: the plan that tests the documentation, and its hours."""
    if prepared.config.name != DEFAULT_CONFIG or prepared.device.kind == "cpu":
        return
    from sdbench.plan.order import make_plan
    from sdbench.plan.read_config import load_config

    config = load_config(_DOCS_CONFIG)
    plan = make_plan(config, prepared.device.kind)
    model, kind = prepared.model.outline(), prepared.device.kind
    guess = estimate_run(config, plan, model, kind, prepared.cores).duration_s
    # Corrected by how far the estimate of this run was off.
    expected = sum(sat.pace.estimates[slot.case_id] for slot in prepared.plan.slots)
    taken = sum(sat.pace.slot_s(slot.case_id) for slot in prepared.plan.slots)
    hours = guess * taken / expected / 3600
    out.print(
        f"To test what the documentation claims about Apple silicon: sdbench run {_DOCS_CONFIG} "
        f"(about {hours:.1f} hours here)."
    )


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
