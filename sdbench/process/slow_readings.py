"""The slow readings of one process in a few values, each with its reason where it is not known."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sdbench.machine.facts import PRESSURE_LEVELS, THERMAL_LEVELS, SlowReading, Unavailable, known

# Field of a TelemetrySummary: what it is read from, and which of the values counts.
_Reduction = tuple[Callable[[SlowReading], Any], Callable[[list[Any]], Any]]
_OF_THE_MACHINE: dict[str, _Reduction] = {
    "pressure_peak": (lambda now: now.pressure, lambda all_: max(all_, key=PRESSURE_LEVELS.index)),
    "thermal_peak": (lambda now: now.thermal, lambda all_: max(all_, key=THERMAL_LEVELS.index)),
    "compressor_peak_bytes": (lambda now: now.compressor_bytes, max),
    "least_free_percent": (lambda now: now.free_percent, min),
}
_OF_THE_GPU: dict[str, _Reduction] = {
    "gpu_power_mean_w": (lambda now: now.gpu.power_w, statistics.fmean),
    "gpu_power_peak_w": (lambda now: now.gpu.power_w, max),
    "gpu_temperature_peak_c": (lambda now: now.gpu.temperature_c, max),
    "gpu_memory_peak_bytes": (lambda now: now.gpu.memory_used_bytes, max),
    "gpu_throttled": (
        lambda now: now.gpu.throttled,
        lambda all_: sorted({reason for reasons in all_ for reason in reasons}),
    ),
}


@dataclass(frozen=True)
class TimedReading:
    """A slow reading, and whether an image was being made."""

    reading: SlowReading
    in_pass: bool


def extremes(readings: Sequence[TimedReading]) -> dict[str, Any]:
    """Fields of a ``TelemetrySummary``: worst levels, peaks, GPU power.

    The machine's levels count from start to end; the GPU's values only while images are made,
    because importing and loading leave it idle.
    """
    every = [timed.reading for timed in readings]
    working = [timed.reading for timed in readings if timed.in_pass]
    found: dict[str, Any] = {}
    unavailable: dict[str, str] = {}
    for table, counted, absent in (
        (_OF_THE_MACHINE, every, "the process ended before the first reading"),
        (_OF_THE_GPU, working, "no reading fell into a pass"),
    ):
        for name, (read, reduce) in table.items():
            facts = [read(now) for now in counted]
            values = [fact for fact in facts if known(fact)]
            if values:
                found[name] = reduce(values)
                continue
            reasons = [fact.unavailable for fact in facts if isinstance(fact, Unavailable)]
            unavailable[name] = reasons[-1] if reasons else absent
    return found | {"unavailable": unavailable}
