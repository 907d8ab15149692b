"""A comparison as a person reads it: what differs, the cases, what it comes to."""

from collections import Counter
from collections.abc import Iterator

from sdbench.analysis.case_words import CORRECT_WORDS, case_words, run_number
from sdbench.analysis.reasons import UNLIKE, explain
from sdbench.analysis.run_summary import per_picture
from sdbench.comparison.result import CaseComparison, Comparison, SideInfo
from sdbench.comparison.sentence import VERDICT_WORDS as VERDICT_WORDS
from sdbench.comparison.sentence import change_words as change_words
from sdbench.comparison.sentence import verdict_words as verdict_words
from sdbench.records import InterimAnalysis, InterimCase
from sdbench.words import memory_words, seconds, size


def side_lines(comparison: Comparison) -> Iterator[tuple[str, str]]:
    sides = [("base", comparison.base), *(("new", side) for side in comparison.new)]
    several = len({side.work for _, side in sides}) > 1
    for what, side in sides:
        work = f": {side.work}" if several and side.work else ""
        yield what, f"{side_words(side, comparison.by)}{work}"
    if not several and comparison.base.work:
        yield "work", comparison.base.work
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


def picture_times(case: CaseComparison) -> str:
    """``1.96 → 1.09 s``: seconds per image of both sides."""
    base, new = picture_time(case.base_s, case), picture_time(case.new_s, case)
    return f"{base if new == '–' else base.removesuffix(' s')} → {new}"


def ratio_words(value: float | None) -> str:
    return "–" if value is None else f"×{value:.3f}"


def ratio_interval_words(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f}–{bounds[1]:.3f}"


def ratio_and_interval_words(case: CaseComparison) -> str:
    """``×0.584 (0.538–0.633)``."""
    bounds = case.ci99 or case.ci95
    words = ratio_words(case.ratio)
    return words if bounds is None else f"{words} ({ratio_interval_words(bounds)})"


def decided_words(case: CaseComparison) -> list[str]:
    """``26% less time`` of a case that is faster or slower; nothing of one that is neither."""
    if case.ratio is None or case.verdict not in ("faster", "slower"):
        return []
    return [change_words(case.ratio, "time")]


def change_lines(comparison: Comparison) -> Iterator[str]:
    """Apart from the time of later passes, what is decided to differ in which case."""
    for case in comparison.cases:
        changes = []
        if case.first_pass.verdict in ("faster", "slower"):
            changes.append(f"first pass {first_pass_words(case)}")
        if case.peak_memory.verdict in ("less", "more"):
            changes.append(f"peak memory {memory_words_of(case)}")
        pictures = case.correct.base, case.correct.new
        if None not in pictures and pictures != ("match", "match"):
            changes.append(f"image {picture_words_of(case)}")
        if changes:
            yield f"{case_name(case)}: {', '.join(changes)}"


def first_pass_words(case: CaseComparison) -> str:
    first = case.first_pass
    return _change(first.ratio, first.verdict, "time")


def memory_words_of(case: CaseComparison) -> str:
    memory = case.peak_memory
    words = _change(memory.ratio, memory.verdict)
    if memory.new_bytes is not None and memory.verdict in ("less", "more"):
        words += f" ({size(memory.base_bytes)} → {size(memory.new_bytes)})"
    return words


def _change(ratio: float | None, verdict: str, of: str = "") -> str:
    """``26% less time`` where that is decided, else the ratio."""
    if ratio is None or verdict not in ("faster", "slower", "less", "more"):
        return ratio_words(ratio)
    return change_words(ratio, of)


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
        "Intervals are for each case alone; verdicts are corrected for the number of cases. Peak "
        "memory is the median of the processes."
    )
