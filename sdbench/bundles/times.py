"""Whether recorded times fit each other: passes, process, timeline and clocks.

A worker reports its phases on the clock of the timeline, so from the beginning of a pass to the
next phase it takes the pass and what is done with its images. Times that were edited no longer fill
that. Of 151 committed processes the rest was never below zero and at most 0.47 s.
"""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from sdbench.bundles.opened import Opened, timeline_of
from sdbench.bundles.refusal import RefusedError
from sdbench.records import Pass, Replicate, Run
from sdbench.runs import LoadedRun
from sdbench.runs.timelines import TimelinePoint
from sdbench.words import shortened

_CLOCK_S = 0.05
"""By so much clocks and reports may differ within a process."""
# What may follow a pass before the next phase begins: hashing and saving its images. A multiple of
# what was seen, because a machine may be slow or swap; many passes together are held to less.
_AFTER_PASS_S, _AFTER_MEGAPIXEL_S, _AFTER_SHARE = 5.0, 10.0, 1.0
_USUALLY_AFTER_PASS_S, _USUALLY_AFTER_MEGAPIXEL_S, _USUALLY_AFTER_SHARE = 0.3, 1.5, 0.25
# Wall clocks are set while processes run; a run's own clock seldom differs from it by more.
_WALL_CLOCK_S, _WALL_CLOCK_SHARE, _WALL_CLOCK_JUMP_S = 2.0, 0.02, 3600.0
_STAGES_SHARE = 0.01


def unconfirmed(loaded: LoadedRun, members: Mapping[str, bytes]) -> int:
    """How many processes have passes, and nothing else that says when these began.

    Raises:
        RefusedError: a line of a timeline is not one.
    """
    return sum(
        bool(entry.passes) and not _known_rests(entry, timeline_of(members, loaded, entry))
        for entry in loaded.attempts
    )


def check_times(bundle: Opened) -> int:
    """Compare the times of all processes; returns how many processes are :func:`unconfirmed`.

    Raises:
        RefusedError: implausible.
    """
    loaded = bundle.recorded
    _check_wall_clock(loaded.attempts)
    _check_turns(loaded.run, loaded.attempts)
    rests: list[tuple[float, float]] = []
    without = 0
    for entry in loaded.attempts:
        _check_process(entry)
        timeline = timeline_of(bundle.members, loaded, entry)
        if timeline:
            _check_span(entry, timeline)
        found = _known_rests(entry, timeline)
        without += not found and bool(entry.passes)
        allowed = _pixels(loaded.run, entry)
        for one, rest_s in found:
            _check_rest(entry, one, rest_s, allowed)
            rests.append((rest_s, _usual_rest_s(one, allowed)))
    if rests and statistics.median(rest - usual for rest, usual in rests) > 0:
        raise _implausible(
            "passes are recorded as shorter than their processes were busy with them"
        )
    return without


def _implausible(reason: str) -> RefusedError:
    return RefusedError("implausible", reason)


def _called(entry: Replicate) -> str:
    return shortened(entry.replicate_id)


def _check_process(entry: Replicate) -> None:
    """Passes and loading fit into the process's wall time, stages into their pass."""
    parts_s = math.fsum(one.duration_s for one in entry.passes) + (entry.load_s or 0.0)
    if parts_s > entry.wall_s + _CLOCK_S:
        raise _implausible(
            f"{_called(entry)}: passes and loading take {parts_s:.2f} s of {entry.wall_s:.2f} s"
        )
    for one in entry.passes:
        stages_s = math.fsum(stage.duration_s for stage in one.stages or [])
        if stages_s > one.duration_s * (1 + _STAGES_SHARE) + _CLOCK_S:
            raise _implausible(f"{_called(entry)}: stages take longer than their pass")


def _check_wall_clock(attempts: Iterable[Replicate]) -> None:
    off: list[float] = []
    for entry in attempts:
        span_s = (_instant(entry.ended_utc) - _instant(entry.started_utc)).total_seconds()
        if entry.slept or entry.machine_restarted:
            continue
        beyond = abs(span_s - entry.wall_s) - _WALL_CLOCK_SHARE * entry.wall_s
        if beyond > _WALL_CLOCK_JUMP_S:
            raise _implausible(
                f"{_called(entry)}: {entry.wall_s:.1f} s by one clock, {span_s:.1f} s by the other"
            )
        off.append(beyond)
    if off and statistics.median(off) > _WALL_CLOCK_S:
        raise _implausible("processes took other times than between their start and their end")


def _check_turns(run: Run, attempts: Sequence[Replicate]) -> None:
    """Processes of a machine run one after another; a clock that is set back makes it look
    otherwise once.

    Of a machine that was lost with its process there is no time, only when it was noticed.
    """
    first_s = [
        (_instant(entry.started_utc) - _instant(run.created_utc)).total_seconds()
        for entry in attempts[:1]
    ]
    if any(early_s < -_WALL_CLOCK_JUMP_S for early_s in first_s):
        raise _implausible("its first process began before the run")
    spans: dict[object, list[tuple[datetime, datetime]]] = defaultdict(list)
    for entry in attempts:
        if entry.wall_s > 0 or entry.machine_id is msgspec.UNSET:
            span = _instant(entry.started_utc), _instant(entry.ended_utc)
            spans[entry.machine_id].append(span)
    overlaps = sum(
        (began - ended).total_seconds() < -_WALL_CLOCK_S
        for own in spans.values()
        for (_, ended), (began, _) in itertools.pairwise(own)
    )
    if overlaps > 1:
        raise _implausible(f"{overlaps} processes began before the one before them had ended")


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedError("schema", f"{shortened(text)!r}: expected a time as ISO 8601") from None
    if found.tzinfo is None:
        raise RefusedError("schema", f"{shortened(text)!r}: expected a time with its zone")
    return found


def _check_span(entry: Replicate, timeline: Sequence[TimelinePoint]) -> None:
    clocks = [point.t for point in timeline]
    if max(clocks) - min(clocks) > entry.wall_s + 1.0:
        raise _implausible(f"{_called(entry)}: its timeline is longer than the process")
    for one in entry.passes:
        if one.begin_t is not None and not min(clocks) - 1 <= one.begin_t <= max(clocks) + 1:
            raise _implausible(f"{_called(entry)}: a pass began outside of its timeline")


def _known_rests(entry: Replicate, timeline: Sequence[TimelinePoint]) -> list[tuple[Pass, float]]:
    """None of a process during which the machine slept."""
    return [] if entry.slept else [*_rests(entry, timeline)]


def _rests(entry: Replicate, timeline: Sequence[TimelinePoint]) -> Iterable[tuple[Pass, float]]:
    """Passes with the seconds from their end to the next phase or pass."""
    phases = [point for point in timeline if point.phase is not None]
    until = {point.phase: after.t for point, after in itertools.pairwise(phases)}
    since = {point.phase: point.t for point in phases}
    following: dict[tuple[str, int], float | None] = {
        (one.kind, one.index): after.begin_t
        for one, after in itertools.pairwise(entry.passes)
        # Between pass 1 and 2, and before the profiling pass, the yardstick may be read.
        if one.kind == after.kind == "measured" and one.index > 1
    }
    for one in entry.passes:
        phase = f"pass {one.index}" if one.kind == "measured" else one.kind
        if phase in until:
            yield one, until[phase] - since[phase] - one.duration_s
            continue
        after_t = following.get((one.kind, one.index))
        if one.begin_t is not None and after_t is not None:
            yield one, after_t - one.begin_t - one.duration_s


def _pixels(run: Run, entry: Replicate) -> float:
    """Megapixels of all images of a pass."""
    case = run.plan.planned(entry.case_id).case
    return case.width * case.height * int(run.config["images"]) / 1e6


def _usual_rest_s(one: Pass, megapixels: float) -> float:
    return (
        _USUALLY_AFTER_PASS_S
        + _USUALLY_AFTER_MEGAPIXEL_S * megapixels
        + _USUALLY_AFTER_SHARE * one.duration_s
    )


def _check_rest(entry: Replicate, one: Pass, rest_s: float, megapixels: float) -> None:
    most_s = _AFTER_PASS_S + _AFTER_MEGAPIXEL_S * megapixels + _AFTER_SHARE * one.duration_s
    if not -_CLOCK_S <= rest_s <= most_s:
        took_s = one.duration_s + rest_s
        raise _implausible(
            f"{_called(entry)}: {one.kind} pass {one.index} is recorded with {one.duration_s:.2f} s"
            f", and its process was in it for {took_s:.2f} s"
        )
