"""Compares two sides: which cases belong together, what differs, and which conclusions are valid.

``compare_runs`` takes two runs, ``compare_axis`` the values of an axis inside each of one or more
runs. Both end in a :class:`Comparison`, which renderers and exit codes read.
"""

from sdbench.comparison.compare import compare_axis, compare_runs
from sdbench.comparison.exit_codes import (
    CANNOT_TELL,
    FailOn,
    bisect_code,
    exit_code,
    failing,
    why_closed,
)
from sdbench.comparison.expectations import Expectations, load_expectations
from sdbench.comparison.history import History, HistoryEntry, Past, history_of, history_of_pasts
from sdbench.comparison.history_index import LeftOut, pasts_around, pasts_beside, pasts_in
from sdbench.comparison.result import CaseComparison, Comparison

__all__ = [
    "CANNOT_TELL",
    "CaseComparison",
    "Comparison",
    "Expectations",
    "FailOn",
    "History",
    "HistoryEntry",
    "LeftOut",
    "Past",
    "bisect_code",
    "compare_axis",
    "compare_runs",
    "exit_code",
    "failing",
    "history_of",
    "history_of_pasts",
    "load_expectations",
    "pasts_around",
    "pasts_beside",
    "pasts_in",
    "why_closed",
]
