"""Rows of boards, made up."""

import hashlib
from typing import Any

from sdbench.board.rows import Row, Submission


def submission(number: int = 1, **changes: Any) -> Submission:
    """A verified run of a real machine without a blocker."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    fields: dict[str, Any] = {
        "bundle_sha256": digest,
        "measured_sha256": digest[::-1],
        "verified": True,
        "run_id": f"run-{number}",
        "label": None,
        "created_utc": "2026-11-22T15:51:56.598+00:00",
        "sdbench_version": "0.1.0",
        "machine_id": f"m-{number:016x}",
        "chip": "Apple M4",
        "gpu_cores": 10,
        "memory_bytes": 16 << 30,
        "system": "macOS 26.1",
        "device": "mps",
        "simulated": False,
        "virtual": False,
        "blockers": [],
        "model": "synthetic/sd15",
        "model_sha256": "a" * 64,
    }
    return Submission(**(fields | changes))


def row(run: Submission | None = None, **changes: Any) -> Row:
    """A case that is ranked."""
    fields: dict[str, Any] = {
        "submission": run or submission(),
        "case_id": "512x512-float16-fb7e30",
        "arm": "current",
        "torch": "2.13.0",
        "diffusers": "0.42.1",
        "resolution": "512x512",
        "dtype": "float16",
        "setting": "512x512 float16, 20 steps, ddim, guidance 7.5, 1 image",
        "outcome": "ok",
        "seconds_per_image": 10.0,
        "ci95": (9.0, 11.0),
        "n": 3,
        "peak_memory_bytes": 4_000_000_000,
        "peak_memory_source": "mps-allocated",
        "image": "right",
    }
    return Row(**(fields | changes))
