"""macOS: memory and heat through libSystem by ctypes, so that sampling starts no process.

Not yet run on a Mac; the structures follow the public headers mach/vm_statistics.h and
sys/resource.h (``proc_pid_rusage``). RSS is not used: it misses compressed pages (seen in a public
recording: 13 MB resident where the footprint was 5154 MB). psutil's ``sin``/``sout`` are not used
either: on macOS they are file paging, not swap.
"""

import ctypes
from typing import Any

from sdbench.machine.facts import SlowReading, Thermal, Unavailable
from sdbench.machine.gpu.reader import GpuReader, NoGpu
from sdbench.machine.macos.commands import THERMAL_KEY
from sdbench.machine.macos.text import parse_pressure, parse_thermal
from sdbench.machine.memory import MemoryProbe, SystemMemory
from sdbench.machine.plausible import whole

_LIBRARY = "/usr/lib/libSystem.B.dylib"
_RUSAGE_INFO_V4 = 4
_RUSAGE_BUFFER_BYTES = 512
_PHYS_FOOTPRINT_OFFSET = 72
_HOST_VM_INFO64 = 4
_HOST_INFO64_WORDS = 256
_MOST_CHILDREN = 64


class VMStatistics64(ctypes.Structure):
    """``struct vm_statistics64`` as of macOS 10.9, with room for what was added since.

    macOS 27 refuses a caller that has no room for its own structure (jundot/omlx#1749); 256 words
    are the most that the call can return (``host_info64_t``).
    """

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
        # The fields above are 38 words.
        ("added_since", ctypes.c_uint32 * (_HOST_INFO64_WORDS - 38)),
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
    """phys_footprint, host_statistics64, sysctl values and the thermal notification's state."""

    footprint_source = "phys-footprint"

    def __init__(
        self,
        library: Any = None,
        gpu: GpuReader = NoGpu("no GPU is monitored"),  # noqa: B008 - it has no state
    ) -> None:
        self._system = library or ctypes.CDLL(_LIBRARY, use_errno=True)
        self._host = self._system.mach_host_self()
        self._page_bytes = self._system.getpagesize()
        self._buffer = (ctypes.c_uint8 * _RUSAGE_BUFFER_BYTES)()
        self._gpu = gpu
        self._thermal_token = self._register(THERMAL_KEY)

    def system(self) -> SystemMemory:
        statistics = self._statistics()
        swap = self._swap_used()
        if statistics is None:
            return SystemMemory(None, swap, None, None)
        # What psutil calls available; the free count holds the speculative pages here.
        available = statistics.free_count + statistics.inactive_count
        return SystemMemory(
            available_bytes=available * self._page_bytes,
            swap_used_bytes=swap,
            swapped_in_bytes=statistics.swapins * self._page_bytes,
            swapped_out_bytes=statistics.swapouts * self._page_bytes,
        )

    def slow(self) -> SlowReading:
        statistics = self._statistics()
        level = self._integer(b"kern.memorystatus_vm_pressure_level")
        percent = self._integer(b"kern.memorystatus_level")
        return SlowReading(
            pressure=level if isinstance(level, Unavailable) else parse_pressure(str(level)),
            thermal=self._thermal(),
            free_percent=percent
            if isinstance(percent, Unavailable)
            else whole(str(percent), "kern.memorystatus_level", 0, 100),
            compressor_bytes=Unavailable("host_statistics64 failed")
            if statistics is None
            else statistics.compressor_page_count * self._page_bytes,
            gpu=self._gpu.read(),
        )

    def energy_j(self) -> dict[str, float] | Unavailable:
        return self._gpu.energy_j()

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

    def close(self) -> None:
        if self._thermal_token is not None:
            self._system.notify_cancel(self._thermal_token)
        self._gpu.close()

    def _statistics(self) -> VMStatistics64 | None:
        statistics = VMStatistics64()
        count = ctypes.c_uint32(ctypes.sizeof(statistics) // 4)
        failed = self._system.host_statistics64(
            self._host, _HOST_VM_INFO64, ctypes.byref(statistics), ctypes.byref(count)
        )
        return None if failed else statistics

    def _swap_used(self) -> int | None:
        usage = SwapUsage()
        return int(usage.used) if self._sysctl(b"vm.swapusage", usage) else None

    def _integer(self, name: bytes) -> int | Unavailable:
        value = ctypes.c_int32()
        if self._sysctl(name, value):
            return value.value
        return Unavailable(f"sysctl does not know {name.decode()}")

    def _sysctl(self, name: bytes, into: Any) -> bool:
        size = ctypes.c_size_t(ctypes.sizeof(into))
        failed = self._system.sysctlbyname(
            name, ctypes.byref(into), ctypes.byref(size), None, ctypes.c_size_t(0)
        )
        return not failed

    def _register(self, key: str) -> ctypes.c_int | None:
        """notify_register_check(3); 0 is NOTIFY_STATUS_OK."""
        token = ctypes.c_int()
        failed = self._system.notify_register_check(key.encode(), ctypes.byref(token))
        return None if failed else token

    def _thermal(self) -> Thermal | Unavailable:
        """notify_get_state(3): what ``notifyutil -g`` prints."""
        state = ctypes.c_uint64()
        if self._thermal_token is None or self._system.notify_get_state(
            self._thermal_token, ctypes.byref(state)
        ):
            return Unavailable("macOS does not report its thermal level")
        return parse_thermal(f"{THERMAL_KEY} {state.value}", THERMAL_KEY)
