"""What programs of macOS print, as data: pure, and total (no text makes a parser raise).

A number that cannot be is no number: it becomes :class:`Unavailable` with the reason, never 0.
"""

import json
import re
from typing import Any

import msgspec

from sdbench.machine.facts import (
    PRESSURE_LEVELS,
    THERMAL_LEVELS,
    CoreKind,
    PowerSource,
    Pressure,
    Thermal,
    Unavailable,
    known,
)

MIB = 1 << 20
# The largest Macs have 1.5 TB of memory and 32 cores; the limits leave room for many years.
LEAST_MEMORY_BYTES = 256 * MIB
MOST_MEMORY_BYTES = 64 << 40
MOST_CORES = 1024
_MOST_GPU_CORES = 4096
# Swap traffic since the machine started may be many times its disk.
_MOST_TRAFFIC_BYTES = 1 << 60
_MOST_LOAD = 100_000.0
_PAGE_SIZES = (4096, 16384)


def shown(text: str) -> str:
    """A few words of a text that was not understood, fit for one line on a screen."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f"“{words[:40]}…”" if len(words) > 40 else f"“{words}”"


def whole(text: str, what: str, least: int, most: int) -> int | Unavailable:
    """A whole number within bounds."""
    found = re.fullmatch(r"\s*(-?[0-9]{1,100})\s*", text)
    if found is None:
        return Unavailable(f"{what}: {shown(text)} is no whole number")
    number = int(found[1])
    if not least <= number <= most:
        return Unavailable(f"{what}: {shown(text)} cannot be")
    return number


def word(text: str, what: str) -> str | Unavailable:
    """A name of a thing: one short line that can be printed."""
    name = text.strip()
    if not 0 < len(name) <= 100 or not name.isprintable():
        return Unavailable(f"{what}: {shown(text)} is no name")
    return name


# --- sysctl ---------------------------------------------------------------------------------------


def parse_sysctl(text: str) -> dict[str, str]:
    """``name: value`` or ``name = value`` lines; of a value being set (``old -> new``) the new."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z_][\w.]*\.[\w.-]+)\s*(?::|=)\s*(.*)$", line)
        if match and match[2].strip():
            found.setdefault(match[1], match[2].rpartition(" -> ")[2].strip())
    return found


def sysctl_refusal(name: str, stderr: str) -> Unavailable:
    """Why sysctl gave no value, from what it wrote to stderr."""
    refused = re.search(rf"{re.escape(name)}\W*:?\s*(?:Operation not permitted|Permission)", stderr)
    if refused:
        return Unavailable(f"the system does not let this program read {name}")
    return Unavailable(f"sysctl does not know {name}")


def parse_pressure(text: str) -> Pressure | Unavailable:
    """``kern.memorystatus_vm_pressure_level``: 1 normal, 2 warn, 4 critical."""
    levels: dict[str, Pressure] = dict(zip(("1", "2", "4"), PRESSURE_LEVELS, strict=True))
    level = levels.get(text.strip())
    return level or Unavailable(f"pressure level {shown(text)} is none of 1, 2 and 4")


def parse_swap_used(text: str) -> int | Unavailable:
    """``vm.swapusage``, in bytes; always printed in M, with the decimals of the user's language."""
    found = re.search(r"\bused\s*=\s*(-?[0-9]{1,30})(?:[.,]([0-9]{1,10}))?M\b", text)
    if found is None:
        return Unavailable(f"vm.swapusage: {shown(text)} is not understood")
    used = int(float(f"{found[1]}.{found[2] or 0}") * MIB)
    if not 0 <= used <= MOST_MEMORY_BYTES:
        return Unavailable(f"vm.swapusage: {found[0][:40]} cannot be")
    return used


def parse_load(text: str) -> float | Unavailable:
    """The first of the three averages of ``vm.loadavg`` (``{ 1.84 1.90 2.01 }``)."""
    found = re.match(r"[\s{\[]*([0-9]{1,12})(?:[.,]([0-9]{1,10}))?[\s,]", text + " ")
    if found is None:
        return Unavailable(f"vm.loadavg: {shown(text)} is not understood")
    load = float(f"{found[1]}.{found[2] or 0}")
    return load if load <= _MOST_LOAD else Unavailable(f"vm.loadavg: {load:g} cannot be")


# --- memory ---------------------------------------------------------------------------------------


class PageCounts(msgspec.Struct, frozen=True):
    """Counters of ``vm_stat`` or ``memory_pressure``, in pages; labels are those of vm_stat."""

    page_bytes: int
    pages: dict[str, int]

    def bytes_of(self, *labels: str) -> int | Unavailable:
        """The sum of some counters."""
        missing = [label for label in labels if label not in self.pages]
        if missing:
            return Unavailable(f"there is no line “{missing[0]}”")
        total = sum(self.pages[label] for label in labels) * self.page_bytes
        return total if total <= _MOST_TRAFFIC_BYTES else Unavailable(f"{labels[0]}: {total} bytes")


_SAME_COUNTERS = {"Pages used by compressor": "Pages occupied by compressor"}


def parse_vm_stat(text: str) -> PageCounts | Unavailable:
    """``vm_stat``: the header names the page size, every number ends in a full stop."""
    return _page_counts(text, "vm_stat", r"([0-9]{1,20})\.")


def parse_memory_pressure(text: str) -> PageCounts | Unavailable:
    """The counters of ``memory_pressure``; with ``-Q`` there are none."""
    return _page_counts(text, "memory_pressure", r"([0-9]{1,20}) ?")


def _page_counts(text: str, program: str, number: str) -> PageCounts | Unavailable:
    size = re.search(r"page size of ([0-9]{1,10})(?: bytes)?\)", text)
    if size is None or int(size[1]) not in _PAGE_SIZES:
        return Unavailable(f"{program} names no page size")
    pages: dict[str, int] = {}
    for line in text.splitlines():
        found = re.fullmatch(rf'"?([A-Z][^":]{{1,60}})"?:\s+{number}\s*', line.rstrip())
        if found:
            pages.setdefault(_SAME_COUNTERS.get(found[1], found[1]), int(found[2]))
    return PageCounts(int(size[1]), pages)


def parse_free_percent(text: str) -> int | Unavailable:
    """The last line of ``memory_pressure``."""
    found = re.search(r"System-wide memory free percentage:\s*(-?[0-9]{1,12})%", text)
    if found is None:
        return Unavailable("memory_pressure names no free percentage")
    return whole(found[1], "memory_pressure", 0, 100)


def parse_memory_pressure_total(text: str) -> int | Unavailable:
    """The machine's memory in bytes, from the first line of ``memory_pressure``."""
    found = re.search(r"The system has ([0-9]{1,40}) \(", text)
    if found is None:
        return Unavailable("memory_pressure names no memory size")
    return whole(found[1], "memory size", LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES)


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
    elif re.search(r";\s*discharging", line):
        source = "battery"
    elif re.search(r";\s*(?:charging|charged|finishing charge|AC attached)", line):
        source = "ac"
    else:
        source = Unavailable("pmset names no power source")
    return Battery(source, _percent(line, known(source)))


def _percent(line: str, understood: bool) -> int | Unavailable:
    if not line or "present: false" in line:
        return Unavailable("there is no battery" if understood else "pmset shows no battery")
    found = re.search(r"(-?[0-9]{1,12})%", line)
    if found is None:
        return Unavailable("pmset names no charge")
    return whole(found[1], "charge of the battery", 0, 100)


_SECTIONS = {"ac": "AC Power", "battery": "Battery Power", "ups": "UPS Power"}


def parse_low_power(text: str, source: PowerSource | Unavailable) -> bool | Unavailable:
    """``pmset -g``, or ``pmset -g custom`` whose section of the power source in use counts.

    ``lowpowermode`` is 1 for on; Macs with a high power mode have ``powermode`` in its place: 0 for
    automatic, 1 for low, 2 for high.
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
    wanted = _SECTIONS[source] if isinstance(source, str) else ""
    found = modes.get("Currently in use") or modes.get(wanted) or []
    if not found:
        return Unavailable("pmset shows no low-power mode; not every Mac has one")
    allowed = {"lowpowermode 0", "lowpowermode 1", "powermode 0", "powermode 1", "powermode 2"}
    odd = [mode for mode in found if mode not in allowed]
    if odd:
        return Unavailable(f"pmset shows {odd[0]}, whose meaning is not known")
    return any(mode.endswith(" 1") for mode in found)


def parse_thermal(text: str, key: str) -> Thermal | Unavailable:
    """``notifyutil -g KEY``: the key and a number from 0 to 4."""
    found = re.search(rf"^\s*{re.escape(key)}\s+(-?[0-9]{{1,30}})\s*$", text, re.MULTILINE)
    if found is None:
        return Unavailable("notifyutil names no thermal level")
    level = int(found[1])
    if not 0 <= level < len(THERMAL_LEVELS):
        return Unavailable(f"thermal level {shown(found[1])} is none of 0 to 4")
    return THERMAL_LEVELS[level]


def parse_speed_limit(text: str) -> int | Unavailable:
    """``pmset -g therm`` of an Intel Mac: how much of its speed the CPU may use, in percent."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*(-?[0-9]{1,12})\b", text)
    if found is None:
        return Unavailable("pmset has recorded no speed limit")
    return whole(found[1], "speed limit of the CPU", 0, 100)


# --- what the machine is --------------------------------------------------------------------------


class SystemVersion(msgspec.Struct, frozen=True):
    """``sw_vers``."""

    version: str | Unavailable
    build: str | Unavailable


def parse_sw_vers(text: str) -> SystemVersion:
    """Version and build; a letter such as “(a)” (ProductVersionExtra) shows in the build alone."""
    lines = _keyed_lines(text)
    return SystemVersion(
        parse_version(lines.get("ProductVersion", "")), parse_build(lines.get("BuildVersion", ""))
    )


def parse_version(text: str) -> str | Unavailable:
    """A true version of macOS, so neither of those that programs of before are told.

    Programs built before macOS 11 are told 10.16; those built before macOS 26 are told 16.
    """
    version = text.strip()
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,4}){0,3}", version):
        return Unavailable(f"{shown(text)} is no version" if version else "no version is named")
    major = int(version.split(".")[0])
    if version == "10.16" or version.startswith("10.16.") or 16 <= major <= 25:
        return Unavailable(f"{version} is what old programs are told, not the true version")
    if not 10 <= major <= 99:
        return Unavailable(f"{version} is no version of macOS")
    return version


def parse_build(text: str) -> str | Unavailable:
    """A build such as 24G90, 22F5049e or 22E772610a."""
    build = text.strip()
    if not re.fullmatch(r"[0-9]{1,3}[A-Z][0-9]{1,8}[a-z]?", build):
        return Unavailable(f"{shown(text)} is no build" if build else "no build is named")
    return build


class Hardware(msgspec.Struct, frozen=True):
    """``system_profiler SPHardwareDataType``."""

    chip: str | Unavailable
    model: str | Unavailable
    cores: int | Unavailable
    cores_by_kind: tuple[CoreKind, ...] | Unavailable
    memory_bytes: int | Unavailable


def parse_hardware(text: str) -> Hardware:
    """JSON or text. Under Rosetta and on Intel there is no chip and the cores are a bare number."""
    data = _profile(text, "SPHardwareDataType")
    if isinstance(data, Unavailable):
        return Hardware(data, data, data, data, data)
    if data is None:
        entry = _text_sections(text)[0]
        fields = {
            "chip_type": entry.get("Chip"),
            "cpu_type": entry.get("Processor Name"),
            "machine_model": entry.get("Model Identifier"),
            "number_processors": entry.get("Total Number of Cores"),
            "physical_memory": entry.get("Memory"),
        }
    else:
        fields = data[0] if data else {}
    cores, kinds = _cores(fields.get("number_processors"))
    chip = fields.get("chip_type") or fields.get("cpu_type")
    return Hardware(
        chip=_named(None if chip == "Unknown" else chip, "chip"),
        model=_named(fields.get("machine_model"), "model"),
        cores=cores,
        cores_by_kind=kinds,
        memory_bytes=_memory_size(fields.get("physical_memory")),
    )


def _cores(value: Any) -> tuple[int | Unavailable, tuple[CoreKind, ...] | Unavailable]:
    """``proc 8:4:4``, ``proc 18:6:0:12``, ``8 (4 performance and 4 efficiency)``, ``8`` or 8.

    The fourth field came with macOS 26: an M5 Max of 6 Super and 12 Performance cores prints
    18:6:0:12, so the fields are all, the fastest, Efficiency, and the kind between them.
    """
    no_kinds = Unavailable("system_profiler does not sort the cores into kinds")
    if value is None or isinstance(value, bool):
        return Unavailable("system_profiler names no number of cores"), no_kinds
    text = str(value).strip()
    total = re.match(r"(?:proc )?(-?[0-9]{1,12})(?=$|:| \()", text)
    if total is None:
        return Unavailable(f"number of cores: {shown(text)} is not understood"), no_kinds
    cores = whole(total[1], "number of cores", 1, MOST_CORES)
    kinds: list[CoreKind] = []
    fields = re.fullmatch(r"proc [0-9]+:([0-9]{1,6}):([0-9]{1,6})(?::([0-9]{1,6}))?", text)
    if fields:
        fast, efficiency, between = int(fields[1]), int(fields[2]), int(fields[3] or 0)
        kinds = [
            CoreKind("Super" if between else "Performance", fast),
            CoreKind("Performance", between),
            CoreKind("Efficiency", efficiency),
        ]
    else:
        named = re.findall(r"([0-9]{1,6}) ([A-Za-z]+)", text.partition("(")[2])
        kinds = [CoreKind(name.capitalize(), int(count)) for count, name in named]
    return cores, checked_kinds([kind for kind in kinds if kind.physical], cores)


def checked_kinds(
    kinds: list[CoreKind], cores: int | Unavailable
) -> tuple[CoreKind, ...] | Unavailable:
    """Kinds of cores, if there are any and they add up."""
    if not kinds:
        return Unavailable("the system does not sort the cores into kinds")
    together = sum(kind.physical for kind in kinds)
    if known(cores) and together != cores:
        return Unavailable(f"the kinds of cores add up to {together}, not to {cores}")
    return tuple(kinds)


def _memory_size(value: Any) -> int | Unavailable:
    found = re.fullmatch(r"([0-9]{1,12}) (MB|GB|TB)", str(value).strip())
    if found is None:
        return Unavailable("system_profiler names no memory size")
    unit = {"MB": 20, "GB": 30, "TB": 40}[found[2]]
    return whole(str(int(found[1]) << unit), "memory size", LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES)


class Displays(msgspec.Struct, frozen=True):
    """``system_profiler SPDisplaysDataType``."""

    gpus: list[str] | Unavailable
    """An Apple GPU first, else in the order listed."""
    gpu_cores: int | Unavailable
    """Of the first GPU; only Apple's own are counted in cores."""


def parse_displays(text: str) -> Displays:
    """JSON or text; a Mac without a screen lists its GPU all the same."""
    data = _profile(text, "SPDisplaysDataType")
    if isinstance(data, Unavailable):
        return Displays(data, data)
    if data is None:
        data = [
            {
                "sppci_model": entry.get("Chipset Model"),
                "sppci_cores": entry.get("Total Number of Cores"),
                "spdisplays_vendor": entry.get("Vendor"),
            }
            for entry in _text_sections(text)[1:]
        ]
    found = [(name, entry) for entry in data if known(name := _gpu_name(entry))]
    if not found:
        none = Unavailable("system_profiler lists no GPU")
        return Displays(none, none)
    found.sort(key=lambda pair: pair[1].get("sppci_cores") is None)
    cores = found[0][1].get("sppci_cores")
    return Displays(
        [str(name) for name, _ in found],
        Unavailable("system_profiler names no GPU cores; only Apple's own GPUs have them")
        if cores is None
        else whole(str(cores), "number of GPU cores", 1, _MOST_GPU_CORES),
    )


def _gpu_name(entry: dict[str, Any]) -> str | Unavailable:
    """The model; ``_name`` may be a key that was never translated, such as kHW_AppleM1Item."""
    for value in (entry.get("sppci_model"), entry.get("_name")):
        name = _named(value, "GPU")
        if known(name) and not re.match(r"kHW_|spdisplays_|sppci_", name):
            return name
    return Unavailable("system_profiler names no GPU")


def _named(value: Any, what: str) -> str | Unavailable:
    if not isinstance(value, str):
        return Unavailable(f"system_profiler names no {what}")
    return word(value, what)


def _profile(text: str, kind: str) -> list[dict[str, Any]] | Unavailable | None:
    """The entries of a JSON answer, without what stands before or after it; None if it is text."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        document, _ = json.JSONDecoder().raw_decode(text, start)
    except (ValueError, RecursionError):
        return Unavailable("the answer of system_profiler is cut off or damaged")
    entries = document.get(kind) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return Unavailable(f"the answer of system_profiler has no {kind}")
    return [entry for entry in entries if isinstance(entry, dict)]


def _text_sections(text: str) -> list[dict[str, str]]:
    """Of a text answer: the hardware's lines, then those of each GPU."""
    sections: list[dict[str, str]] = [{}]
    current = sections[0]
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        key = key.strip()
        if not colon:
            continue
        if key == "Chipset Model":
            current = {}
            sections.append(current)
        elif key in ("Hardware Overview", "Model Name", "Model Identifier"):
            current = sections[0]
        if value.strip():
            current.setdefault(key, value.strip())
    return sections


def _keyed_lines(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


# --- disk -----------------------------------------------------------------------------------------

_DF_UNITS = {"512-blocks": 512, "1024-blocks": 1024, "1K-blocks": 1024, "1M-blocks": MIB}
_DF_SUFFIXES = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_df(text: str) -> int | Unavailable:
    """Free bytes from ``df`` with or without -k, -h or -P; of several volumes that of the data."""
    header, _, rest = text.partition("\n")
    unit = next((size for name, size in _DF_UNITS.items() if name in header), 1)
    free: dict[str, int] = {}
    for line in rest.splitlines():
        size = r"([0-9]{1,20}(?:\.[0-9]{1,3})?)([KMGTB]?)i?"
        found = re.search(rf"\s{size}\s+{size}\s+{size}\s+[0-9]{{1,3}}%.*?\s(/.*)$", line)
        if found:
            free[found[7].strip()] = int(float(found[5]) * _DF_SUFFIXES[found[6]] * unit)
    for mount in ("/System/Volumes/Data", "/", *free):
        if free.get(mount, _MOST_TRAFFIC_BYTES + 1) <= _MOST_TRAFFIC_BYTES:
            return free[mount]
    return Unavailable("df names no free space")
