"""NVIDIA GPUs through NVML (package ``nvidia-ml-py``, whose module is ``pynvml``)."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sdbench.machine.facts import Gpu, Unavailable
from sdbench.machine.gpu.reader import GpuReader, NoGpu

T = TypeVar("T")

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs CUDA shows to a process, and in which order."""
_DRIVER = Path("/proc/driver/nvidia/version")

# nvml.h, nvmlClocksEventReason*. That the GPU idles (1) holds nothing back.
THROTTLE_REASONS = {
    0x002: "clocks set by the user",
    0x004: "power limit",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "heat (software)",
    0x040: "heat (hardware)",
    0x080: "power brake",
    0x100: "display clocks",
}
_IDLE = 0x001
# Those that are not the card's normal work: every card that is kept busy reaches its power limit,
# and clocks that somebody set are meant.
GPU_SLOWED = {"hardware slowdown", "heat (software)", "heat (hardware)", "power brake"}


@dataclass(frozen=True)
class ListedGpu:
    """A GPU that CUDA shows; ``bus_id`` as sysfs writes it (``0000:19:00.0``), ``divided`` by
    MIG."""

    name: str
    uuid: str
    bus_id: str
    memory_bytes: int
    divided: bool = False


def list_gpus(
    environ: Mapping[str, str] = os.environ, driver: Path = _DRIVER
) -> list[ListedGpu] | Unavailable:
    """The GPUs that CUDA shows to a process, or why they cannot be listed."""
    reader = open_nvml(environ, driver)
    try:
        return reader.list() if isinstance(reader, NvmlGpu) else _reason(reader.names())
    finally:
        reader.close()


def _reason(names: list[str] | Unavailable) -> Unavailable:
    return names if isinstance(names, Unavailable) else Unavailable("NVML does not list them")


def open_nvml(environ: Mapping[str, str] = os.environ, driver: Path = _DRIVER) -> GpuReader:
    """A reader of the GPU that torch would use, if there is one and the package is installed."""
    try:
        import pynvml
    except ImportError:
        if driver.exists():
            return NoGpu("the package that reads the GPU is missing: pip install nvidia-ml-py")
        return NoGpu("there is no NVIDIA driver here")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return NoGpu(f"NVML could not be started: {error}")
    try:
        handles = _handles(pynvml, environ.get(VISIBLE))
    except pynvml.NVMLError as error:
        pynvml.nvmlShutdown()
        return NoGpu(f"NVML finds no GPU: {error}")
    if not handles:
        pynvml.nvmlShutdown()
        return NoGpu("there is no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides all of them")
    return NvmlGpu(pynvml, handles)


class NvmlGpu:
    """The first of some GPUs."""

    def __init__(self, pynvml: Any, handles: list[Any]) -> None:
        self._nvml = pynvml
        self._handles = handles

    def names(self) -> list[str] | Unavailable:
        return self._ask(lambda: [_text(self._nvml.nvmlDeviceGetName(h)) for h in self._handles])

    def list(self) -> list[ListedGpu] | Unavailable:
        """All of them, with the UUID and the bus address of each."""
        return self._ask(lambda: [self._listed(handle) for handle in self._handles])

    def _listed(self, handle: Any) -> ListedGpu:
        nvml = self._nvml
        try:
            divided = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
        except nvml.NVMLError:  # a GPU that cannot be divided
            divided = False
        return ListedGpu(
            name=_text(nvml.nvmlDeviceGetName(handle)),
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            bus_id=sysfs_bus_id(_text(nvml.nvmlDeviceGetPciInfo(handle).busId)),
            memory_bytes=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
            divided=divided,
        )

    def read(self) -> Gpu:
        nvml, gpu = self._nvml, self._handles[0]
        memory = self._ask(lambda: _used_and_total(nvml.nvmlDeviceGetMemoryInfo(gpu)))
        used, total = (memory, memory) if isinstance(memory, Unavailable) else memory
        return Gpu(
            power_w=self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000),
            temperature_c=self._ask(
                lambda: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
            ),
            memory_used_bytes=used,
            memory_total_bytes=total,
            throttled=self._ask(
                lambda: throttle_names(int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)))
            ),
        )

    def energy_j(self) -> dict[str, float] | Unavailable:
        return self._ask(
            lambda: {"gpu": self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handles[0]) / 1000}
        )

    def close(self) -> None:
        self._ask(self._nvml.nvmlShutdown)

    def _ask(self, question: Callable[[], T]) -> T | Unavailable:
        try:
            return question()
        except self._nvml.NVMLError as error:
            return Unavailable(f"NVML: {error}")


def throttle_names(mask: int) -> list[str]:
    """Why the clocks are held down, in words."""
    known = {bit: name for bit, name in THROTTLE_REASONS.items() if mask & bit}
    rest = mask & ~_IDLE & ~sum(THROTTLE_REASONS)
    return [*known.values(), *([f"unknown reason {rest:#x}"] if rest else [])]


def sysfs_bus_id(bus_id: str) -> str:
    """``00000000:19:00.0`` of NVML as sysfs names the folder: ``0000:19:00.0``."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


def _handles(pynvml: Any, visible: str | None) -> list[Any]:
    """As CUDA_VISIBLE_DEVICES orders them. CUDA itself may number unlike GPUs another way."""
    if visible is None:
        return [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    handles = []
    for item in (part.strip() for part in visible.split(",")):
        if item.isdigit():
            handles.append(pynvml.nvmlDeviceGetHandleByIndex(int(item)))
        elif item.startswith(("GPU-", "MIG-")):
            handles.append(pynvml.nvmlDeviceGetHandleByUUID(item))
        else:  # CUDA stops at the first that it does not understand, -1 for instance
            break
    return handles


def _used_and_total(memory: Any) -> tuple[int, int]:
    return int(memory.used), int(memory.total)


def _text(name: str | bytes) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name
