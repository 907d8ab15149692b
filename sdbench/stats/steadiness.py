"""Tests whether pass times are steady or a process becomes slower or faster (PROTOCOL 15)."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sdbench.stats.interval import MIN_PROCESSES
from sdbench.stats.verdict import DEFAULT_THRESHOLD

# Naive rules on one short window of one process fired on 35 to 45% of healthy ones.
MIN_PASSES = 8
_LEVEL = 0.01


@dataclass(frozen=True)
class Steadiness:
    """``change`` is the last steady pass over the first on the fitted line: 1.1 is 10% slower."""

    state: Literal["steady", "slowing", "quickening", "unknown"]
    change: float | None
    reason: str | None


def judge_steadiness(
    processes: Sequence[Sequence[float]], threshold: float = DEFAULT_THRESHOLD
) -> Steadiness:
    """Look for a trend in the median across processes of each pass.

    Args:
        processes: each process's measured pass times in seconds, the first pass included (it is
            left out here).

    Not steady is what has both a trend that chance gives in less than 1% of even sequences
    (Kendall's tau of pass time and pass index) and a change beyond the threshold over the passes
    (Theil–Sen line). Source: Mann 1945, Kendall 1975, Sen 1968.
    """
    passes = min(map(len, processes), default=0)
    if len(processes) < MIN_PROCESSES or passes < MIN_PASSES:
        return Steadiness(
            "unknown",
            None,
            f"needs at least {MIN_PROCESSES} processes of {MIN_PASSES} passes; here: "
            f"{len(processes)} of {passes}",
        )
    if not all(math.isfinite(time) and time > 0 for process in processes for time in process):
        return Steadiness("unknown", None, "a pass time is not a number")
    from scipy.stats import kendalltau, theilslopes

    medians = [
        statistics.median(process[index] for process in processes) for index in range(1, passes)
    ]
    logs = [math.log(median) for median in medians]
    change = math.exp(float(theilslopes(logs)[0]) * (len(logs) - 1))
    p_value = float(kendalltau(range(len(logs)), logs)[1])
    # All passes alike: tau is not defined, and nothing could be steadier.
    if math.isnan(p_value) or p_value >= _LEVEL or abs(math.log(change)) <= math.log1p(threshold):
        return Steadiness("steady", change, None)
    return Steadiness("slowing" if change > 1 else "quickening", change, None)
