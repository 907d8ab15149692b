"""Finds the single setting in which a case with a fault differs from a case without."""

from collections.abc import Callable

from sdbench.analysis.case_result import CaseResult
from sdbench.diagnosis.evidence import Evidence
from sdbench.records import AXES

_ON_OFF = {True: "on", False: "off"}
_VALUE_WORDS = {
    "batch": "one batch",
    "loop": "a loop",
    "split": "a split over several processes",
}


def value_words(row: CaseResult, axis: str) -> str:
    """``attention slicing on``, ``float16``, ``512x512``: a case's value on an axis."""
    value = row.run.setting(row.summary.case, axis)
    words = _ON_OFF[value] if isinstance(value, bool) else _VALUE_WORDS.get(value, value)
    return AXES[axis].words.format(words)


def healthy_neighbours(
    evidence: Evidence, row: CaseResult, healthy: Callable[[CaseResult], bool]
) -> dict[str, CaseResult]:
    """For each setting, a case that differs only in it and does not have the fault."""
    found: dict[str, CaseResult] = {}
    for axis, other in evidence.neighbours(row):
        if healthy(other):
            found.setdefault(axis, other)
    return found


def contrast_words(neighbours: dict[str, CaseResult], what: str) -> str:
    """``; with attention slicing off the image is right``, or nothing."""
    values = [value_words(row, axis) for axis, row in neighbours.items()]
    return f"; with {' or with '.join(values)} {what}" if values else ""


def use_words(neighbours: dict[str, CaseResult]) -> str | None:
    """What to use instead according to this run; None if no alternative was measured."""
    if not neighbours:
        return None
    return f"Use {' or '.join(value_words(row, axis) for axis, row in neighbours.items())}."
