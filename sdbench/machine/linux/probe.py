"""Linux: facts from /proc and /sys."""

import re

from sdbench.machine.facts import Identity, Memory, Power, PowerSource, Thermal, Unavailable
from sdbench.machine.linux.cgroup import available_bytes, limited_cgroups
from sdbench.machine.linux.proc import (
    MACOS_ONLY,
    MEMINFO_MORE,
    PAGE_BYTES,
    parse_meminfo,
    parse_vmstat,
)
from sdbench.machine.linux.stalls import pressure
from sdbench.machine.linux.thermal import ThermalZones
from sdbench.machine.plausible import MOST_CORES, memory_size, name_of, whole
from sdbench.machine.system import System

_UNTOLD = Unavailable("this kernel does not report it")
_NOT_ASKED = Unavailable("it was not asked for")
_CPUS = "/sys/devices/system/cpu"


class LinuxProbe:
    """What a Linux machine's kernel says of it; ``gpus`` are named by whatever reads them."""

    def __init__(self, system: System, gpus: list[str] | Unavailable = _NOT_ASKED) -> None:
        self._system = system
        self._gpus = gpus
        self._cpuinfo = system.read("/proc/cpuinfo")
        meminfo = system.read("/proc/meminfo")
        text = "" if isinstance(meminfo, Unavailable) else meminfo
        self._meminfo = parse_meminfo(text.encode(), MEMINFO_MORE)

    def identity(self) -> Identity:
        """What the machine is."""
        model = self._system.read("/sys/devices/virtual/dmi/id/product_name")
        cores_logical = self._cores_logical()
        return Identity(
            system="Linux",
            os_version=self._distribution(),
            os_build=self._system.release(),
            architecture=self._system.machine() or _UNTOLD,
            chip=self.chip(),
            model=model if isinstance(model, Unavailable) else name_of(model, "model"),
            cores_physical=self._cores_physical(),
            cores_logical=cores_logical,
            cores_by_kind=MACOS_ONLY,
            gpus=self._gpus,
            gpu_cores=MACOS_ONLY,
            memory_bytes=self._memory_size(),
            virtual=self._virtual(),
            translated=self._translated(),
        )

    def chip(self) -> str | Unavailable:
        """The CPU's name, which not every ARM machine has."""
        found = self._cpuinfo_value(r"model name|Model|Processor|cpu model")
        return found if isinstance(found, Unavailable) else name_of(found, "chip")

    def memory(self) -> Memory:
        """Memory now; where a control group sets a limit, what is left of that."""
        read, meminfo = self._system.read, self._meminfo
        cgroups = limited_cgroups(read, meminfo.get(b"MemTotal"))
        swap_total, swap_free = meminfo.get(b"SwapTotal"), meminfo.get(b"SwapFree")
        vmstat_text = read("/proc/vmstat")
        vmstat = parse_vmstat(
            b"" if isinstance(vmstat_text, Unavailable) else b"\n" + vmstat_text.encode()
        )
        available = available_bytes(meminfo, cgroups, read)
        return Memory(
            available_bytes=_UNTOLD if available is None else available,
            pressure=pressure(meminfo, cgroups, read),
            free_percent=MACOS_ONLY,
            compressor_bytes=meminfo.get(b"Zswap", _UNTOLD),
            swap_used_bytes=_UNTOLD
            if swap_total is None or swap_free is None
            else swap_total - swap_free,
            swapped_in_bytes=_pages(vmstat.get(b"pswpin")),
            swapped_out_bytes=_pages(vmstat.get(b"pswpout")),
            gpu_limit_bytes=MACOS_ONLY,
        )

    def power(self) -> Power:
        """From the kernel's power supplies and the firmware's platform profile."""
        folder = "/sys/class/power_supply"
        supplies = [f"{folder}/{name}" for name in self._system.names(folder)]
        batteries = [path for path in supplies if self._says(path, "type", "Battery")]
        mains = [path for path in supplies if self._says(path, "type", "Mains")]
        own = [path for path in batteries if not self._says(path, "scope", "Device")]
        source: PowerSource | Unavailable
        if any(self._says(path, "online", "1") for path in mains):
            source = "ac"
        elif any(self._says(path, "status", "Discharging") for path in own):
            source = "battery"
        elif own or mains:
            source = "ac"
        else:
            source = Unavailable("this system reports no power supply")
        charge = self._system.read(f"{own[0]}/capacity") if own else None
        profile = self._system.read("/sys/firmware/acpi/platform_profile")
        return Power(
            source=source,
            battery_percent=Unavailable("there is no battery")
            if charge is None
            else charge
            if isinstance(charge, Unavailable)
            else whole(charge, "charge of the battery", 0, 100),
            low_power_mode=Unavailable("the firmware reports no power profile")
            if isinstance(profile, Unavailable)
            else profile.strip() == "low-power",
        )

    def thermal(self) -> Thermal | Unavailable:
        """Temperatures against their limits."""
        return ThermalZones(self._system.read).level(self._system.read)

    def load_1min(self) -> float | Unavailable:
        """Load average of the last minute."""
        text = self._system.read("/proc/loadavg")
        if isinstance(text, Unavailable):
            return text
        found = re.match(r"([0-9]{1,6}\.[0-9]{2}) ", text)
        return float(found[1]) if found else _UNTOLD

    def _says(self, folder: str, name: str, value: str) -> bool:
        text = self._system.read(f"{folder}/{name}")
        return not isinstance(text, Unavailable) and text.strip() == value

    def _cpuinfo_value(self, keys: str) -> str | Unavailable:
        if isinstance(self._cpuinfo, Unavailable):
            return self._cpuinfo
        found = re.search(rf"^(?:{keys})\s*:\s*(\S.*)$", self._cpuinfo, re.MULTILINE)
        return found[1] if found else _UNTOLD

    def _cores_logical(self) -> int | Unavailable:
        online = self._system.read(f"{_CPUS}/online")
        listed = "" if isinstance(online, Unavailable) else online.strip()
        ranges = re.findall(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", listed)
        count = sum(int(last or first) - int(first) + 1 for first, last in ranges)
        if count == 0 and isinstance(self._cpuinfo, str):
            count = len(re.findall(r"^processor\s*:", self._cpuinfo, re.MULTILINE))
        return count if 0 < count <= 8 * MOST_CORES else _UNTOLD

    def _cores_physical(self) -> int | Unavailable:
        """As psutil counts: threads of one core share one list of siblings."""
        names = [name for name in self._system.names(_CPUS) if re.fullmatch(r"cpu[0-9]+", name)]
        siblings = {
            listed
            for name in names
            for file in ("core_cpus_list", "thread_siblings_list")
            if isinstance(listed := self._system.read(f"{_CPUS}/{name}/topology/{file}"), str)
        }
        if siblings:
            return len(siblings)
        if isinstance(self._cpuinfo, Unavailable):
            return self._cpuinfo
        pairs = re.findall(
            r"^physical id\s*:\s*([0-9]+)$.*?^core id\s*:\s*([0-9]+)$",
            self._cpuinfo,
            re.MULTILINE | re.DOTALL,
        )
        return len(set(pairs)) or _UNTOLD

    def _memory_size(self) -> int | Unavailable:
        total = self._meminfo.get(b"MemTotal")
        return _UNTOLD if total is None else memory_size(str(total))

    def _distribution(self) -> str | Unavailable:
        text = self._system.read("/etc/os-release")
        if isinstance(text, Unavailable):
            return text
        found = re.search(r'^PRETTY_NAME="?([^"\n]{1,80})"?$', text, re.MULTILINE)
        return name_of(found[1], "distribution") if found else _UNTOLD

    def _virtual(self) -> bool | Unavailable:
        flags = self._cpuinfo_value("flags")
        if isinstance(flags, Unavailable):
            return flags
        return "hypervisor" in flags.split()

    def _translated(self) -> bool | Unavailable:
        chip = self.chip()
        return isinstance(chip, str) and chip.startswith("VirtualApple")


def _pages(count: int | None) -> int | Unavailable:
    return _UNTOLD if count is None else count * PAGE_BYTES
