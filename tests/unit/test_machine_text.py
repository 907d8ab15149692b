"""What macOS's small programs print, read from every recording there is of them."""

import re

import pytest
from recordings import text, texts

from sdbench.machine.facts import Unavailable
from sdbench.machine.macos.commands import THERMAL_KEY
from sdbench.machine.macos.text import (
    Battery,
    PageCounts,
    parse_df,
    parse_free_percent,
    parse_load,
    parse_low_power,
    parse_memory_pressure,
    parse_memory_pressure_total,
    parse_power_source,
    parse_pressure,
    parse_speed_limit,
    parse_swap_used,
    parse_sysctl,
    parse_thermal,
    parse_vm_stat,
    sysctl_refusal,
)

MB = 1 << 20
M4 = "m4-24gb-macos26.5-under-pressure/"


def counts(found: PageCounts | Unavailable) -> PageCounts:
    assert isinstance(found, PageCounts), found
    return found


# --- vm_stat: page size, free + inactive + speculative, compressor, swapped in, swapped out (pages)

VM_STAT = {
    "intel-vm_stat-4096/vm_stat.txt": (4096, 6127229 + 628646 + 430715, 0, 0, 0),
    "large-mac-128gb-class-vm_stat/vm_stat.txt": (16384, 2639858 + 1116526 + 53146, 5321, 0, 0),
    "m4-24gb-macos26.5-under-pressure/vm_stat.A.txt": (
        *(16384, 5899 + 287954 + 919, 716251, 53426454, 73343490),
    ),
    "m4-24gb-macos26.5-under-pressure/vm_stat.B.txt": (
        *(16384, 4977 + 289804 + 513, 714162, 53426490, 73343490),
    ),
    "m5pro-48gb-macos26-mte-vm_stat/vm_stat.1.txt": (
        *(16384, 91293 + 972764 + 12866, 621431, 24, 2908),
    ),
    "m5pro-48gb-macos26-mte-vm_stat/vm_stat.2.txt": (
        *(16384, 460589 + 607117 + 62092, 919480, 28, 2908),
    ),
    "m5pro-48gb-macos26-mte-vm_stat/vm_stat.3.txt": (
        *(16384, 458481 + 863609 + 12106, 753494, 28, 2908),
    ),
    "m5pro-48gb-macos26-mte-vm_stat/vm_stat.4.txt": (
        *(16384, 367477 + 703292 + 92430, 728048, 28, 2908),
    ),
    "m5pro-48gb-macos26-mte-vm_stat/vm_stat.5.txt": (
        *(16384, 520968 + 791799 + 12124, 712064, 28, 2908),
    ),
    "mac-16gb-2026-05/vm_stat_pipe_head_-12.txt": (16384, 12216 + 267123 + 14945, None, None, None),
    "mac-16gb-head6/vm_stat_pipe_head_-6.txt": (16384, 3591 + 323271 + 17855, None, None, None),
    "mac-32gb-mlx-memory-profiler/vm_stat.txt": (
        *(16384, 26450 + 825913 + 24144, 44642, 714859, 1527838),
    ),
    "macmini-32gb-2026/vm_stat.txt": (16384, 15160 + 889884 + 2084, 120555, 0, 0),
    "macmini-32gb-2026/vm_stat.2.txt": (16384, 652276 + 410479 + 183582, 96636, 7, 16),
    "macmini-32gb-2026/vm_stat.3.txt": (16384, 180727 + 766214 + 187537, 123624, 0, 0),
}


def test_every_recorded_vm_stat_is_expected() -> None:
    assert sorted(VM_STAT) == texts("vm_stat")


@pytest.mark.parametrize("name", VM_STAT)
def test_vm_stat(name: str) -> None:
    page, available, *rest = VM_STAT[name]
    found = counts(parse_vm_stat(text(name)))
    assert found.page_bytes == page
    assert found.bytes_of("Pages free", "Pages inactive", "Pages speculative") == available * page
    labels = ("Pages occupied by compressor", "Swapins", "Swapouts")
    for label, pages in zip(labels, rest, strict=True):
        missing = Unavailable(f"there is no line “{label}”")
        assert found.bytes_of(label) == (missing if pages is None else pages * page)


def test_vm_stat_quotes_one_label_and_counts_bytes_in_another() -> None:
    found = counts(parse_vm_stat(text("m5pro-48gb-macos26-mte-vm_stat/vm_stat.1.txt")))
    assert found.pages["Translation faults"] == 1905887443
    assert "Bytes of compressed tags" in found.pages  # never asked for


@pytest.mark.parametrize(
    "line",
    [
        "Swapouts:                                  -5.",
        "Swapouts:              999999999999999999999999999999.",
    ],
)
def test_vm_stat_with_counters_that_cannot_be(line: str) -> None:
    found = counts(parse_vm_stat(f"(page size of 16384 bytes)\n{line}\n"))
    assert found.bytes_of("Swapouts") == Unavailable(
        f"Swapouts: “{line.split()[1].rstrip('.')}” is impossible"
    )


@pytest.mark.parametrize("page", ["0", "1", "17", "99999999999"])
def test_vm_stat_with_a_page_size_no_mac_has(page: str) -> None:
    said = f"Mach Virtual Memory Statistics: (page size of {page} bytes)\nSwapins:  1.\n"
    assert parse_vm_stat(said) == Unavailable("vm_stat names no page size")


def test_number_without_its_full_stop_is_cut_off() -> None:
    whole = text("m4-24gb-macos26.5-under-pressure/vm_stat.A.txt")
    cut = counts(parse_vm_stat(whole[: whole.index("73343490") + 5]))
    assert "Swapins" in cut.pages
    assert "Swapouts" not in cut.pages


# --- memory_pressure: free percent, memory, compressor, swapped out (pages)

MEMORY_PRESSURE = {
    "mac-16gb-2026-05/memory_pressure.txt": (57, 17179869184, 308084, 0),
    "macmini-32gb-2026/memory_pressure.txt": (87, 34359738368, 120555, 0),
    "macmini-32gb-2026/memory_pressure.2.txt": (88, 34359738368, 96636, 16),
    "macmini-32gb-2026/memory_pressure.3.txt": (87, 34359738368, 123624, 0),
    M4 + "memory_pressure_-Q.last_line.txt": (37, None, None, None),
    "mac-16gb-head6/memory_pressure_pipe_tail_-1.txt": (67, None, None, None),
}


def test_every_recorded_memory_pressure_is_expected() -> None:
    assert sorted(MEMORY_PRESSURE) == texts("memory_pressure")


@pytest.mark.parametrize("name", MEMORY_PRESSURE)
def test_memory_pressure(name: str) -> None:
    percent, memory, compressor, out = MEMORY_PRESSURE[name]
    said = text(name)
    assert parse_free_percent(said) == percent
    if memory is None or compressor is None or out is None:
        assert parse_memory_pressure_total(said) == Unavailable(
            "memory_pressure names no memory size"
        )
        assert isinstance(parse_memory_pressure(said), Unavailable)
        return
    assert parse_memory_pressure_total(said) == memory
    found = counts(parse_memory_pressure(said))
    assert found.bytes_of("Pages occupied by compressor") == compressor * 16384
    assert found.bytes_of("Swapouts") == out * 16384


def test_memory_pressure_with_its_blanks_stripped() -> None:
    """As an editor leaves it; but a number without even the end of its line may be cut off."""
    said = text("macmini-32gb-2026/memory_pressure.2.txt").replace(" \n", "\n")
    assert counts(parse_memory_pressure(said)).bytes_of("Swapouts") == 16 * 16384
    cut = said[: said.index("Swapouts: 16") + len("Swapouts: 1")]
    assert isinstance(counts(parse_memory_pressure(cut)).bytes_of("Swapouts"), Unavailable)


def test_free_percentage_beyond_hundred_is_none() -> None:
    for said in ("250%", "-3%", "8", "1000000000000000000000000%"):
        assert isinstance(
            parse_free_percent(f"System-wide memory free percentage: {said}"), Unavailable
        )


# --- sysctl

SWAP_USED_MB = {
    "16gb-10core-testdata/": 1586.19,
    "48gb-18core-loaded/": 11625.69,
    M4 + "sysctl_vm.swapusage.2.txt": 15300.81,
    M4 + "sysctl_vm.swapusage.txt": 15348.81,
    M4 + "sysctl_vm.swapusage_vm.memory_pressure_kern.memorystatus_vm_pressure_level": 13262.06,
    "m4-air-16gb-macos26.5.2/": 13263.56,
    "sysctl-odd/sysctl_vm.swapusage.comma-decimals.txt": 379.25,
    "sysctl-odd/sysctl_vm.swapusage.zero.txt": 0.0,
}


def test_swap_in_every_recording_that_has_it() -> None:
    seen = set()
    for name in texts("sysctl"):
        value = parse_sysctl(text(name)).get("vm.swapusage")
        if value is None:
            continue
        beginning = next(start for start in SWAP_USED_MB if name.startswith(start))
        assert parse_swap_used(value) == round(SWAP_USED_MB[beginning] * MB), name
        seen.add(beginning)
    assert seen == set(SWAP_USED_MB)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "total = 1024.00M",
        "total = 1024.00M  used = 379.2",  # cut off
        "total = 1024.00M  used = -5.00M  free = 644.75M",
        "total = 1024.00M  used = 99999.00M  free = 0.00M",
        "total = 9e99M  used = 1e30M  free = 0.00M",
        "used = 999999999999999999999999.00M",
    ],
)
def test_swap_that_cannot_be(said: str) -> None:
    assert isinstance(parse_swap_used(said), Unavailable)


LOADS = {
    "16gb-10core-testdata/": 4.38,
    "48gb-18core-loaded/": 21.53,
    "sysctl-odd/sysctl_vm.loadavg.comma-decimals.testdata.txt": 212.40,
}


def test_load_in_every_recording_that_has_it() -> None:
    seen = set()
    for name in texts("sysctl"):
        value = parse_sysctl(text(name)).get("vm.loadavg")
        if value is not None:
            beginning = next(start for start in LOADS if name.startswith(start))
            assert parse_load(value) == LOADS[beginning]
            seen.add(beginning)
    assert seen == set(LOADS)


@pytest.mark.parametrize("said", ["", "{ }", "{ -1.00 0.00 0.00 }", "{ 999999999.00 1.00 1.00 }"])
def test_load_that_cannot_be(said: str) -> None:
    assert isinstance(parse_load(said), Unavailable)


def test_sysctl_lines_of_both_forms() -> None:
    assert parse_sysctl("hw.model: Mac14,2\nhw.memsize = 8589934592\n") == {
        "hw.model": "Mac14,2",
        "hw.memsize": "8589934592",
    }


def test_sysctl_value_may_hold_a_colon_or_be_empty() -> None:
    found = parse_sysctl(text("m2pro-16gb/sysctl_-a.chunk.txt"))
    assert "hw.osenvironment" not in found
    assert found["machdep.cpu.brand_string"] == "Apple M2 Pro"
    versions = parse_sysctl(text("intel-macos12.2/sysctl_-a_pipe_grep_version.txt"))
    assert versions["kern.version"].startswith("Darwin Kernel Version 21.3.0: Wed Jan  5 21:37:58")
    assert versions["kern.osproductversion"] == "12.2"


def test_sysctl_that_sets_a_value_shows_the_new_one() -> None:
    assert parse_sysctl("iogpu.wired_limit_mb: 0 -> 14000") == {"iogpu.wired_limit_mb": "14000"}


def test_sysctl_says_nothing_of_an_unknown_key_with_i() -> None:
    assert parse_sysctl(text("sysctl-odd/sysctl_-i_unknown.key.txt")) == {}


def test_why_sysctl_gives_no_value() -> None:
    name = "machdep.xcpm.cpu_thermal_level"
    unknown = text(f"sysctl-odd/sysctl_{name}.stderr.txt")
    assert sysctl_refusal(name, unknown) == Unavailable(f"sysctl does not know {name}")
    name = "kern.osproductversion"
    refused = text("sysctl-odd/sysctl_kern.osproductversion.sandbox.stderr.txt")
    assert sysctl_refusal(name, refused) == Unavailable(
        f"the system does not let this program read {name}"
    )


@pytest.mark.parametrize(
    ("said", "level"), [("1", "normal"), ("2", "warn"), ("4", "critical"), (" 4\n", "critical")]
)
def test_pressure_levels(said: str, level: str) -> None:
    assert parse_pressure(said) == level


@pytest.mark.parametrize("said", ["0", "3", "5", "-1", "warn", "", "10", "99999999999999999999"])
def test_pressure_level_that_is_not_known(said: str) -> None:
    found = parse_pressure(said)
    assert isinstance(found, Unavailable)
    assert "none of 1, 2 and 4" in found.unavailable


# --- pmset

BATTERIES = {
    "ac-attached-not-charging.macos11-m1": ("ac", 80),
    "charged-blanks-instead-of-tab": ("ac", 100),
    "desktop": ("ac", None),
    "finishing-charge": ("ac", 99),
    "no-estimate": ("battery", 53),
    "no-id-blanks": ("ac", 90),
    "old-no-id": ("ac", 84),
}


def test_every_recorded_battery_is_expected() -> None:
    names = {f"pmset-variants/pmset_-g_batt.{name}.txt" for name in BATTERIES}
    assert names | {"pmset-variants/pmset_-g_ps.desktop.txt"} == set(
        texts("pmset_-g_batt", "pmset_-g_ps")
    )


@pytest.mark.parametrize("name", BATTERIES)
def test_power_source(name: str) -> None:
    source, percent = BATTERIES[name]
    found = parse_power_source(text(f"pmset-variants/pmset_-g_batt.{name}.txt"))
    assert found == Battery(
        source,  # type: ignore[arg-type]
        Unavailable("there is no battery") if percent is None else percent,
    )


@pytest.mark.parametrize(
    ("said", "source", "percent"),
    [
        ("Now drawing from 'UPS Power'\n -UPS 900\t100%; discharging; 0:20 remaining", "ups", None),
        ("Now drawing from 'Fusion Power'\n", None, None),
        (" -InternalBattery-0 (id=1)\t250%; charging; present: true", "ac", None),
        (" -InternalBattery-0 (id=1)\t-4%; discharging; present: true", "battery", None),
        ("Now drawing from 'AC Power'\n -InternalBattery-0\t0%; present: false", "ac", None),
        ("", None, None),
        ("Now drawing from 'Battery Po", None, None),
    ],
)
def test_odd_power_sources(said: str, source: str | None, percent: int | None) -> None:
    found = parse_power_source(said)
    assert (None if isinstance(found.source, Unavailable) else found.source) == source
    assert (None if isinstance(found.percent, Unavailable) else found.percent) == percent


@pytest.mark.parametrize(
    ("name", "source", "low"),
    [
        ("intel-kolide-pmset/pmset_-g.txt", "ac", False),
        ("intel-kolide-pmset/pmset_-g_custom.txt", "ac", False),
        ("intel-kolide-pmset/pmset_-g_custom.txt", "battery", True),
        ("pmset-variants/pmset_-g.sleepdisabled.macos12.txt", "ac", False),
        ("pmset-variants/pmset_-g.sleepdisabled.macos12.markdown-damaged.txt", "ac", False),
        ("pmset-variants/pmset_-g_custom.powermode.m1max-macos14.truncated.txt", "battery", False),
        ("pmset-variants/pmset_-g_custom_pipe_grep_powermode.high.txt", "ac", False),
        ("pmset-variants/pmset_-g_pipe_grep_lowpowermode.on.txt", "battery", True),
    ],
)
def test_low_power(name: str, source: str, low: bool) -> None:
    assert parse_low_power(text(name), source) is low  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "source"),
    [
        ("", "ac"),
        ("System-wide power settings:\nCurrently in use:\n standby 1\n", "ac"),
        (" lowpowermode         7\n", "ac"),
        (" powermode            -1\n", "ac"),
        # The section of a source that is not in use says nothing.
        ("Battery Power:\n lowpowermode         1\n", "ac"),
        ("Battery Power:\n lowpowermode         1\n", Unavailable("pmset hangs")),
    ],
)
def test_low_power_that_is_not_told(said: str, source: str | Unavailable) -> None:
    assert isinstance(parse_low_power(said, source), Unavailable)  # type: ignore[arg-type]


def test_low_power_by_power_mode() -> None:
    assert parse_low_power("Currently in use:\n powermode            1\n", "ac") is True


SPEED_LIMITS = {
    "intel-ok-12cpu": 100,
    "intel-ok-16cpu": 100,
    "intel-throttled-23": 23,
    "intel-throttled-28": 28,
    "m1pro-macos12.1": None,
    "two-notes.darwin25.6-arm64": None,
}


@pytest.mark.parametrize("name", SPEED_LIMITS)
def test_speed_limit(name: str) -> None:
    found = parse_speed_limit(text(f"pmset-therm-variants/pmset_-g_therm.{name}.txt"))
    limit = SPEED_LIMITS[name]
    assert found == (Unavailable("pmset has recorded no speed limit") if limit is None else limit)


def test_speed_limit_that_cannot_be() -> None:
    for said in ("CPU_Speed_Limit \t= 900\n", "CPU_Speed_Limit \t= -1\n"):
        assert isinstance(parse_speed_limit(said), Unavailable)


# --- heat


@pytest.mark.parametrize(
    ("number", "level"),
    [(0, "nominal"), (1, "moderate"), (2, "heavy"), (3, "trapping"), (4, "sleeping")],
)
def test_thermal_levels(number: int, level: str) -> None:
    said = text("m2-air-macos26.1/notifyutil_-g_com.apple.system.thermalpressurelevel.txt")
    assert re.sub("0$", str(number), said.strip()) == f"{THERMAL_KEY} {number}"
    assert parse_thermal(f"{THERMAL_KEY} {number}\n", THERMAL_KEY) == level


@pytest.mark.parametrize("number", ["5", "-1", "100", "18446744073709551615", "x", ""])
def test_thermal_level_that_is_not_known(number: str) -> None:
    assert isinstance(parse_thermal(f"{THERMAL_KEY} {number}\n", THERMAL_KEY), Unavailable)


def test_thermal_level_of_another_key_is_not_ours() -> None:
    said = text("notifyutil-odd/notifyutil_-g_no.such.key.txt")
    assert isinstance(parse_thermal(said, THERMAL_KEY), Unavailable)


# --- df

DF_K = """Filesystem     1024-blocks    Used Available Capacity iused ifree %iused  Mounted on
/dev/disk3s1s1   239362496 8972436   9124532    50%  356093 91245320    0%   /
"""
DF_P = """Filesystem   512-blocks     Used Available Capacity Mounted on
/dev/disk1s5  478724992 17944872  18249064    50%   /
"""
DF_H = """Filesystem       Size   Used  Avail Capacity iused ifree %iused  Mounted on
/dev/disk3s1s1  926Gi  9.6Gi  412Gi     3%    404k  4.3G    0%   /
map auto_home     0Bi    0Bi    0Bi   100%       0     0     -   /System/Volumes/home
/dev/disk3s5    926Gi  498Gi  411Gi    55%    3.1M  4.3G    0%   /System/Volumes/Data
"""
DF_LINUX = """Filesystem     1K-blocks      Used Available Use% Mounted on
/dev/vda       102687672  30867240  71804048  31% /mnt/My Disk
"""


@pytest.mark.parametrize(
    ("said", "free"),
    [
        (DF_K, 9124532 * 1024),
        (DF_P, 18249064 * 512),
        (DF_H, 411 << 30),
        (DF_LINUX, 71804048 * 1024),
    ],
)
def test_free_disk(said: str, free: int) -> None:
    assert parse_df(said) == free


def test_free_disk_that_is_not_told() -> None:
    for said in ("", "df: /nowhere: No such file or directory\n", "Filesystem 1K-blocks\n/dev 9\n"):
        assert parse_df(said) == Unavailable("df names no free space")
    absurd = DF_K.replace("9124532", "99999999999999999999")
    assert parse_df(absurd) == Unavailable("df: “102400000000000000000000” is impossible")
