"""Memory and swap, of the system and of one process, cheap enough to be read 20 times per second.

No subprocess, and as few system calls as the platform allows: a sampler that costs a core's half
percent already disturbs a CPU benchmark on two cores. Expensive values are read once a second
(:meth:`MemoryProbe.slow`).
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from sdbench.machine.cpu import CpuTimes, cpu_times, session_cpu_times
from sdbench.machine.facts import SlowReading, Unavailable


@dataclass(frozen=True)
class SystemMemory:
    """Of the whole machine, in bytes; None where the platform does not tell."""

    available_bytes: int | None
    swap_used_bytes: int | None
    swapped_in_bytes: int | None
    """Read back from swap since boot."""
    swapped_out_bytes: int | None
    """Written to swap since boot."""


class MemoryProbe(abc.ABC):
    """Reads one platform's counters."""

    footprint_source: str
    """What :meth:`footprint_bytes` is: ``rss`` or ``phys-footprint``."""
    session_pid: int | None = None
    """The process that measures on several devices at once: all work below it is one's own."""

    @abc.abstractmethod
    def system(self) -> SystemMemory:
        """The machine's memory now."""

    @abc.abstractmethod
    def slow(self) -> SlowReading:
        """Pressure, heat and GPU now: for once a second, no process started."""

    @abc.abstractmethod
    def footprint_bytes(self, pid: int) -> int | None:
        """What a process weighs now; None once it is gone."""

    @abc.abstractmethod
    def children(self, pid: int) -> list[int]:
        """Ids of the processes a process has started and that still run."""

    @abc.abstractmethod
    def out_of_memory_kills(self) -> int | None:
        """Processes the kernel has killed for lack of memory since boot; None if unknown."""

    def cpu(self, pid: int, children: Sequence[int]) -> CpuTimes | None:
        """All cores' time, and what a process and its children had of it: for twice a process."""
        if self.session_pid is not None:
            return session_cpu_times(self.session_pid)
        return cpu_times(pid, children)

    def energy_j(self) -> dict[str, float] | Unavailable:
        """Cumulative energy in joules of each part of the machine that is counted."""
        return Unavailable("no energy counter is available here")

    def close(self) -> None:  # noqa: B027 - a default for probes that hold nothing open
        """Let go of what is held open."""
