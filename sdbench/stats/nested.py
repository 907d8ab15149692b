"""Where the scatter of a case comes from: from passes inside a process, or from processes.

The medians of processes scatter for two reasons: processes differ, and a median of few passes is
uncertain by itself. The second is taken off the first (a nested model, on logarithms).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sdbench.stats.interval import MIN_PROCESSES

Dominant = Literal["passes", "processes", "both", "unknown"]
_LEVEL = 0.05
# With so many passes in each process a robust measure of their scatter is good enough: a disturbed
# pass hardly moves a median, but would double a standard deviation.
_FEWEST_FOR_ROBUST = 8
# From a median absolute deviation to a standard deviation, and how much of the data it uses.
_MAD_TO_SD, _MAD_EFFICIENCY = 1.4826, 0.37
# Below a billionth it is arithmetic and no measurement.
_LEAST_VARIANCE = 1e-18


@dataclass(frozen=True)
class NestedSpread:
    """``passes`` and ``processes`` are standard deviations, given as a share: 0.02 is 2%.

    ``processes`` is by how much processes differ beyond what their passes' scatter explains.
    ``dominated_by`` is which of the two makes the case's figure uncertain; ``reason`` says why that
    is unknown.
    """

    passes: float | None = None
    processes: float | None = None
    dominated_by: Dominant = "unknown"
    reason: str | None = None


def nested_spread(processes: Sequence[Sequence[float]]) -> NestedSpread:
    """Split the scatter of steady pass times, given process by process in seconds, into its two
    sources.

    An F test (5%) says whether processes differ by more than their passes explain. Below three
    processes, or with one pass in each, nothing is dominated by anything. Source: nested analysis
    of variance; the variance of a median is π / (2n + π − 2) of a pass's.
    """
    logs = [[math.log(time) for time in times] for times in processes if times]
    passes_variance, freedom = _within(logs)
    passes = None if passes_variance is None else math.expm1(math.sqrt(passes_variance))
    if len(logs) < MIN_PROCESSES:
        words = f"needs at least {MIN_PROCESSES} processes; here: {len(logs)}"
        return NestedSpread(passes=passes, reason=words)
    of_medians = statistics.variance([statistics.median(times) for times in logs])
    if passes_variance is None:
        return NestedSpread(
            processes=math.expm1(math.sqrt(of_medians)),
            reason="no process made two steady passes, so the scatter of passes is unknown",
        )
    explained = statistics.fmean(passes_variance * _of_median(len(times)) for times in logs)
    beyond = max(0.0, of_medians - explained)
    dominated_by, reason = _dominant(of_medians, explained, len(logs) - 1, freedom)
    return NestedSpread(passes, math.expm1(math.sqrt(beyond)), dominated_by, reason)


def _within(logs: Sequence[Sequence[float]]) -> tuple[float | None, float]:
    """The variance of a pass inside its process, pooled, and its degrees of freedom."""
    several = [times for times in logs if len(times) > 1]
    freedom = sum(len(times) - 1 for times in several)
    if not freedom:
        return None, 0.0
    if all(len(times) >= _FEWEST_FOR_ROBUST for times in several):
        away = [abs(time - statistics.median(times)) for times in several for time in times]
        return (_MAD_TO_SD * statistics.median(away)) ** 2, freedom * _MAD_EFFICIENCY
    squares = ((time - statistics.fmean(times)) ** 2 for times in several for time in times)
    return math.fsum(squares) / freedom, float(freedom)


def _of_median(passes: int) -> float:
    """The variance of a median of so many passes, over that of one pass."""
    if passes == 2:  # where the median is the mean
        return 0.5
    return math.pi / (2 * passes + math.pi - 2)


def _dominant(
    of_medians: float, explained: float, processes_freedom: int, passes_freedom: float
) -> tuple[Dominant, str | None]:
    if max(of_medians, explained) < _LEAST_VARIANCE:
        return "unknown", "nothing scatters"
    if explained < _LEAST_VARIANCE:
        return "processes", None
    from scipy.special import fdtrc  # a fraction of scipy.stats' import time

    times = of_medians / explained
    if float(fdtrc(processes_freedom, passes_freedom, times)) < _LEVEL:
        return ("processes" if times > 2 else "both"), None
    if times <= 2:
        return "passes", None
    return "unknown", "too few processes to separate the scatter of passes"
