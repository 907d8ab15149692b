"""A comparison as a person reads it: what differs, the cases, what it comes to."""

from collections import Counter
from collections.abc import Iterator

from sdbench.analysis.case_words import CORRECT_WORDS, case_words, run_number
from sdbench.analysis.reasons import UNLIKE, explain
from sdbench.analysis.run_summary import per_picture
from sdbench.comparison.result import CaseComparison, Comparison, SideInfo
from sdbench.comparison.sentence import VERDICT_WORDS as VERDICT_WORDS
from sdbench.comparison.sentence import verdict_words as verdict_words
from sdbench.records import InterimAnalysis, InterimCase
from sdbench.words import memory_words, seconds, size

_TIMES_FROM = 2.0
_TENTHS_BELOW = 0.1


def side_lines(comparison: Comparison) -> Iterator[tuple[str, str]]:
    yield "base", side_words(comparison.base, comparison.by)
    for side in comparison.new:
        yield "new", side_words(side, comparison.by)
    if comparison.by is not None:
        yield "by", comparison.by
    for machine in comparison.machines:
        words = f"{machine.machine_id[:8]} {machine.chip or ''}, {machine.run_id}"
        if machine.left_out:
            words += f" – left out: {machine.left_out}"
        yield "machine", words


def side_words(side: SideInfo, by: str | None) -> str:
    """What a side is called: the run, the value of the axis, or both."""
    if side.run_id is None:
        return side.label
    return side.run_id if by in (None, "machine") else f"{side.label} in {side.run_id}"


def value_words(what: str, value: str | None) -> str:
    """A value as it was recorded; bytes as a person counts them."""
    if value is None:
        return "–"
    in_bytes = what.endswith("_bytes") and value.isdecimal()
    if in_bytes and what == "machine: memory_bytes":
        return memory_words(int(value))
    return size(int(value)) if in_bytes else value


def picture_time(value: float | None, case: CaseComparison) -> str:
    return seconds(per_picture(value, case.images))


def ratio_words(value: float | None) -> str:
    return "–" if value is None else f"×{value:.3f}"


def ratio_interval_words(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f}–{bounds[1]:.3f}"


def first_pass_words(case: CaseComparison) -> str:
    first = case.first_pass
    return _change(first.ratio, first.verdict, "time")


def memory_words_of(case: CaseComparison) -> str:
    memory = case.peak_memory
    words = _change(memory.ratio, memory.verdict)
    if memory.new_bytes is not None and memory.verdict in ("less", "more"):
        words += f" ({size(memory.base_bytes)} → {size(memory.new_bytes)}, medians)"
    return words


def _change(ratio: float | None, verdict: str, of: str = "") -> str:
    """``26% less time`` where that is decided, else the ratio."""
    if ratio is None or verdict not in ("faster", "slower", "less", "more"):
        return ratio_words(ratio)
    return change_words(ratio, of)


def change_words(ratio: float, of: str = "") -> str:
    """``26% less time`` of 0.74, ``80% more time`` of 1.8, ``2.5 times the time`` of 2.5."""
    unit = f" {of}" if of else ""
    if ratio >= _TIMES_FROM:
        return f"{ratio:.3g} times{f' the {of}' if of else ' as much'}"
    digits = 1 if abs(ratio - 1) < _TENTHS_BELOW else 0
    return f"{abs(ratio - 1):.{digits}%} {'less' if ratio < 1 else 'more'}{unit}"


def picture_words_of(case: CaseComparison) -> str:
    sides = [
        CORRECT_WORDS.get(side, "–") if side else "–"  # type: ignore[call-overload]
        for side in (case.correct.base, case.correct.new)
    ]
    return sides[0] if sides[0] == sides[1] else f"{sides[0]} → {sides[1]}"


def remark_lines(comparison: Comparison) -> Iterator[str]:
    """Below the table: why there is no verdict, what to keep in mind, what to do."""
    for case in comparison.cases:
        name = case_name(case)
        reported = bool(UNLIKE & {*case.refused})  # by the sentence below, once for all
        words = "" if reported and len(comparison.cases) > 1 else case.explanation or ""
        if case.more_processes:
            words += f"; about {case.more_processes} more processes per side would decide it"
        if case.more_machines:
            words += f"; about {case.more_machines} more machines would decide it"
        if words:
            verdict = "" if case.machines else f"{VERDICT_WORDS[case.verdict]} – "
            yield f"{name}: {verdict}{words}"
        for outlier in case.outliers:
            yield (
                f"{name}: run {run_number(outlier.replicate_id)} of the {outlier.side} side is an "
                f"outlier with {picture_time(outlier.median_s, case)} per image "
                f"({outlier.degree}); it still counts"
            )
        if case.mended:
            yield f"{name}: fixed: this case now completes"
        if case.regression == "ended-worse":
            where = " on a machine" if case.machines else ""
            yield f"{name}: became worse – {explain([f'{case.outcome.new}-in-new'])}{where}"


def case_name(case: CaseComparison) -> str:
    """The case, and which of several sides it is."""
    parts = [case_words(case.case)]
    if case.arm is not None:
        parts.append(f"[{case.arm}]")
    if (case.base, case.new) != ("base", "new"):
        parts.append(f"({case.base} → {case.new})")
    return " ".join(parts)


def look_lines(looked: InterimAnalysis) -> list[str]:
    """A look at a run that goes on until it is decided: the counts, then what is not decided."""
    verdicts = Counter(
        VERDICT_WORDS[case.verdict] for case in looked.cases if case.verdict != "inconclusive"
    )
    done = ", ".join(f"{count} {words}" for words, count in verdicts.items())
    words = f"look after {looked.blocks} processes, by {looked.by}: {verdicts.total()} of "
    words += f"{len(looked.cases)} decided" + (f" ({done})" if done else "")
    if looked.next_look is None and any(case.open for case in looked.cases):
        words += "; this was the last analysis"
    return [
        words,
        *(f"  {_looked_case(case)}" for case in looked.cases if case.verdict == "inconclusive"),
    ]


def _looked_case(case: InterimCase) -> str:
    arm = f" [{case.arm}]" if case.arm else ""
    words = f"{case.case_id}{arm} ({case.base} → {case.new})"
    if case.open:
        return f"open: {words}, {ratio_words(case.ratio)} so far"
    return (
        f"no verdict, even with more processes: {words} – {explain([case.reason or 'no-figures'])}"
    )


def fine_print(comparison: Comparison) -> str:
    return (
        f"Times are compared by ratio; a difference counts from {comparison.threshold:.1%} on. "
        "Intervals are for each case alone; verdicts are corrected for the number of cases."
    )
