"""Derives verdicts from estimates: beyond the threshold, within it, or inconclusive
(PROTOCOL 10)."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sdbench.stats.interval import MIN_PROCESSES
from sdbench.stats.ratio import Problem, RatioEstimate, t_quantile

SpeedVerdict = Literal["faster", "slower", "equivalent", "inconclusive"]
WhyOpen = Literal["interval-too-wide", "many-cases", "machine-busy"]
# More processes may well decide these.
OPEN: tuple[WhyOpen, ...] = get_args(WhyOpen)
# Of two separate runs. More processes do not help, because they leave the drift as it is.
NOT_INTERLEAVED: Literal["not-interleaved"] = "not-interleaved"

# A difference below this is not worth a person's time, and layout alone moves medians by 1 to 2%
# (Mytkowicz et al. 2009; seen here with equal environments).
DEFAULT_THRESHOLD = 0.03
CONFIDENCE = 0.95
# "How many more" is asked with this chance of an answer, and not beyond so many processes a side:
# a ratio that sits on the threshold itself is never decided.
_POWER = 0.80
_MOST_PROCESSES = 200


@dataclass(frozen=True)
class FamilyResult:
    """The test result of one estimate of a family.

    ``p_value`` is one-sided against the nearer of ±log(1 + δ), for the claim the verdict makes;
    ``q_value`` is the same after Benjamini–Hochberg. ``more_processes`` is how many more a side an
    inconclusive case would about need; None where no number would do, or none is needed.
    """

    verdict: SpeedVerdict
    reason: Problem | WhyOpen | Literal["not-interleaved"] | None
    p_value: float | None = None
    q_value: float | None = None
    more_processes: int | None = None


def decide_family(
    estimates: Sequence[RatioEstimate],
    threshold: float = DEFAULT_THRESHOLD,
    confidence: float = CONFIDENCE,
) -> list[FamilyResult]:
    """Judge the cases of one comparison together.

    For a single case this is: interval wholly beyond ±δ → faster or slower, wholly within →
    equivalent (TOST), else inconclusive. Over many, claims of a difference and claims of
    equivalence are two families, each corrected by Benjamini–Hochberg at half of 1 − confidence;
    where no case differs, the chance of even one false alarm is then at most that. An estimate with
    a problem is inconclusive and counts in no family.

    A verdict stands only if the undisturbed processes alone give it, too. That can only take
    verdicts away, so it adds no errors; and no figure is dropped to get one.

    Source: Schuirmann 1987 (TOST); Benjamini & Hochberg 1995.
    """
    judgements = _judged(estimates, threshold, confidence)
    disturbed = [index for index, estimate in enumerate(estimates) if estimate.undisturbed]
    if not disturbed:
        return judgements
    alone = _judged([each.undisturbed or each for each in estimates], threshold, confidence)
    for index in disturbed:
        found = judgements[index]
        if found.verdict not in ("inconclusive", alone[index].verdict):
            judgements[index] = FamilyResult(
                "inconclusive", "machine-busy", found.p_value, found.q_value
            )
    return judgements


def _judged(
    estimates: Sequence[RatioEstimate], threshold: float, confidence: float
) -> list[FamilyResult]:
    limit = math.log1p(threshold)
    problems = [_problem_of(estimate) for estimate in estimates]
    sound = [index for index, problem in enumerate(problems) if problem is None]
    beyond = {index: _p_beyond(estimates[index], limit) for index in sound}
    within = {index: 1 - p_value for index, p_value in beyond.items()}
    beyond_q, within_q = _corrected(beyond), _corrected(within)
    level = (1 - confidence) / 2
    judgements = []
    for index, (estimate, problem) in enumerate(zip(estimates, problems, strict=True)):
        if problem is not None:
            more = MIN_PROCESSES - min(estimate.n) if problem == "too-few-processes" else None
            judgements.append(FamilyResult("inconclusive", problem, more_processes=more))
            continue
        leans_beyond = beyond[index] < within[index]
        p_value = (beyond if leans_beyond else within)[index]
        q_value = (beyond_q if leans_beyond else within_q)[index]
        if q_value <= level:
            verdict: SpeedVerdict = "equivalent"
            if leans_beyond:
                verdict = "slower" if _log(estimate) > 0 else "faster"
            judgements.append(FamilyResult(verdict, None, p_value, q_value))
            continue
        if estimate.drift is not None:
            judgements.append(FamilyResult("inconclusive", NOT_INTERLEAVED, p_value, q_value))
            continue
        judgements.append(
            FamilyResult(
                "inconclusive",
                "many-cases" if p_value <= level else "interval-too-wide",
                p_value,
                q_value,
                more_processes(estimate, threshold, confidence),
            )
        )
    return judgements


def more_processes(
    estimate: RatioEstimate,
    threshold: float = DEFAULT_THRESHOLD,
    confidence: float = CONFIDENCE,
) -> int | None:
    """About how many more processes per side would decide it, if scatter and ratio stay as
    measured.

    None if the ratio is so close to the threshold that no reasonable number would suffice.
    """
    if estimate.log is None or not estimate.error or estimate.freedom is None:
        return None
    log, error, freedom, now = estimate.log, estimate.error, estimate.freedom, min(estimate.n)

    def reach(count: int) -> float:
        """The distance from the threshold that this many processes can detect with the required
        power."""
        grown = freedom * (count - 1) / (now - 1)
        quantiles = t_quantile((1 + confidence) / 2, grown) + t_quantile(_POWER, grown)
        return quantiles * error * math.sqrt(now / count)

    counts = range(now + 1, _MOST_PROCESSES + 1)
    distance = abs(abs(log) - math.log1p(threshold))
    first = bisect.bisect_left(counts, -distance, key=lambda count: -reach(count))
    return first + 1 if first < len(counts) else None


def _problem_of(estimate: RatioEstimate) -> Problem | None:
    """Why it cannot be judged. A NaN is never significant, because it compares as false."""
    numbers = estimate.log, estimate.error, estimate.freedom
    if estimate.problem is None and not all(
        number is not None and math.isfinite(number) for number in numbers
    ):
        return "not-a-number"
    return estimate.problem


def _p_beyond(estimate: RatioEstimate, limit: float) -> float:
    """One-sided p of "it lies beyond the nearer of ±limit"; 1 − p is TOST's of "it lies within"."""
    from scipy.special import stdtr

    assert estimate.error is not None and estimate.freedom is not None
    distance = abs(_log(estimate)) - limit
    if estimate.error == 0:  # counts that repeat exactly
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(estimate.freedom, -distance / estimate.error))


def _log(estimate: RatioEstimate) -> float:
    assert estimate.log is not None
    return estimate.log


def _corrected(p_values: dict[int, float]) -> dict[int, float]:
    """Benjamini–Hochberg over a family; one alone is its own correction.

    As ``scipy.stats.false_discovery_control``, whose import is a third of a comparison's time.
    """
    corrected: dict[int, float] = {}
    least = 1.0
    ranked = sorted(p_values.items(), key=lambda item: item[1], reverse=True)
    for rank, (index, p_value) in zip(range(len(ranked), 0, -1), ranked, strict=True):
        least = min(least, p_value * len(ranked) / rank)
        corrected[index] = least
    return corrected
