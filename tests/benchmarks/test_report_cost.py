"""What a page costs: 200 cases by 8 processes with timelines should take under 10 s and 500 MB."""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from diagnosed_runs import beside_cpu, image_of, telemetry
from factories import make_pass
from measured_runs import MATRIX_OF_200, kept, measured, one_case, steady
from told_runs import stages, write_timeline

from sdbench.records import Divergence, Slot
from sdbench.runs import LoadedRun

# Half an hour at 20 Hz.
_LONG_TIMELINE = 36_000


@pytest.mark.benchmark(group="report", min_rounds=3)
def test_page_of_200_cases_with_telemetry(benchmark: Callable[..., Any], tmp_path: Path) -> None:
    """The whole program; the longest timelines are half an hour, the others a minute."""
    path = big_run(tmp_path)
    page = tmp_path / "report.html"
    command = [sys.executable, "-m", "sdbench", "report", str(path), "-o", str(page)]
    benchmark(lambda: subprocess.run(command, check=True, capture_output=True))
    peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    extra = getattr(benchmark, "extra_info", {})
    extra["peak_rss_bytes"] = peak_kib * (1 if sys.platform == "darwin" else 1024)
    extra["page_bytes"] = page.stat().st_size


def big_run(folder: Path) -> Path:
    """The folder of such a run."""

    def fields(slot: Slot) -> dict[str, Any]:
        time = steady(noise=0.02)(slot)
        return {
            "passes": [
                make_pass(2 * time, 1),
                *(make_pass(time, index) for index in range(2, 6)),
                make_pass(2 * time, 0, "profile", stages=stages()),
            ],
            "telemetry": telemetry(
                peak_footprint_bytes=10**9 + slot.index, swap_delta_bytes=slot.index
            ),
        }

    loaded = measured(config=one_case(8, matrix=MATRIX_OF_200), fields=fields)
    path = kept(folder, LoadedRun(loaded.path, loaded.run, [], []))
    cases = {planned.case_id: planned.case for planned in loaded.run.plan.cases}
    slots = {slot.replicate_id: slot for slot in loaded.run.plan.slots}
    lines = [msgspec.json.encode(entry) for entry in loaded.attempts]
    for entry in loaded.attempts:
        slot, case = slots[entry.replicate_id], cases[entry.case_id]
        record = beside_cpu(slot, case, [image_of(0)])
        curve = Divergence(
            image=0, step=list(range(21)), rel_l2=[1e-7] * 21, allowed_rel_l2=[1e-6] * 21
        )
        lines.append(msgspec.json.encode(msgspec.structs.replace(record, divergence=[curve])))
    (path / "records.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    here = LoadedRun(path, loaded.run, [], loaded.attempts)
    for number, entry in enumerate(loaded.attempts):
        long = number >= len(loaded.attempts) - 3
        write_timeline(here.timeline_path(entry), samples=_LONG_TIMELINE if long else 1200)
    return path
