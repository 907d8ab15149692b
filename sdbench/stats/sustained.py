"""Estimates whether a machine keeps its speed under load, and when it becomes slower.

A fanless machine makes its first images at full clock and slows down as it gets warm. From the
passes of one process this says how fast it was in the first minute, how fast at the end, and when
it changed.
"""

import bisect
import heapq
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sdbench.stats.verdict import DEFAULT_THRESHOLD

LOOPS = 20
"""3DMark's stress tests compare 20 loops of about a minute."""
STABLE_SHARE = 0.97
"""From here on 3DMark calls a machine stable."""
FIRST_S = 60.0
# Fewer passes in a part than this say nothing about it.
_FEWEST = 3
# A step has to stand out from the scatter of the passes on both sides of it: beyond this many
# standard errors, so wide because the place was chosen among all.
_STANDARD_ERRORS = 5.0
_OF_MEDIAN = 1.2533
"""Standard error of a median over that of a mean, of normal scatter."""


@dataclass(frozen=True)
class Sustained:
    """How the speed of a process developed.

    ``first_s`` is the median steady pass of the first minute, ``plateau_s`` that from the step on
    (of the last quarter where there is none), ``change`` the second over the first, ``stability``
    the slowest of :data:`LOOPS` loops over the quickest, as rates (1 is perfectly even).
    ``slows_after_s`` is when a pass first began slower, counted from the beginning of the first
    steady pass; None where no step was found. ``reason`` says why the figures are None.
    """

    first_s: float | None = None
    plateau_s: float | None = None
    change: float | None = None
    stability: float | None = None
    slows_after_s: float | None = None
    reason: str | None = None


def judge_sustained(
    begins_s: Sequence[float], durations_s: Sequence[float], threshold: float = DEFAULT_THRESHOLD
) -> Sustained:
    """Judge the steady passes of one process (the first measured pass left out).

    Args:
        begins_s: when each pass began, in seconds on one clock.
        durations_s: how long each took, in seconds.
        threshold: a smaller change does not count.

    The step is the split into two parts that leaves the smallest sum of absolute deviations of the
    logarithms (a single disturbed pass moves it by little); it counts where the later median is
    slower by more than the threshold and beyond scatter. A machine that slows down gradually is
    split where the two parts are most even.

    Source: least absolute deviations as in Bai 1995; 3DMark's frame rate stability for the loops.
    """
    if len(begins_s) != len(durations_s):
        raise ValueError("as many beginnings as durations are needed")
    if len(durations_s) < 2 * _FEWEST:
        return Sustained(reason=f"at least {2 * _FEWEST} steady passes are needed")
    if not all(math.isfinite(time) and time > 0 for time in durations_s):
        return Sustained(reason="a pass time is not a number")
    ends = [begin + lasts for begin, lasts in zip(begins_s, durations_s, strict=True)]
    early = max(_FEWEST, bisect.bisect_left(ends, begins_s[0] + FIRST_S))
    first_s = statistics.median(durations_s[:early])
    step = _step(durations_s, threshold)
    late = durations_s[len(durations_s) * 3 // 4 :] if step is None else durations_s[step:]
    if step is not None:
        first_s = statistics.median(durations_s[: min(early, step)])
    plateau_s = statistics.median(late)
    return Sustained(
        first_s=first_s,
        plateau_s=plateau_s,
        change=plateau_s / first_s,
        stability=_stability(durations_s),
        slows_after_s=None if step is None else begins_s[step] - begins_s[0],
    )


def _stability(durations_s: Sequence[float]) -> float:
    """The lowest rate of a loop over the highest; a loop's rate is that of its median pass."""
    count = min(LOOPS, len(durations_s))
    edges = [round(index * len(durations_s) / count) for index in range(count + 1)]
    loops = [statistics.median(durations_s[a:b]) for a, b in itertools.pairwise(edges)]
    return min(loops) / max(loops)


def _step(durations_s: Sequence[float], threshold: float) -> int | None:
    """The index of the first slower pass; None where the passes are even or get quicker."""
    logs = [math.log(time) for time in durations_s]
    before = _deviations(logs)
    after = _deviations(logs[::-1])[::-1]
    places = range(_FEWEST, len(logs) - _FEWEST + 1)
    step = min(places, key=lambda place: before[place - 1] + after[place])
    early, late = logs[:step], logs[step:]
    rise = statistics.median(late) - statistics.median(early)
    if rise <= math.log1p(threshold) or rise <= _STANDARD_ERRORS * _error(early, late):
        return None
    return step


def _deviations(values: Sequence[float]) -> list[float]:
    """Of each beginning of the values the sum of absolute deviations from its median."""
    low: list[float] = []  # the lower half, negated: its largest is on top
    high: list[float] = []
    low_sum = high_sum = 0.0
    sums = []
    for value in values:
        moved = -heapq.heappushpop(low, -value)
        heapq.heappush(high, moved)
        low_sum += value - moved
        high_sum += moved
        if len(high) > len(low) + 1:
            moved = heapq.heappop(high)
            heapq.heappush(low, -moved)
            low_sum += moved
            high_sum -= moved
        middle = high[0] if len(high) > len(low) else 0.0
        sums.append(high_sum - middle - low_sum)
    return sums


def _error(early: Sequence[float], late: Sequence[float]) -> float:
    """Standard error of the difference of the two medians, the scatter being alike in both.

    The scatter is the median absolute deviation, which single outliers leave alone.
    """
    parts = [(part, statistics.median(part)) for part in (early, late)]
    deviations = [abs(value - middle) for part, middle in parts for value in part]
    scatter = 1.4826 * statistics.median(deviations)
    return _OF_MEDIAN * scatter * math.sqrt(1 / len(early) + 1 / len(late))
