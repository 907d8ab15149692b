"""What a case's telemetry comes to: memory, swap, pressure, heat, and the stage of the peak."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from sdbench.machine.facts import PRESSURE_LEVELS, THERMAL_LEVELS
from sdbench.records import Pass, Replicate, Stage, WaitReason

StageName = Literal["text_encoder", "vae_encode", "denoising", "vae_decode"]

# After "with" or "because of".
WAIT_WORDS: dict[WaitReason, str] = {
    "thermal": "a hot machine",
    "pressure": "memory pressure",
    "load": "busy cores",
    "battery": "a battery below 20%",
    "on-battery": "battery power",
    "low-power-mode": "low-power mode",
    "background": "background priority",
    "disk": "little free disk",
    "recovery": "memory that has not recovered",
}

# Sources that count whole pages of a process: an allocator gives back late or never, so what one
# stage took is still there in the next.
_STICKY_SOURCES = ("rss", "phys-footprint")
# As a worker names them.
STAGE_NAMES: dict[str, StageName] = {
    "text_encoder": "text_encoder",
    "vae_encode": "vae_encode",
    "denoising_step": "denoising",
    "vae_decode": "vae_decode",
}
# Less than that apart is the same level.
_SAME_SHARE = 0.01


class CaseTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """The worst of all processes of a case in a variant; ``unavailable`` says why one is None.

    ``allocated_bytes`` and ``driver_bytes`` are what the device's allocator held after a measured
    pass, and what the driver held for the process; ``swap_delta_bytes``, ``swap_in_bytes`` and
    ``swap_out_bytes`` are of the whole machine, over one process. ``joules_per_image`` is what a
    steady pass takes by part of the machine, the median of the processes; above idle for those
    parts that were seen idle.
    """

    peak_footprint_bytes: int | None
    footprint_source: str | None
    allocated_bytes: int | None
    driver_bytes: int | None
    recommended_max_bytes: int | None
    swap_delta_bytes: int | None
    swap_in_bytes: int | None
    swap_out_bytes: int | None
    min_available_bytes: int | None
    pressure_peak: str | None
    thermal_peak: str | None
    compressor_peak_bytes: int | None
    gpu_power_mean_w: float | None
    gpu_power_peak_w: float | None
    gpu_temperature_peak_c: float | None
    joules_per_image: dict[str, float] | None
    joules_per_image_above_idle: dict[str, float] | None
    unavailable: dict[str, str]


_SAMPLED: dict[str, Callable[[list[Any]], Any]] = {
    "peak_footprint_bytes": max,
    "footprint_source": max,
    "swap_delta_bytes": max,
    "swap_in_bytes": max,
    "swap_out_bytes": max,
    "min_available_bytes": min,
    "pressure_peak": lambda levels: max(levels, key=PRESSURE_LEVELS.index),
    "thermal_peak": lambda levels: max(levels, key=THERMAL_LEVELS.index),
    "compressor_peak_bytes": max,
    "gpu_power_mean_w": max,
    "gpu_power_peak_w": max,
    "gpu_temperature_peak_c": max,
}
_COUNTED = ("allocated_bytes", "driver_bytes", "recommended_max_bytes")


def case_telemetry(replicates: Sequence[Replicate]) -> CaseTelemetry:
    """Reduce the telemetry of a case's processes in one variant."""
    summaries = [entry.telemetry for entry in replicates if entry.telemetry is not None]
    passes = [entry for replicate in replicates for entry in replicate.of_kind("measured")]
    reasons = {name: why for entry in summaries for name, why in entry.unavailable.items()}
    found: dict[str, Any] = {}
    unavailable: dict[str, str] = {}
    without = "not recorded" if summaries else "telemetry was off"
    absent = without if replicates else "not run"
    for name, reduce in _SAMPLED.items():
        found[name] = _reduce((getattr(entry, name) for entry in summaries), reduce)
        if found[name] is None:
            unavailable[name] = reasons.get(name, absent)
    for name in _COUNTED:
        found[name] = _reduce((getattr(entry, name) for entry in passes), max)
        if found[name] is None:
            unavailable[name] = (
                "the allocator of this device has no such counter" if passes else "no pass was made"
            )
    gross, above_idle = _joules_per_image(replicates)
    reported = [entry.energy.reason for entry in summaries if entry.energy and entry.energy.reason]
    if not gross:
        unavailable["joules_per_image"] = (
            reported[-1] if reported else reasons.get("energy", absent)
        )
    if not above_idle:
        idle = "no part of the machine was observed idle for long enough"
        unavailable["joules_per_image_above_idle"] = (
            idle if gross else unavailable["joules_per_image"]
        )
    return CaseTelemetry(
        **found,
        joules_per_image=gross or None,
        joules_per_image_above_idle=above_idle or None,
        unavailable=unavailable,
    )


def _joules_per_image(replicates: Sequence[Replicate]) -> tuple[dict[str, float], dict[str, float]]:
    """By part of the machine, gross and above idle, each the median of the processes."""
    gross: dict[str, list[float]] = {}
    above: dict[str, list[float]] = {}
    for replicate in replicates:
        energy = None if replicate.telemetry is None else replicate.telemetry.energy
        steady = replicate.steady_passes
        images = sum(len(entry.images) for entry in steady)
        if energy is None or energy.window_s is None or energy.passes != len(steady) or not images:
            continue
        for part, joules in energy.joules.items():
            gross.setdefault(part, []).append(joules / images)
            if part in energy.idle_w:
                idle_j = energy.idle_w[part] * energy.window_s
                above.setdefault(part, []).append((joules - idle_j) / images)
    return tuple(  # type: ignore[return-value]  # two
        {part: statistics.median(values) for part, values in parts.items()}
        for parts in (gross, above)
    )


class PeakStage(msgspec.Struct, frozen=True, kw_only=True):
    """The stage of the pipeline that sets a case's peak of memory; None with the reason."""

    stage: StageName | None = None
    source: str | None = None
    reason: str | None = None


def peak_stage(replicates: Sequence[Replicate]) -> PeakStage:
    """From the profiling pass, by the device's own peak counter, else by the sampled footprint.

    The counter is reset at each stage. What all stages have in common (weights) is no stage's
    doing, nor is what a process has kept since earlier passes, which is there from the first
    stage on: then none is named.
    """
    for replicate in reversed(replicates):
        for entry in replicate.of_kind("profile"):
            return _peak_stage_of(entry, replicate)
    return PeakStage(reason="no profiling pass was made")


def _peak_stage_of(entry: Pass, replicate: Replicate) -> PeakStage:
    stages = entry.stages or []
    counted = [stage.peak_bytes for stage in stages]
    source = entry.peak_source
    if not counted or None in counted:
        telemetry = replicate.telemetry
        source = None if telemetry is None else telemetry.footprint_source
        counted = [stage.footprint_peak_bytes for stage in stages]
    peaks = _by_stage(stages, counted)
    if source is None or len(peaks) < 2:
        return PeakStage(reason="no peak counter on this device, and too few samples in its stages")
    highest = max(peaks.values())
    reach_it = [name for name in peaks if peaks[name] >= highest * (1 - _SAME_SHARE)]
    if len(reach_it) == len(peaks):
        return PeakStage(source=source, reason="all stages have the same peak within 1%")
    if source not in _STICKY_SOURCES:
        first = next(name for name in peaks if peaks[name] == highest)
        return PeakStage(stage=first, source=source)
    if reach_it[0] == "text_encoder":
        return PeakStage(
            source=source, reason="the process already held this much after earlier passes"
        )
    return PeakStage(stage=reach_it[0], source=source)


def _by_stage(stages: Sequence[Stage], peaks: Sequence[int | None]) -> dict[StageName, int]:
    """Highest of each stage, in the order they ran; all denoising steps are one stage."""
    found: dict[StageName, int] = {}
    for stage, peak in zip(stages, peaks, strict=True):
        name = STAGE_NAMES.get(stage.stage)
        if name is not None and peak is not None:
            found[name] = max(found.get(name, 0), peak)
    return found


def _reduce(values: Iterable[Any], reduce: Callable[[list[Any]], Any]) -> Any:
    known = [value for value in values if value is not None]
    return reduce(known) if known else None
