"""Confidence intervals for times."""

import math
import statistics
from collections.abc import Sequence

# Fewer processes than this give figures, but no interval and no verdict (PROTOCOL 2): from two
# numbers an interval is 12.7 standard errors wide.
MIN_PROCESSES = 3
# What a float holds ends at e**709.
_LARGEST_LOG = 700.0


def log_t_interval(times: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """A t interval on the logarithms, back in seconds; None below three times.

    One time a process (its median), because processes are the unit of repetition. Logarithms,
    because times are positive and skewed and compared by ratio. With 3 to 5 processes bootstrap
    intervals gave 11 to 23% false positives in simulation, this one 4 to 6%.
    """
    if len(times) < MIN_PROCESSES:
        return None
    from scipy.special import stdtrit  # a fraction of scipy.stats' import time

    logs = [math.log(time) for time in times]
    center = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(stdtrit(len(logs) - 1, (1 + confidence) / 2)) * error
    return bounds_of_logs(center - half, center + half)


def log_t_prediction(
    values: Sequence[float], confidence: float = 0.9
) -> tuple[float, float, float] | None:
    """The geometric mean of positive values, and where one further value is expected; None below
    three values.

    A t prediction interval on the logarithms: wider than that of the mean by the spread of single
    values. Source: Hahn and Meeker, Statistical Intervals, 1991, chapter 4.
    """
    if len(values) < MIN_PROCESSES:
        return None
    from scipy.special import stdtrit

    logs = [math.log(value) for value in values]
    center, count = statistics.fmean(logs), len(logs)
    half = float(stdtrit(count - 1, (1 + confidence) / 2))
    half *= statistics.stdev(logs) * math.sqrt(1 + 1 / count)
    return math.exp(center), *bounds_of_logs(center - half, center + half)


def bounds_of_logs(low: float, high: float) -> tuple[float, float]:
    """Bounds of an interval converted back from logarithms; finite but very large if nothing is
    known."""
    return math.exp(max(low, -_LARGEST_LOG)), math.exp(min(high, _LARGEST_LOG))
