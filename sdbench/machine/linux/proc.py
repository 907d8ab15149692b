"""Linux: what /proc and /sys say, for the sampler through files kept open."""

import os
from pathlib import Path

from sdbench.machine.facts import SlowReading, Unavailable
from sdbench.machine.gpu.reader import GpuReader, NoGpu
from sdbench.machine.linux.cgroup import available_bytes, limited_cgroups
from sdbench.machine.linux.stalls import pressure
from sdbench.machine.linux.thermal import ThermalZones
from sdbench.machine.memory import MemoryProbe, SystemMemory

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MACOS_ONLY = Unavailable("only macOS reports it")

_MEMINFO = (b"MemAvailable", b"SwapTotal", b"SwapFree")
MEMINFO_MORE = (*_MEMINFO, b"MemTotal", b"Zswap")


class LinuxMemoryProbe(MemoryProbe):
    """RSS, MemAvailable and swap; about 0.1 ms a reading."""

    footprint_source = "rss"

    def __init__(
        self,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        gpu: GpuReader = NoGpu("no GPU is monitored"),  # noqa: B008 - it has no state
    ) -> None:
        self._proc = str(proc)
        self._meminfo = os.open(proc / "meminfo", os.O_RDONLY)
        self._vmstat = os.open(proc / "vmstat", os.O_RDONLY)
        self._gpu = gpu
        total = parse_meminfo(os.pread(self._meminfo, 8192, 0), MEMINFO_MORE).get(b"MemTotal")
        self._cgroups = limited_cgroups(read_text, total, str(proc), str(sys))
        self._thermal = ThermalZones(read_text, str(sys))

    def system(self) -> SystemMemory:
        meminfo = parse_meminfo(os.pread(self._meminfo, 8192, 0))
        vmstat = parse_vmstat(os.pread(self._vmstat, 16384, 0))
        total, free = meminfo.get(b"SwapTotal"), meminfo.get(b"SwapFree")
        pages_in, pages_out = vmstat.get(b"pswpin"), vmstat.get(b"pswpout")
        return SystemMemory(
            available_bytes=available_bytes(meminfo, self._cgroups, read_text),
            swap_used_bytes=None if total is None or free is None else total - free,
            swapped_in_bytes=None if pages_in is None else pages_in * PAGE_BYTES,
            swapped_out_bytes=None if pages_out is None else pages_out * PAGE_BYTES,
        )

    def slow(self) -> SlowReading:
        meminfo = parse_meminfo(os.pread(self._meminfo, 8192, 0), MEMINFO_MORE)
        return SlowReading(
            pressure=pressure(meminfo, self._cgroups, read_text, self._proc),
            thermal=self._thermal.level(read_text),
            free_percent=MACOS_ONLY,
            compressor_bytes=meminfo.get(b"Zswap", Unavailable("this kernel does not report it")),
            gpu=self._gpu.read(),
        )

    def energy_j(self) -> dict[str, float] | Unavailable:
        return self._gpu.energy_j()

    def footprint_bytes(self, pid: int) -> int | None:
        try:
            fd = os.open(f"{self._proc}/{pid}/statm", os.O_RDONLY)
        except OSError:
            return None
        try:
            fields = os.read(fd, 256).split()
        except OSError:  # it ended between the two calls
            return None
        finally:
            os.close(fd)
        # A zombie's statm reads as zeros: it weighs nothing because it is gone.
        return int(fields[1]) * PAGE_BYTES if len(fields) > 1 and fields[0] != b"0" else None

    def children(self, pid: int) -> list[int]:
        try:
            with open(f"{self._proc}/{pid}/task/{pid}/children", "rb") as file:
                return [int(word) for word in file.read().split()]
        except OSError:  # gone, or a kernel without CONFIG_PROC_CHILDREN
            return []

    def out_of_memory_kills(self) -> int | None:
        return parse_vmstat(os.pread(self._vmstat, 16384, 0)).get(b"oom_kill")

    def close(self) -> None:
        os.close(self._meminfo)
        os.close(self._vmstat)
        self._gpu.close()


def read_text(path: str) -> str | Unavailable:
    """A small file, without Python's buffers."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return Unavailable(f"there is no {path}")
    try:
        return os.read(fd, 1 << 16).decode("utf-8", "replace")
    except OSError:
        return Unavailable(f"{path} cannot be read")
    finally:
        os.close(fd)


def parse_meminfo(text: bytes, names: tuple[bytes, ...] = _MEMINFO) -> dict[bytes, int]:
    """Some lines of ``/proc/meminfo``, in bytes."""
    found = {}
    for name in names:
        start = 0 if text.startswith(name + b":") else text.find(b"\n" + name + b":") + 1
        if start > 0 or text.startswith(name + b":"):
            number = _number(text, start + len(name) + 1)
            if number is not None:
                found[name] = number * 1024
    return found


def parse_vmstat(text: bytes) -> dict[bytes, int]:
    """Swap traffic in pages and out-of-memory kills from ``/proc/vmstat``."""
    found = {}
    for name in (b"pswpin", b"pswpout", b"oom_kill"):
        start = text.find(b"\n" + name + b" ")
        if start >= 0:
            number = _number(text, start + len(name) + 2)
            if number is not None:
                found[name] = number
    return found


def _number(text: bytes, start: int) -> int | None:
    """The whole number that follows."""
    word = text[start : start + 40].split(None, 1)[:1]
    return int(word[0]) if word and word[0].isdigit() else None
