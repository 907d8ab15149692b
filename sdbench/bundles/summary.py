"""``summary.json``: what sdbench says of a run and its records, in one document.

Whoever has ``run.json`` and ``records.jsonl`` of a bundle computes the same again.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sdbench import __version__
from sdbench.analysis.provenance import provenance, with_seconds_per_pass
from sdbench.analysis.run_summary import RunSummary, as_json, summary_of
from sdbench.correctness.artifact_files import Artifacts
from sdbench.diagnosis.result import Diagnosis
from sdbench.report.view import diagnosed
from sdbench.runs import LoadedRun, load_run

SUMMARY_SCHEMA = 1


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """``summary.json``; ``sdbench_version`` is of the sdbench that computed it.

    ``run`` is the document of ``run --json``, ``diagnosis`` that of ``diagnose --json``.
    """

    schema: int
    sdbench_version: str
    run: RunSummary
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Examined:
    """A run, what sdbench says of it, and that as the document of ``summary.json``."""

    loaded: LoadedRun
    summary: RunSummary
    diagnosis: Diagnosis

    @property
    def document(self) -> dict[str, Any]:
        """Plain data; every call makes a new one."""
        run = self.loaded.run
        diagnosis = msgspec.to_builtins(self.diagnosis) | provenance(run)
        return {
            "schema": SUMMARY_SCHEMA,
            "sdbench_version": __version__,
            "run": as_json(self.summary),
            "diagnosis": with_seconds_per_pass(diagnosis, int(run.config["images"])),
        }


def load_contents(folder: Path) -> LoadedRun:
    """The run in an unpacked bundle, under its id: no path of a disk is in what is said of it.

    Raises:
        UsageError: there is no run there.
        StoreError: it cannot be read.
    """
    loaded = load_run(folder)
    return dataclasses.replace(loaded, path=Path(loaded.run.run_id), folder=folder)


def examine(loaded: LoadedRun, artifacts: Artifacts | None = None) -> Examined:
    """Everything that sdbench says of a run that :func:`load_contents` has read.

    ``artifacts`` are its images; None: those in its folder.
    """
    return Examined(loaded, summary_of(loaded), diagnosed(loaded, artifacts=artifacts))


def encoded(document: dict[str, Any]) -> bytes:
    """The bytes of ``summary.json``: compact, keys in the order of the document."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    return f"{text}\n".replace("\x7f", "\\u007f").encode("ascii")
