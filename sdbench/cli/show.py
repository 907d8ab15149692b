"""``sdbench show``."""

import itertools
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from sdbench.analysis.case_words import OUTCOME_WORDS, case_words, process_name
from sdbench.analysis.pairs import summary_of
from sdbench.analysis.run_summary import as_json as summary_json
from sdbench.analysis.run_summary import device_facts, disturbances
from sdbench.analysis.telemetry import WAIT_WORDS
from sdbench.cli.options import DEFAULT_ROOT, json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.errors import UsageError
from sdbench.explain.explain import link_of
from sdbench.records import (
    CrashReport,
    DeviceKind,
    FailureCause,
    Pass,
    Replicate,
    Run,
    Stage,
)
from sdbench.report.terminal.overview import render_overview
from sdbench.report.terminal.tables import render_lines
from sdbench.report.view.build import run_story
from sdbench.report.view.correctness_words import check_words, correctness_lines
from sdbench.report.view.efficiency_words import efficiency_words
from sdbench.report.view.passes import replicate_words
from sdbench.report.view.spread import spread_words
from sdbench.report.view.telemetry_words import telemetry_lines
from sdbench.runs import LoadedRun, find_run, load_run
from sdbench.words import (
    counted,
    duration,
    memory_words,
    printable,
    seconds,
    size,
    system_words,
)

_CALLS_SHOWN = 6
_SOURCES_SHOWN = 2
# So many passes in a row with the same pictures are one line.
_FEWEST_FOLDED = 8


@click.command(name="show")
@click.argument("run")
@click.argument("case", required=False)
@click.option("--all", "everything", is_flag=True, help="Every case and remark, however many.")
@results_option
@json_option
def command(run: str, case: str | None, everything: bool, root: Path, as_json: bool) -> int:
    """Show a run on one screen, or everything known of one CASE.

    RUN is a run's path, its id, the beginning of its id, or 'latest'. CASE is what the table calls
    it ('512x512 sliced float16'), its id, or the beginning of that.
    """
    path = find_run(root, run)
    loaded = load_run(path)
    if case is not None:
        return _show_case(loaded, case, as_json)
    if as_json:
        print_json(summary_json(summary_of(loaded)))
        return 0
    # As it was typed, where that finds it again without a folder.
    name = run if root == DEFAULT_ROOT else str(path)
    story = run_story(loaded, details=False)
    render_overview(story, _head(loaded), console(), path=name, everything=everything)
    return 0


def _head(loaded: LoadedRun) -> list[tuple[str, str]]:
    run = loaded.run
    weights = "" if run.model.trained else ", random weights"
    lines = [
        ("run", f"{run.run_id}, begun {run.created_utc}" + (f", {run.label}" if run.label else "")),
        ("machine", _machine_words(run)),
        ("model", f"{run.model.name} on {run.device}{weights}"),
        ("work", _work_words(run.config)),
        ("device", _device_words(device_facts(loaded.replicates), run.device)),
    ]
    for name, stack in run.stacks.items():
        packages = ", ".join(f"{key} {value}" for key, value in stack.packages.items())
        lines.append(("stack", f"{name}: Python {stack.python}, {packages}"))
    lines += [("check", check_words(check)) for check in loaded.checks[-1:]]
    return lines


def _machine_words(run: Run) -> str:
    """``Apple M2 Max, 32 GB, macOS 14.2.1``."""
    machine = run.machine
    words = [str(machine.get("chip")), memory_words(machine.get("memory_bytes"))]
    return ", ".join(word for word in [*words, system_words(machine, run.machine_facts)] if word)


def _work_words(config: Mapping[str, Any]) -> str:
    """``8 steps, ddim, 2 pictures a pass, 3 processes a case``: without it no time means much."""
    words = [f"{config.get('steps')} steps", str(config.get("scheduler"))]
    words.append(f"{counted(int(config.get('images', 1)), 'picture')} a pass")
    if config.get("until_decided"):
        return ", ".join([*words, "processes until decided"])
    processes = counted(int(config.get("replicates", 1)), "process", "processes")
    return ", ".join([*words, f"{processes} a case"])


def _device_words(facts: dict[str, Any], device: DeviceKind) -> str:
    """``Apple M1, gpu cores 8, recommended max 11.5 GB``.

    Metal recommends a maximum; on CUDA the same fact is the memory of the GPU.
    """
    words = [str(facts["name"])] if "name" in facts else []
    for name, fact in facts.items():
        label = name.removesuffix("_bytes").replace("_", " ")
        if name == "recommended_max_bytes" and device == "cuda":
            label, fact = "memory", memory_words(fact)
        if name == "name" or fact is False:
            continue
        if fact is True:
            words.append(label)
        else:
            in_bytes = name.endswith("_bytes") and isinstance(fact, int)
            words.append(f"{label} {size(fact) if in_bytes else fact}")
    return ", ".join(words) or "nothing told"


def find_case(loaded: LoadedRun, case: str) -> str:
    """The id of a case given by its words, its id, or the beginning of that.

    Raises:
        UsageError: none or several match.
    """
    cases = loaded.run.plan.cases
    matches = [
        planned.case_id for planned in cases if case in (planned.case_id, case_words(planned.case))
    ] or [planned.case_id for planned in cases if planned.case_id.startswith(case)]
    if len(matches) != 1:
        known = ", ".join(planned.case_id for planned in loaded.run.plan.cases)
        found = "no case" if not matches else "several cases"
        raise UsageError(f"{found} called {case!r} in {loaded.run.run_id}; there are {known}")
    return matches[0]


def _show_case(loaded: LoadedRun, case: str, json_wanted: bool) -> int:
    case_id = find_case(loaded, case)
    attempts = [entry for entry in loaded.attempts if entry.case_id == case_id]
    summary = summary_of(loaded)
    rows = [row for row in summary.cases if row.case_id == case_id]
    compared = [entry for entry in loaded.compared if entry.case_id == case_id]
    if json_wanted:
        replicates = msgspec.to_builtins(attempts)
        print_json(
            {
                "case_id": case_id,
                "summary": [
                    row for row in summary_json(summary)["cases"] if row["case_id"] == case_id
                ],
                "replicates": replicates,
                "compared": msgspec.to_builtins(compared),
            }
        )
        return 0
    out = console()
    out.print(f"{case_words(loaded.run.plan.planned(case_id).case)}  ({case_id})")
    if loaded.run.simulated or any(replicate.simulated for replicate in attempts):
        out.print("SIMULATED: no real device made these numbers")
    for row in rows:
        if len(rows) > 1:
            out.print(f"\n{row.arm}", markup=False)
        render_lines(
            [
                *telemetry_lines(row),
                ("efficiency", efficiency_words(row.efficiency, row.case.dtype)),
                ("spread", spread_words(row)),
            ],
            out,
        )
        beside_cpu = [entry for entry in compared if entry.arm == row.arm]
        if beside_cpu:
            render_lines(correctness_lines(beside_cpu), out)
    for replicate in attempts:
        _show_replicate(replicate, process_name(replicate, loaded.run), out)
    return 0


def _show_replicate(replicate: Replicate, name: str, out: Console) -> None:
    words = OUTCOME_WORDS[replicate.outcome]
    reason = f": {printable(replicate.reason)}" if replicate.reason else ""
    out.print(
        f"\n{name}, attempt {replicate.attempt}: {words}{reason}",
        markup=False,
        soft_wrap=True,
    )
    phases = f"start {replicate.start}, import {seconds(replicate.import_s)}"
    phases += f", load {seconds(replicate.load_s)}, in all {seconds(replicate.wall_s)}"
    out.print(f"  {phases}, peak {size(replicate.peak_memory_bytes)}", markup=False)
    if replicate.uss_bytes is not None:
        own = (
            f"{size(replicate.uss_bytes)} its own (USS), {size(replicate.pss_bytes)} by share (PSS)"
        )
        out.print(f"  at its end {own}", markup=False)
    gate = replicate.gate
    if gate.flags or gate.waited_s:
        waited = f" after waiting {duration(gate.waited_s)}" if gate.waited_s else ""
        began = " and ".join(WAIT_WORDS[flag] for flag in gate.flags) or "nothing against it"
        out.print(f"  began{waited} with {began}", markup=False)
    held_up = "; ".join(disturbances(replicate))
    if held_up:
        out.print(f"  ! disturbed: {held_up}", markup=False)
    if replicate.cause is not None:
        out.print(f"  cause: {printable(replicate.cause.sentence)}", markup=False, soft_wrap=True)
        out.print(f"  remedy: {replicate.cause.remedy}", markup=False, soft_wrap=True)
        ground = _ground(replicate.cause)
        if ground:
            out.print(f"  {ground}", markup=False, soft_wrap=True)
    if replicate.crash_report is not None:
        for line in _crash_lines(replicate.crash_report):
            out.print(f"  {printable(line)}", markup=False, soft_wrap=True)
    if replicate.fallback_operators:
        names = ", ".join(replicate.fallback_operators)
        out.print(f"  ran on the CPU instead: {names}", markup=False, soft_wrap=True)
    if replicate.passes:
        out.print(f"  {replicate_words(replicate)}", markup=False)
        out.print(_pass_table(replicate.passes))
    if replicate.outcome != "ok" and replicate.stderr_tail:
        out.print("  last words on standard error:")
        for line in replicate.stderr_tail.strip().splitlines()[-12:]:
            out.print(f"    {printable(line)}", markup=False, soft_wrap=True)


def _ground(cause: FailureCause) -> str:
    """``confidence: high; source: https://…``: how sure the cause is, and who reported it."""
    words = [f"confidence: {cause.confidence}"] if cause.confidence else []
    links = ", ".join(link_of(name) for name in cause.sources[:_SOURCES_SHOWN])
    return "; ".join([*words, *([f"source: {links}"] if links else [])])


def _crash_lines(report: CrashReport) -> list[str]:
    """What macOS wrote of the death, and the innermost calls outside the system's C library."""
    told = [report.exception_type, report.termination, report.message]
    words = ", ".join(word for word in told if word) or "no reason given"
    calls = [
        f"  {frame.image}: {frame.symbol or 'no name'}"
        for frame in report.frames
        if frame.image is not None and not frame.image.startswith("libsystem")
    ]
    return [f"crash report: {words}", *calls[:_CALLS_SHOWN]]


def _pass_table(passes: list[Pass]) -> Table:
    table = Table(show_edge=False, box=None, padding=(0, 2))
    for column in ("pass", "time", "peak", "pixels", "range"):
        table.add_column(column)
    for _, alike in itertools.groupby(passes, _kind_and_pictures):
        entries = [*alike]
        if len(entries) < _FEWEST_FOLDED:
            for entry in entries:
                table.add_row(*_pass_row(entry))
                for stage in _stages(entry):
                    table.add_row(*stage)
        else:
            table.add_row(*_folded(entries))
    return table


def _kind_and_pictures(entry: Pass) -> tuple[object, ...]:
    """What passes have in common that are shown as one; the first pass stands for itself."""
    return entry.kind, entry.index == 1, *(picture.pixels_sha256 for picture in entry.images)


def _pass_row(entry: Pass) -> tuple[str, ...]:
    name = f"{entry.kind} {entry.index}" if entry.kind == "measured" else entry.kind
    hashes = " ".join(picture.pixels_sha256[:8] for picture in entry.images)
    ranges = " ".join(_range(picture.minimum, picture.maximum) for picture in entry.images)
    return name, seconds(entry.duration_s), size(entry.peak_bytes), hashes, ranges


def _folded(entries: list[Pass]) -> tuple[str, ...]:
    """Many passes that made the same pictures: their median time, and the fastest and slowest."""
    times = [entry.duration_s for entry in entries]
    low, high = seconds(min(times)).removesuffix(" s"), seconds(max(times))
    name = f"{entries[0].kind} {entries[0].index} to {entries[-1].index}"
    peaks = [entry.peak_bytes for entry in entries if entry.peak_bytes is not None]
    peak = size(max(peaks, default=None))
    _, _, _, hashes, ranges = _pass_row(entries[0])
    return name, f"{seconds(statistics.median(times))} ({low}–{high})", peak, hashes, ranges


def _stages(entry: Pass) -> list[tuple[Any, ...]]:
    return [
        (f"  {stage.stage}", seconds(stage.duration_s), _stage_peak(stage), "", "")
        for stage in entry.stages or []
    ]


def _stage_peak(stage: Stage) -> str:
    """By the device's counter, else the process's as it was sampled."""
    if stage.peak_bytes is None and stage.footprint_peak_bytes is not None:
        return f"{size(stage.footprint_peak_bytes)} (process)"
    return size(stage.peak_bytes)


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.2f}…{high:.2f}"
