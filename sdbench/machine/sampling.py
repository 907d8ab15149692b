"""The sampler's probe: this platform's, or one that plays a recording."""

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from sdbench.machine.facts import NOT_RECORDED, SlowReading, or_none
from sdbench.machine.gpu.open import open_gpu
from sdbench.machine.gpu.reader import GpuReader, NoGpu
from sdbench.machine.live import open_system
from sdbench.machine.memory import MemoryProbe, SystemMemory
from sdbench.machine.snapshot import probe_machine
from sdbench.machine.system import System


def open_memory_probe(gpu_uuid: str | None = None) -> MemoryProbe:
    """The probe for this platform; under ``SDBENCH_MACHINE_RECORDING`` the machine is recorded.

    ``gpu_uuid`` says which NVIDIA GPU is read; None: the first one that a process would use.
    """
    system = open_system()
    if system.simulated:
        return RecordedMemoryProbe(system, _live_probe(NoGpu(NOT_RECORDED.unavailable)))
    return _live_probe(open_gpu(platform.system(), gpu_uuid))


def _live_probe(gpu: GpuReader) -> MemoryProbe:
    if sys.platform == "darwin":
        from sdbench.machine.macos.libsystem import MacMemoryProbe

        return MacMemoryProbe(gpu=gpu)
    from sdbench.machine.linux.proc import LinuxMemoryProbe

    return LinuxMemoryProbe(gpu=gpu)


class RecordedMemoryProbe(MemoryProbe):
    """The machine as it was recorded, standing still; processes are those that really run here.

    So the guard does not see this machine's memory: a recording is for looking at what sdbench
    says, not for real work.
    """

    def __init__(self, system: System, processes: MemoryProbe) -> None:
        facts = probe_machine(system, Path())
        self.footprint_source = processes.footprint_source
        self._processes = processes
        self._memory = SystemMemory(
            available_bytes=or_none(facts.memory.available_bytes),
            swap_used_bytes=or_none(facts.memory.swap_used_bytes),
            swapped_in_bytes=or_none(facts.memory.swapped_in_bytes),
            swapped_out_bytes=or_none(facts.memory.swapped_out_bytes),
        )
        self._slow = SlowReading(
            pressure=facts.memory.pressure,
            thermal=facts.thermal,
            free_percent=facts.memory.free_percent,
            compressor_bytes=facts.memory.compressor_bytes,
            gpu=facts.gpu,
        )

    def system(self) -> SystemMemory:
        return self._memory

    def slow(self) -> SlowReading:
        return self._slow

    def footprint_bytes(self, pid: int) -> int | None:
        return self._processes.footprint_bytes(pid)

    def children(self, pid: int) -> list[int]:
        return self._processes.children(pid)

    def cpu(self, pid: int, children: Sequence[int]) -> None:
        return None

    def out_of_memory_kills(self) -> int | None:
        return self._processes.out_of_memory_kills()

    def close(self) -> None:
        self._processes.close()
