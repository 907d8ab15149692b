"""Keeps the machine usable: stops a worker before memory, swap or disk run out."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdbench.machine.facts import known
from sdbench.plan.config import Guard
from sdbench.process.executor import Stop
from sdbench.process.sampler import Sample

# A quarter of the memory swapped is already felt; more than 4 GB of it takes minutes to undo.
_AUTO_SWAP_SHARE = 0.25
_AUTO_SWAP_BYTES = 4e9
# Linux begins to kill processes when this little is left; a worker takes half a gigabyte in 0.1 s.
_AUTO_AVAILABLE_SHARE = 0.02
_AUTO_AVAILABLE_BYTES = 500e6
_SAMPLES_BELOW = 2
# Critical pressure for a moment is ordinary while a model loads (PROTOCOL 17).
_CRITICAL_S = 2.0
_DISK_EVERY_S = 1.0


@dataclass
class MemoryGuard:
    """Judges the samples of one worker, and of its memory ballast."""

    max_swap_growth_bytes: float
    min_free_disk_bytes: float
    folder: Path
    free_disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    clock: Callable[[], float] = time.monotonic
    min_available_bytes: float = 0
    _swap_start: int | None = None
    _critical_since: float | None = None
    _samples_below: int = 0
    _disk_at: float = float("-inf")

    @classmethod
    def from_config(
        cls, guard: Guard, memory_bytes: int, folder: Path, swap_room_bytes: int | None = None
    ) -> "MemoryGuard":
        """The guard of one worker, with ``auto`` resolved for this machine.

        ``swap_room_bytes`` is all the swap there is, None where it grows as needed (macOS). With
        less of it than may be used, growth of swap never warns and the kernel kills instead: then
        ``auto`` asks for memory to stay available.
        """
        growth, available = guard.max_swap_growth_bytes, guard.min_available_bytes
        if growth == "auto":
            growth = min(_AUTO_SWAP_SHARE * memory_bytes, _AUTO_SWAP_BYTES)
        if available == "auto":
            warns = swap_room_bytes is None or swap_room_bytes > float(growth)
            floor = max(_AUTO_AVAILABLE_SHARE * memory_bytes, _AUTO_AVAILABLE_BYTES)
            available = 0 if warns else floor
        return cls(
            float(growth),
            guard.min_free_disk_bytes,
            folder,
            min_available_bytes=float(available),
        )

    def judge(self, sample: Sample | None) -> Stop | None:
        """Why the worker must be stopped now, or None. Disk is looked at even without samples."""
        if sample is None:
            return self._judge_disk()
        return (
            self._judge_pressure(sample)
            or self._judge_available(sample)
            or self._judge_swap(sample)
            or self._judge_disk()
        )

    def _judge_pressure(self, sample: Sample) -> Stop | None:
        if sample.slow is None or not known(sample.slow.pressure):
            return None
        if sample.slow.pressure != "critical":
            self._critical_since = None
            return None
        if self._critical_since is None:
            self._critical_since = sample.t
        if sample.t - self._critical_since < _CRITICAL_S:
            return None
        return Stop("guard", f"memory pressure was critical for {_CRITICAL_S:.0f} s")

    def _judge_available(self, sample: Sample) -> Stop | None:
        available = sample.system.available_bytes
        if available is None or available >= self.min_available_bytes:
            self._samples_below = 0
            return None
        self._samples_below += 1
        if self._samples_below < _SAMPLES_BELOW:
            return None
        return Stop(
            "guard",
            f"{available / 1e9:.1f} GB of memory left, less than the "
            f"{self.min_available_bytes / 1e9:.1f} GB required (guard.min_available_bytes)",
        )

    def _judge_swap(self, sample: Sample) -> Stop | None:
        used = sample.system.swap_used_bytes
        if used is None:
            return None
        if self._swap_start is None:
            self._swap_start = used
        growth = used - self._swap_start
        if growth <= self.max_swap_growth_bytes:
            return None
        return Stop(
            "guard",
            f"swap grew by {growth / 1e9:.1f} GB, more than the "
            f"{self.max_swap_growth_bytes / 1e9:.1f} GB allowed (guard.max_swap_growth_bytes)",
        )

    def _judge_disk(self) -> Stop | None:
        now = self.clock()
        if now - self._disk_at < _DISK_EVERY_S:
            return None
        self._disk_at = now
        try:
            free = self.free_disk(self.folder)
        except OSError:
            return None
        if free >= self.min_free_disk_bytes:
            return None
        return Stop(
            "guard",
            f"{free / 1e9:.1f} GB of disk left, less than the "
            f"{self.min_free_disk_bytes / 1e9:.1f} GB required (guard.min_free_disk_bytes)",
        )


@dataclass
class SwapWriteGuard:
    """Ends a sitting that has written too much to swap: that wears a Mac's soldered disk out."""

    max_swapped_out_bytes: float
    exceeded: bool = False
    _start: int | None = None

    def judge(self, sample: Sample | None) -> Stop | None:
        """Why the worker and with it the sitting must end now, or None."""
        written = None if sample is None else sample.system.swapped_out_bytes
        if written is None:
            return None
        if self._start is None:
            self._start = written
        so_far = written - self._start
        if so_far <= self.max_swapped_out_bytes:
            return None
        self.exceeded = True
        return Stop(
            "guard",
            f"{so_far / 1e9:.1f} GB were written to swap since the run was begun or resumed, more "
            f"than the {self.max_swapped_out_bytes / 1e9:.1f} GB allowed "
            "(guard.max_swapped_out_bytes)",
        )
