"""Summarises all cases of a comparison in one sentence, with the geometric mean."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence

from sdbench.analysis.reasons import UNLIKE, explain
from sdbench.comparison.result import CaseComparison, ComparisonSummary, GeometricMean, Verdict
from sdbench.stats import OPEN
from sdbench.words import counted

VERDICT_WORDS: dict[Verdict, str] = {
    "faster": "faster",
    "slower": "slower",
    "equivalent": "the same",
    "inconclusive": "inconclusive",
    "incorrect": "wrong image",
}
_ORDER = ("incorrect", "slower", "faster", "equivalent", "inconclusive")
_JUDGED = ("faster", "slower", "equivalent")
# These say only how sure the ratio is, not that it is of something else.
_RATIO_STANDS = (*OPEN, "not-interleaved", "too-few-processes", "too-few-machines")


def verdict_words(case: CaseComparison) -> str:
    """The verdict, or that the sides are not comparable."""
    unlike = case.verdict == "inconclusive" and UNLIKE & {*case.refused}
    return "not comparable" if unlike else VERDICT_WORDS[case.verdict]


def summarise_cases(cases: Sequence[CaseComparison], notes: Sequence[str]) -> ComparisonSummary:
    """Count the verdicts and state the most important first."""
    mean = geometric_mean(cases)
    return ComparisonSummary(
        verdicts=dict(Counter(case.verdict for case in _by_weight(cases))),
        geometric_mean=mean,
        sentence=_sentence(cases, mean),
        regressions=[_name(case) for case in cases if case.regression],
        mended=[_name(case) for case in cases if case.mended],
        notes=list(dict.fromkeys(notes)),
    )


def geometric_mean(cases: Sequence[CaseComparison]) -> GeometricMean:
    """The geometric mean over the cases with comparable sides; it never replaces their verdicts."""
    logs = [
        math.log(case.ratio)
        for case in cases
        if case.ratio is not None and (case.verdict in _JUDGED or case.reason in _RATIO_STANDS)
    ]
    return GeometricMean(ratio=math.exp(statistics.fmean(logs)) if logs else None, n=len(logs))


def _sentence(cases: Sequence[CaseComparison], mean: GeometricMean) -> str:
    said = Counter(verdict_words(case) for case in _by_weight(cases))
    counts = ", ".join(f"{count} {words}" for words, count in said.items())
    words = f"{_refused_words(cases)}{counted(len(cases), 'case')}: {counts}."
    ended = sum(case.regression == "ended-worse" for case in cases)
    if ended:
        words += f" {ended} no longer {'completes' if ended == 1 else 'complete'}."
    mended = sum(case.mended for case in cases)
    if mended:
        words += f" {mended} fixed."
    if mean.ratio is not None and mean.n > 1:
        words += f" Geometric mean of {mean.n} ratios: {mean.ratio:.3f}."
    return words


def _refused_words(cases: Sequence[CaseComparison]) -> str:
    """The statement that sides are not comparable, and why; empty if all are comparable."""
    refused = [case for case in cases if UNLIKE & {*case.refused}]
    if not refused:
        return ""
    codes = dict.fromkeys(code for case in refused for code in case.refused)
    why = explain(code for code in codes if code in UNLIKE)
    which = "" if len(refused) == len(cases) else f" ({len(refused)} of {len(cases)} cases)"
    return f"Not comparable{which}: {why}. "


def _by_weight(cases: Sequence[CaseComparison]) -> list[CaseComparison]:
    return sorted(cases, key=lambda case: _ORDER.index(case.verdict))


def _name(case: CaseComparison) -> str:
    parts = [case.case_id, *([case.arm] if case.arm else [])]
    of_two_runs = (case.base, case.new) == ("base", "new")
    return " ".join([*parts, *([] if of_two_runs else [f"({case.new})"])])
