"""Timelines of memory: which processes are worth an image, read and thinned out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.case_words import OUTCOME_WORDS
from sdbench.records import Replicate
from sdbench.report.view.model import Span, Timeline
from sdbench.runs import LoadedRun
from sdbench.runs.timelines import SERIES, TimelinePoint, read_timeline, thinned
from sdbench.words import size

# Enough to see the worst, the swap, a death and a calm one; a page of timelines is read by nobody.
MAX_TIMELINES = 4


def timelines_of(
    loaded: LoadedRun, rows: Sequence[CaseResult], limit_bytes: int | None
) -> tuple[list[Timeline], str | None]:
    """The chosen few, and a sentence on those left out."""
    sampled = [
        (row, entry) for row in rows for entry in row.replicates if entry.telemetry is not None
    ]
    found = []
    for chosen, row, entry in _chosen(sampled):
        readings = readings_of(loaded.files, loaded.timeline_name(entry))
        if sum(one.footprint_bytes is not None for one in readings) > 1:
            name = f"{row.name}, run {entry.block + 1}"
            found.append(_timeline(name, chosen, entry, readings, limit_bytes))
    return found, _left_out(len(found), len(sampled))


def _left_out(shown: int, sampled: int) -> str | None:
    if shown == sampled:
        return None
    if not shown:
        return f"The timelines of {sampled} processes are not in the run's folder, or unreadable."
    return f"{shown} of {sampled} timelines are shown; all are in the run's folder (telemetry)."


Sampled = tuple[CaseResult, Replicate]


def _chosen(sampled: Sequence[Sampled]) -> list[tuple[str, CaseResult, Replicate]]:
    """Each process once, for the first reason that picks it."""
    reasons: list[tuple[str, Callable[[Sampled], float | None]]] = [
        ("failed", lambda pair: _if(pair[1].outcome != "ok", _peak(pair))),
        ("largest process", _peak),
        ("most swap", _swap),
        ("smallest process", lambda pair: None if (peak := _peak(pair)) is None else -peak),
    ]
    found: dict[str, tuple[str, CaseResult, Replicate]] = {}
    for why, weight in reasons:
        weighed = [
            (worth, pair)
            for pair in sampled
            if pair[1].replicate_id not in found and (worth := weight(pair)) is not None
        ]
        if weighed:
            row, entry = max(weighed, key=lambda one: one[0])[1]
            found[entry.replicate_id] = (why, row, entry)
    return [*found.values()][:MAX_TIMELINES]


def _if(condition: bool, value: float | None) -> float | None:
    return (value or 0.0) if condition else None


def _peak(pair: Sampled) -> float | None:
    telemetry = pair[1].telemetry
    return None if telemetry is None else telemetry.peak_footprint_bytes


def _swap(pair: Sampled) -> float | None:
    telemetry = pair[1].telemetry
    grown = None if telemetry is None else telemetry.swap_delta_bytes
    return grown if grown is not None and grown > 0 else None


def readings_of(folder: Path, name: str) -> list[TimelinePoint]:
    """A process's timeline, in the order of time."""
    return sorted(read_timeline(folder, name), key=lambda point: point.t)


def _timeline(
    name: str,
    chosen: str,
    entry: Replicate,
    readings: Sequence[TimelinePoint],
    limit_bytes: int | None,
) -> Timeline:
    begin, end = readings[0].t, readings[-1].t
    samples = [reading for reading in readings if reading.phase is None]
    kept = thinned(samples)
    series = {name: [getattr(one, name) for one in kept] for name in SERIES}
    return Timeline(
        name=name,
        chosen=chosen,
        outcome_words=OUTCOME_WORDS[entry.outcome],
        t_s=[round(one.t - begin, 3) for one in kept],
        **series,
        phases=_spans(
            [(one.t - begin, one.phase) for one in readings if one.phase is not None], end - begin
        ),
        pressure=_spans(
            [(one.t - begin, one.pressure) for one in samples if one.pressure is not None],
            end - begin,
        ),
        limit_bytes=limit_bytes,
        sentence=_sentence(entry, end - begin),
    )


def _spans(marks: Sequence[tuple[float, str]], end_s: float) -> list[Span]:
    """From each mark to the next; neighbours of one name become one."""
    spans: list[Span] = []
    for index, (begin_s, name) in enumerate(marks):
        until = marks[index + 1][0] if index + 1 < len(marks) else end_s
        if spans and spans[-1].name == name:
            spans[-1] = msgspec.structs.replace(spans[-1], end_s=round(until, 3))
        else:
            spans.append(Span(name=name, begin_s=round(begin_s, 3), end_s=round(until, 3)))
    return spans


def _sentence(entry: Replicate, lasted_s: float) -> str:
    reported: Any = entry.telemetry
    swap = reported.swap_delta_bytes
    words = [
        f"{lasted_s:.0f} s, the process grew to {size(reported.peak_footprint_bytes)}",
        f"the machine had {size(reported.min_available_bytes)} left at least",
        "swap unknown" if swap is None else f"swap changed by {size(swap)}",
    ]
    if reported.pressure_peak is not None:
        words.append(f"pressure {reported.pressure_peak} at most")
    return ", ".join(words) + "."
