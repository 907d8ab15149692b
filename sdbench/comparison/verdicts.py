"""Derives verdicts from estimated pairs; the cases of one comparison are tested together."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sdbench.analysis.case_result import CaseResult, Figures
from sdbench.analysis.comparability import WORK_AXES
from sdbench.analysis.estimates import MEASURES, Measure, PairEstimate
from sdbench.analysis.pairs import SideName
from sdbench.analysis.reasons import NOT_INTERLEAVED, explain
from sdbench.comparison.result import (
    BetweenRuns,
    Both,
    CaseComparison,
    FirstPass,
    MemoryVerdict,
    OutlierProcess,
    PeakMemory,
    Verdict,
)
from sdbench.comparison.run_drift import between_runs, drift_words
from sdbench.stats import (
    CONFIDENCE,
    FamilyResult,
    RatioEstimate,
    bootstrap_interval,
    decide_family,
    tukey_outliers,
)

T = TypeVar("T")
_MEMORY_WORDS: dict[Verdict, MemoryVerdict] = {
    "faster": "less",
    "slower": "more",
    "equivalent": "equivalent",
}


@dataclass(frozen=True)
class Decision:
    """A verdict with its reason codes, the most serious first, and the test result if numbers
    decided."""

    ratio: RatioEstimate
    verdict: Verdict
    reasons: Sequence[str]
    judgement: FamilyResult | None = None


def judge_pairs(
    examined: Sequence[PairEstimate], threshold: float, confidence: float
) -> list[CaseComparison]:
    """Judge steady times, first passes and memory of pairs."""
    figures = [
        {measure: (entry.ratios[measure], entry.void(measure)) for measure in MEASURES}
        for entry in examined
    ]
    decisions = decide(figures, threshold, confidence)
    return [_case(*one, confidence) for one in zip(examined, decisions, strict=True)]


def decide(
    cases: Sequence[Mapping[Measure, tuple[RatioEstimate, list[str]]]],
    threshold: float,
    confidence: float,
) -> list[dict[Measure, Decision]]:
    """Test each measure as a separate family: ratios, and why they get no verdict."""
    families = [
        _decide_family([case[measure] for case in cases], threshold, confidence)
        for measure in MEASURES
    ]
    return [dict(zip(MEASURES, one, strict=True)) for one in zip(*families, strict=True)]


def _decide_family(
    family: Sequence[tuple[RatioEstimate, list[str]]], threshold: float, confidence: float
) -> list[Decision]:
    """Test the comparable pairs; the others are inconclusive for the given reasons."""
    judged = [ratio for ratio, void in family if not void]
    results = iter(decide_family(judged, threshold, confidence))
    decisions = []
    for ratio, void in family:
        if void:
            decisions.append(Decision(ratio, "inconclusive", void))
        else:
            result = next(results)
            reasons = [] if result.reason is None else [result.reason]
            decisions.append(Decision(ratio, result.verdict, reasons, result))
    return decisions


def first_pass_of(
    decision: Decision, base: Figures, new: Figures, *, refused: bool = False
) -> FirstPass:
    """The record of a first pass; without a ratio if the two are not comparable."""
    return FirstPass(
        base_s=middle(base),
        new_s=middle(new),
        ratio=None if refused else decision.ratio.ratio,
        ci95=None if refused else decision.ratio.interval(),
        verdict=decision.verdict,
        reason=_first(decision.reasons),
    )


def peak_memory_of(
    decision: Decision, base: Figures, new: Figures, *, refused: bool = False
) -> PeakMemory:
    """The record of a peak; without a ratio if the two are not comparable."""
    return PeakMemory(
        base_bytes=middle(base),
        new_bytes=middle(new),
        ratio=None if refused else decision.ratio.ratio,
        ci95=None if refused else decision.ratio.interval(),
        verdict=_MEMORY_WORDS.get(decision.verdict, "inconclusive"),
        reason=_first(decision.reasons),
    )


def middle(figures: Figures) -> float | None:
    """The median over processes."""
    return statistics.median(figures.values()) if figures else None


def _case(
    entry: PairEstimate, decisions: Mapping[Measure, Decision], confidence: float
) -> CaseComparison:
    pair, steady, objections = entry.pair, decisions["steady"], entry.objections
    ratio, judgement = steady.ratio, steady.judgement
    base, new = entry.figures["steady"]
    incorrect = objections.incorrect is not None
    reasons = [*steady.reasons, *([objections.remark] if objections.remark else [])]
    # What a setting of the work costs is what was asked for: a ratio, and no verdict.
    asked = {"work-differs"} if pair.axis in WORK_AXES else set()
    refused = [code for code in objections.void if code not in asked]
    shown = None if refused else ratio
    drift = None if refused else between_runs(entry.drift, pair)
    return CaseComparison(
        case_id=pair.case.case_id,
        new_case_id=pair.case.case_id if pair.new is None else pair.new.summary.case_id,
        arm=pair.arm,
        case=pair.case,
        base=pair.labels[0],
        new=pair.labels[1],
        base_s=middle(base),
        new_s=middle(new),
        images=pair.rows[0].images,
        n=ratio.n,
        paired=pair.interleaved,
        ratio=None if shown is None else shown.ratio,
        ci95=None if shown is None else shown.interval(),
        ci99=shown.interval(confidence) if shown and confidence != CONFIDENCE else None,
        bootstrap_ci95=None
        if refused or ratio.problem or drift is not None  # it knows of no drift
        else bootstrap_interval(base, new, paired=pair.interleaved),
        p_value=judgement.p_value if judgement else None,
        q_value=judgement.q_value if judgement else None,
        verdict="incorrect" if incorrect else steady.verdict,
        reason=_first(reasons),
        explanation=_explained(reasons, drift),
        note=None if pair.interleaved else NOT_INTERLEAVED,
        more_processes=judgement.more_processes if judgement else None,
        outliers=[*_outliers("base", pair.base), *_outliers("new", pair.new)],
        first_pass=first_pass_of(
            decisions["first_pass"], *entry.figures["first_pass"], refused=bool(refused)
        ),
        peak_memory=peak_memory_of(
            decisions["memory"], *entry.figures["memory"], refused=_memory_refused(entry)
        ),
        correct=_values_of_sides(entry, lambda row: row.summary.correct),
        outcome=_values_of_sides(entry, lambda row: row.summary.outcome),
        refused=refused,
        drift=drift,
    )


def _explained(reasons: Sequence[str], drift: BetweenRuns | None) -> str | None:
    """The reasons in words, with the drift if it is why the verdict is open."""
    words = explain(reasons)
    if drift is not None and "not-interleaved" in reasons:
        words += f" ({drift_words(drift)})"
    return words or None


def _memory_refused(entry: PairEstimate) -> bool:
    """Whether the two peaks are not comparable; a wrong image alone does not affect memory."""
    return bool({*entry.void("memory")} - {entry.objections.incorrect})


def _outliers(side: SideName, row: CaseResult | None) -> list[OutlierProcess]:
    if row is None:
        return []
    names = {entry.block: entry.replicate_id for entry in row.replicates}
    return [
        OutlierProcess(
            side=side,
            replicate_id=names[found.key],
            median_s=found.value,
            degree=found.degree,
        )
        for found in tukey_outliers(row.steady_s)
    ]


def _values_of_sides(entry: PairEstimate, say: Callable[[CaseResult], str]) -> Both:
    base, new = entry.pair.base, entry.pair.new
    return Both(base=say(base) if base else None, new=say(new) if new else None)


def _first(items: Sequence[T]) -> T | None:
    return items[0] if items else None
