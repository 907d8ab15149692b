"""macOS: memory through libSystem by ctypes, so that sampling starts no process.

Not yet run on a Mac; the structures follow the public headers mach/vm_statistics.h and
sys/resource.h (``proc_pid_rusage``). RSS is not used: it misses compressed pages (seen in a public
recording: 13 MB resident where the footprint was 5154 MB). psutil's ``sin``/``sout`` are not used
either: on macOS they are file paging, not swap.
"""

import ctypes

from sdbench.machine.memory import MemoryProbe, SystemMemory

_RUSAGE_INFO_V4 = 4
_RUSAGE_BUFFER_BYTES = 512
_PHYS_FOOTPRINT_OFFSET = 72
_HOST_VM_INFO64 = 4
_MOST_CHILDREN = 64


class VMStatistics64(ctypes.Structure):
    """``struct vm_statistics64`` up to ``swapouts``; later fields are not needed."""

    _fields_ = [
        ("free_count", ctypes.c_uint32),
        ("active_count", ctypes.c_uint32),
        ("inactive_count", ctypes.c_uint32),
        ("wire_count", ctypes.c_uint32),
        ("zero_fill_count", ctypes.c_uint64),
        ("reactivations", ctypes.c_uint64),
        ("pageins", ctypes.c_uint64),
        ("pageouts", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
        ("cow_faults", ctypes.c_uint64),
        ("lookups", ctypes.c_uint64),
        ("hits", ctypes.c_uint64),
        ("purges", ctypes.c_uint64),
        ("purgeable_count", ctypes.c_uint32),
        ("speculative_count", ctypes.c_uint32),
        ("decompressions", ctypes.c_uint64),
        ("compressions", ctypes.c_uint64),
        ("swapins", ctypes.c_uint64),
        ("swapouts", ctypes.c_uint64),
        ("compressor_page_count", ctypes.c_uint32),
        ("throttled_count", ctypes.c_uint32),
        ("external_page_count", ctypes.c_uint32),
        ("internal_page_count", ctypes.c_uint32),
        ("total_uncompressed_pages_in_compressor", ctypes.c_uint64),
    ]


class SwapUsage(ctypes.Structure):
    """``struct xsw_usage`` of ``sysctl vm.swapusage``."""

    _fields_ = [
        ("total", ctypes.c_uint64),
        ("available", ctypes.c_uint64),
        ("used", ctypes.c_uint64),
        ("page_size", ctypes.c_uint32),
        ("encrypted", ctypes.c_uint32),
    ]


class MacMemoryProbe(MemoryProbe):
    """phys_footprint, host_statistics64 and vm.swapusage."""

    footprint_source = "phys-footprint"

    def __init__(self) -> None:
        self._system = ctypes.CDLL("/usr/lib/libSystem.B.dylib", use_errno=True)
        self._host = self._system.mach_host_self()
        self._page_bytes = self._system.getpagesize()
        self._buffer = (ctypes.c_uint8 * _RUSAGE_BUFFER_BYTES)()

    def system(self) -> SystemMemory:
        statistics = VMStatistics64()
        count = ctypes.c_uint32(ctypes.sizeof(statistics) // 4)
        failed = self._system.host_statistics64(
            self._host, _HOST_VM_INFO64, ctypes.byref(statistics), ctypes.byref(count)
        )
        swap = self._swap_used()
        if failed:
            return SystemMemory(None, swap, None, None)
        available = statistics.free_count + statistics.inactive_count - statistics.speculative_count
        return SystemMemory(
            available_bytes=available * self._page_bytes,
            swap_used_bytes=swap,
            swapped_in_bytes=statistics.swapins * self._page_bytes,
            swapped_out_bytes=statistics.swapouts * self._page_bytes,
        )

    def footprint_bytes(self, pid: int) -> int | None:
        if self._system.proc_pid_rusage(pid, _RUSAGE_INFO_V4, ctypes.byref(self._buffer)):
            return None
        value = ctypes.c_uint64.from_buffer(self._buffer, _PHYS_FOOTPRINT_OFFSET).value
        return int(value)

    def children(self, pid: int) -> list[int]:
        found = (ctypes.c_int * _MOST_CHILDREN)()
        count = self._system.proc_listchildpids(pid, found, ctypes.sizeof(found))
        return list(found[: max(0, min(count, _MOST_CHILDREN))])

    def out_of_memory_kills(self) -> int | None:
        return None  # macOS keeps no counter; jetsam leaves a report instead

    def _swap_used(self) -> int | None:
        usage = SwapUsage()
        size = ctypes.c_size_t(ctypes.sizeof(usage))
        failed = self._system.sysctlbyname(
            b"vm.swapusage", ctypes.byref(usage), ctypes.byref(size), None, ctypes.c_size_t(0)
        )
        return None if failed else int(usage.used)
