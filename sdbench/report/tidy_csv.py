"""Runs as CSV: one row a process, names with units, empty where nothing is known."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from sdbench.schema import Replicate
from sdbench.store import LoadedRun
from sdbench.summary import steady_median_s

_COPIED = (
    *("replicate_id", "case_id", "arm", "block", "attempt", "outcome", "reason", "simulated"),
    *("start", "cold_cache", "started_utc", "wall_s", "import_s", "load_s"),
    *("peak_memory_bytes", "peak_memory_source", "swapped_out_bytes"),
)


def csv_of_runs(runs: Sequence[LoadedRun]) -> str:
    """A header and a row for each process of each run, repeated attempts included."""
    rows = [row for loaded in runs for row in _rows(loaded)]
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _rows(loaded: LoadedRun) -> Iterator[dict[str, Any]]:
    run = loaded.run
    cases = {planned.case_id: msgspec.to_builtins(planned.case) for planned in run.plan.cases}
    for entry in loaded.attempts:
        yield {
            "run_id": run.run_id,
            "machine_id": run.machine_id,
            "device": run.device,
            "model": run.model.name,
            "torch": entry.versions.get("torch"),
            "images": run.config["images"],
            **cases[entry.case_id],
            **{name: getattr(entry, name) for name in _COPIED},
            "first_pass_s": _first_pass_s(entry),
            "steady_median_s": steady_median_s(entry),
        }


def _first_pass_s(entry: Replicate) -> float | None:
    return next((one.duration_s for one in entry.of_kind("measured") if one.index == 1), None)
