"""Run folders: durable, resumable, readable by anything that reads JSON lines."""

from sdbench.runs.folder import RunFolder, not_writable
from sdbench.runs.reading import (
    LoadedRun,
    as_believed,
    find_run,
    last_attempts,
    list_fleets,
    list_runs,
    load_run,
    run_of_bytes,
)

__all__ = [
    "LoadedRun",
    "RunFolder",
    "as_believed",
    "find_run",
    "last_attempts",
    "list_fleets",
    "list_runs",
    "load_run",
    "not_writable",
    "run_of_bytes",
]
