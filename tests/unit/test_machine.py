"""This very machine: identified without names, probed within limits, sampled."""

import os
import platform
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest
from recordings import text

from sdbench import machine
from sdbench.machine import LiveSystem, Unavailable, probe_machine
from sdbench.machine.facts import first_known, known, or_none
from sdbench.machine.macos import commands as macos_commands
from sdbench.machine.system import Output

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_probe_of_this_platform_weighs_this_process() -> None:
    probe = machine.open_memory_probe()
    weight = probe.footprint_bytes(os.getpid())
    assert weight is not None
    assert 5_000_000 < weight < 20_000_000_000
    assert (probe.system().available_bytes or 0) > 0
    probe.close()


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


def test_facts_agree_with_psutil() -> None:
    found = probe_machine(machine.open_system(), Path())
    assert found.simulated is False
    assert found.identity.system == platform.system()
    assert found.identity.architecture == platform.machine()
    assert found.identity.memory_bytes == psutil.virtual_memory().total
    assert found.identity.cores_logical == psutil.cpu_count()
    assert or_none(found.identity.cores_physical) == psutil.cpu_count(logical=False)
    assert found.identity.translated is False
    available = psutil.virtual_memory().available
    assert found.memory.available_bytes == pytest.approx(available, rel=0.2)
    assert found.scheduling.nice == os.nice(0)
    assert found.scheduling.background is False
    assert or_none(found.load_1min) is not None


def test_facts_survive_json() -> None:
    """They go into documents; a reason must not come back as a value."""
    found = probe_machine(machine.open_system(), Path())
    again = msgspec.json.decode(msgspec.json.encode(found), type=machine.MachineFacts)
    assert again == found


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    system = LiveSystem()
    free = system.free_disk_bytes(tmp_path / "cache" / "models")
    assert free == pytest.approx(psutil.disk_usage(str(tmp_path)).free, rel=0.1)


def test_reading_the_machine_names_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "somebodys-folder"
    found = msgspec.json.encode(probe_machine(machine.open_system(), folder)).decode().lower()
    assert socket.gethostname().lower() not in set(re.findall(r"[\w.-]+", found))
    assert "somebody" not in found


# --- running programs


def test_command_gets_a_c_locale_and_the_true_version_of_macos() -> None:
    said = LiveSystem().command(("/usr/bin/env",))
    assert isinstance(said, Output)
    lines = said.stdout.splitlines()
    assert "LC_ALL=C" in lines
    assert "SYSTEM_VERSION_COMPAT=0" in lines


def test_command_that_is_not_there_or_hangs_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    system = LiveSystem()
    assert system.command(("/no/such/program",)) == Unavailable("there is no /no/such/program here")
    failed = system.command(("/bin/sh", "-c", "echo out; echo err >&2; exit 3"))
    assert failed == Output(stdout="out\n", stderr="err\n", exit=3)
    monkeypatch.setattr("sdbench.machine.live.COMMAND_LIMIT_S", 0.1)
    began = time.monotonic()
    said = system.command(("/bin/sleep", "20"))
    assert isinstance(said, Unavailable)
    assert "sleep did not answer within" in said.unavailable
    assert time.monotonic() - began < 10


def test_what_is_printed_need_not_be_text() -> None:
    said = LiveSystem().command(("/usr/bin/printf", r"a\377b"))
    assert isinstance(said, Output)
    assert said.stdout == "a\N{REPLACEMENT CHARACTER}b"


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> list[str]:
    """Programs that answer so, by name; returns the names of those that have been started."""
    started: list[str] = []

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        name = os.path.basename(argv[0])
        started.append(name)
        stderr = "sysctl: unknown oid 'hw.model'\n" if name == "sysctl" else ""
        return subprocess.CompletedProcess(argv, 1 if stderr else 0, answers.get(name, ""), stderr)

    monkeypatch.setattr(subprocess, "run", run)
    return started


def test_all_sysctl_values_come_from_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "hw.memsize: 8589934592\nvm.loadavg: { 1.00 2.00 3.00 }\n"
    started = answering(monkeypatch, {"sysctl": said})
    values = LiveSystem().sysctl(["hw.memsize", "hw.model", "vm.loadavg"])
    assert started == ["sysctl"]
    assert values == {
        "hw.memsize": "8589934592",
        "hw.model": Unavailable("sysctl does not know hw.model"),
        "vm.loadavg": "{ 1.00 2.00 3.00 }",
    }


def test_second_look_at_a_mac_is_quick_and_sees_what_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gates look again and again; what a Mac is they need not be told twice."""
    answers = {
        "sysctl": "kern.memorystatus_vm_pressure_level: 1\nkern.version: x/RELEASE_ARM64_T6000\n",
        "system_profiler": text(
            "m5max-128gb-macos26.4/system_profiler_SPHardwareDataType_-json.txt"
        ),
        "sw_vers": text("m2-air-macos26.1/sw_vers.txt"),
        "vm_stat": text("mac-32gb-mlx-memory-profiler/vm_stat.txt"),
    }
    started = answering(monkeypatch, answers)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)
    system = LiveSystem()
    first = probe_machine(system, Path())
    assert (first.identity.chip, first.identity.os_version) == ("Apple M5 Max", "26.1")
    assert first.memory.pressure == "normal"
    assert set(started) == {*answers, "pmset", "notifyutil", "memory_pressure"}
    started.clear()
    answers["sysctl"] = answers["sysctl"].replace("level: 1", "level: 4")
    second = probe_machine(system, Path())
    assert second.memory.pressure == "critical"
    assert second.identity == first.identity
    assert {"system_profiler", "sw_vers"}.isdisjoint(started)
    assert "vm_stat" in started


def test_programs_of_a_mac_are_started_by_absolute_paths() -> None:
    commands = [value for name, value in vars(macos_commands).items() if name.isupper()]
    argvs = [value for value in commands if isinstance(value, tuple) and value[0][0] == "/"]
    assert len(argvs) >= 8
    for argv in argvs:
        assert argv[0].startswith(("/usr/bin/", "/usr/sbin/"))


# --- facts and reasons


def test_first_known_value_or_the_most_telling_reason() -> None:
    why, recorded = Unavailable("it hangs"), Unavailable("it is not in the recording")
    assert first_known(why, 5, 6) == 5
    assert first_known(0, 5) == 0
    assert first_known(recorded, why) == why
    assert first_known(recorded, recorded) == recorded
    assert known(False)
    assert not known(why)
