"""The CPU: always there, synchronous, its memory is the process's."""

import platform
import sys
from typing import Any, Optional

from .base import Device, MemoryReading

_NO_ALLOCATOR = "the cpu has no allocator counters; see the process's memory"


class CPU(Device):
    """torch on the processor."""

    kind = "cpu"

    def why_unavailable(self) -> Optional[str]:
        return None

    def synchronize(self) -> None:
        """Nothing to wait for: CPU kernels return when they are done."""

    def memory(self) -> MemoryReading:
        return MemoryReading(reason=_NO_ALLOCATOR)

    def reset_peak(self) -> None:
        """Reset the kernel's high-water mark of resident memory (Linux)."""
        if sys.platform.startswith("linux"):
            try:
                with open("/proc/self/clear_refs", "w") as file:
                    file.write("5")
            except OSError:  # a hardened kernel: peak_bytes then covers the whole process
                pass

    def peak_bytes(self) -> "tuple[Optional[int], Optional[str]]":
        if not sys.platform.startswith("linux"):
            return None, "sampled by the parent on this system"
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024, "rss"
        return None, "/proc/self/status has no VmHWM"

    def empty_cache(self) -> None:
        """Nothing is cached."""

    def facts(self) -> "dict[str, Any]":
        import torch

        return {
            "name": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        }

    def supported_dtypes(self) -> "tuple[str, ...]":
        return ("float32", "bfloat16", "float16")
