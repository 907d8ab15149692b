"""What sw_vers and system_profiler print, as data: pure and total like ``macos_text``.

system_profiler answers in JSON or text, and says other things under Rosetta, on Intel and in a
virtual machine; ``tests/data/recordings`` has the forms that are known.
"""

import json
import re
from typing import Any

import msgspec

from sdbench.machine.facts import CoreKind, Unavailable, known
from sdbench.machine.plausible import core_count, memory_size, name_of, shown, whole

# Apple's largest GPU has 80 cores.
_MOST_GPU_CORES = 4096


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
        return Unavailable(f"{shown(text)} is not a version" if version else "no version is named")
    major = int(version.split(".")[0])
    if version == "10.16" or version.startswith("10.16.") or 16 <= major <= 25:
        return Unavailable(f"{version} is the version reported to old programs, not the true one")
    if not 10 <= major <= 99:
        return Unavailable(f"{version} is not a version of macOS")
    return version


def parse_build(text: str) -> str | Unavailable:
    """A build such as 24G90, 22F5049e or 22E772610a."""
    build = text.strip()
    if not re.fullmatch(r"[0-9]{1,3}[A-Z][0-9]{1,8}[a-z]?", build):
        return Unavailable(f"{shown(text)} is not a build" if build else "no build is named")
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
    total = re.match(r"(?:proc )?(-?[0-9]{1,100})(?=$|:| \()", text)
    if total is None:
        return Unavailable(f"number of cores: {shown(text)} is not understood"), no_kinds
    cores = core_count(total[1])
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
    return memory_size(str(int(found[1]) << unit))


class Displays(msgspec.Struct, frozen=True):
    """``system_profiler SPDisplaysDataType``."""

    gpus: list[str] | Unavailable
    """An Apple GPU first, else in the order listed."""
    gpu_cores: int | Unavailable
    """Of the first GPU; only Apple's own are counted in cores."""


def parse_displays(text: str) -> Displays:
    """JSON or text; a Mac without a screen lists its GPU too."""
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
    return name_of(value, what)


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
