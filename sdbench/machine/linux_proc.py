"""Linux: what /proc and /sys say, for the sampler through files kept open."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from sdbench.machine.facts import (
    PRESSURE_LEVELS,
    THERMAL_LEVELS,
    Pressure,
    SlowReading,
    Thermal,
    Unavailable,
)
from sdbench.machine.gpu import GpuReader, NoGpu
from sdbench.machine.memory import MemoryProbe, SystemMemory

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MACOS_ONLY = Unavailable("only macOS tells")

Read = Callable[[str], "str | Unavailable"]

_MEMINFO = (b"MemAvailable", b"SwapTotal", b"SwapFree")
MEMINFO_MORE = (*_MEMINFO, b"MemTotal", b"Zswap")


class LinuxMemoryProbe(MemoryProbe):
    """RSS, MemAvailable and swap; about 0.1 ms a reading."""

    footprint_source = "rss"

    def __init__(
        self,
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
        gpu: GpuReader = NoGpu("no GPU is watched"),  # noqa: B008 - it has no state
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
            compressor_bytes=meminfo.get(b"Zswap", Unavailable("this kernel does not tell")),
            gpu=self._gpu.read(),
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
        return int(fields[1]) * PAGE_BYTES if len(fields) > 1 and fields[0] != b"0" else None

    def pss_bytes(self, pid: int) -> int | None:
        try:
            with open(f"{self._proc}/{pid}/smaps_rollup", "rb") as file:
                return parse_meminfo(file.read(), (b"Pss",)).get(b"Pss")
        except OSError:  # gone, not ours, or a kernel before 4.14
            return None

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
    """Some lines of ``/proc/meminfo`` (or ``smaps_rollup``), in bytes."""
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


# --- memory pressure ------------------------------------------------------------------------------

# earlyoom's defaults (-m 10,5 -s 10,5), which desktops ship: it ends processes when both available
# memory and free swap fall below 10%, without mercy below 5%.
_LOW_SHARE = 0.10
_LAST_SHARE = 0.05
# Pressure stall information, averages of 10 s. GLib's memory monitor warns when something has
# waited for memory 5% of the time (100 ms of 2 s); systemd-oomd ends a group when all of it has
# waited 60% of the time, Fedora's desktop at 50%.
_SOME_WAIT_PERCENT = 5.0
_ALL_WAIT_PERCENT = 50.0


def parse_stalls(text: str) -> tuple[float, float] | Unavailable:
    """``some avg10`` and ``full avg10`` of a pressure file, in percent of time."""
    found = [
        re.search(rf"^{kind} avg10=([0-9]{{1,3}}\.[0-9]{{2}}) ", text, re.MULTILINE)
        for kind in ("some", "full")
    ]
    if found[0] is None or found[1] is None:
        return Unavailable("there is no pressure stall information")
    return float(found[0][1]), float(found[1][1])


def pressure(
    meminfo: dict[bytes, int], cgroups: list["LimitedCgroup"], read: Read, proc: str = "/proc"
) -> Pressure | Unavailable:
    """The worst of what stalls and shares of free memory say, for the machine and its cgroups."""
    levels = [_stall_level(read(f"{proc}/pressure/memory"))]
    swap_free = _share(meminfo.get(b"SwapFree"), meminfo.get(b"SwapTotal"))
    free = _share(meminfo.get(b"MemAvailable"), meminfo.get(b"MemTotal"))
    if free is not None:
        levels.append(_share_level(free, swap_free))
    for cgroup in cgroups:
        left = cgroup.available_bytes(read)
        if left is not None:
            levels.append(_share_level(left / cgroup.limit_bytes, swap_free))
        if cgroup.stalls_path is not None:
            levels.append(_stall_level(read(cgroup.stalls_path)))
    told = [level for level in levels if level is not None]
    if not told:
        return Unavailable("this kernel tells neither stalls nor available memory")
    return max(told, key=PRESSURE_LEVELS.index)


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or whole is None or whole <= 0 else part / whole


def _share_level(free: float, swap_free: float | None) -> Pressure:
    least = max(free, swap_free or 0.0)
    return "critical" if least < _LAST_SHARE else "warn" if least < _LOW_SHARE else "normal"


def _stall_level(text: str | Unavailable) -> Pressure | None:
    stalls = text if isinstance(text, Unavailable) else parse_stalls(text)
    if isinstance(stalls, Unavailable):
        return None
    some, full = stalls
    if full >= _ALL_WAIT_PERCENT:
        return "critical"
    return "warn" if some >= _SOME_WAIT_PERCENT else "normal"


# --- control groups -------------------------------------------------------------------------------


class LimitedCgroup(msgspec.Struct, frozen=True):
    """A control group that gives us less memory than the machine has (containers, systemd)."""

    limit_bytes: int
    usage_path: str
    stat_path: str
    stat_key: str
    """File cache that is not in use counts as usage, but can be had at once."""
    stalls_path: str | None

    def available_bytes(self, read: Read) -> int | None:
        """What is left of the limit."""
        usage, stat = read(self.usage_path), read(self.stat_path)
        if isinstance(usage, Unavailable) or not usage.strip().isdigit():
            return None
        cache = None if isinstance(stat, Unavailable) else _stat_value(stat, self.stat_key)
        return max(0, self.limit_bytes - int(usage) + (cache or 0))


def _stat_value(stat: str, key: str) -> int | None:
    found = re.search(rf"^{key} ([0-9]{{1,20}})$", stat, re.MULTILINE)
    return int(found[1]) if found else None


def limited_cgroups(
    read: Read, memory_bytes: int | None, proc: str = "/proc", sys: str = "/sys"
) -> list[LimitedCgroup]:
    """The control groups, from our own up to the root, whose limit is below the machine's memory.

    Version 2 and version 1 of control groups; in a container its own group is mounted as the root.
    """
    membership = read(f"{proc}/self/cgroup")
    if isinstance(membership, Unavailable):
        return []
    root, path, version = f"{sys}/fs/cgroup", "/", 2
    for line in membership.splitlines():
        _, _, controllers_and_path = line.partition(":")
        controllers, _, own = controllers_and_path.partition(":")
        if "memory" in controllers.split(","):
            root, path, version = f"{sys}/fs/cgroup/memory", own, 1
            break
        if not controllers:
            path = own
    parts = [part for part in path.split("/") if part and part != ".."]
    folders = [f"{root}/{'/'.join(parts[:depth])}".rstrip("/") for depth in range(len(parts) + 1)]
    found = [_limited(read, folder, version) for folder in reversed(folders)]
    most = memory_bytes or 1 << 62
    return [group for group in found if group is not None and group.limit_bytes < most]


def _limited(read: Read, folder: str, version: int) -> LimitedCgroup | None:
    limit = read(f"{folder}/{'memory.max' if version == 2 else 'memory.limit_in_bytes'}")
    if isinstance(limit, Unavailable) or not limit.strip().isdigit():
        return None
    if version == 2:
        return LimitedCgroup(
            limit_bytes=int(limit),
            usage_path=f"{folder}/memory.current",
            stat_path=f"{folder}/memory.stat",
            stat_key="inactive_file",
            stalls_path=f"{folder}/memory.pressure",
        )
    return LimitedCgroup(
        limit_bytes=int(limit),
        usage_path=f"{folder}/memory.usage_in_bytes",
        stat_path=f"{folder}/memory.stat",
        stat_key="total_inactive_file",
        stalls_path=None,
    )


def available_bytes(
    meminfo: dict[bytes, int], cgroups: list[LimitedCgroup], read: Read
) -> int | None:
    """Memory that can be had without swapping: the machine's, or less where a cgroup limits it."""
    left = [cgroup.available_bytes(read) for cgroup in cgroups]
    told = [amount for amount in (meminfo.get(b"MemAvailable"), *left) if amount is not None]
    return min(told, default=None)


# --- heat -----------------------------------------------------------------------------------------

# Kernel documentation, thermal/sysfs-api: from its passive trip point on a zone is cooled by
# slowing down, "hot" tells the firmware, at "critical" the machine is switched off.
_TRIPS: dict[str, Thermal] = {"passive": "moderate", "hot": "heavy", "critical": "trapping"}
_MOST_ZONES = 64
_MOST_TRIPS = 12
# Milli-degrees; sensors that are absent read as 0 or far below.
_COLDEST, _HOTTEST = -50_000, 200_000


class ThermalZones:
    """Temperatures against the kernel's own trip points, and Intel's count of throttling."""

    def __init__(self, read: Read, sys: str = "/sys") -> None:
        self._zones: list[tuple[str, list[tuple[int, Thermal]]]] = []
        for index in range(_MOST_ZONES):
            zone = f"{sys}/class/thermal/thermal_zone{index}"
            if isinstance(read(f"{zone}/type"), Unavailable):
                break
            trips = _trips(read, zone)
            if trips:
                self._zones.append((f"{zone}/temp", trips))
        self._counter = f"{sys}/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
        self._count = _whole(read(self._counter))

    def level(self, read: Read) -> Thermal | Unavailable:
        """The worst zone now; at least moderate if the CPU was throttled since the last time."""
        levels: list[Thermal] = []
        for path, trips in self._zones:
            temperature = _whole(read(path))
            if temperature is not None and _COLDEST < temperature < _HOTTEST:
                passed = [level for limit, level in trips if temperature >= limit]
                levels.append(max(passed, key=THERMAL_LEVELS.index, default="nominal"))
        before, self._count = self._count, _whole(read(self._counter))
        if before is not None and self._count is not None and self._count > before:
            levels.append("moderate")
        if not levels:
            return Unavailable("this system shows no temperature with a limit")
        return max(levels, key=THERMAL_LEVELS.index)


def _trips(read: Read, zone: str) -> list[tuple[int, Thermal]]:
    trips: list[tuple[int, Thermal]] = []
    for index in range(_MOST_TRIPS):
        kind = read(f"{zone}/trip_point_{index}_type")
        if isinstance(kind, Unavailable):
            break
        limit = _whole(read(f"{zone}/trip_point_{index}_temp"))
        level = _TRIPS.get(kind.strip())
        if level is not None and limit is not None and 0 < limit < _HOTTEST:
            trips.append((limit, level))
    return trips


def _whole(text: str | Unavailable) -> int | None:
    if isinstance(text, Unavailable) or not re.fullmatch(r"\s*-?[0-9]{1,15}\s*", text):
        return None
    return int(text)
