"""macOS: facts from what its own programs print (not yet run on a Mac, but on many recordings)."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from sdbench.machine import macos_commands as commands
from sdbench.machine.facts import (
    THERMAL_LEVELS,
    CoreKind,
    Identity,
    Memory,
    Power,
    Thermal,
    Unavailable,
    all_unavailable,
    first_known,
    known,
)
from sdbench.machine.macos_text import (
    LEAST_MEMORY_BYTES,
    MIB,
    MOST_CORES,
    MOST_MEMORY_BYTES,
    Battery,
    Displays,
    Hardware,
    PageCounts,
    SystemVersion,
    checked_kinds,
    parse_build,
    parse_displays,
    parse_free_percent,
    parse_hardware,
    parse_load,
    parse_low_power,
    parse_memory_pressure,
    parse_memory_pressure_total,
    parse_power_source,
    parse_pressure,
    parse_speed_limit,
    parse_sw_vers,
    parse_swap_used,
    parse_thermal,
    parse_version,
    parse_vm_stat,
    shown,
    whole,
    word,
)
from sdbench.machine.system import System, stdout_of

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
Argv = tuple[str, ...]

IDENTITY = (commands.HARDWARE, commands.DISPLAYS, commands.SW_VERS)
STATE = (
    *(commands.VM_STAT, commands.POWER_SOURCE),
    *(commands.POWER_SETTINGS, commands.THERMAL),
)


class MacProbe:
    """What a Mac says of itself; ``ask`` are the programs to start together, at once."""

    def __init__(self, system: System, ask: tuple[Argv, ...] = IDENTITY + STATE) -> None:
        self._system = system
        with ThreadPoolExecutor(max_workers=len(ask) + 1) as pool:
            pool.submit(system.sysctl, commands.SYSCTL_NAMES[0])  # brings all values at once
            self._said = dict(zip(ask, pool.map(self._run, ask), strict=True))
        self._hardware = self._record(commands.HARDWARE, parse_hardware, Hardware)
        self._displays = self._record(commands.DISPLAYS, parse_displays, Displays)

    def identity(self) -> Identity:
        """What the machine is."""
        version = self._record(commands.SW_VERS, parse_sw_vers, SystemVersion)
        cores = self._cores("hw.physicalcpu")
        architecture = self._architecture()
        return Identity(
            system="Darwin",
            os_version=first_known(
                version.version,
                self._value("kern.osproductversion", parse_version),
                parse_version(self._system.mac_version()),
            ),
            os_build=first_known(version.build, self._value("kern.osversion", parse_build)),
            architecture=architecture,
            chip=self._chip(),
            model=self._model(),
            cores_physical=cores,
            cores_logical=self._cores("hw.logicalcpu"),
            cores_by_kind=self._kinds(cores),
            gpus=self._displays.gpus,
            gpu_cores=self._displays.gpu_cores,
            memory_bytes=self._memory_size(),
            virtual=self._virtual(),
            translated=self._translated(architecture),
        )

    def memory(self) -> Memory:
        """Memory of the whole machine. Swap traffic is vm_stat's: psutil's is file paging here."""
        size = self._memory_size()
        used = self._value("vm.swapusage", parse_swap_used)
        return Memory(
            # What psutil calls available. vm_stat leaves speculative pages out of "free".
            available_bytes=_at_most(
                size, self._pages("Pages free", "Pages inactive", "Pages speculative")
            ),
            pressure=self._value("kern.memorystatus_vm_pressure_level", parse_pressure),
            free_percent=self._free_percent(),
            compressor_bytes=_at_most(size, self._pages("Pages occupied by compressor")),
            swap_used_bytes=used,
            swapped_in_bytes=self._pages("Swapins"),
            swapped_out_bytes=self._pages("Swapouts"),
            gpu_limit_bytes=self._value("iogpu.wired_limit_mb", _limit),
        )

    def power(self) -> Power:
        """Mains or battery, and whether power is saved."""
        battery = self._record(commands.POWER_SOURCE, parse_power_source, Battery)
        return Power(
            source=battery.source,
            battery_percent=battery.percent,
            low_power_mode=self._fact(
                commands.POWER_SETTINGS, lambda said: parse_low_power(said, battery.source)
            ),
        )

    def thermal(self) -> Thermal | Unavailable:
        """macOS's own level; on Intel also whether the CPU is held back."""
        level: Thermal | Unavailable = self._fact(commands.THERMAL, _thermal)
        if self._architecture() != "x86_64":
            return level
        limit = self._fact(commands.POWER_THERMAL, parse_speed_limit)
        if isinstance(limit, Unavailable):
            return level
        # Apple publishes no scale for the limit; below half speed is called heavy here.
        held: Thermal = "nominal" if limit >= 100 else "moderate" if limit >= 50 else "heavy"
        levels = [held] if isinstance(level, Unavailable) else [held, level]
        return max(levels, key=THERMAL_LEVELS.index)

    def load_1min(self) -> float | Unavailable:
        """Load average of the last minute."""
        return self._value("vm.loadavg", parse_load)

    def _run(self, argv: Argv) -> str | Unavailable:
        return stdout_of(os.path.basename(argv[0]), self._system.command(argv))

    def _text(self, argv: Argv) -> str | Unavailable:
        if argv not in self._said:
            self._said[argv] = self._run(argv)
        return self._said[argv]

    def _fact(self, argv: Argv, parse: Callable[[str], T | Unavailable]) -> T | Unavailable:
        said = self._text(argv)
        return said if isinstance(said, Unavailable) else parse(said)

    def _record(self, argv: Argv, parse: Callable[[str], S], kind: type[S]) -> S:
        said = self._text(argv)
        return all_unavailable(kind, said) if isinstance(said, Unavailable) else parse(said)

    def _value(self, name: str, parse: Callable[[str], T | Unavailable]) -> T | Unavailable:
        value = self._system.sysctl(name)
        return value if isinstance(value, Unavailable) else parse(value)

    def _is(self, name: str) -> bool | Unavailable:
        """A sysctl value that is 0 or 1."""
        value = self._value(name, lambda said: whole(said, name, 0, 1))
        return value if isinstance(value, Unavailable) else value == 1

    def _pages(self, *labels: str) -> int | Unavailable:
        counts = self._fact(commands.VM_STAT, parse_vm_stat)
        sum_bytes = _bytes_of(counts, labels)
        if known(sum_bytes):
            return sum_bytes
        full = self._fact(commands.MEMORY_PRESSURE, parse_memory_pressure)
        return first_known(sum_bytes, _bytes_of(full, labels))

    def _free_percent(self) -> int | Unavailable:
        level = self._value(
            "kern.memorystatus_level", lambda said: whole(said, "kern.memorystatus_level", 0, 100)
        )
        return (
            level
            if known(level)
            else first_known(level, self._fact(commands.MEMORY_PRESSURE, parse_free_percent))
        )

    def _memory_size(self) -> int | Unavailable:
        size = first_known(
            self._value(
                "hw.memsize",
                lambda said: whole(said, "memory size", LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES),
            ),
            self._hardware.memory_bytes,
        )
        return (
            size
            if known(size)
            else first_known(
                size, self._fact(commands.MEMORY_PRESSURE, parse_memory_pressure_total)
            )
        )

    def _cores(self, name: str) -> int | Unavailable:
        value = self._value(name, lambda said: whole(said, "number of cores", 1, MOST_CORES))
        return first_known(value, self._hardware.cores)

    def _kinds(self, cores: int | Unavailable) -> tuple[CoreKind, ...] | Unavailable:
        """Level 0 is the fastest. Before macOS 13 the levels have no names, but are these two."""
        levels = []
        for level in range(commands.MOST_KINDS_OF_CORES):
            count = self._value(
                f"hw.perflevel{level}.physicalcpu",
                lambda said: whole(said, "number of cores", 1, MOST_CORES),
            )
            if not known(count):
                break
            name = self._value(f"hw.perflevel{level}.name", lambda said: word(said, "kind of core"))
            levels.append((name, count))
        nameless = not any(known(name) for name, _ in levels)
        if nameless and len(levels) == 2:
            levels = [(name, n) for name, (_, n) in zip(_FIRST_KINDS, levels, strict=True)]
        kinds = [CoreKind(name, count) for name, count in levels if known(name)]
        expected = self._value("hw.nperflevels", lambda said: whole(said, "kinds of cores", 1, 8))
        if len(kinds) != len(levels) or (known(expected) and expected != len(kinds)):
            return self._hardware.cores_by_kind
        return first_known(checked_kinds(kinds, cores), self._hardware.cores_by_kind)

    def _chip(self) -> str | Unavailable:
        """The brand, unless it is one of the names that macOS 11 had for every Apple chip."""
        brand = self._value("machdep.cpu.brand_string", lambda said: word(said, "chip"))
        if known(brand) and brand.startswith("VirtualApple"):
            brand = Unavailable(f"Rosetta calls every chip {shown(brand)}")
        elif known(brand) and brand != "Apple processor":
            return brand
        gpus = self._displays.gpus
        own = [gpu for gpu in gpus if _is_apple_chip(gpu)] if known(gpus) else []
        return first_known(self._hardware.chip, *own, brand)

    def _model(self) -> str | Unavailable:
        own = self._value("hw.model", lambda said: word(said, "model"))
        return first_known(own, self._hardware.model)

    def _architecture(self) -> str | Unavailable:
        """Of the hardware. Rosetta tells programs x86_64, but not all of its signs go away."""
        brand = self._value("machdep.cpu.brand_string", lambda said: word(said, "chip"))
        chip = self._hardware.chip
        names = [name for name in (brand, chip) if known(name)]
        if (
            "arm64" in (self._system.machine(), self._system.python_machine())
            or self._is("hw.optional.arm64") is True
            or self._is("sysctl.proc_translated") is True
            or any(name.startswith(("Apple", "VirtualApple")) for name in names)
        ):
            return "arm64"
        if any("Intel" in name for name in names) or self._is("hw.optional.arm64") is False:
            return "x86_64"
        return Unavailable("nothing tells Intel from Apple silicon under Rosetta")

    def _translated(self, architecture: str | Unavailable) -> bool | Unavailable:
        process = self._system.python_machine() or self._system.machine()
        said = self._is("sysctl.proc_translated")
        if process == "x86_64" and known(architecture):
            return architecture == "arm64"
        if process == "arm64" and (self._system.python_machine() or said is not True):
            return False
        return said

    def _virtual(self) -> bool | Unavailable:
        said = self._is("kern.hv_vmm_present")
        model, chip, gpus = self._model(), self._chip(), self._displays.gpus
        signs = [name for name in (model, chip, *(gpus if known(gpus) else ())) if known(name)]
        if any(sign in name for name in signs for sign in _SIGNS_OF_A_VIRTUAL_MAC):
            return True
        return said


_FIRST_KINDS = ("Performance", "Efficiency")
_SIGNS_OF_A_VIRTUAL_MAC = ("VirtualMac", "(Virtual)", "Paravirtual", "VMware", "Parallels")


def _is_apple_chip(gpu: str) -> bool:
    """Whether a GPU is named after its chip, as those of Apple silicon are."""
    return gpu.startswith("Apple ") and "Paravirtual" not in gpu


def _thermal(said: str) -> Thermal | Unavailable:
    return parse_thermal(said, commands.THERMAL_KEY)


def _limit(said: str) -> int | Unavailable:
    megabytes = whole(said, "iogpu.wired_limit_mb", 0, MOST_MEMORY_BYTES // MIB)
    return megabytes * MIB if known(megabytes) else megabytes


def _bytes_of(counts: PageCounts | Unavailable, labels: tuple[str, ...]) -> int | Unavailable:
    return counts if isinstance(counts, Unavailable) else counts.bytes_of(*labels)


def _at_most(size: int | Unavailable, part: int | Unavailable) -> int | Unavailable:
    """A part of memory, if it is no larger than all of it."""
    most = size if known(size) else MOST_MEMORY_BYTES
    if known(part) and part > most:
        return Unavailable(f"{part} bytes are more memory than the machine has")
    return part
