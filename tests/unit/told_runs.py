"""Runs with something to tell in every section of a report."""

import json
from pathlib import Path
from typing import Any

import msgspec
from diagnosed_runs import beside_cpu, image_of, loaded_run, passes, plan, telemetry
from factories import make_pass

from sdbench.records import Case, Compared, Divergence, Slot, Stage
from sdbench.runs import LoadedRun

# What others may have written: markup, a terminal escape, a change of direction.
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&\"'"


def stages() -> list[Stage]:
    """A profiling pass of 1 s: text, two steps, decode."""
    return [
        Stage(stage=name, duration_s=seconds, peak_bytes=1_000_000, allocated_bytes=None)
        for name, seconds in (
            ("text_encoder", 0.1),
            ("denoising_step", 0.3),
            ("denoising_step", 0.3),
            ("vae_decode", 0.2),
        )
    ]


def write_timeline(path: Path, *, peak: int = 2_000_000_000, samples: int = 50) -> None:
    """Memory that grows to a peak in the middle, phases, pressure that rises once."""
    lines: list[dict[str, Any]] = [{"t": 100.0, "phase": "load"}]
    for number in range(samples):
        share = 1 - abs(2 * number / samples - 1)
        line: dict[str, Any] = {
            "t": 100.0 + 0.05 * number,
            "footprint_bytes": int(peak * share),
            "available_bytes": 8_000_000_000 - int(peak * share),
            "swap_used_bytes": 0,
        }
        if number % 20 == 0:
            line["pressure"] = "warn" if number else "normal"
        lines.append(line)
        if number == samples // 2:
            lines.append({"t": line["t"], "phase": "pass 1"})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def told_run(folder: Path, *, replicates: int = 3, **run_fields: Any) -> LoadedRun:
    """Four cases on mps with timelines, profiles and the CPU beside them; all of it healthy."""

    def change(slot: Slot, case: Case) -> dict[str, Any]:
        profile = make_pass(1.0, 0, "profile", stages=stages())
        grown = 1_000_000_000 * (2 if case.batching == "batch" else 1)
        return {
            "passes": [*passes((2.2, 2.0, 2.0)), profile],
            "telemetry": telemetry(
                peak_footprint_bytes=grown + slot.block,
                min_available_bytes=4_000_000_000,
                swap_delta_bytes=0,
                pressure_peak="warn",
            ),
        }

    def compared(slot: Slot, case: Case) -> Compared:
        record = beside_cpu(slot, case, [image_of(0), image_of(1)])
        curve = Divergence(
            image=0, step=[0, 1, 2], rel_l2=[0.0, 1e-6, 2e-6], allowed_rel_l2=[1e-6, 2e-6, 4e-6]
        )
        return msgspec.structs.replace(record, divergence=[curve])

    config = plan(replicates=replicates)
    loaded = loaded_run(change, config=config, compared=compared, **run_fields)
    loaded = moved(loaded, folder)
    for replicate in loaded.attempts:
        write_timeline(loaded.timeline_path(replicate))
    return loaded


def moved(loaded: LoadedRun, folder: Path) -> LoadedRun:
    """The same run in another folder."""
    return LoadedRun(
        folder, loaded.run, loaded.started, loaded.attempts, comparisons=loaded.comparisons
    )
