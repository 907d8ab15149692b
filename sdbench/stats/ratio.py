"""The ratio of the times of two sides, estimated on logarithms (PROTOCOL 9).

Logarithms, because times are positive, skewed and compared by ratio. One number a process, because
processes are the unit of repetition.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sdbench.stats.interval import MIN_PROCESSES, bounds_of_logs

Problem = Literal[
    "no-figures", "not-a-number", "too-few-processes", "unequal-blocks", "zero-variance"
]
# Scatter below a billionth is arithmetic, not measurement: no clock and no machine is so even.
_LEAST_SCATTER = 1e-9


DriftSource = Literal["history", "yardstick", "prior"]


@dataclass(frozen=True)
class Drift:
    """Variance of the log ratio of two runs of the same, and how well it is known.

    ``machine_log`` is the log ratio of the yardstick (new / base), None where it was not read on
    both sides. ``runs`` counts the earlier runs of a history.
    """

    source: DriftSource
    variance: float
    freedom: float
    machine_log: float | None = None
    runs: int = 0

    @property
    def log_sd(self) -> float:
        """Standard deviation of the logarithm of one run's time, as assumed or estimated."""
        return math.sqrt(self.variance / 2)

    @property
    def machine_ratio(self) -> float | None:
        """How many times as long the fixed work took in the new run."""
        return None if self.machine_log is None else math.exp(self.machine_log)


@dataclass(frozen=True)
class RatioEstimate:
    """An estimate of log(new / base).

    ``log`` is None where there is nothing to divide, ``error`` (the standard error of ``log``) and
    ``freedom`` (degrees of freedom) where ``problem`` says why there can be no interval. ``n``
    counts the processes of base and new. ``undisturbed`` is the same from those processes alone
    that had the machine for themselves, where others had not. ``drift`` is what two separate runs
    may differ by anyhow, contained in ``error``.
    """

    log: float | None
    error: float | None
    freedom: float | None
    n: tuple[int, int]
    paired: bool
    problem: Problem | None = None
    undisturbed: "RatioEstimate | None" = None
    drift: Drift | None = None

    @property
    def ratio(self) -> float | None:
        """New divided by base: above 1 is slower (or more)."""
        return None if self.log is None else math.exp(self.log)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The t interval of the ratio; None where ``problem`` says why."""
        if self.log is None or self.error is None or self.freedom is None:
            return None
        half = self.error * t_quantile((1 + confidence) / 2, self.freedom)
        return bounds_of_logs(self.log - half, self.log + half)


def paired_ratio(
    base: Mapping[int, float], new: Mapping[int, float], *, exact: bool = False
) -> RatioEstimate:
    """Pair two sides that were interleaved in one run by block, so that drift cancels.

    Args:
        base, new: the processes' figures by block.
        exact: the figures are counts that may well repeat (bytes), so no scatter is no mistake.
    """
    n = len(base), len(new)
    problem = _problem_of([*base.values()], [*new.values()])
    if problem in ("no-figures", "not-a-number"):
        return RatioEstimate(None, None, None, n, True, problem)
    common = sorted(base.keys() & new.keys())
    if problem is not None or len(common) < max(n):
        log = _mean_log(new.values()) - _mean_log(base.values())
        return RatioEstimate(log, None, None, n, True, problem or "unequal-blocks")
    logs = [math.log(new[block]) - math.log(base[block]) for block in common]
    return _estimate(logs, n, exact=exact)


def welch_ratio(
    base: Sequence[float], new: Sequence[float], *, exact: bool = False
) -> RatioEstimate:
    """Two sides of two runs, with Welch's unequal variances; drift between them is not controlled.

    Source: Welch 1947, on logarithms. ``exact`` as for :func:`paired_ratio`.
    """
    n = len(base), len(new)
    problem = _problem_of(base, new)
    if problem in ("no-figures", "not-a-number"):
        return RatioEstimate(None, None, None, n, False, problem)
    log = _mean_log(new) - _mean_log(base)
    if problem is not None or n[0] != n[1]:
        return RatioEstimate(log, None, None, n, False, problem or "unequal-blocks")
    parts = [statistics.variance(map(math.log, side)) / len(side) for side in (base, new)]
    error = math.sqrt(sum(parts))
    if error < _LEAST_SCATTER:
        return _without_scatter(log, float(sum(n) - 2), n, paired=False, exact=exact)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (count - 1) for part, count in zip(parts, n, strict=True)
    )
    return RatioEstimate(log, error, freedom, n, False)


def ratio_of_logs(logs: Sequence[float], *, exact: bool = False) -> RatioEstimate:
    """One observation a machine: the mean of the machines' own log ratios, with its scatter.

    ``exact`` as for :func:`paired_ratio`.
    """
    n = len(logs), len(logs)
    if not logs:
        return RatioEstimate(None, None, None, n, True, "no-figures")
    if len(logs) < MIN_PROCESSES:
        return RatioEstimate(statistics.fmean(logs), None, None, n, True, "too-few-processes")
    return _estimate(logs, n, exact=exact)


def t_quantile(probability: float, freedom: float) -> float:
    """Student's t: the value below which it falls with that probability."""
    from scipy.special import stdtrit  # a fraction of scipy.stats' import time

    return float(stdtrit(freedom, probability))


def _estimate(logs: Sequence[float], n: tuple[int, int], *, exact: bool) -> RatioEstimate:
    log = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    freedom = float(len(logs) - 1)
    if error < _LEAST_SCATTER:
        return _without_scatter(log, freedom, n, paired=True, exact=exact)
    return RatioEstimate(log, error, freedom, n, True)


def _without_scatter(
    log: float, freedom: float, n: tuple[int, int], *, paired: bool, exact: bool
) -> RatioEstimate:
    """Times without scatter are a fault of the clock or a copy; bytes without scatter are bytes."""
    if exact:
        return RatioEstimate(log, 0.0, freedom, n, paired)
    return RatioEstimate(log, None, None, n, paired, "zero-variance")


def _problem_of(base: Sequence[float], new: Sequence[float]) -> Problem | None:
    if not base or not new:
        return "no-figures"
    if not all(math.isfinite(value) and value > 0 for value in [*base, *new]):
        return "not-a-number"
    return "too-few-processes" if min(len(base), len(new)) < MIN_PROCESSES else None


def _mean_log(values: Iterable[float]) -> float:
    return statistics.fmean(map(math.log, values))
