"""Percentiles only where there are passes enough to speak of them (PROTOCOL 13)."""

import statistics
from collections.abc import Sequence

# The least number of passes with which MLPerf's early stopping can vouch for a percentile at 99%
# confidence (MLPerf loadgen, early_stopping.cc): 64 for p90, 662 for p99.
MIN_PASSES_OF_PERCENTILE = {50: 1, 90: 64, 99: 662}


def percentile(times_s: Sequence[float], percent: int) -> float | None:
    """The 50th, 90th or 99th percentile of pass times in seconds; None with too few passes.

    Raises:
        KeyError: another percentile is asked for.
    """
    if len(times_s) < MIN_PASSES_OF_PERCENTILE[percent]:
        return None
    if percent == 50:
        return statistics.median(times_s)
    return statistics.quantiles(times_s, n=100, method="inclusive")[percent - 1]
