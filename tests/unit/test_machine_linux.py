"""Linux: /proc, /sys and control groups, from stand-ins of their files."""

import os
import sys
from pathlib import Path

import pytest

from sdbench.machine import RecordedSystem, Unavailable
from sdbench.machine.facts import or_none
from sdbench.machine.linux.cgroup import limited_cgroups
from sdbench.machine.linux.probe import LinuxProbe
from sdbench.machine.linux.proc import LinuxMemoryProbe, parse_meminfo, parse_vmstat, read_text
from sdbench.machine.linux.stalls import parse_stalls
from sdbench.machine.linux.thermal import ThermalZones
from sdbench.machine.recording import RecordedCommand, RecordedFacts

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

PAGE = os.sysconf("SC_PAGE_SIZE")

MEMINFO = b"""MemTotal:       16384000 kB
MemFree:          812000 kB
MemAvailable:    8192000 kB
Buffers:            1000 kB
SwapCached:          500 kB
SwapTotal:       2097152 kB
SwapFree:        1048576 kB
"""
VMSTAT = b"nr_free_pages 203000\npgpgin 1\npswpin 12\npswpout 34\noom_kill 2\nthp_swpout 9\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with one process in it."""
    folder = tmp_path / "proc"
    (folder / "42" / "task" / "42").mkdir(parents=True)
    (folder / "meminfo").write_bytes(MEMINFO)
    (folder / "vmstat").write_bytes(VMSTAT)
    (folder / "42" / "statm").write_text("5000 300 100 1 0 400 0\n")
    (folder / "42" / "task" / "42" / "children").write_text("43 44 ")
    return folder


def test_meminfo_is_read_in_bytes() -> None:
    assert parse_meminfo(MEMINFO) == {
        b"MemAvailable": 8192000 * 1024,
        b"SwapTotal": 2097152 * 1024,
        b"SwapFree": 1048576 * 1024,
    }


def test_meminfo_of_an_old_kernel_or_none_at_all() -> None:
    assert parse_meminfo(b"MemTotal: 5 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB") == {
        b"SwapTotal": 0,
        b"SwapFree": 0,
    }
    assert parse_meminfo(b"") == {}


def test_vmstat_is_read_by_whole_names() -> None:
    assert parse_vmstat(VMSTAT) == {b"pswpin": 12, b"pswpout": 34, b"oom_kill": 2}
    assert parse_vmstat(b"x 1\nmypswpin 5\npswpin_extra 6\noom_kill 7") == {b"oom_kill": 7}
    assert parse_vmstat(b"") == {}


def test_probe_turns_files_into_bytes(proc: Path) -> None:
    probe = LinuxMemoryProbe(proc)
    system = probe.system()
    assert system.available_bytes == 8192000 * 1024
    assert system.swap_used_bytes == 1048576 * 1024
    assert (system.swapped_in_bytes, system.swapped_out_bytes) == (12 * PAGE, 34 * PAGE)
    assert probe.footprint_bytes(42) == 300 * PAGE
    assert probe.children(42) == [43, 44]
    assert probe.out_of_memory_kills() == 2
    probe.close()


def test_probe_reads_anew_each_time(proc: Path) -> None:
    probe = LinuxMemoryProbe(proc)
    probe.system()
    with open(proc / "meminfo", "r+b") as file:
        file.write(MEMINFO.replace(b"8192000", b"4096000"))
    assert probe.system().available_bytes == 4096000 * 1024
    probe.close()


def test_what_is_missing_is_none_and_never_zero(proc: Path) -> None:
    (proc / "meminfo").write_bytes(b"MemTotal: 5 kB\n")
    (proc / "vmstat").write_bytes(b"nr_free_pages 1\n")
    probe = LinuxMemoryProbe(proc)
    system = probe.system()
    assert (system.available_bytes, system.swap_used_bytes) == (None, None)
    assert (system.swapped_in_bytes, system.swapped_out_bytes) == (None, None)
    assert probe.out_of_memory_kills() is None
    probe.close()


def test_process_that_is_gone_or_a_zombie_weighs_nothing_known(proc: Path) -> None:
    probe = LinuxMemoryProbe(proc)
    assert probe.footprint_bytes(99) is None
    assert probe.children(99) == []
    (proc / "42" / "statm").write_text("0 0 0 0 0 0 0\n")
    assert probe.footprint_bytes(42) is None
    probe.close()


# --- pressure


def stalls(some: float, full: float) -> str:
    return (
        f"some avg10={some:.2f} avg60=0.00 avg300=0.00 total=2939001\n"
        f"full avg10={full:.2f} avg60=0.00 avg300=0.00 total=2402280\n"
    )


def test_stalls_are_read() -> None:
    assert parse_stalls(stalls(12.5, 3.25)) == (12.5, 3.25)
    assert isinstance(parse_stalls("some avg10=1.00 avg60=0.00\n"), Unavailable)


@pytest.mark.parametrize(
    ("some", "full", "available", "swap_free", "level"),
    [
        (0.0, 0.0, 50, 50, "normal"),
        (4.99, 4.0, 50, 50, "normal"),
        (5.0, 0.0, 50, 50, "warn"),
        (90.0, 49.99, 50, 50, "warn"),
        (90.0, 50.0, 50, 50, "critical"),
        # Little memory is no danger while there is swap left.
        (0.0, 0.0, 1, 50, "normal"),
        (0.0, 0.0, 9, 9, "warn"),
        (0.0, 0.0, 4, 9, "warn"),
        (0.0, 0.0, 4, 4, "critical"),
        (0.0, 0.0, 9, None, "warn"),  # there is no swap
        (0.0, 0.0, 4, None, "critical"),
    ],
)
def test_pressure(
    proc: Path, some: float, full: float, available: int, swap_free: int | None, level: str
) -> None:
    total = 0 if swap_free is None else 100_000
    (proc / "meminfo").write_text(
        f"MemTotal: 100000 kB\nMemAvailable: {available * 1000} kB\n"
        f"SwapTotal: {total} kB\nSwapFree: {(swap_free or 0) * 1000} kB\n"
    )
    (proc / "pressure").mkdir()
    (proc / "pressure" / "memory").write_text(stalls(some, full))
    probe = LinuxMemoryProbe(proc, proc / "no-sys")
    assert probe.slow().pressure == level
    probe.close()


def test_pressure_without_stall_information(proc: Path) -> None:
    probe = LinuxMemoryProbe(proc, proc / "no-sys")
    assert probe.slow().pressure == "normal"
    (proc / "meminfo").write_text("MemTotal: 5 kB\n")
    assert isinstance(probe.slow().pressure, Unavailable)
    probe.close()


def test_slow_reading_says_what_linux_does_not_tell(proc: Path) -> None:
    probe = LinuxMemoryProbe(proc, proc / "no-sys")
    found = probe.slow()
    assert found.free_percent == Unavailable("only macOS reports it")
    assert found.compressor_bytes == Unavailable("this kernel does not report it")
    assert found.thermal == Unavailable("this system reports no temperature with a limit")
    assert found.gpu.power_w == Unavailable("no GPU is monitored")
    (proc / "meminfo").write_bytes(MEMINFO + b"Zswap:      2048 kB\nZswapped: 9000 kB\n")
    assert probe.slow().compressor_bytes == 2048 * 1024
    probe.close()


# --- control groups

GB = 1 << 30


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{content}\n")


def cgroup_v2(root: Path, path: str, limit: object, usage: int, cache: int) -> Path:
    folder = root / "sys" / "fs" / "cgroup" / path
    write(folder / "memory.max", limit)
    write(folder / "memory.current", usage)
    write(folder / "memory.stat", f"anon 5\ninactive_file {cache}\nactive_file 9")
    return folder


def cgroup_v1(root: Path, path: str, limit: int, usage: int, cache: int) -> None:
    folder = root / "sys" / "fs" / "cgroup" / "memory" / path
    write(folder / "memory.limit_in_bytes", limit)
    write(folder / "memory.usage_in_bytes", usage)
    write(folder / "memory.stat", f"inactive_file 1\ntotal_inactive_file {cache}")


def probe_in(root: Path, proc: Path, membership: str) -> LinuxMemoryProbe:
    write(proc / "self" / "cgroup", membership)
    return LinuxMemoryProbe(proc, root / "sys")


def test_limit_of_a_control_group(tmp_path: Path, proc: Path) -> None:
    cgroup_v2(tmp_path, "app.slice/run", 2 * GB, 1 * GB, GB // 4)
    cgroup_v2(tmp_path, "app.slice", "max", 1 * GB, 0)
    probe = probe_in(tmp_path, proc, "0::/app.slice/run")
    assert probe.system().available_bytes == 2 * GB - 1 * GB + GB // 4
    assert probe.slow().pressure == "normal"
    probe.close()


def test_limit_of_a_group_further_up_counts_too(tmp_path: Path, proc: Path) -> None:
    cgroup_v2(tmp_path, "app.slice/run", 2 * GB, 1 * GB, 0)
    cgroup_v2(tmp_path, "app.slice", 3 * GB, 3 * GB - 1000, 0)
    probe = probe_in(tmp_path, proc, "0::/app.slice/run")
    assert probe.system().available_bytes == 1000
    (proc / "meminfo").write_text("MemTotal: 16384000 kB\nMemAvailable: 8192000 kB\n")
    assert probe.slow().pressure == "critical"
    probe.close()


def test_group_that_is_the_root_in_a_container(tmp_path: Path, proc: Path) -> None:
    cgroup_v2(tmp_path, ".", 2 * GB, 1 * GB, 0)
    probe = probe_in(tmp_path, proc, "0::/../../not-seen-here")
    assert probe.system().available_bytes == 1 * GB
    probe.close()


def test_stalls_of_the_limited_group_count(tmp_path: Path, proc: Path) -> None:
    folder = cgroup_v2(tmp_path, "run", 2 * GB, 1 * GB, 0)
    (folder / "memory.pressure").write_text(stalls(60.0, 55.0))
    probe = probe_in(tmp_path, proc, "0::/run")
    assert probe.slow().pressure == "critical"
    probe.close()


def test_version_1_of_control_groups(tmp_path: Path, proc: Path) -> None:
    cgroup_v1(tmp_path, "docker/abc", 1 * GB, GB // 2, 100)
    cgroup_v1(tmp_path, ".", 9223372036854771712, 5 * GB, 0)  # no limit
    probe = probe_in(tmp_path, proc, "4:memory:/docker/abc\n1:cpu,cpuacct:/\n0::/")
    assert probe.system().available_bytes == GB // 2 + 100
    probe.close()


@pytest.mark.parametrize(
    "membership", ["", "0::/", "0::/run", "junk", "4:memory:/", "::::", "0::/a:b/../.."]
)
def test_without_a_limit_the_machine_counts(tmp_path: Path, proc: Path, membership: str) -> None:
    cgroup_v2(tmp_path, "run", "max", 1 * GB, 0)
    cgroup_v2(tmp_path, ".", 99 * GB, 1 * GB, 0)  # more than the machine has
    probe = probe_in(tmp_path, proc, membership)
    assert probe.system().available_bytes == 8192000 * 1024
    probe.close()


def test_group_whose_usage_cannot_be_read_says_nothing(tmp_path: Path, proc: Path) -> None:
    folder = cgroup_v2(tmp_path, "run", 2 * GB, 1 * GB, 0)
    probe = probe_in(tmp_path, proc, "0::/run")
    (folder / "memory.current").unlink()
    assert probe.system().available_bytes == 8192000 * 1024
    probe.close()


def test_limits_of_this_machine_can_be_read() -> None:
    for cgroup in limited_cgroups(read_text, None):
        assert cgroup.limit_bytes > 0


# --- heat


def zone(root: Path, index: int, temperature: object, **trips: object) -> Path:
    folder = root / "class" / "thermal" / f"thermal_zone{index}"
    write(folder / "type", "x86_pkg_temp")
    write(folder / "temp", temperature)
    for number, (kind, limit) in enumerate(trips.items()):
        write(folder / f"trip_point_{number}_type", kind)
        write(folder / f"trip_point_{number}_temp", limit)
    return folder


@pytest.mark.parametrize(
    ("temperature", "level"),
    [
        (45_000, "nominal"),
        (84_999, "nominal"),
        (85_000, "moderate"),
        (95_000, "heavy"),
        (105_000, "trapping"),
    ],
)
def test_temperature_against_the_kernels_own_limits(
    tmp_path: Path, temperature: int, level: str
) -> None:
    zone(tmp_path, 0, 30_000, critical=120_000)
    zone(tmp_path, 1, temperature, active=40_000, passive=85_000, hot=95_000, critical=105_000)
    assert ThermalZones(read_text, str(tmp_path)).level(read_text) == level


@pytest.mark.parametrize("limit", [0, -274_000, "none", 999_999_999])
def test_limit_that_is_none(tmp_path: Path, limit: object) -> None:
    """x86_pkg_temp has passive trip points of 0 until somebody sets them."""
    zone(tmp_path, 0, 50_000, passive=limit)
    assert isinstance(ThermalZones(read_text, str(tmp_path)).level(read_text), Unavailable)


@pytest.mark.parametrize("temperature", ["", "hot", -274_000, 10**12])
def test_temperature_that_cannot_be(tmp_path: Path, temperature: object) -> None:
    zone(tmp_path, 0, temperature, critical=100_000)
    assert isinstance(ThermalZones(read_text, str(tmp_path)).level(read_text), Unavailable)


def test_throttling_that_is_counted(tmp_path: Path) -> None:
    zone(tmp_path, 0, 50_000, critical=100_000)
    counter = tmp_path / "devices/system/cpu/cpu0/thermal_throttle/package_throttle_count"
    write(counter, 7)
    zones = ThermalZones(read_text, str(tmp_path))
    assert zones.level(read_text) == "nominal"
    write(counter, 8)
    assert zones.level(read_text) == "moderate"
    assert zones.level(read_text) == "nominal"


# --- facts


def linux(files: dict[str, str], **facts: str) -> LinuxProbe:
    commands = [RecordedCommand(argv=["cat", path], stdout=said) for path, said in files.items()]
    return LinuxProbe(RecordedSystem(RecordedFacts(system="Linux", **facts), commands))  # type: ignore[arg-type]


CPUINFO = """processor\t: 0
model name\t: AMD Ryzen 7 5800X 8-Core Processor
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu vme hypervisor lahf_lm

processor\t: 1
model name\t: AMD Ryzen 7 5800X 8-Core Processor
physical id\t: 0
core id\t\t: 0
flags\t\t: fpu vme hypervisor lahf_lm
"""


def test_identity() -> None:
    found = linux(
        {
            "/proc/cpuinfo": CPUINFO,
            "/proc/meminfo": MEMINFO.decode(),
            "/etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "/sys/devices/virtual/dmi/id/product_name": "Standard PC\n",
            "/sys/devices/system/cpu/online": "0-1\n",
        },
        machine="x86_64",
    ).identity()
    assert found.chip == "AMD Ryzen 7 5800X 8-Core Processor"
    assert (found.cores_physical, found.cores_logical) == (1, 2)
    assert (found.memory_bytes, found.architecture) == (16384000 * 1024, "x86_64")
    assert (found.os_version, found.model) == ("Debian GNU/Linux 12 (bookworm)", "Standard PC")
    assert (found.virtual, found.translated) == (True, False)


def test_cores_are_counted_by_their_threads() -> None:
    cpu = "/sys/devices/system/cpu"
    files = {f"{cpu}/cpu{i}/topology/core_cpus_list": f"{i % 2},{i % 2 + 2}\n" for i in range(4)}
    found = linux({**files, f"{cpu}/online": "0-2,3\n", f"{cpu}/cpufreq/x": "1\n"}).identity()
    assert (found.cores_physical, found.cores_logical) == (2, 4)


@pytest.mark.parametrize(
    ("cpuinfo", "chip", "virtual"),
    [
        (
            "processor : 0\nBogoMIPS : 50\n\nModel : Raspberry Pi 5 Model B\n",
            "Raspberry Pi 5 Model B",
            None,
        ),
        ("processor : 0\nBogoMIPS : 50\n", None, None),
        ("model name : VirtualApple @ 2.50GHz\nflags : fpu\n", "VirtualApple @ 2.50GHz", False),
    ],
)
def test_chips(cpuinfo: str, chip: str | None, virtual: bool | None) -> None:
    found = linux({"/proc/cpuinfo": cpuinfo}).identity()
    assert (or_none(found.chip), or_none(found.virtual)) == (chip, virtual)
    assert found.translated is (chip == "VirtualApple @ 2.50GHz")


SUPPLY = "/sys/class/power_supply"


@pytest.mark.parametrize(
    ("files", "source", "percent"),
    [
        (
            {"AC/type": "Mains", "AC/online": "1", "BAT0/type": "Battery", "BAT0/capacity": "80"},
            "ac",
            80,
        ),
        (
            {
                "AC/type": "Mains",
                "AC/online": "0",
                "BAT0/type": "Battery",
                "BAT0/status": "Discharging",
                "BAT0/capacity": "41",
            },
            *("battery", 41),
        ),
        ({"BAT1/type": "Battery", "BAT1/status": "Full", "BAT1/capacity": "100"}, "ac", 100),
        ({"BAT1/type": "Battery", "BAT1/status": "Full", "BAT1/capacity": "250"}, "ac", None),
        ({"AC/type": "Mains", "AC/online": "1"}, "ac", None),
        # The battery of a mouse.
        ({"hid/type": "Battery", "hid/scope": "Device", "hid/status": "Discharging"}, None, None),
        ({}, None, None),
    ],
)
def test_power(files: dict[str, str], source: str | None, percent: int | None) -> None:
    found = linux({f"{SUPPLY}/{name}": said + "\n" for name, said in files.items()}).power()
    assert (or_none(found.source), or_none(found.battery_percent)) == (source, percent)


@pytest.mark.parametrize(
    ("profile", "low"), [("low-power\n", True), ("balanced\n", False), ("performance\n", False)]
)
def test_low_power(profile: str, low: bool) -> None:
    assert linux({"/sys/firmware/acpi/platform_profile": profile}).power().low_power_mode is low


def test_load_and_memory() -> None:
    probe = linux(
        {
            "/proc/loadavg": "3.55 2.00 1.00 2/300 4711\n",
            "/proc/meminfo": MEMINFO.decode(),
            "/proc/vmstat": "pswpin 12\npswpout 34\n",
        }
    )
    memory = probe.memory()
    assert probe.load_1min() == 3.55
    assert memory.available_bytes == 8192000 * 1024
    assert memory.swap_used_bytes == 1048576 * 1024
    assert (memory.swapped_in_bytes, memory.swapped_out_bytes) == (12 * PAGE, 34 * PAGE)
    assert isinstance(linux({"/proc/loadavg": "busy"}).load_1min(), Unavailable)
