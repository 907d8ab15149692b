"""Runs as CSV: one row per process, names with units, empty where nothing is known."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from sdbench.analysis.data_frames import REPLICATE_COLUMNS, replicate_rows
from sdbench.analysis.run_summary import summary_of
from sdbench.runs import LoadedRun
from sdbench.words import printable

# A spreadsheet takes what begins so for a formula, and would run what a worker printed.
_FORMULA = ("=", "+", "-", "@")


def csv_of_runs(runs: Sequence[LoadedRun]) -> str:
    """A header and a row for each process of each run, repeated attempts included."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=REPLICATE_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for loaded in runs:
        for row in replicate_rows(loaded, summary_of(loaded)):
            writer.writerow({name: _cell(value) for name, value in row.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Text that is not ours on one line, and as text."""
    if not isinstance(value, str):
        return value
    value = printable(value)
    return f"'{value}" if value.startswith(_FORMULA) else value
