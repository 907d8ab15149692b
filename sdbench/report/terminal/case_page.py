"""One process of a case on the terminal: its passes, stages, memory and how it ended."""

import itertools
import statistics
from typing import Any

from msgspec import UNSET
from rich.console import Console
from rich.table import Table

from sdbench.analysis.case_words import OUTCOME_WORDS
from sdbench.analysis.run_summary import disturbances
from sdbench.analysis.telemetry import WAIT_WORDS
from sdbench.explain.explain import link_of
from sdbench.records import CrashReport, FailureCause, Pass, Replicate, Stage
from sdbench.report.terminal.lines import say_plain
from sdbench.report.view.passes import replicate_words
from sdbench.words import duration, printable, seconds, size

_CALLS_SHOWN = 6
_SOURCES_SHOWN = 2
# So many passes in a row with the same images are one line.
_FEWEST_FOLDED = 8


def show_replicate(replicate: Replicate, name: str, out: Console) -> None:
    words = OUTCOME_WORDS[replicate.outcome]
    reason = f": {printable(replicate.reason)}" if replicate.reason else ""
    out.print()
    say_plain(out, f"{name}, attempt {replicate.attempt}: {words}{reason}")
    phases = f"start {replicate.start}, import {seconds(replicate.import_s)}"
    phases += f", load {seconds(replicate.load_s)}, total {seconds(replicate.wall_s)}"
    out.print(f"  {phases}, peak {size(replicate.peak_memory_bytes)}", markup=False)
    if replicate.processes is not None:
        peaks = [one.process_peak_bytes for one in replicate.passes if one.process_peak_bytes]
        each = f", peaks {', '.join(map(size, peaks[-1]))}" if peaks else ""
        out.print(f"  {replicate.processes} processes made each pass{each}", markup=False)
    if replicate.placement is not UNSET:
        place = f"{replicate.placement.device}, cores {replicate.placement.cores}"
        say_plain(out, f"on {place}", lead="  ")
    if replicate.uss_bytes is not None:
        own = (
            f"{size(replicate.uss_bytes)} its own (USS), {size(replicate.pss_bytes)} by share (PSS)"
        )
        out.print(f"  at its end {own}", markup=False)
    gate = replicate.gate
    if gate.flags or gate.waited_s:
        waited = f" after waiting {duration(gate.waited_s)}" if gate.waited_s else ""
        began = " and ".join(WAIT_WORDS[flag] for flag in gate.flags) or "no objection"
        out.print(f"  began{waited} with {began}", markup=False)
    held_up = "; ".join(disturbances(replicate))
    if held_up:
        say_plain(out, f"disturbed: {held_up}", lead="  ! ")
    if replicate.cause is not None:
        say_plain(out, replicate.cause.sentence, lead="  cause: ")
        say_plain(out, replicate.cause.remedy, lead="  remedy: ")
        ground = _ground(replicate.cause)
        if ground:
            out.print(f"  {ground}", markup=False, soft_wrap=True)
    if replicate.crash_report is not None:
        for line in _crash_lines(replicate.crash_report):
            out.print(f"  {printable(line)}", markup=False, soft_wrap=True)
    if replicate.fallback_operators:
        names = ", ".join(replicate.fallback_operators)
        say_plain(out, names, lead="  ran on the CPU instead: ")
    if replicate.passes:
        say_plain(out, replicate_words(replicate), lead="  ")
        why_no_times = replicate.why_voided("times")
        if why_no_times is not None:
            out.print(f"  times are unknown: {why_no_times}", markup=False)
        else:
            out.print(_pass_table(replicate.passes))
    if replicate.outcome != "ok" and replicate.stderr_tail:
        out.print("  end of the error output:")
        for line in replicate.stderr_tail.strip().splitlines()[-12:]:
            out.print(f"    {printable(line)}", markup=False, soft_wrap=True)


def _ground(cause: FailureCause) -> str:
    """``confidence: high; source: https://…``: how sure the cause is, and who reported it."""
    words = [f"confidence: {cause.confidence}"] if cause.confidence else []
    links = ", ".join(link_of(name) for name in cause.sources[:_SOURCES_SHOWN])
    return "; ".join([*words, *([f"source: {links}"] if links else [])])


def _crash_lines(report: CrashReport) -> list[str]:
    """What macOS wrote of the death, and the innermost calls outside the system's C library."""
    reported = [report.exception_type, report.termination, report.message]
    words = ", ".join(word for word in reported if word) or "no reason given"
    calls = [
        f"  {frame.image}: {frame.symbol or 'no name'}"
        for frame in report.frames
        if frame.image is not None and not frame.image.startswith("libsystem")
    ]
    return [f"crash report: {words}", *calls[:_CALLS_SHOWN]]


def _pass_table(passes: list[Pass]) -> Table:
    table = Table(show_edge=False, box=None, padding=(0, 2))
    for column in ("pass", "time", "peak"):
        table.add_column(column, no_wrap=True)
    for column in ("pixels", "range"):
        table.add_column(column, overflow="fold")
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
    """Many passes that made the same images: their median time, and the fastest and slowest."""
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
