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
_TIMES_FROM = 2.0
_TENTHS_BELOW = 0.1
# These say only how sure the ratio is, not that it is of something else.
_RATIO_STANDS = (*OPEN, "not-interleaved", "too-few-processes", "too-few-machines")


def verdict_words(case: CaseComparison) -> str:
    """The verdict, or that the sides are not comparable."""
    unlike = case.verdict == "inconclusive" and UNLIKE & {*case.refused}
    return "not comparable" if unlike else VERDICT_WORDS[case.verdict]


def change_words(ratio: float, of: str = "") -> str:
    """``26% less time`` of 0.74, ``80% more time`` of 1.8, ``2.5 times the time`` of 2.5."""
    unit = f" {of}" if of else ""
    if ratio >= _TIMES_FROM:
        return f"{ratio:.3g} times{f' the {of}' if of else ' as much'}"
    digits = 1 if abs(ratio - 1) < _TENTHS_BELOW else 0
    return f"{abs(ratio - 1):.{digits}%} {'less' if ratio < 1 else 'more'}{unit}"


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
    refused = refused_words(cases)
    words = f"{f'{refused} ' if refused else ''}{counted(len(cases), 'case')}: {counts}."
    ended = sum(case.regression == "ended-worse" for case in cases)
    if ended:
        words += f" {ended} no longer {'completes' if ended == 1 else 'complete'}."
    mended = sum(case.mended for case in cases)
    if mended:
        words += f" {mended} fixed."
    if mean.ratio is not None and mean.n > 1:
        alike = {case.verdict for case in cases} in ({"faster"}, {"slower"})
        change = f" ({change_words(mean.ratio, 'time')})" if alike else ""
        words += f" Geometric mean of {mean.n} ratios: {mean.ratio:.3f}{change}."
    return words


def refused_words(cases: Sequence[CaseComparison]) -> str:
    """That the sides may not be compared, and why; nothing where all may be."""
    refused = [case for case in cases if UNLIKE & {*case.refused}]
    if not refused:
        return ""
    codes = dict.fromkeys(code for case in refused for code in case.refused)
    why = explain(code for code in codes if code in UNLIKE)
    which = "" if len(refused) == len(cases) else f" ({len(refused)} of {len(cases)} cases)"
    return f"Not comparable{which}: {why}."


def _by_weight(cases: Sequence[CaseComparison]) -> list[CaseComparison]:
    return sorted(cases, key=lambda case: _ORDER.index(case.verdict))


def _name(case: CaseComparison) -> str:
    parts = [case.case_id, *([case.arm] if case.arm else [])]
    of_two_runs = (case.base, case.new) == ("base", "new")
    return " ".join([*parts, *([] if of_two_runs else [f"({case.new})"])])
