"""How much two separate runs of one unchanged thing differ: machines drift (PROTOCOL 9a).

Between runs the unit is the run, and of each there is one. So the scatter of processes inside them
says nothing about the drift between them; it must come from elsewhere, best first:

1. **history**: the scatter of earlier runs of the same work with the same software. It is an
   estimate of just this drift, with as many degrees of freedom as there are runs, less one.
2. **yardstick**: the ratio of a fixed piece of work, timed in every process of both runs. It is one
   observation of the machine's drift between these two runs, so its square estimates the variance
   with one degree of freedom: where the machine stood still the interval stays narrow, and where it
   moved, a factor of 12.7 on the move keeps the error rate (Student 1908). Its scatter between the
   processes of a run is added as if it were also a scatter between runs.
3. **prior**: a stated width for this kind of machine.

The yardstick also contradicts a history: where it moved by more than the history explains, the
machine is not what it was then, and the yardstick's own, wider variance counts. Where the two sides
have different software, the yardstick's ratio may contain that software. Then a yardstick that
stands still proves nothing and replaces no prior; what it moved only widens.

The ratio itself is never shifted by the yardstick's: its weight is 0. In simulation weights of 0.5
and 1 change neither the false verdicts nor the share decided by a percentage point
(``error_rates.py``): where the machine stood still there is nothing to shift, and where it moved,
one observation does not tell how much of the move the case shares.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from sdbench.stats.interval import MIN_PROCESSES
from sdbench.stats.ratio import Drift, RatioEstimate

# Earlier runs that make a history (of each software in it at least two, or nothing scatters).
MIN_RUNS = 3
# A quiet set of five runs had none beyond 3% of the others, and the layout of memory alone moves a
# process's median by 1 to 2% (Mytkowicz et al. 2009): no few runs may claim less than this.
LEAST_LOG_SD = 0.01
# The work measured may move more than the yardstick does. Where case and yardstick drift by 15%
# with a correlation of 0.5, a factor of 1.0 gives 8% false verdicts in simulation, 1.5 gives 5.5%,
# 2.0 gives 4.3%; on a machine that stands still 2.0 finds 25% in 99 of 100, 10% in 81.
_SENSITIVITY = 2.0
# From how many standard deviations on a move is not what the history was. With 2, a history made in
# a quiet hour gave 8% false verdicts in a restless one, with 1 it gave 4%.
_UNUSUAL = 1.0


def drift_between(
    base: Sequence[float],
    new: Sequence[float],
    history: Sequence[Sequence[float]],
    prior_log_sd: float,
    *,
    same_software: bool,
) -> Drift:
    """The possible drift between two runs.

    Args:
        base, new: seconds of the yardstick, one figure per process.
        history: seconds of earlier runs, one figure per run; runs with one software in one list.
        prior_log_sd: for this kind of machine.
        same_software: the yardstick ran the same software on both sides.
    """
    seen = _seen(base, new)
    log = None if seen is None else seen.machine_log
    known = _scatter(history)
    if known is not None:
        variance, freedom, runs = known
        if seen is not None and log is not None and log**2 > _UNUSUAL**2 * variance:
            return seen
        return Drift("history", variance, freedom, log, runs)
    if seen is not None and same_software:
        return seen
    variance = 2 * prior_log_sd**2 + (0.0 if log is None else log**2)
    return Drift("prior", variance, math.inf, log)


def with_drift(estimate: RatioEstimate, drift: Drift) -> RatioEstimate:
    """The estimate of two separate runs, its interval containing the drift between them.

    The variances add up; the degrees of freedom are Welch and Satterthwaite's.
    """
    quiet = estimate.undisturbed
    if quiet is not None:
        estimate = dataclasses.replace(estimate, undisturbed=with_drift(quiet, drift))
    if estimate.problem is not None or estimate.error is None or estimate.freedom is None:
        return estimate
    parts = estimate.error**2, drift.variance
    return dataclasses.replace(
        estimate,
        error=math.sqrt(sum(parts)),
        freedom=satterthwaite(parts, (estimate.freedom, drift.freedom)),
        drift=drift,
    )


def satterthwaite(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a sum of estimated variances (Satterthwaite 1946)."""
    total = sum(variances)
    if total == 0:
        return min(freedoms)
    shares = sum(
        (variance / total) ** 2 / freedom
        for variance, freedom in zip(variances, freedoms, strict=True)
    )
    return math.inf if shares == 0 else 1 / shares


def _seen(base: Sequence[float], new: Sequence[float]) -> Drift | None:
    """The drift estimated from the reference work alone; None if too few processes timed it."""
    if min(len(base), len(new)) < MIN_PROCESSES:
        return None
    logs = [[math.log(value) for value in side] for side in (base, new)]
    log = statistics.fmean(logs[1]) - statistics.fmean(logs[0])
    scatters = [statistics.variance(side) for side in logs]  # of one process, on each side
    variances = [(_SENSITIVITY * log) ** 2, *scatters]
    freedoms = [1.0, *(len(side) - 1.0 for side in logs)]
    return Drift("yardstick", sum(variances), satterthwaite(variances, freedoms), log)


def _scatter(history: Sequence[Sequence[float]]) -> tuple[float, float, int] | None:
    """Variance of the difference of two runs, its degrees of freedom, and the number of runs."""
    groups = [[math.log(value) for value in group] for group in history if len(group) > 1]
    runs = sum(map(len, groups))
    if runs < MIN_RUNS:
        return None
    freedom = float(runs - len(groups))
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    return 2 * max(squares / freedom, LEAST_LOG_SD**2), freedom, runs
