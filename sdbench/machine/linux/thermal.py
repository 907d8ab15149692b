"""Linux: how hot it is, on macOS's scale."""

import re

from sdbench.machine.facts import THERMAL_LEVELS, Thermal, Unavailable
from sdbench.machine.system import Read

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
            return Unavailable("this system reports no temperature with a limit")
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
