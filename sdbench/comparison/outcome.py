"""What a comparison means for an exit code."""

from collections.abc import Collection
from typing import Literal

from sdbench.comparison.expectations import WELL, ending
from sdbench.comparison.records import CaseComparison, Comparison

FailOn = Literal["slower", "wrong", "any"]
GOOD, BAD, CANNOT_TELL = 0, 1, 125
_MEANS = {"slower": {"slower"}, "wrong": {"wrong", "ended-worse"}}
_MEANS["any"] = _MEANS["slower"] | _MEANS["wrong"]


def failing(comparison: Comparison, conditions: Collection[FailOn]) -> list[CaseComparison]:
    """The cases for which one of the conditions holds."""
    kinds = {kind for condition in conditions for kind in _MEANS[condition]}
    return [case for case in comparison.cases if case.regression in kinds]


def bisect_code(comparison: Comparison, conditions: Collection[FailOn]) -> int:
    """What ``git bisect run`` wants: 0 good, 1 bad, 125 cannot tell. No condition means any."""
    conditions = conditions or ["any"]
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


_NO_SPEED = ("inconclusive", "incorrect")
