"""What is known of a machine: plain data, with a reason for every gap.

A fact is a value or :class:`Unavailable`; never 0, never left out. These types are what the probes
of every platform fill in and what doctor, gates, guard and reports read. Bytes are bytes, levels
have names.
"""

from typing import Literal, TypeGuard, TypeVar

import msgspec

from sdbench.records import Pressure as Pressure
from sdbench.records import Thermal as Thermal

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)


class Unavailable(msgspec.Struct, frozen=True):
    """A fact that could not be had; ``unavailable`` says why, in words a user understands."""

    unavailable: str


THERMAL_LEVELS: tuple[Thermal, ...] = ("nominal", "moderate", "heavy", "trapping", "sleeping")
PRESSURE_LEVELS: tuple[Pressure, ...] = ("normal", "warn", "critical")

PowerSource = Literal["ac", "battery", "ups"]


class CoreKind(msgspec.Struct, frozen=True):
    """Some of the cores: ``name`` is the system's own (Performance, Efficiency, Super, …)."""

    name: str
    physical: int


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine is. Nothing here tells whose it is."""

    system: str
    """``Darwin``, ``Linux``, …"""
    os_version: str | Unavailable
    """macOS: the true version (never the 10.16 or 16.0 that old programs are told)."""
    os_build: str | Unavailable
    """Linux: the kernel's release."""
    architecture: str | Unavailable
    """Of the hardware: ``arm64`` also where the process runs under Rosetta."""
    chip: str | Unavailable
    model: str | Unavailable
    """The maker's model identifier, e.g. ``Mac14,10``."""
    cores_physical: int | Unavailable
    cores_logical: int | Unavailable
    cores_by_kind: tuple[CoreKind, ...] | Unavailable
    """Fastest kind first."""
    gpus: list[str] | Unavailable
    """Names of the GPUs, the one sdbench would use first."""
    gpu_cores: int | Unavailable
    memory_bytes: int | Unavailable
    virtual: bool | Unavailable
    """Whether this is a virtual machine."""
    translated: bool | Unavailable
    """Whether this very process runs under Rosetta."""


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of the whole machine now."""

    available_bytes: int | Unavailable
    """What psutil calls available: to be had without swapping. Linux: within our control groups."""
    pressure: Pressure | Unavailable
    free_percent: int | Unavailable
    """macOS's own estimate of what is left (``kern.memorystatus_level``)."""
    compressor_bytes: int | Unavailable
    """Memory the compressor occupies (Linux: zswap's)."""
    swap_used_bytes: int | Unavailable
    swapped_in_bytes: int | Unavailable
    """Read back from swap since the machine started."""
    swapped_out_bytes: int | Unavailable
    """Written to swap since the machine started."""
    gpu_limit_bytes: int | Unavailable
    """macOS: ``iogpu.wired_limit_mb`` where somebody has set it, 0 for the system's own limit."""


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """Where the power comes from, and whether the machine is told to save it."""

    source: PowerSource | Unavailable
    battery_percent: int | Unavailable
    low_power_mode: bool | Unavailable


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU now, where something tells without root (NVML, an installed monitor)."""

    power_w: float | Unavailable
    temperature_c: float | Unavailable
    memory_used_bytes: int | Unavailable
    memory_total_bytes: int | Unavailable
    throttled: list[str] | Unavailable
    """Why its clocks are held down now; empty when they are not."""


class Scheduling(msgspec.Struct, frozen=True, kw_only=True):
    """How this process is ranked among others; what it starts inherits that.

    macOS does not tell a process's quality-of-service class; whether it is in the background is
    told, and that is what keeps it on the efficiency cores.
    """

    nice: int | Unavailable
    background: bool | Unavailable
    """macOS: started by ``taskpolicy -b`` or made to wait in the background. Linux: SCHED_IDLE."""


class SlowReading(msgspec.Struct, frozen=True, kw_only=True):
    """What telemetry reads once a second, without starting a process."""

    pressure: Pressure | Unavailable
    thermal: Thermal | Unavailable
    free_percent: int | Unavailable
    compressor_bytes: int | Unavailable
    gpu: Gpu


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment."""

    simulated: bool
    """From a recording (``SDBENCH_MACHINE_RECORDING``), not from this machine."""
    identity: Identity
    memory: Memory
    power: Power
    thermal: Thermal | Unavailable
    gpu: Gpu
    scheduling: Scheduling
    load_1min: float | Unavailable
    free_disk_bytes: int | Unavailable
    """Of the file system that holds the folder asked about."""


def known(fact: T | Unavailable) -> TypeGuard[T]:
    """Whether a fact is a value."""
    return not isinstance(fact, Unavailable)


def or_none(fact: T | Unavailable) -> T | None:
    """The value, or None for records that keep the reason elsewhere."""
    return None if isinstance(fact, Unavailable) else fact


NOT_RECORDED = Unavailable("it is not in the recording")


def first_known(*facts: T | Unavailable) -> T | Unavailable:
    """The first value there is; where there is none, the first reason that says more than that."""
    for fact in facts:
        if known(fact):
            return fact
    return next((reason for reason in facts if reason != NOT_RECORDED), facts[0])


def all_unavailable(kind: type[S], reason: str | Unavailable) -> S:
    """A record none of whose facts could be had, all for one reason."""
    why = reason if isinstance(reason, Unavailable) else Unavailable(reason)
    return kind(**dict.fromkeys(kind.__struct_fields__, why))
