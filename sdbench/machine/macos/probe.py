"""macOS: facts from what its own programs print (not yet run on a Mac, but on many recordings)."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

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
    or_none,
)
from sdbench.machine.macos import commands
from sdbench.machine.macos.system_profiler import (
    Displays,
    Hardware,
    SystemVersion,
    checked_kinds,
    parse_build,
    parse_displays,
    parse_hardware,
    parse_sw_vers,
    parse_version,
)
from sdbench.machine.macos.text import (
    Battery,
    PageCounts,
    parse_free_percent,
    parse_load,
    parse_low_power,
    parse_memory_pressure,
    parse_memory_pressure_total,
    parse_power_source,
    parse_pressure,
    parse_speed_limit,
    parse_swap_used,
    parse_thermal,
    parse_vm_stat,
)
from sdbench.machine.plausible import (
    MIB,
    MOST_MEMORY_BYTES,
    core_count,
    memory_size,
    name_of,
    shown,
    whole,
)
from sdbench.machine.system import System, stdout_of

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
Argv = tuple[str, ...]

_AT_ONCE = (
    *(commands.HARDWARE, commands.DISPLAYS, commands.SW_VERS, commands.VM_STAT),
    *(commands.POWER_SOURCE, commands.POWER_SETTINGS, commands.THERMAL),
)


class MacProbe:
    """What a Mac says of itself now; its programs are started together."""

    def __init__(self, system: System) -> None:
        self._system = system
        with ThreadPoolExecutor(max_workers=len(_AT_ONCE) + 1) as pool:
            values = pool.submit(system.sysctl, commands.SYSCTL_NAMES)
            self._said = dict(zip(_AT_ONCE, pool.map(self._run, _AT_ONCE), strict=True))
        self._values = values.result()
        self._hardware = self._record(commands.HARDWARE, parse_hardware, Hardware)
        self._displays = self._record(commands.DISPLAYS, parse_displays, Displays)
        self._brand = self._name("machdep.cpu.brand_string", "chip")

    def identity(self) -> Identity:
        """What the machine is."""
        version = self._record(commands.SW_VERS, parse_sw_vers, SystemVersion)
        return Identity(
            system="Darwin",
            os_version=first_known(
                version.version,
                self._value("kern.osproductversion", parse_version),
                parse_version(self._system.mac_version()),
            ),
            os_build=first_known(version.build, self._value("kern.osversion", parse_build)),
            architecture=self._architecture(),
            chip=self._chip(),
            model=self._model(),
            cores_physical=self._cores_physical(),
            cores_logical=self._cores_logical(),
            cores_by_kind=self._cores_by_kind(),
            gpus=self._displays.gpus,
            gpu_cores=self._displays.gpu_cores,
            memory_bytes=self._memory_size(),
            virtual=self._virtual(),
            translated=self._translated(),
        )

    def memory(self) -> Memory:
        """Memory of the whole machine. Swap traffic is vm_stat's: psutil's is file paging here."""
        # What psutil calls available; vm_stat leaves the speculative pages out of the free ones.
        available = self._pages("Pages free", "Pages inactive", "Pages speculative")
        return Memory(
            available_bytes=self._part_of_memory(available),
            pressure=self._value("kern.memorystatus_vm_pressure_level", parse_pressure),
            free_percent=self._or_memory_pressure(
                self._number("kern.memorystatus_level", 0, 100), parse_free_percent
            ),
            compressor_bytes=self._part_of_memory(self._pages("Pages occupied by compressor")),
            swap_used_bytes=self._value("vm.swapusage", parse_swap_used),
            swapped_in_bytes=self._pages("Swapins"),
            swapped_out_bytes=self._pages("Swapouts"),
            gpu_limit_bytes=self._gpu_limit(),
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
        level: Thermal | Unavailable = self._fact(
            commands.THERMAL, lambda said: parse_thermal(said, commands.THERMAL_KEY)
        )
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

    # --- asking -----------------------------------------------------------------------------------

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
        value = self._values[name]
        return value if isinstance(value, Unavailable) else parse(value)

    def _number(self, name: str, least: int, most: int) -> int | Unavailable:
        return self._value(name, lambda said: whole(said, name, least, most))

    def _name(self, name: str, what: str) -> str | Unavailable:
        return self._value(name, lambda said: name_of(said, what))

    def _or_memory_pressure(
        self, fact: T | Unavailable, parse: Callable[[str], T | Unavailable]
    ) -> T | Unavailable:
        """A fact, or what ``memory_pressure`` says of it, which is asked only then."""
        if known(fact):
            return fact
        return first_known(fact, self._fact(commands.MEMORY_PRESSURE, parse))

    # --- memory -----------------------------------------------------------------------------------

    def _pages(self, *labels: str) -> int | Unavailable:
        def sum_of(counts: PageCounts | Unavailable) -> int | Unavailable:
            return counts if isinstance(counts, Unavailable) else counts.bytes_of(*labels)

        counted = sum_of(self._fact(commands.VM_STAT, parse_vm_stat))
        return self._or_memory_pressure(counted, lambda said: sum_of(parse_memory_pressure(said)))

    def _memory_size(self) -> int | Unavailable:
        size = first_known(self._value("hw.memsize", memory_size), self._hardware.memory_bytes)
        return self._or_memory_pressure(size, parse_memory_pressure_total)

    def _part_of_memory(self, part: int | Unavailable) -> int | Unavailable:
        size = self._memory_size()
        most = MOST_MEMORY_BYTES if isinstance(size, Unavailable) else size
        if known(part) and part > most:
            return Unavailable(f"{part} bytes are more memory than the machine has")
        return part

    def _gpu_limit(self) -> int | Unavailable:
        megabytes = self._number("iogpu.wired_limit_mb", 0, MOST_MEMORY_BYTES // MIB)
        return megabytes if isinstance(megabytes, Unavailable) else megabytes * MIB

    # --- identity ---------------------------------------------------------------------------------

    def _cores_physical(self) -> int | Unavailable:
        return first_known(
            self._value("hw.physicalcpu", core_count),
            self._value("machdep.cpu.core_count", core_count),
            self._hardware.cores,
        )

    def _cores_logical(self) -> int | Unavailable:
        counted = first_known(
            self._value("hw.logicalcpu", core_count), self._value("hw.ncpu", core_count)
        )
        if known(counted) or self._architecture() != "arm64":
            return counted
        return first_known(counted, self._cores_physical())  # Apple's cores have one thread each

    def _cores_by_kind(self) -> tuple[CoreKind, ...] | Unavailable:
        """Level 0 is the fastest. Before macOS 13 the levels have no names, but are these two."""
        levels = []
        for level in range(commands.MOST_KINDS_OF_CORES):
            count = self._value(f"hw.perflevel{level}.physicalcpu", core_count)
            if isinstance(count, Unavailable):
                break
            levels.append((self._name(f"hw.perflevel{level}.name", "kind of core"), count))
        if len(levels) == 2 and not any(known(name) for name, _ in levels):
            levels = [("Performance", levels[0][1]), ("Efficiency", levels[1][1])]
        kinds = [CoreKind(name, count) for name, count in levels if known(name)]
        expected = self._number("hw.nperflevels", 1, commands.MOST_KINDS_OF_CORES)
        if len(kinds) != (expected if known(expected) else len(levels)):
            kinds = []
        return first_known(
            checked_kinds(kinds, self._cores_physical()), self._hardware.cores_by_kind
        )

    def _chip(self) -> str | Unavailable:
        """The brand, unless it is one of the names that macOS 11 had for every Apple chip."""
        brand = self._brand
        if known(brand) and brand.startswith("VirtualApple"):
            brand = Unavailable(f"Rosetta calls every chip {shown(brand)}")
        elif known(brand) and brand != "Apple processor":
            return brand
        return first_known(self._hardware.chip, *self._apple_gpus(), brand)

    def _apple_gpus(self) -> list[str]:
        """Those that have their chip's name."""
        gpus = self._displays.gpus
        named = [] if isinstance(gpus, Unavailable) else gpus
        return [gpu for gpu in named if gpu.startswith("Apple ") and "Paravirtual" not in gpu]

    def _model(self) -> str | Unavailable:
        return first_known(self._name("hw.model", "model"), self._hardware.model)

    def _architecture(self) -> str | Unavailable:
        """Of the hardware. Rosetta tells programs x86_64, but cannot hide all signs of an M."""
        machine, translated = self._system.machine(), self._is("sysctl.proc_translated")
        arm64, kernel = self._is("hw.optional.arm64"), self._kernel()
        chips = [name for name in (self._brand, self._hardware.chip) if known(name)]
        if (
            "arm64" in (machine, self._system.python_machine())
            or arm64 is True
            or translated is True
            or "RELEASE_ARM64" in kernel
            or any(chip.startswith(("Apple", "VirtualApple")) for chip in chips)
            or self._apple_gpus()
        ):
            return "arm64"
        intel = "RELEASE_X86_64" in kernel or any("Intel" in chip for chip in chips)
        if intel or arm64 is False or (machine == "x86_64" and translated is False):
            return "x86_64"
        return Unavailable("Intel and Apple silicon cannot be distinguished under Rosetta")

    def _kernel(self) -> str:
        """Its version, which ends in the architecture it was built for; empty if not told."""
        version = self._values["kern.version"]
        return or_none(version if known(version) else self._text(commands.KERNEL)) or ""

    def _translated(self) -> bool | Unavailable:
        architecture, said = self._architecture(), self._is("sysctl.proc_translated")
        python = self._system.python_machine()
        process = python or self._system.machine()
        if process == "x86_64" and known(architecture):
            return architecture == "arm64"
        if python == "arm64" or (process == "arm64" and said is not True):
            return False
        return said

    def _virtual(self) -> bool | Unavailable:
        gpus = self._displays.gpus
        model = self._model()
        names = [model, self._chip(), *(gpus if known(gpus) else [])]
        if any(sign in name for sign in _VIRTUAL for name in names if known(name)):
            return True
        said = self._is("kern.hv_vmm_present")
        if not known(said) and known(model) and self._architecture() == "arm64":
            return False  # every virtual Mac on Apple silicon calls itself VirtualMac
        return said

    def _is(self, name: str) -> bool | Unavailable:
        value = self._number(name, 0, 1)
        return value if isinstance(value, Unavailable) else value == 1


_VIRTUAL = ("VirtualMac", "(Virtual)", "Paravirtual", "VMware", "Parallels")
