"""Recorded machines: what is made of them, however they were recorded and whatever is in them."""

import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recordings import MACHINES, folder_system, text

from sdbench import machine
from sdbench.errors import UsageError
from sdbench.machine import MachineFacts, RecordedSystem, Unavailable, open_system, probe_machine
from sdbench.machine.facts import NOT_RECORDED, CoreKind
from sdbench.machine.macos.commands import THERMAL_KEY
from sdbench.machine.recording import VARIABLE, RecordedCommand, RecordedFacts
from sdbench.runner.prepare import cores_of, machine_record, memory_bytes_of

GB = 1 << 30
HERE = Path()


def probed(folder: Path) -> MachineFacts:
    return probe_machine(open_system({VARIABLE: str(folder)}), HERE)


def system_of(*commands: dict[str, Any], **facts: Any) -> RecordedSystem:
    """A Mac of which this much is known."""
    return RecordedSystem(
        msgspec.convert({"system": "Darwin", **facts}, RecordedFacts),
        [msgspec.convert(command, RecordedCommand) for command in commands],
    )


def facts_of(*commands: dict[str, Any], **facts: Any) -> MachineFacts:
    return probe_machine(system_of(*commands, **facts), HERE)


def value(fact: object) -> object:
    return None if isinstance(fact, Unavailable) else fact


def reason(fact: object) -> str:
    assert isinstance(fact, Unavailable), fact
    return fact.unavailable


# --- six whole machines


def test_m1_under_rosetta() -> None:
    found = probed(MACHINES / "m1-8gb-macos13-rosetta")
    identity, memory, power = found.identity, found.memory, found.power
    assert found.simulated
    assert (identity.chip, identity.model) == ("Apple M1", "MacBookAir10,1")
    assert (identity.architecture, identity.translated, identity.virtual) == ("arm64", True, False)
    assert (identity.os_version, identity.os_build) == ("13.3.1", "22E772610a")
    assert (identity.memory_bytes, identity.gpu_cores, identity.cores_physical) == (8 * GB, 7, 8)
    assert identity.cores_by_kind == (CoreKind("Performance", 4), CoreKind("Efficiency", 4))
    assert memory.available_bytes == (6108 + 133561 + 2472) * 16384
    assert (memory.pressure, memory.free_percent) == ("warn", 24)
    assert memory.compressor_bytes == 124042 * 16384
    assert memory.swap_used_bytes == 379.25 * (1 << 20)  # with a decimal comma
    assert memory.swapped_in_bytes == 301562 * 16384
    assert memory.swapped_out_bytes == 388104 * 16384
    assert reason(memory.gpu_limit_bytes) == "sysctl does not know iogpu.wired_limit_mb"
    assert (power.source, power.battery_percent, power.low_power_mode) == ("battery", 53, True)
    assert found.thermal == "moderate"
    assert found.load_1min == 3.42
    assert found.free_disk_bytes == 9124532 * 1024


def test_m2_max() -> None:
    found = probed(MACHINES / "m2-max-macos14")
    identity, memory, power = found.identity, found.memory, found.power
    assert (identity.chip, identity.model, identity.gpus) == (
        *("Apple M2 Max", "Mac14,6", ["Apple M2 Max"]),
    )
    assert (identity.architecture, identity.translated, identity.virtual) == ("arm64", False, False)
    assert (identity.os_version, identity.os_build) == ("14.2.1", "23C71")
    assert (identity.memory_bytes, identity.gpu_cores, identity.cores_physical) == (32 * GB, 30, 12)
    assert (memory.pressure, memory.free_percent, memory.swap_used_bytes) == ("normal", 88, 0)
    assert (memory.swapped_in_bytes, memory.swapped_out_bytes) == (7 * 16384, 16 * 16384)
    assert memory.gpu_limit_bytes == 0
    assert (power.source, power.battery_percent, power.low_power_mode) == ("ac", 99, False)
    assert (found.thermal, found.load_1min) == ("nominal", 1.84)
    assert found.free_disk_bytes == 412 * GB


def test_m4_mini() -> None:
    found = probed(MACHINES / "m4-macos15")
    identity, memory, power = found.identity, found.memory, found.power
    assert (identity.chip, identity.model) == ("Apple M4", "Mac16,10")
    assert (identity.os_version, identity.os_build) == ("15.3.1", "24D70")
    assert (identity.memory_bytes, identity.gpu_cores, identity.cores_physical) == (16 * GB, 10, 10)
    assert identity.cores_by_kind == (CoreKind("Performance", 4), CoreKind("Efficiency", 6))
    assert (memory.pressure, memory.free_percent, memory.swap_used_bytes) == ("normal", 57, 0)
    assert memory.gpu_limit_bytes == 14000 << 20
    assert (power.source, power.low_power_mode) == ("ac", False)
    assert reason(power.battery_percent) == "there is no battery"
    assert found.free_disk_bytes == NOT_RECORDED


def test_m4_that_swaps() -> None:
    found = probed(MACHINES / "m-swapping")
    identity, memory, power = found.identity, found.memory, found.power
    assert (identity.chip, identity.model, identity.os_version) == ("Apple M4", "Mac16,1", "26.5")
    assert (identity.memory_bytes, identity.gpu_cores) == (24 * GB, 10)
    assert (memory.pressure, memory.free_percent) == ("warn", 38)
    assert memory.available_bytes == (5899 + 287954 + 919) * 16384
    assert memory.compressor_bytes == 716251 * 16384
    assert memory.swap_used_bytes == round(13262.06 * (1 << 20))
    assert memory.swapped_out_bytes == 73343490 * 16384
    assert power.source == "ac"
    assert reason(power.low_power_mode) == "pmset did not answer within 3 s"
    assert found.load_1min == NOT_RECORDED


def test_virtual_mac() -> None:
    found = probed(MACHINES / "virtual-mac")
    identity = found.identity
    assert (identity.virtual, identity.translated, identity.architecture) == (True, False, "arm64")
    assert (identity.chip, identity.model) == ("Apple M1 (Virtual)", "VirtualMac2,1")
    assert identity.gpus == ["Apple Paravirtual device"]
    assert isinstance(identity.gpu_cores, Unavailable)
    assert identity.cores_by_kind == (CoreKind("Standard", 3),)
    assert identity.memory_bytes == 7 * GB


def test_what_a_recording_does_not_tell_is_unknown_in_run_json() -> None:
    """This machine's cores and memory serve for estimates only."""
    record = machine_record(facts_of().identity)
    assert record["cores_physical"] is record["memory_bytes"] is record["chip"] is None
    assert cores_of(record) >= 1 and memory_bytes_of(record) > GB // 4
    told = machine_record(facts_of(sysctl={"hw.physicalcpu": 99, "hw.memsize": 8 * GB}).identity)
    assert (cores_of(told), memory_bytes_of(told)) == (99, 8 * GB)


def test_model_alone_tells_a_real_mac_with_apple_silicon() -> None:
    """Its virtual machines are all called VirtualMac; Intel's take any name they like."""
    named = {"hw.model": "Mac16,10"}
    assert facts_of(machine="arm64", sysctl=named).identity.virtual is False
    assert reason(facts_of(machine="arm64").identity.virtual) == "it is not in the recording"
    intel = {"hw.model": "Macmini6,2", "machdep.cpu.brand_string": "Intel(R) Core(TM) i7-8700B"}
    assert isinstance(facts_of(machine="x86_64", sysctl=intel).identity.virtual, Unavailable)


def test_intel_mac() -> None:
    found = probed(MACHINES / "intel-mac")
    identity = found.identity
    assert (identity.architecture, identity.translated, identity.virtual) == (
        *("x86_64", False, False),
    )
    assert (identity.chip, identity.model) == (
        *("Intel(R) Xeon(R) W-2140B CPU @ 3.20GHz", "iMacPro1,1"),
    )
    assert (identity.cores_physical, identity.cores_logical) == (8, 16)
    assert identity.gpus == ["Radeon Pro Vega 64"]
    assert isinstance(identity.gpu_cores, Unavailable)
    assert found.memory.available_bytes == (6127229 + 628646 + 430715) * 4096
    assert found.thermal == "nominal"
    assert isinstance(found.power.low_power_mode, Unavailable)


@pytest.mark.parametrize(
    "folder", sorted(path.name for path in MACHINES.iterdir() if path.is_dir())
)
def test_nothing_of_this_machine_gets_into_a_recorded_one(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the machine itself was asked")

    for name in ("subprocess.run", "shutil.disk_usage", "os.getloadavg", "platform.machine"):
        monkeypatch.setattr(name, forbidden)
    found = probed(MACHINES / folder)
    assert found.simulated
    assert found.gpu.power_w == NOT_RECORDED
    assert found.scheduling.nice == NOT_RECORDED


# --- what single folders of real outputs make of a machine


@pytest.mark.parametrize(
    ("folder", "chip", "architecture", "cores", "kinds"),
    [
        (
            *("archspec-intel-i7-6700K-macos10.14", "Intel(R) Core(TM) i7-6700K CPU @ 4.00GHz"),
            *("x86_64", None, None),
        ),
        ("archspec-m1-macos11", "Apple processor", "arm64", 8, None),
        (
            "archspec-m1pro-16gb-macos12",
            "Apple M1 Pro",
            "arm64",
            8,
            ("Performance 6", "Efficiency 2"),
        ),
        ("archspec-m2-16gb-macos12", "Apple M2", "arm64", 8, ("Performance 4", "Efficiency 4")),
        (
            *("archspec-m3max-36gb-macos15", "Apple M3 Max", "arm64", 14),
            ("Performance 10", "Efficiency 4"),
        ),
        (
            *("archspec-m4max-64gb-macos15", "Apple M4 Max", "arm64", 16),
            ("Performance 12", "Efficiency 4"),
        ),
        (
            *(
                "github-runner-macos15-intel-i7-8700B-14gb",
                "Intel(R) Core(TM) i7-8700B CPU @ 3.20GHz",
            ),
            *("x86_64", 4, ("Standard 4",)),
        ),
        ("m1-8gb", "Apple M1", "arm64", 8, ("Performance 4", "Efficiency 4")),
        # perflevel1 is printed before perflevel0
        ("m3max-128gb-macos14", None, "arm64", 16, ("Performance 12", "Efficiency 4")),
        ("m4pro-24gb", None, None, None, ("Performance 8", "Efficiency 4")),
        ("m5max-128gb-macos26.4", "Apple M5 Max", "arm64", 18, ("Super 6", "Performance 12")),
        (
            *("m6-32gb-macos27.0.1-claimed", None, None, 12),
            ("Super 2", "Performance 4", "Efficiency 6"),
        ),
        ("m1pro-macos26.2", "Apple M1 Pro", "arm64", 10, None),
        ("m2pro-16gb", "Apple M2 Pro", "arm64", 10, None),
        ("rosetta-m3max", None, "arm64", None, None),
        ("rosetta-m4", "Apple M4", "arm64", None, None),
        # Of two brands in one folder the first is taken; the second is Rosetta's invention.
        ("sysctl-odd", "Apple processor", "arm64", None, None),
    ],
)
def test_chips_and_cores(
    folder: str,
    chip: str | None,
    architecture: str | None,
    cores: int | None,
    kinds: tuple[str, ...] | None,
) -> None:
    identity = probe_machine(folder_system(folder), HERE).identity
    assert (value(identity.chip), value(identity.architecture)) == (chip, architecture)
    assert value(identity.cores_physical) == cores
    found = identity.cores_by_kind
    told = None if isinstance(found, Unavailable) else [f"{k.name} {k.physical}" for k in found]
    assert told == (None if kinds is None else list(kinds))


def test_hosted_intel_runner_is_seen_to_be_virtual_by_its_gpu() -> None:
    identity = probe_machine(
        folder_system("github-runner-macos15-intel-i7-8700B-14gb"), HERE
    ).identity
    assert identity.virtual is True
    assert identity.model == "Macmini6,2"  # a fiction


# --- architecture, Rosetta, versions

ARM64_KERNEL = "Darwin Kernel Version 22.6.0: Wed Jul  5 2023; root:xnu-8796~6/RELEASE_ARM64_T8103"
INTEL_KERNEL = "Darwin Kernel Version 21.3.0: Wed Jan  5 2022; root:xnu-8019~20/RELEASE_X86_64"


@pytest.mark.parametrize(
    ("facts", "sysctl", "architecture", "translated"),
    [
        ({"machine": "arm64"}, {}, "arm64", False),
        ({"machine": "arm64", "python_machine": "x86_64"}, {}, "arm64", True),
        ({"machine": "x86_64"}, {"sysctl.proc_translated": 1}, "arm64", True),
        ({"machine": "x86_64"}, {"hw.optional.arm64": 1}, "arm64", True),
        ({"machine": "x86_64"}, {"hw.optional.arm64": True}, "arm64", True),
        (
            {"machine": "x86_64"},
            {"machdep.cpu.brand_string": "VirtualApple @ 2.50GHz processor"},
            *("arm64", True),
        ),
        ({"machine": "x86_64"}, {"machdep.cpu.brand_string": "Apple processor"}, "arm64", True),
        ({"machine": "x86_64"}, {"sysctl.proc_translated": 0}, "x86_64", False),
        (
            {"machine": "x86_64"},
            {"machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz"},
            *("x86_64", False),
        ),
        ({"machine": "x86_64"}, {}, None, None),
        ({"machine": "x86_64"}, {"kern.version": ARM64_KERNEL}, "arm64", True),
        ({"machine": "x86_64"}, {"kern.version": INTEL_KERNEL}, "x86_64", False),
        # A native Python on a Mac whose sysctl was asked by a translated shell.
        (
            {"machine": "arm64", "python_machine": "arm64"},
            {"sysctl.proc_translated": 1},
            *("arm64", False),
        ),
        ({"machine": "arm64"}, {"sysctl.proc_translated": 1}, "arm64", True),
        ({}, {}, None, None),
    ],
)
def test_rosetta(
    facts: dict[str, str],
    sysctl: dict[str, Any],
    architecture: str | None,
    translated: bool | None,
) -> None:
    identity = facts_of(**facts, sysctl=sysctl).identity
    assert value(identity.architecture) == architecture
    assert value(identity.translated) == translated


@pytest.mark.parametrize(
    "commands",
    [
        [{"argv": ["uname", "-a"], "stdout": f"Darwin host 22.6.0 {ARM64_KERNEL} x86_64\n"}],
        [
            {"argv": ["uname", "-m"], "stdout": "x86_64\n"},
            {"argv": ["/usr/bin/uname", "-v"], "stdout": f"{ARM64_KERNEL}\n"},
        ],
    ],
)
def test_kernel_tells_the_architecture_even_under_rosetta(commands: list[dict[str, Any]]) -> None:
    found = facts_of(*commands, python_machine="x86_64").identity
    assert (found.architecture, found.translated) == ("arm64", True)


def test_rosettas_brand_is_no_chip() -> None:
    brand = {"machdep.cpu.brand_string": "VirtualApple @ 2.50GHz processor"}
    assert "Rosetta calls every chip" in reason(facts_of(sysctl=brand).identity.chip)
    displays = {
        "argv": ["system_profiler", "SPDisplaysDataType", "-json"],
        "stdout": text("m1-7core-gpu-air-macos13/system_profiler_SPDisplaysDataType_-json.txt"),
    }
    assert facts_of(displays, sysctl=brand).identity.chip == "Apple M1"


@pytest.mark.parametrize(
    ("sw_vers", "sysctl", "mac_ver", "version"),
    [
        ("14.2.1", "14.2.1", "14.2.1", "14.2.1"),
        ("10.16", "12.2", "10.16", "12.2"),
        ("16.0", "26.1", "16.0", "26.1"),
        (None, None, "13.6", "13.6"),
        (None, None, "10.16", None),
        (None, None, "", None),
        ("banana", "26.0", None, "26.0"),
    ],
)
def test_true_version(
    sw_vers: str | None, sysctl: str | None, mac_ver: str | None, version: str | None
) -> None:
    said = {"argv": ["sw_vers"], "stdout": f"ProductVersion:\t{sw_vers}\n"}
    values = {} if sysctl is None else {"kern.osproductversion": sysctl}
    found = facts_of(*([] if sw_vers is None else [said]), mac_ver=mac_ver, sysctl=values)
    assert value(found.identity.os_version) == version


def test_version_for_old_programs_alone_is_named_as_such() -> None:
    assert "old programs" in reason(facts_of(mac_ver="16.0").identity.os_version)


# --- asked in other words than it was recorded


@pytest.mark.parametrize(
    "command",
    [
        {"argv": ["sysctl", "-n", "hw.memsize"], "stdout": "8589934592\n"},
        {"argv": ["sysctl", "-n", "hw.memsize"], "stdout": "8589934592"},
        {"argv": ["/usr/sbin/sysctl", "hw.memsize"], "stdout": "hw.memsize: 8589934592\n"},
        {"argv": ["/opt/x/sysctl", "hw.memsize"], "stdout": "hw.memsize = 8589934592\n"},
        {
            "argv": ["sysctl", "-n", "hw.model", "hw.memsize"],
            "stdout": "MacBookAir10,1\n8589934592\n",
        },
        {
            "argv": ["sysctl", "-n", "hw.none", "hw.memsize"],
            "stdout": "8589934592\n",
            "stderr": "sysctl: unknown oid 'hw.none'\n",
            "exit": 1,
        },
        {"argv": ["sysctl", "-a"], "stdout": "hw.ncpu: 8\nhw.memsize: 8589934592\n"},
        {"argv": ["sysctl", "-i", "hw"], "stdout": "hw.ncpu: 8\nhw.memsize: 8589934592\n"},
    ],
)
def test_sysctl_however_it_was_asked(command: dict[str, Any]) -> None:
    assert facts_of(command).identity.memory_bytes == 8 * GB


def test_values_without_names_are_not_guessed_at() -> None:
    """With -i unknown names are dropped silently, so which value is whose cannot be told."""
    command = {
        "argv": ["sysctl", "-in", "hw.none", "hw.memsize", "hw.physicalcpu"],
        "stdout": "8589934592\n8\n",
    }
    assert isinstance(facts_of(command).identity.memory_bytes, Unavailable)


def test_facts_come_before_commands() -> None:
    command = {"argv": ["sysctl", "-n", "hw.memsize"], "stdout": "1\n"}
    assert facts_of(command, sysctl={"hw.memsize": 8 * GB}).identity.memory_bytes == 8 * GB


def test_reason_is_the_recorded_one() -> None:
    unknown = {
        "argv": ["sysctl", "-n", "iogpu.wired_limit_mb"],
        "stderr": "sysctl: unknown oid 'iogpu.wired_limit_mb'\n",
        "exit": 1,
    }
    refused = {
        "argv": ["sysctl", "kern.memorystatus_level"],
        "stderr": "sysctl kern.memorystatus_level: Operation not permitted\n",
        "exit": 1,
    }
    hangs = {"argv": ["sysctl", "vm.swapusage"], "hang_s": 60}
    found = facts_of(unknown, refused, hangs).memory
    assert reason(found.gpu_limit_bytes) == "sysctl does not know iogpu.wired_limit_mb"
    assert reason(found.free_percent) == (
        "the system does not let this program read kern.memorystatus_level"
    )
    assert reason(found.swap_used_bytes) == "sysctl did not answer within 3 s"


@pytest.mark.parametrize(
    "argv",
    [
        ["system_profiler", "SPHardwareDataType", "-json"],
        ["system_profiler", "-json", "SPHardwareDataType"],
        ["/usr/sbin/system_profiler", "-json", "-detailLevel", "mini", "SPHardwareDataType"],
        ["system_profiler", "-json", "SPDisplaysDataType", "SPHardwareDataType"],
        ["system_profiler", "-json"],
    ],
)
def test_system_profiler_however_it_was_asked(argv: list[str]) -> None:
    said = text("m1-air-16gb-native/system_profiler_SPHardwareDataType_-json.txt")
    assert facts_of({"argv": argv, "stdout": said}).identity.model == "MacBookAir10,1"


def test_system_profiler_of_another_kind_is_not_taken() -> None:
    said = text("m1-air-16gb-native/system_profiler_SPHardwareDataType_-json.txt")
    found = facts_of({"argv": ["system_profiler", "SPMemoryDataType", "-json"], "stdout": said})
    assert found.identity.model == NOT_RECORDED


def test_json_is_taken_before_text() -> None:
    as_text = {
        "argv": ["system_profiler", "SPHardwareDataType"],
        "stdout": "      Model Identifier: Mac1,1\n",
    }
    as_json = {
        "argv": ["system_profiler", "SPHardwareDataType", "-json"],
        "stdout": text("m1-air-16gb-native/system_profiler_SPHardwareDataType_-json.txt"),
    }
    assert facts_of(as_text, as_json).identity.model == "MacBookAir10,1"
    assert facts_of(as_text).identity.model == "Mac1,1"


@pytest.mark.parametrize("option", ["ps", "batt"])
def test_power_source_by_either_name(option: str) -> None:
    said = text("pmset-variants/pmset_-g_batt.no-estimate.txt")
    assert facts_of({"argv": ["pmset", "-g", option], "stdout": said}).power.battery_percent == 53


def test_memory_pressure_stands_in_for_sysctl_and_vm_stat() -> None:
    quick = {
        "argv": ["memory_pressure", "-Q"],
        "stdout": text("mac-16gb-head6/memory_pressure_pipe_tail_-1.txt"),
    }
    full = {"argv": ["memory_pressure"], "stdout": text("macmini-32gb-2026/memory_pressure.2.txt")}
    assert facts_of(quick).memory.free_percent == 67
    found = facts_of(quick, full)
    assert found.memory.free_percent == 88
    assert found.identity.memory_bytes == 32 * GB
    assert found.memory.available_bytes == (652235 + 410479 + 183582) * 16384
    assert found.memory.compressor_bytes == 96636 * 16384
    assert found.memory.swapped_out_bytes == 16 * 16384


def test_versions_asked_one_by_one() -> None:
    found = facts_of(
        {"argv": ["sw_vers", "-productVersion"], "stdout": "14.2.1\n"},
        {"argv": ["sw_vers", "-buildVersion"], "stdout": "23C71\n"},
    ).identity
    assert (found.os_version, found.os_build) == ("14.2.1", "23C71")


def test_nobody_waits_for_a_program_that_hangs() -> None:
    began = time.monotonic()
    found = facts_of(
        {"argv": ["vm_stat"], "hang_s": 100, "stdout": text("macmini-32gb-2026/vm_stat.txt")},
        {"argv": ["notifyutil", "-g", THERMAL_KEY], "hang_s": 3.5},
        {"argv": ["pmset", "-g", "ps"], "hang_s": 1, "stdout": "Now drawing from 'AC Power'\n"},
    )
    assert time.monotonic() - began < 1
    assert reason(found.memory.available_bytes) == "vm_stat did not answer within 3 s"
    assert reason(found.thermal) == "notifyutil did not answer within 3 s"
    assert found.power.source == "ac"  # slow, but in time


def test_program_that_fails_tells_nothing_but_its_exit_code() -> None:
    found = facts_of(
        {"argv": ["vm_stat"], "stdout": "somebody's name", "stderr": "a path", "exit": 2}
    )
    assert reason(found.memory.available_bytes) == "vm_stat ended with exit code 2"


def test_program_that_says_nothing() -> None:
    assert reason(facts_of({"argv": ["vm_stat"]}).memory.available_bytes) == "vm_stat said nothing"


# --- nonsense


@pytest.mark.parametrize(
    ("sysctl", "fact"),
    [
        ({"hw.memsize": 0}, "memory_bytes"),
        ({"hw.memsize": -8589934592}, "memory_bytes"),
        ({"hw.memsize": "1" + "0" * 30}, "memory_bytes"),
        ({"hw.memsize": 1e30}, "memory_bytes"),
        ({"hw.memsize": "9" * 10_000}, "memory_bytes"),
        ({"hw.memsize": "8 GB"}, "memory_bytes"),
        ({"hw.memsize": {"bytes": 8}}, "memory_bytes"),
        ({"hw.physicalcpu": -4}, "cores_physical"),
        ({"hw.physicalcpu": 0}, "cores_physical"),
        ({"hw.physicalcpu": 10**9}, "cores_physical"),
        ({"hw.logicalcpu": "many"}, "cores_logical"),
        ({"hw.model": ""}, "model"),
        ({"hw.model": "\x1b[2J"}, "model"),
        ({"hw.model": "x" * 5000}, "model"),
        ({"machdep.cpu.brand_string": "two\nlines"}, "chip"),
        ({"kern.hv_vmm_present": 7}, "virtual"),
        ({"sysctl.proc_translated": -1}, "translated"),
    ],
)
def test_identity_that_cannot_be(sysctl: dict[str, Any], fact: str) -> None:
    found = getattr(facts_of(sysctl=sysctl).identity, fact)
    assert len(reason(found)) < 120
    assert reason(found).isprintable()


@pytest.mark.parametrize(
    ("sysctl", "fact"),
    [
        ({"kern.memorystatus_level": 250}, "free_percent"),
        ({"kern.memorystatus_level": -1}, "free_percent"),
        ({"kern.memorystatus_vm_pressure_level": 3}, "pressure"),
        ({"iogpu.wired_limit_mb": -5}, "gpu_limit_bytes"),
        ({"iogpu.wired_limit_mb": 10**18}, "gpu_limit_bytes"),
        ({"vm.swapusage": "total = 1.00M  used = 9.00M"}, "swap_used_bytes"),
    ],
)
def test_memory_that_cannot_be(sysctl: dict[str, Any], fact: str) -> None:
    assert reason(getattr(facts_of(sysctl=sysctl).memory, fact)) != NOT_RECORDED.unavailable


def test_more_memory_available_than_there_is() -> None:
    vm_stat = {"argv": ["vm_stat"], "stdout": text("macmini-32gb-2026/vm_stat.2.txt")}
    found = facts_of(vm_stat, sysctl={"hw.memsize": 8 * GB}).memory
    assert "more memory than the machine has" in reason(found.available_bytes)
    assert found.compressor_bytes == 96636 * 16384  # that much is possible


def test_cores_that_do_not_add_up() -> None:
    sysctl = {"hw.physicalcpu": 8, "hw.perflevel0.physicalcpu": 4, "hw.perflevel0.name": "Super"}
    found = facts_of(sysctl=sysctl).identity
    assert reason(found.cores_by_kind) == "the kinds of cores add up to 4, not to 8"


def test_intel_mac_that_throttles() -> None:
    therm = text("pmset-therm-variants/pmset_-g_therm.intel-throttled-23.txt")
    brand = {"machdep.cpu.brand_string": "Intel(R) Core(TM) i9-9880H CPU @ 2.30GHz"}
    commands = [
        {"argv": ["pmset", "-g", "therm"], "stdout": therm},
        {"argv": ["notifyutil", "-g", THERMAL_KEY], "stdout": f"{THERMAL_KEY} 0\n"},
    ]
    assert facts_of(*commands, sysctl=brand).thermal == "heavy"
    assert facts_of(*commands, sysctl={"hw.optional.arm64": 1}).thermal == "nominal"


def test_empty_recording_knows_nothing_and_breaks_nothing() -> None:
    found = probe_machine(RecordedSystem(RecordedFacts(), []), HERE)
    told = msgspec.to_builtins(found)
    assert told.pop("simulated") is True
    assert told["identity"].pop("system") == ""
    leaves = [fact for group in told.values() for fact in [group, *dict(group).values()]]
    reasons = {
        leaf["unavailable"] for leaf in leaves if isinstance(leaf, dict) and "unavailable" in leaf
    }
    assert reasons == {NOT_RECORDED.unavailable}


def test_recorded_linux_machine() -> None:
    def cat(path: str, content: str) -> dict[str, Any]:
        return {"argv": ["cat", path], "stdout": content}

    found = facts_of(
        cat("/proc/meminfo", "MemTotal: 16384000 kB\nMemAvailable: 8192000 kB\n"),
        cat("/proc/cpuinfo", "processor : 0\nmodel name : AMD Ryzen 7\nflags : fpu\n"),
        cat("/sys/class/power_supply/BAT0/type", "Battery\n"),
        cat("/sys/class/power_supply/BAT0/status", "Discharging\n"),
        cat("/sys/class/power_supply/BAT0/capacity", "41\n"),
        {"argv": ["uname", "-r"], "stdout": "6.1.0\n"},
        system="Linux",
        machine="x86_64",
    )
    assert (found.identity.chip, found.identity.os_build) == ("AMD Ryzen 7", "6.1.0")
    assert found.memory.available_bytes == 8192000 * 1024
    assert (found.power.source, found.power.battery_percent) == ("battery", 41)
    assert found.load_1min == NOT_RECORDED


# --- the folder


def recording(folder: Path, commands: object = None, facts: object = None) -> dict[str, str]:
    for name, content in (("commands.json", commands), ("facts.json", facts)):
        if content is not None:
            written = content if isinstance(content, str) else json.dumps(content)
            (folder / name).write_text(written, encoding="utf-8")
    return {VARIABLE: str(folder)}


def test_without_the_variable_the_machine_itself_is_asked() -> None:
    assert open_system({}).simulated is False
    assert open_system({VARIABLE: ""}).simulated is False


def test_either_file_may_be_missing(tmp_path: Path) -> None:
    environ = recording(tmp_path, facts={"system": "Darwin", "sysctl": {"hw.model": "Mac14,2"}})
    system = open_system(environ)
    assert isinstance(system, RecordedSystem)
    assert system.simulated is True
    assert system.facts.system == "Darwin"
    assert system.sysctl(["hw.model"]) == {"hw.model": "Mac14,2"}


def test_unknown_keys_are_left_alone(tmp_path: Path) -> None:
    environ = recording(tmp_path, [{"argv": ["vm_stat"], "when": 5}], {"system": "Darwin", "x": 1})
    assert open_system(environ).name() == "Darwin"


@pytest.mark.parametrize(
    ("commands", "facts", "words"),
    [
        (None, None, ["expected a folder with commands.json and facts.json"]),
        ("[{", None, ["commands.json", "expected JSON", "truncated"]),
        (None, "not json", ["facts.json", "expected JSON"]),
        (None, b"\xff\xfe".decode("latin-1"), ["facts.json", "expected JSON"]),
        ({}, None, ["commands.json", "expected `array`, got `object`"]),
        (["vm_stat"], None, ["commands.json", "[0]", "expected `object`, got `str`"]),
        ([{"stdout": ""}], None, ["commands.json", "[0]", "missing required field `argv`"]),
        ([{"argv": "vm_stat"}], None, ["commands.json", "[0].argv", "expected `array`, got `str`"]),
        ([{"argv": ["vm_stat"], "exit": "0"}], None, ["[0].exit", "expected `int`, got `str`"]),
        ([{"argv": ["vm_stat"], "hang_s": None}], None, ["[0].hang_s", "expected `float`"]),
        (None, {"mac_ver": 13.6}, ["facts.json", "mac_ver", "expected `str | null`, got `float`"]),
        (None, {"torch": {"mps_built": "yes"}}, ["facts.json", "torch.mps_built", "bool"]),
        (None, {"packages": {"torch": 2.8}}, ["facts.json", "packages", "expected `str | null`"]),
        (None, [], ["facts.json", "the whole file", "expected `object`, got `array`"]),
    ],
)
def test_recording_that_cannot_be_read_is_one_clear_line(
    tmp_path: Path, commands: object, facts: object, words: list[str]
) -> None:
    environ = recording(tmp_path, commands, facts)
    with pytest.raises(UsageError) as caught:
        open_system(environ)
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(tmp_path), *words]:
        assert word in message


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a folder with commands"):
        open_system({VARIABLE: str(tmp_path / "nowhere")})


# --- what the runner is told


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(MACHINES / "m-swapping"))


@pytest.mark.usefixtures("recorded")
def test_recorded_machine_has_an_id_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    swapping = machine.machine_id()
    assert machine.boot_id() is None
    monkeypatch.setenv(VARIABLE, str(MACHINES / "intel-mac"))
    intel = machine.machine_id()
    monkeypatch.delenv(VARIABLE)
    assert len({swapping, intel, machine.machine_id()}) == 3


@pytest.mark.usefixtures("recorded")
def test_sampler_sees_the_recorded_memory_and_real_processes() -> None:
    probe = machine.open_memory_probe()
    slow, system = probe.slow(), probe.system()
    assert (slow.pressure, slow.free_percent, slow.thermal) == ("warn", 38, "nominal")
    assert slow.gpu.power_w == NOT_RECORDED
    assert system.available_bytes == (5899 + 287954 + 919) * 16384
    assert system.swapped_out_bytes == 73343490 * 16384
    assert (probe.footprint_bytes(os.getpid()) or 0) > 5_000_000
    probe.close()


def test_a_recording_is_read_from_regular_files_of_bearable_size(tmp_path: Path) -> None:
    facts, commands = tmp_path / "facts.json", tmp_path / "commands.json"
    facts.write_text("{}")
    os.mkfifo(commands)
    with pytest.raises(UsageError, match=r"commands\.json: cannot be read .*a FIFO"):
        RecordedSystem.load(tmp_path)
    commands.unlink()
    with commands.open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(UsageError, match="at most 16,777,216 are read"):
        RecordedSystem.load(tmp_path)
