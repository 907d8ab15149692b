"""Whether a process fits into the memory that is free now, and what would make it fit. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from sdbench.plan.config import Config
from sdbench.plan.order import why_impossible
from sdbench.plan.predicted_memory import Target, predict_memory
from sdbench.records import Case, DeviceKind, Dtype, MemoryStage, PredictedMemory

Fit = Literal["fits", "tight", "unknown", "swaps", "fails"]
"""In order of severity. ``tight``: less than the prediction's error is left."""
_SEVERITY: tuple[Fit, ...] = ("fits", "tight", "unknown", "swaps", "fails")
# How far a prediction may be too low; nothing was measured on mps.
MARGIN: dict[DeviceKind, float] = {"cpu": 0.15, "cuda": 0.15, "mps": 0.3}
_SMALLER = ("768x768", "512x512", "256x256")

Change = dict[str, Any]
"""Settings of a case by their names."""


@dataclass(frozen=True)
class Room:
    """The memory that a process could have now; None: not known.

    ``available_bytes`` is the machine's, to be had without swapping; ``swap_bytes`` what is left
    of swap, infinite where the system makes more as it is needed. ``device_free_bytes`` is what is
    free on the device: on cuda of its own memory, on mps what macOS recommends at most.
    ``device_limit_bytes`` is where the device's allocator refuses.
    """

    device: DeviceKind
    available_bytes: float | None = None
    total_bytes: float | None = None
    swap_bytes: float = 0
    device_free_bytes: float | None = None
    device_limit_bytes: float | None = None


@dataclass(frozen=True)
class Demand:
    """What a process takes of one memory in each stage, and what is free of it now."""

    memory: Literal["device", "machine"]
    stages: tuple[tuple[MemoryStage, int], ...]
    free_bytes: float | None
    fit: Fit

    @property
    def peak_bytes(self) -> int:
        """The most it takes in any stage."""
        return max(size_bytes for _, size_bytes in self.stages)


def judge(predicted: PredictedMemory | None, room: Room) -> Demand | None:
    """The demand that decides whether a process fits; None where nothing could be predicted."""
    if predicted is None:
        return None
    machine = tuple((one.stage, one.process_bytes) for one in predicted.stages)
    worst = max(size_bytes for _, size_bytes in machine)
    on_machine = Demand("machine", machine, room.available_bytes, _machine_fit(worst, room))
    if room.device == "cpu":
        return on_machine
    device = tuple((one.stage, one.device_bytes or 0) for one in predicted.stages)
    worst = max(size_bytes for _, size_bytes in device)
    on_device = Demand("device", device, room.device_free_bytes, _device_fit(worst, room))
    if room.device == "mps":  # one memory: the machine's is the one to look at first
        return max(on_machine, on_device, key=_severity)
    return max(on_device, on_machine, key=_severity)


def fit_of(demand: Demand | None) -> Fit:
    """The verdict: unknown where nothing could be predicted."""
    return "unknown" if demand is None else demand.fit


def severity(fit: Fit) -> int:
    """Greater is worse."""
    return _SEVERITY.index(fit)


def _severity(demand: Demand) -> int:
    return severity(demand.fit)


def _machine_fit(needed: float, room: Room) -> Fit:
    if room.total_bytes is not None and needed > room.total_bytes:
        return "fails"
    if room.available_bytes is None:
        return "unknown"
    if needed > room.available_bytes:
        return "swaps" if needed <= room.available_bytes + room.swap_bytes else "fails"
    return _within(needed, room.available_bytes, room.device)


def _device_fit(needed: float, room: Room) -> Fit:
    if room.device_limit_bytes is not None and needed > room.device_limit_bytes:
        return "fails"
    if room.device_free_bytes is None:
        return "unknown"
    if needed > room.device_free_bytes:
        return "swaps" if room.device == "mps" else "fails"
    return _within(needed, room.device_free_bytes, room.device)


def _within(needed: float, free: float, device: DeviceKind) -> Fit:
    return "tight" if needed * (1 + MARGIN[device]) > free else "fits"


# --- what would make it fit ---------------------------------------------------------------------


def first_fitting(
    config: Config, case: Case, target: Target, room: Room, half: Dtype
) -> list[Change]:
    """The changes with which a case fits, those that fit with room to spare first.

    They are in the order in which they cost: what costs nothing or little comes first, a smaller
    image last.

    Args:
        half: the data type of half the width that suits the model.
    """
    found = []
    for change in _changes(case, target, half):
        changed = msgspec.structs.replace(case, **change)
        if why_impossible(changed, target.device) is None:
            demand = judge(predict_memory(config, changed, target), room)
            found.append((fit_of(demand), change))
    return [change for wanted in ("fits", "tight") for fit, change in found if fit == wanted]


def _changes(case: Case, target: Target, half: Dtype) -> Iterator[Change]:
    """Single settings, then several together, then smaller images."""
    single: list[Change] = [
        {"batching": "loop"},
        {"vae_slicing": True},
        {"vae_tiling": True},
        {"attention_slicing": True},
        {"offload": "model"},
        {"offload": "sequential"},
    ]
    if target.device != "cpu":  # which takes many times as long in half precision
        single.insert(0, {"dtype": half})
    frugal: Change = {"batching": "loop", "vae_tiling": True}
    if target.device != "cpu":
        frugal["dtype"] = half
    combined: list[Change] = [
        frugal,
        *({**frugal, "offload": offload} for offload in ("model", "sequential")),
    ]
    smaller: list[Change] = [
        {**more, "resolution": size}
        for more in ({}, frugal, {**frugal, "offload": "sequential"})
        for size in _SMALLER
        if _pixels(size) < case.width * case.height
    ]
    for change in (*single, *combined, *smaller):
        changed = {name: value for name, value in change.items() if getattr(case, name) != value}
        if changed and not (changed.get("dtype") and case.dtype != "float32"):
            yield changed


def _pixels(resolution: str) -> int:
    width, height = resolution.split("x")
    return int(width) * int(height)
