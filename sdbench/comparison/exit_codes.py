"""The exit code of a comparison. A gate that could not judge anything fails."""

from collections.abc import Collection
from typing import Literal

from sdbench.comparison.expectations import WELL, ending
from sdbench.comparison.result import CaseComparison, Comparison

FailOn = Literal["slower", "wrong", "undecided", "any"]
GOOD, BAD, CANNOT_TELL = 0, 1, 125
_MEANS = {"slower": {"slower"}, "wrong": {"wrong", "ended-worse"}, "undecided": set[str]()}
_MEANS["any"] = _MEANS["slower"] | _MEANS["wrong"]
_NO_SPEED = ("inconclusive", "incorrect")


def failing(comparison: Comparison, conditions: Collection[FailOn]) -> list[CaseComparison]:
    """The cases that meet one of the conditions."""
    kinds = {kind for condition in conditions for kind in _MEANS[condition]}
    return [
        case
        for case in comparison.cases
        if case.regression in kinds or ("undecided" in conditions and _undecided(case))
    ]


def why_closed(comparison: Comparison, conditions: Collection[FailOn]) -> str | None:
    """Why a gate fails although no condition holds: nothing that it requires could be judged.

    None without conditions, and if at least one case was judged for each of them.
    """
    for condition in conditions:
        pictures = condition == "wrong"
        if any(_judged(case, pictures=pictures) for case in comparison.cases):
            continue
        what = "no image" if pictures else "no case"
        reasons = dict.fromkeys(case.explanation for case in comparison.cases if case.explanation)
        if pictures:
            reasons = {"none was checked against the CPU": None}
        why = f": {'; '.join(reasons)}" if reasons else ""
        return f"--fail-on {condition}: {what} could be judged{why}"
    return None


def exit_code(comparison: Comparison, conditions: Collection[FailOn]) -> int:
    """1 if a condition holds, or if nothing that a condition requires could be judged."""
    return int(bool(failing(comparison, conditions) or why_closed(comparison, conditions)))


def _judged(case: CaseComparison, *, pictures: bool) -> bool:
    """Whether its speed, or its images, were judged; a failure that the base had too counts as
    both."""
    if pictures:
        known = case.outcome.new == "ok" and case.correct.new not in (None, "unknown")
        return known or _ended_badly(case)
    return case.verdict not in _NO_SPEED or (_ended_badly(case) and case.regression is None)


def _undecided(case: CaseComparison) -> bool:
    return case.verdict == "inconclusive" and not _ended_badly(case)


def _ended_badly(case: CaseComparison) -> bool:
    """Whether the new side did not complete, or made a wrong image."""
    return ending(case.outcome.new, case.correct.new) not in WELL


def bisect_code(comparison: Comparison, conditions: Collection[FailOn]) -> int:
    """The exit code for ``git bisect run``: 0 good, 1 bad, 125 undecided. Without conditions all of
    them apply.

    An undecided case gives 125, whether or not ``undecided`` is a condition.
    """
    conditions = [each for each in conditions if each != "undecided"] or ["any"]
    if failing(comparison, conditions):
        return BAD
    speed, pictures = ({name, "any"} & {*conditions} for name in ("slower", "wrong"))
    for case in comparison.cases:
        after = ending(case.outcome.new, case.correct.new)
        if pictures and after in (None, "skipped"):
            return CANNOT_TELL
        known_bad = after not in WELL and case.regression is None
        if speed and case.verdict in _NO_SPEED and not known_bad:
            return CANNOT_TELL
    return GOOD
