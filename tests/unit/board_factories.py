"""Rows of boards, made up."""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import sdbench.board.build as building
from sdbench.board.build import Built, build
from sdbench.board.rows import ClaimSeen, FaultSeen, Row, Submission
from sdbench.board.table import empty_table


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


def site_of(rows: Sequence[Row], folder: Path, piece_rows: int = 10_000) -> Built:
    """The site of rows that no bundle has, in ``folder/site``."""
    sources = folder / "in"
    sources.mkdir(parents=True)
    (sources / "a.sdbench.zip").write_bytes(b"a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDBENCH_CACHE", str(folder / "cache"))
        table = empty_table().with_rows(rows).in_order()
        patch.setattr(building, "_counted", lambda sources, known: (table, {}))
        patch.setattr(building._Seen, "verify", lambda *_: None)
        patch.setattr("sdbench.board.site_data.PIECE_ROWS", piece_rows)
        return build([sources], folder / "site")


HOSTILE = '"><script>window.pwned = 1</script>{{ 7 * 7 }}\x1b[31m'


def hostile_rows() -> list[Row]:
    """Rows in which every text of others would do harm."""
    texts = ("run_id", "label", "machine_id", "chip", "system", "model", "created_utc")
    run = submission(1, **dict.fromkeys(texts, HOSTILE))
    of_row = ("case_id", "arm", "torch", "diffusers", "resolution", "dtype", "setting")
    return [
        row(run, **dict.fromkeys(of_row, HOSTILE)),
        row(run, **dict.fromkeys(of_row, f"2{HOSTILE}"), seconds_per_image=11.0),
    ]


def hostile_site(folder: Path) -> Built:
    """The site of :func:`hostile_rows`."""
    return site_of(hostile_rows(), folder)


_CHIPS = ("Apple M1", "Apple M2 Pro", "Apple M4 Max")


def many_rows(runs: int = 30, chips: Sequence[str] = _CHIPS) -> list[Row]:
    """Runs of twelve machines with three chips, ten cases each; some wrong, some not ranked."""
    chance = random.Random(5)
    rows = []
    for number in range(runs):
        machine = number % 12
        chip = chips[machine % 3]
        run = submission(
            number,
            machine_id=f"m-{machine:016x}",
            chip=chip,
            memory_bytes=(8, 16, 64)[machine % 3] << 30,
            system=("macOS 14.7", "macOS 15.6", "macOS 26.1")[number % 3],
            model=("synthetic/sd15", "synthetic/sdxl")[number % 2],
            blockers=["on-battery"] if number % 5 == 4 else [],
            label=f"run {number}",
            claims=[
                ClaimSeen("e", "current", "confirmed" if machine % 2 else "refuted", 1.1, "", None)
            ],
            faults=[FaultSeen("nan-output", "error", ["baddbmm-nan"], 1)] if number == 3 else [],
        )
        for case in range(10):
            seconds = 30 / (1 + machine % 3) * (1 + case) * chance.lognormvariate(0, 0.05)
            size = ("512x512", "768x768")[case % 2]
            rows.append(
                row(
                    run,
                    case_id=f"case-{case}",
                    torch=("2.5.1", "2.9.1", "2.13.0")[number // 12],
                    resolution=size,
                    setting=f"{size}{' sliced' if case > 5 else ''} float16, {5 + case} steps",
                    seconds_per_image=seconds,
                    ci95=(seconds * 0.95, seconds * 1.05),
                    peak_memory_bytes=int(4e9 + case * 3e8 + machine * 1e7),
                    image="wrong" if case == 9 else "right",
                )
            )
    return rows
