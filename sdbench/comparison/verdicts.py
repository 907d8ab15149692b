"""From examined pairs to verdicts; the cases of one comparison are judged together."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sdbench.analysis.estimates import PairEstimate
from sdbench.analysis.pairs import Figures, Row, SideName
from sdbench.analysis.reasons import NOT_INTERLEAVED, explain
from sdbench.comparison.drift import between_runs, drift_words
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
    """A verdict with its reason codes, gravest first, and the judgement where numbers decided."""

    verdict: Verdict
    reasons: Sequence[str]
    judgement: FamilyResult | None = None


def judge_pairs(
    examined: Sequence[PairEstimate], threshold: float, confidence: float
) -> list[CaseComparison]:
    """Judge steady times, first passes and memory, each as a family of its own."""
    steady, first, memory = (
        rule_family(
            [(entry.ratios[measure], entry.void(measure)) for entry in examined],
            threshold,
            confidence,
        )
        for measure in ("steady", "first_pass", "memory")
    )
    return [
        _case(entry, steady[index], first[index], memory[index], confidence)
        for index, entry in enumerate(examined)
    ]


def rule_family(
    family: Sequence[tuple[RatioEstimate, list[str]]], threshold: float, confidence: float
) -> list[Decision]:
    """Judge what may be judged; the rest is inconclusive for the reasons given."""
    open_ = [index for index, (_, void) in enumerate(family) if not void]
    judgements = decide_family([family[index][0] for index in open_], threshold, confidence)
    judged = dict(zip(open_, judgements, strict=True))
    rulings = []
    for index, (_, void) in enumerate(family):
        judgement = judged.get(index)
        if judgement is None:
            rulings.append(Decision("inconclusive", void))
        else:
            reasons = [] if judgement.reason is None else [judgement.reason]
            rulings.append(Decision(judgement.verdict, reasons, judgement))
    return rulings


def first_pass_of(
    ratio: RatioEstimate | None, ruling: Decision, base: Figures, new: Figures
) -> FirstPass:
    """The record of a first pass; without a ratio where the two may not be compared."""
    return FirstPass(
        base_s=middle(base),
        new_s=middle(new),
        ratio=None if ratio is None else ratio.ratio,
        ci95=None if ratio is None else ratio.interval(),
        verdict=ruling.verdict,
        reason=_first(ruling.reasons),
    )


def peak_memory_of(
    ratio: RatioEstimate | None, ruling: Decision, base: Figures, new: Figures
) -> PeakMemory:
    """The record of a peak; without a ratio where the two may not be compared."""
    return PeakMemory(
        base_bytes=middle(base),
        new_bytes=middle(new),
        ratio=None if ratio is None else ratio.ratio,
        ci95=None if ratio is None else ratio.interval(),
        verdict=_MEMORY_WORDS.get(ruling.verdict, "inconclusive"),
        reason=_first(ruling.reasons),
    )


def middle(figures: Figures) -> float | None:
    """The median over processes."""
    return statistics.median(figures.values()) if figures else None


def _case(
    entry: PairEstimate, steady: Decision, first: Decision, memory: Decision, confidence: float
) -> CaseComparison:
    pair, ratio, objections = entry.pair, entry.ratios["steady"], entry.objections
    base, new = entry.figures["steady"]
    incorrect = objections.incorrect is not None
    reasons = [*steady.reasons, *([objections.remark] if objections.remark else [])]
    judgement = steady.judgement
    refused = [*objections.void]
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
            None if refused else entry.ratios["first_pass"], first, *entry.figures["first_pass"]
        ),
        peak_memory=peak_memory_of(
            None if _memory_refused(entry) else entry.ratios["memory"],
            memory,
            *entry.figures["memory"],
        ),
        correct=_values_of_sides(entry, lambda row: row.summary.correct),
        outcome=_values_of_sides(entry, lambda row: row.summary.outcome),
        refused=refused,
        drift=drift,
    )


def _explained(reasons: Sequence[str], drift: BetweenRuns | None) -> str | None:
    """The reasons in words, with what is known of the drift where that leaves it open."""
    words = explain(reasons)
    if drift is not None and "not-interleaved" in reasons:
        words += f" ({drift_words(drift)})"
    return words or None


def _memory_refused(entry: PairEstimate) -> bool:
    """Whether the two peaks may not be compared; a wrong picture alone leaves them as they are."""
    return bool({*entry.void("memory")} - {entry.objections.incorrect})


def _outliers(side: SideName, row: Row | None) -> list[OutlierProcess]:
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


def _values_of_sides(entry: PairEstimate, say: Callable[[Row], str]) -> Both:
    base, new = entry.pair.base, entry.pair.new
    return Both(base=say(base) if base else None, new=say(new) if new else None)


def _first(items: Sequence[T]) -> T | None:
    return items[0] if items else None
