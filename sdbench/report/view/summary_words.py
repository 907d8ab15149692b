"""Sentences about the cases of a run: what went wrong, what was disturbed, where times spread."""

from collections import Counter
from collections.abc import Iterator, Sequence

from sdbench.analysis.case_words import (
    CONTENT_WORDS,
    CORRECT_WORDS,
    OUTCOME_WORDS,
    case_words,
    process_words,
    row_words,
)
from sdbench.analysis.no_effect import NO_EFFECT, no_effect_words, setting_words
from sdbench.analysis.run_summary import CaseSummary, RunSummary
from sdbench.records import Correctness
from sdbench.report.view.spread import spread_words, widest
from sdbench.words import counted, gigabytes, printable

_PICTURE_WORDS: dict[Correctness, str] = {
    "broken": "wrong image",
    "drift": "slightly different image",
}
# Of the same thing in more cases than that, one is named.
_NAMED_CASES = 3


def picture_words(row: CaseSummary) -> str:
    """Compared with the CPU's image, and with the prompt if that can be checked."""
    if row.content is None:
        return CORRECT_WORDS[row.correct]
    if row.correct == "unknown":
        return CONTENT_WORDS[row.content]
    return f"{CONTENT_WORDS[row.content]}, {CORRECT_WORDS[row.correct]}"


def interval_words(bounds: tuple[float, float] | None, images: int = 1) -> str:
    """``0.812–0.934 s`` an image, of bounds in seconds for so many images; ``–`` for none."""
    return "–" if bounds is None else f"{bounds[0] / images:.3g}–{bounds[1] / images:.3g} s"


def case_remarks(summary: RunSummary, rows: Sequence[CaseSummary]) -> Iterator[str]:
    """Why cases did not complete, what is wrong with images, which settings did nothing.

    The same of more than three cases is said once.
    """
    several_arms = len({row.arm for row in summary.cases}) > 1
    alike: dict[str, list[str]] = {}
    for row in rows:
        for words in _remarks(row):
            arm = f" ({row.arm})" if several_arms else ""
            alike.setdefault(words, []).append(f"{case_words(row.case)}{arm}")
    for words, names in alike.items():
        if len(names) <= _NAMED_CASES:
            yield from (printable(f"{name}: {words}") for name in names)
        else:
            yield printable(f"{names[0]} and {len(names) - 1} more cases: {words}")


def _remarks(row: CaseSummary) -> Iterator[str]:
    if row.outcome != "ok" and row.reason:
        yield f"{OUTCOME_WORDS[row.outcome]} – {row.reason}"
    if row.correct in ("broken", "drift"):
        yield f"{_PICTURE_WORDS[row.correct]} – {row.correct_reason or ''}"
    if row.content == "wrong":
        yield f"not what the prompt asks for – {row.content_reason or ''}"
    for axis, reason in row.no_effect.items():
        if no_effect_words(row.case, [axis]):
            yield f"{setting_words(axis, getattr(row.case, axis))} {NO_EFFECT} – {reason}"


def not_checked_lines(summary: RunSummary) -> Iterator[str]:
    """Why images that were made were not compared, and in how many cases."""
    for reason, count in _not_checked(summary).items():
        words = f"{CORRECT_WORDS['unknown']} in {count} of {len(summary.cases)} cases – {reason}"
        yield printable(words)


def _not_checked(summary: RunSummary) -> Counter[str]:
    """Why images that were made were not compared, and in how many cases."""
    return Counter(
        row.correct_reason
        for row in summary.cases
        if row.correct == "unknown" and row.outcome == "ok" and row.correct_reason
    )


def swapped_words(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else gigabytes(size_bytes)


def disturbed_lines(summary: RunSummary) -> Iterator[str]:
    """Which processes were held up, and by what: what the ! in the table stands for."""
    arms = {row.arm for row in summary.cases}
    lines = [
        f"{row_words(row.case, row.arm, arms)}, {process_words(one.block, row.planned)}: "
        f"{'; '.join(one.reasons)}"
        for row in summary.cases
        for one in row.disturbed
    ]
    yield from map(printable, lines[:_NAMED_CASES])
    if lines[_NAMED_CASES:]:
        yield f"and {counted(len(lines) - _NAMED_CASES, 'more process', 'more processes')} too"


def spread_lines(summary: RunSummary) -> Iterator[str]:
    """What makes the figures uncertain, of the case that it shows most in."""
    arms = {row.arm for row in summary.cases}
    for row, others in widest(summary.cases):
        more = f" (also {counted(others, 'more case')})" if others else ""
        yield printable(f"Spread: {row_words(row.case, row.arm, arms)}: {spread_words(row)}{more}.")
