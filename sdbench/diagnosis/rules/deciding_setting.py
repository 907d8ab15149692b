"""Which single setting separates a row with a fault from one without."""

from collections.abc import Callable

from sdbench.analysis.case_result import CaseResult
from sdbench.diagnosis.evidence import Evidence
from sdbench.records import AXES

_ON_OFF = {True: "on", False: "off"}
_VALUE_WORDS = {"batch": "one batch", "loop": "a loop"}


def value_words(row: CaseResult, axis: str) -> str:
    """``attention slicing on``, ``float16``, ``512x512``: a row's value on an axis."""
    value = row.run.setting(row.summary.case, axis)
    words = _ON_OFF[value] if isinstance(value, bool) else _VALUE_WORDS.get(value, value)
    return AXES[axis].words.format(words)


def healthy_neighbours(
    evidence: Evidence, row: CaseResult, healthy: Callable[[CaseResult], bool]
) -> dict[str, CaseResult]:
    """By setting, a row that differs from this one in it alone and does not have the fault."""
    found: dict[str, CaseResult] = {}
    for axis, other in evidence.neighbours(row):
        if healthy(other):
            found.setdefault(axis, other)
    return found


def contrast_words(neighbours: dict[str, CaseResult], what: str) -> str:
    """``; with attention slicing off it is right``, or nothing."""
    values = [value_words(row, axis) for axis, row in neighbours.items()]
    return f"; with {' or with '.join(values)} {what}" if values else ""


def use_words(neighbours: dict[str, CaseResult]) -> str | None:
    """What to use instead, measured here; None where nothing was."""
    if not neighbours:
        return None
    return f"Use {' or '.join(value_words(row, axis) for axis, row in neighbours.items())}."
