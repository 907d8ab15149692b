"""Figures that rest on an instrument that failed its selftest are unknown, wherever a run is read.

The records keep what was measured. It is taken out here, once, so that no table, report, verdict or
export shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from sdbench.records import (
    Compared,
    Pass,
    Picture,
    Replicate,
    Selftest,
    Stage,
    TelemetrySummary,
    VoidedFigure,
)

REASON = "instrument failed on this machine"


@dataclass(frozen=True)
class Rest:
    """Figures, and the beginnings of the ids of the selftest's lines that they rest on."""

    figure: VoidedFigure
    words: str
    lines: tuple[str, ...]


RESTS = (
    Rest(
        "times",
        "times of passes, stages and loading, and every speed and rate",
        ("clock-", "sync-", "telemetry-overhead", "telemetry-aa"),
    ),
    Rest(
        "footprint",
        "memory of the process",
        ("memory-host-footprint", "memory-host-peak", "memory-device-footprint"),
    ),
    Rest(
        "allocator",
        "memory by the device's allocator",
        ("memory-device-allocator", "memory-device-peak"),
    ),
    Rest("driver", "memory by the device's driver", ("memory-device-driver",)),
    Rest("gpu_memory", "memory in use on the GPU", ("memory-device-used",)),
    Rest("available", "available memory of the machine", ("memory-host-free",)),
    Rest("swap", "swap in use, read and written", ("swap-used", "swap-in", "swap-out")),
    Rest("pressure", "memory pressure", ("swap-pressure", "swap-free-percent")),
    Rest("thermal", "thermal level", ("telemetry-thermal",)),
    Rest("load", "load by other programs", ("load-",)),
    Rest("temperature", "temperature of the GPU", ("telemetry-temperature",)),
    Rest("power", "power and energy", ("telemetry-power",)),
    Rest("pictures", "correctness of images", ("picture-",)),
    Rest("deaths", "how processes ended", ("death-",)),
    Rest("sleep", "whether the machine slept", ("sleep-",)),
)

# What every run reports, and the lines that have to vouch for it. (Lines that end in -source
# compare with one source more; what was ordered was seen without it.)
_ALWAYS = (
    ("clocks", ("clock-",)),
    ("synchronisation with the device", ("sync-",)),
    ("memory of the process", ("memory-host-footprint", "memory-host-peak")),
    ("memory of the device", ("memory-device-allocator", "memory-device-peak")),
    ("images", ("picture-",)),
    ("load", ("load-",)),
)

_TELEMETRY: dict[VoidedFigure, tuple[str, ...]] = {
    "times": ("energy",),
    "footprint": ("peak_footprint_bytes", "pass_peak_footprint_bytes"),
    "gpu_memory": ("gpu_memory_peak_bytes",),
    "available": ("min_available_bytes",),
    "swap": ("swap_start_bytes", "swap_delta_bytes", "swap_in_bytes", "swap_out_bytes"),
    "pressure": ("pressure_peak", "least_free_percent", "compressor_peak_bytes"),
    "thermal": ("thermal_peak",),
    "load": ("other_cpu_share", "idle_cpu_share", "stolen_cpu_share"),
    "temperature": ("gpu_temperature_peak_c",),
    "power": ("gpu_power_mean_w", "gpu_power_peak_w", "energy"),
}

Voided = Mapping[VoidedFigure, str]
"""The reason by figure."""
Side = Literal["footprint", "allocator"]


def voided_by(selftest: Selftest | None) -> dict[VoidedFigure, str]:
    """Which figures are unknown after a selftest, each with the reason and the failed lines."""
    failed = [] if selftest is None else selftest.failed
    found: dict[VoidedFigure, str] = {}
    for rest in RESTS:
        lines = [line for line in failed if line.startswith(rest.lines)]
        if lines:
            found[rest.figure] = f"{REASON} ({', '.join(lines)})"
    return found


def not_vouched_for(selftest: Selftest) -> list[str]:
    """What every run reports and this selftest did not look at, with the ids of unknown lines.

    A selftest without these has not passed, though no line failed.
    """
    found = []
    for what, beginnings in _ALWAYS:
        if what == "memory of the device" and selftest.device == "cpu":
            continue
        lines = [
            line
            for line in selftest.lines
            if line.id.startswith(beginnings) and not line.id.endswith("-source")
        ]
        unknown = [line.id for line in lines if line.status == "unknown"]
        if unknown or not lines:
            found.append(f"{what} ({', '.join(unknown) or 'no line about it'})")
    return found


def words_of(voided: Voided) -> list[str]:
    """One sentence a figure, for people."""
    return [
        f"unknown: {rest.words}; {voided[rest.figure]}" for rest in RESTS if rest.figure in voided
    ]


def without_voided(replicate: Replicate, voided: Voided) -> Replicate:
    """The record of a process without the figures that are unknown."""
    if not voided:
        return replicate
    changes: dict[str, Any] = {"voided": dict(voided)}
    changes["passes"] = [_of_pass(entry, replicate, voided) for entry in replicate.passes]
    if replicate.telemetry is not None:
        changes["telemetry"] = _of_telemetry(replicate.telemetry, voided)
    if "times" in voided:
        changes |= dict.fromkeys(("import_s", "load_s", "compile_s", "yardstick"))
    if (side := _side(replicate.peak_memory_source)) in voided:
        changes |= {"peak_memory_bytes": None, "peak_memory_reason": voided[side]}
        changes["load_peak_bytes"] = None
    if "footprint" in voided:
        changes |= {"pss_bytes": None, "uss_bytes": None}
    if "swap" in voided:
        changes["swapped_out_bytes"] = None
    if "deaths" in voided:
        changes["cause"] = None
    return msgspec.structs.replace(replicate, **changes)


def compared_without_voided(record: Compared, voided: Voided) -> Compared:
    """The comparison with the CPU, unknown where that is voided."""
    if "pictures" not in voided:
        return record
    return msgspec.structs.replace(
        record,
        verdict="unknown",
        reason=voided["pictures"],
        margin=None,
        images=[],
        stages=[],
        divergence=[],
    )


def _side(source: str | None) -> Side:
    """What a peak is of: the process, or the device's allocator."""
    return "allocator" if source is not None and source.endswith("-allocated") else "footprint"


def _of_pass(entry: Pass, replicate: Replicate, voided: Voided) -> Pass:
    changes: dict[str, Any] = {}
    if _side(entry.peak_source or replicate.peak_memory_source) in voided:
        changes |= {"peak_bytes": None, "process_peak_bytes": None}
    if "allocator" in voided:
        changes["allocated_bytes"] = None
    if "driver" in voided:
        changes["driver_bytes"] = None
    if "footprint" in voided:
        changes["footprint_bytes"] = None
    if entry.stages is not None:
        stages = [_of_stage(stage, entry, voided) for stage in entry.stages]
        changes["stages"] = None if "times" in voided else stages
    if "pictures" in voided:
        changes["images"] = [_of_picture(picture, voided["pictures"]) for picture in entry.images]
    return msgspec.structs.replace(entry, **changes) if changes else entry


def _of_stage(stage: Stage, entry: Pass, voided: Voided) -> Stage:
    changes: dict[str, Any] = {}
    if _side(entry.peak_source) in voided:
        changes["peak_bytes"] = None
    if "allocator" in voided:
        changes["allocated_bytes"] = None
    if "footprint" in voided:
        changes["footprint_peak_bytes"] = None
    return msgspec.structs.replace(stage, **changes) if changes else stage


def _of_picture(picture: Picture, reason: str) -> Picture:
    return msgspec.structs.replace(picture, content=None, content_reason=reason)


def _of_telemetry(summary: TelemetrySummary, voided: Voided) -> TelemetrySummary:
    reasons = {
        name: reason for figure, reason in voided.items() for name in _TELEMETRY.get(figure, ())
    }
    return msgspec.structs.replace(
        summary,
        **dict.fromkeys(reasons),
        unavailable={**summary.unavailable, **reasons},
    )
