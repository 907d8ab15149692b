"""What the machine is: parsing what the system says, and nothing that tells whose it is."""

import json
import os
import re
import socket
import sys
from pathlib import Path

import pytest

from sdbench import machine
from sdbench.machine.linux_proc import LinuxMemoryProbe, parse_meminfo, parse_vmstat

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

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


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


def test_probe_of_this_platform_weighs_this_process() -> None:
    probe = machine.open_memory_probe()
    weight = probe.footprint_bytes(os.getpid())
    assert weight is not None
    assert 5_000_000 < weight < 20_000_000_000
    assert (probe.system().available_bytes or 0) > 0
    probe.close()


def test_machine_is_identified_without_names() -> None:
    facts = machine.identify()
    assert facts["cores_physical"] >= 1
    assert facts["memory_bytes"] > 100_000_000
    words = set(re.findall(r"[\w.-]+", json.dumps(facts).lower()))
    assert socket.gethostname().lower() not in words


def test_machine_id_is_a_stable_digest() -> None:
    first = machine.machine_id()
    assert re.fullmatch(r"[0-9a-f]{16}", first)
    assert machine.machine_id() == first


@on_linux
def test_machine_id_does_not_give_the_systems_own_away() -> None:
    path = Path("/etc/machine-id")
    own = path.read_text().strip() if path.is_file() else ""
    assert not own or (machine.machine_id() not in own and own not in machine.machine_id())


def test_boot_id_stays_while_the_machine_runs() -> None:
    assert machine.boot_id() == machine.boot_id()
