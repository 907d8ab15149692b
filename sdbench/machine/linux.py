"""Linux: everything from /proc, through files kept open."""

import os
from pathlib import Path

from sdbench.machine.memory import MemoryProbe, SystemMemory

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class LinuxMemoryProbe(MemoryProbe):
    """RSS, MemAvailable and swap; about 0.1 ms a reading."""

    footprint_source = "rss"

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = str(proc)
        self._meminfo = os.open(proc / "meminfo", os.O_RDONLY)
        self._vmstat = os.open(proc / "vmstat", os.O_RDONLY)

    def system(self) -> SystemMemory:
        meminfo = parse_meminfo(os.pread(self._meminfo, 8192, 0))
        vmstat = parse_vmstat(os.pread(self._vmstat, 16384, 0))
        total, free = meminfo.get(b"SwapTotal"), meminfo.get(b"SwapFree")
        pages_in, pages_out = vmstat.get(b"pswpin"), vmstat.get(b"pswpout")
        return SystemMemory(
            available_bytes=meminfo.get(b"MemAvailable"),
            swap_used_bytes=None if total is None or free is None else total - free,
            swapped_in_bytes=None if pages_in is None else pages_in * _PAGE_BYTES,
            swapped_out_bytes=None if pages_out is None else pages_out * _PAGE_BYTES,
        )

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
        return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 and fields[0] != b"0" else None

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


def parse_meminfo(text: bytes) -> dict[bytes, int]:
    """The three lines the sampler needs of ``/proc/meminfo``, in bytes."""
    found = {}
    for name in (b"MemAvailable", b"SwapTotal", b"SwapFree"):
        start = text.find(name + b":")
        if start >= 0:
            end = text.find(b"\n", start)
            found[name] = int(text[start + len(name) + 1 : end].split()[0]) * 1024
    return found


def parse_vmstat(text: bytes) -> dict[bytes, int]:
    """Swap traffic in pages and out-of-memory kills from ``/proc/vmstat``."""
    found = {}
    for name in (b"pswpin", b"pswpout", b"oom_kill"):
        start = text.find(b"\n" + name + b" ")
        if start >= 0:
            end = text.find(b"\n", start + 1)
            found[name] = int(text[start + len(name) + 2 : end if end > 0 else None])
    return found
