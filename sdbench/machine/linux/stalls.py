"""Linux: how short memory is, on macOS's scale."""

import re

from sdbench.machine.facts import PRESSURE_LEVELS, Pressure, Unavailable
from sdbench.machine.linux.cgroup import LimitedCgroup
from sdbench.machine.system import Read

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
    meminfo: dict[bytes, int], cgroups: list[LimitedCgroup], read: Read, proc: str = "/proc"
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
    reported = [level for level in levels if level is not None]
    if not reported:
        return Unavailable("this kernel reports neither stalls nor available memory")
    return max(reported, key=PRESSURE_LEVELS.index)


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
