"""Keeps the machine usable: stops a worker before swap or disk run away."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sdbench.config import Guard
from sdbench.runner.executor import Stop
from sdbench.runner.sampler import Sample

# A quarter of the memory swapped is already felt; more than 4 GB of it takes minutes to undo.
_AUTO_SWAP_SHARE = 0.25
_AUTO_SWAP_BYTES = 4e9
_DISK_EVERY_S = 1.0


@dataclass
class MemoryGuard:
    """Judges the samples of one worker."""

    max_swap_growth_bytes: float
    min_free_disk_bytes: float
    folder: Path
    free_disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    clock: Callable[[], float] = time.monotonic
    _swap_start: int | None = None
    _disk_at: float = float("-inf")

    @classmethod
    def from_config(cls, guard: Guard, memory_bytes: int, folder: Path) -> "MemoryGuard":
        """The guard of one worker, with ``auto`` resolved for this machine."""
        growth = guard.max_swap_growth_bytes
        if growth == "auto":
            growth = min(_AUTO_SWAP_SHARE * memory_bytes, _AUTO_SWAP_BYTES)
        return cls(float(growth), guard.min_free_disk_bytes, folder)

    def judge(self, sample: Sample | None) -> Stop | None:
        """Why the worker must be stopped now, or None. Disk is looked at even without samples."""
        return self._judge_swap(sample) or self._judge_disk()

    def _judge_swap(self, sample: Sample | None) -> Stop | None:
        used = None if sample is None else sample.system.swap_used_bytes
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
