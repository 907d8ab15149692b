"""What sysctl, vm_stat, memory_pressure, pmset, notifyutil and df print, as data.

Pure and total: no text makes a parser raise, and a number that cannot be is no number. The forms
differ with release, language and kind of Mac; ``tests/data/recordings`` has those that are known.
"""

import re

import msgspec

from sdbench.machine.facts import (
    PRESSURE_LEVELS,
    THERMAL_LEVELS,
    PowerSource,
    Pressure,
    Thermal,
    Unavailable,
    known,
)
from sdbench.machine.plausible import (
    MIB,
    MOST_MEMORY_BYTES,
    MOST_TRAFFIC_BYTES,
    impossible,
    memory_size,
    shown,
    whole,
)

_MOST_LOAD = 100_000.0
_PAGE_SIZES = (4096, 16384)


# --- sysctl ---------------------------------------------------------------------------------------


def parse_sysctl(text: str) -> dict[str, str]:
    """``name: value`` or ``name = value`` lines; of a value being set (``old -> new``) the new."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z_][\w-]*(?:\.[\w-]+)+)\s*[:=]\s*(\S.*)$", line)
        if match:
            found.setdefault(match[1], match[2].rpartition(" -> ")[2].strip())
    return found


def sysctl_refusal(name: str, stderr: str) -> Unavailable:
    """Why sysctl gave no value, from what it wrote to stderr."""
    if re.search(rf"{re.escape(name)}\W+(?:Operation not permitted|Permission denied)", stderr):
        return Unavailable(f"the system does not let this program read {name}")
    return Unavailable(f"sysctl does not know {name}")


def parse_pressure(text: str) -> Pressure | Unavailable:
    """``kern.memorystatus_vm_pressure_level``: 1 normal, 2 warn, 4 critical."""
    levels: dict[str, Pressure] = dict(zip(("1", "2", "4"), PRESSURE_LEVELS, strict=True))
    level = levels.get(text.strip())
    return level or Unavailable(f"pressure level {shown(text)} is none of 1, 2 and 4")


def parse_swap_used(text: str) -> int | Unavailable:
    """``vm.swapusage``, in bytes; always printed in M, with the decimals of the user's language."""
    sizes = {}
    for label, number, decimals in re.findall(
        r"\b(total|used)\s*=\s*(-?[0-9]{1,30})(?:[.,]([0-9]{1,10}))?M\b", text
    ):
        sizes[label] = round(float(f"{number}.{decimals or 0}") * MIB)
    used = sizes.get("used")
    if used is None:
        return Unavailable(f"vm.swapusage: {shown(text)} is not understood")
    if not 0 <= used <= min(sizes.get("total", MOST_MEMORY_BYTES), MOST_MEMORY_BYTES):
        return impossible("vm.swapusage", text)
    return used


def parse_load(text: str) -> float | Unavailable:
    """The first of the three averages of ``vm.loadavg`` (``{ 1.84 1.90 2.01 }``)."""
    found = re.match(r"[\s{]*([0-9]{1,12})[.,]([0-9]{1,10})\s", text + " ")
    if found is None:
        return Unavailable(f"vm.loadavg: {shown(text)} is not understood")
    load = float(f"{found[1]}.{found[2]}")
    return load if load <= _MOST_LOAD else impossible("vm.loadavg", found[1])


# --- memory ---------------------------------------------------------------------------------------


class PageCounts(msgspec.Struct, frozen=True):
    """Counters of ``vm_stat`` or ``memory_pressure``, in pages; labels are those of vm_stat."""

    page_bytes: int
    pages: dict[str, int]

    def bytes_of(self, *labels: str) -> int | Unavailable:
        """The sum of some counters."""
        for label in labels:
            pages = self.pages.get(label)
            if pages is None:
                return Unavailable(f"there is no line “{label}”")
            if not 0 <= pages * self.page_bytes <= MOST_TRAFFIC_BYTES:
                return impossible(label, pages)
        return sum(self.pages[label] for label in labels) * self.page_bytes


_SAME_COUNTERS = {"Pages used by compressor": "Pages occupied by compressor"}


def parse_vm_stat(text: str) -> PageCounts | Unavailable:
    """``vm_stat``: the header names the page size, every number ends in a full stop."""
    return _page_counts(text, "vm_stat", r"\.")


def parse_memory_pressure(text: str) -> PageCounts | Unavailable:
    """The counters of ``memory_pressure``, each with a blank behind; with ``-Q`` there are none."""
    return _page_counts(text, "memory_pressure", r"\s")


def _page_counts(text: str, program: str, end: str) -> PageCounts | Unavailable:
    size = re.search(r"page size of ([0-9]{1,10})(?: bytes)?\)", text)
    if size is None or int(size[1]) not in _PAGE_SIZES:
        return Unavailable(f"{program} names no page size")
    pages: dict[str, int] = {}
    for line in text.splitlines(keepends=True):
        found = re.fullmatch(rf'"?([A-Z][^":]{{1,60}})"?:\s+(-?[0-9]{{1,100}}){end}\s*', line)
        if found:
            pages.setdefault(_SAME_COUNTERS.get(found[1], found[1]), int(found[2]))
    return PageCounts(int(size[1]), pages)


def parse_free_percent(text: str) -> int | Unavailable:
    """The last line of ``memory_pressure``."""
    found = re.search(r"System-wide memory free percentage:\s*(-?[0-9]{1,100})%", text)
    if found is None:
        return Unavailable("memory_pressure names no free percentage")
    return whole(found[1], "free percentage", 0, 100)


def parse_memory_pressure_total(text: str) -> int | Unavailable:
    """The machine's memory in bytes, from the first line of ``memory_pressure``."""
    found = re.search(r"The system has ([0-9]{1,100}) \(", text)
    return memory_size(found[1]) if found else Unavailable("memory_pressure names no memory size")


# --- power and heat -------------------------------------------------------------------------------


class Battery(msgspec.Struct, frozen=True):
    """``pmset -g ps``."""

    source: PowerSource | Unavailable
    percent: int | Unavailable


_SOURCES: dict[str, PowerSource] = {
    "AC Power": "ac",
    "Battery Power": "battery",
    "UPS Power": "ups",
}


def parse_power_source(text: str) -> Battery:
    """Where the power comes from; a desktop prints the first line only."""
    named = re.search(r"Now drawing from '([^'\n]{1,40})'", text)
    battery = re.search(r"^.*InternalBattery.*$", text, re.MULTILINE)
    line = battery[0] if battery else ""
    if named:
        source: PowerSource | Unavailable = _SOURCES.get(
            named[1], Unavailable(f"pmset names a source {shown(named[1])} that is not known")
        )
    elif re.search(r";\s*discharging;", line):
        source = "battery"
    elif re.search(r";\s*(?:charging|charged|finishing charge|AC attached);", line):
        source = "ac"
    else:
        source = Unavailable("pmset names no power source")
    return Battery(source, _charge(line, known(source)))


def _charge(line: str, understood: bool) -> int | Unavailable:
    if not line or "present: false" in line:
        return Unavailable("there is no battery" if understood else "pmset shows no battery")
    found = re.search(r"(-?[0-9]{1,100})%", line)
    if found is None:
        return Unavailable("pmset names no charge")
    return whole(found[1], "charge of the battery", 0, 100)


_MODES = {
    "lowpowermode 0": False,
    "lowpowermode 1": True,
    "powermode 0": False,  # automatic
    "powermode 1": True,
    "powermode 2": False,  # high
}


def parse_low_power(text: str, source: PowerSource | Unavailable) -> bool | Unavailable:
    """``pmset -g``, or ``pmset -g custom`` whose section of the power source in use counts.

    Macs with a high power mode have ``powermode`` in place of ``lowpowermode``.
    """
    section = "Currently in use"
    modes: dict[str, list[str]] = {}
    for line in text.splitlines():
        heading = re.fullmatch(r"(\w[\w -]{1,40}):", line.strip())
        if heading:
            section = heading[1]
        setting = re.match(r"[\s*]*((?:low)?powermode)\s+(-?[0-9]{1,9})\b", line)
        if setting:
            modes.setdefault(section, []).append(f"{setting[1]} {setting[2]}")
    in_use = next((name for name, kind in _SOURCES.items() if kind == source), "")
    found = modes.get("Currently in use") or modes.get(in_use)
    if not found:
        return Unavailable("pmset shows no low-power mode; not every Mac has one")
    odd = [mode for mode in found if mode not in _MODES]
    if odd:
        return Unavailable(f"pmset shows “{odd[0]}”, whose meaning is not known")
    return any(_MODES[mode] for mode in found)


def parse_thermal(text: str, key: str) -> Thermal | Unavailable:
    """``notifyutil -g KEY``: the key and a number from 0 to 4."""
    found = re.search(rf"^[ \t]*{re.escape(key)}\s+(-?[0-9]{{1,100}})\s*$", text, re.MULTILINE)
    if found is None:
        return Unavailable("notifyutil names no thermal level")
    level = int(found[1])
    if not 0 <= level < len(THERMAL_LEVELS):
        return Unavailable(f"thermal level {shown(found[1])} is none of 0 to 4")
    return THERMAL_LEVELS[level]


def parse_speed_limit(text: str) -> int | Unavailable:
    """``pmset -g therm`` of an Intel Mac: how much of its speed the CPU may use, in percent."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*(-?[0-9]{1,100})\s", text + "\n")
    if found is None:
        return Unavailable("pmset has recorded no speed limit")
    return whole(found[1], "speed limit of the CPU", 0, 100)


# --- disk -----------------------------------------------------------------------------------------

_BLOCKS = {"512-blocks": 512, "1024-blocks": 1024, "1K-blocks": 1024, "1M-blocks": MIB}
_SUFFIXES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_df(text: str) -> int | Unavailable:
    """Free bytes from ``df`` with or without -k, -h or -P; of several volumes that of the data."""
    header, _, rest = text.partition("\n")
    unit = next((size for name, size in _BLOCKS.items() if name in header), 1)
    size = r"([0-9]{1,20}(?:\.[0-9]{1,3})?)([KMGTB]?)i?"
    free: dict[str, int] = {}
    for line in rest.splitlines():
        found = re.search(rf"\s{size}\s+{size}\s+{size}\s+[0-9]{{1,3}}%.*?\s(/.*)$", line)
        if found:
            free[found[7].strip()] = int(float(found[5]) * _SUFFIXES[found[6]] * unit)
    if not free:
        return Unavailable("df names no free space")
    mount = next(name for name in ("/System/Volumes/Data", "/", *free) if name in free)
    return free[mount] if free[mount] <= MOST_TRAFFIC_BYTES else impossible("df", free[mount])
