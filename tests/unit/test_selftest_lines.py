"""Instruments of the selftest on recorded Macs and on numbers; each is broken on purpose, too."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from factories import make_stack
from recordings import MACHINES

from sdbench.machine import MemoryProbe, RecordedSystem
from sdbench.machine.cpu import CpuTimes
from sdbench.machine.sampling import RecordedMemoryProbe, open_memory_probe
from sdbench.process.executor import FakeExecutor
from sdbench.process.launch import PLANTED_FAULTS_FOLDER, PLANTED_FAULTS_MODULE
from sdbench.records import ImageCompared, InstrumentLine, StageDifference
from sdbench.selftest import other_load as load
from sdbench.selftest import pictures, sleep, synchronisation, telemetry_cost
from sdbench.selftest.memory_counters import TAKEN_BYTES, Plateaus, counters_of, host_questions
from sdbench.selftest.swap import counter_lines, parse_vm_stat, swap_lines
from sdbench.selftest.workers import Setup

RECORDED = sorted(path.name for path in MACHINES.iterdir() if path.is_dir())
GB = 1e9


def statuses(lines: Sequence[InstrumentLine]) -> dict[str, str]:
    return {line.id: line.status for line in lines}


def failed(lines: Sequence[InstrumentLine]) -> list[str]:
    return [line.id for line in lines if line.status == "fail"]


class Doctored(RecordedMemoryProbe):
    """A recorded machine with some counters of telemetry broken."""

    def __init__(
        self, system: RecordedSystem, broken: dict[str, Any], slow: dict[str, Any]
    ) -> None:
        super().__init__(system, open_memory_probe())
        self._memory = replace(self._memory, **broken)
        self._slow = msgspec.structs.replace(self._slow, **slow)


def of_mac(name: str, slow: dict[str, Any] | None = None, **broken: Any) -> Setup:
    system = RecordedSystem.load(MACHINES / name)
    probe: MemoryProbe = Doctored(system, broken, slow or {})
    executor = FakeExecutor(lambda task, supervise: pytest.fail("no worker is needed"))
    return Setup(make_stack(), {}, "mps", executor, probe, system)


# --- swap and pressure ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECORDED)
def test_no_line_of_a_recorded_mac_fails(name: str) -> None:
    setup = of_mac(name)
    lines = [*swap_lines(setup), *telemetry_cost.sensor_lines(setup), *sleep.sleep_lines(setup)]
    assert failed(lines) == []
    assert all(line.reason for line in lines if line.status == "unknown")


def test_a_swapping_mac_is_compared_in_all_counters() -> None:
    lines = statuses(swap_lines(of_mac("m-swapping")))
    assert {name: lines[name] for name in ("swap-used", "swap-in", "swap-out")} == {
        "swap-used": "pass",
        "swap-in": "pass",
        "swap-out": "pass",
    }
    assert lines["swap-pressure"] == "pass"


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ({"swap_used_bytes": 0}, "swap-used"),
        ({"swapped_out_bytes": 0}, "swap-out"),
        ({"swapped_in_bytes": 0}, "swap-in"),
        ({"swapped_out_bytes": 1 << 50}, "swap-out"),
    ],
)
def test_a_broken_swap_counter_is_named(broken: dict[str, Any], line: str) -> None:
    assert failed(swap_lines(of_mac("m-swapping", **broken))) == [line]


def test_a_pressure_level_that_is_always_normal_is_named() -> None:
    real = swap_lines(of_mac("m-swapping"))
    level = next(line for line in real if line.id == "swap-pressure").expected
    wrong = "critical" if level == "normal" else "normal"
    assert failed(swap_lines(of_mac("m-swapping", {"pressure": wrong}))) == ["swap-pressure"]


def test_counters_at_0_on_both_sides_prove_nothing() -> None:
    own = dict.fromkeys(("swap_used_bytes", "swapped_in_bytes", "swapped_out_bytes"), 0)
    lines = counter_lines(own, own, "x")
    assert {line.status for line in lines} == {"unknown"}
    assert all("stuck" in (line.reason or "") for line in lines)


def test_a_counter_of_pages_that_is_read_as_bytes_is_named() -> None:
    pages = {"swapped_out_bytes": 3_000_000.0}
    right = {"swapped_out_bytes": 3_000_000.0 * 16384}
    assert failed(counter_lines(pages, right, "x")) == ["swap-out"]


def test_vm_stat_without_its_first_line_is_nothing() -> None:
    assert parse_vm_stat("Swapins:      12.\n") == {}


# --- memory --------------------------------------------------------------------------------------


def plateaus(**scales: float) -> Plateaus:
    """Three rounds of 512 MiB taken from 1 GB; each counter multiplied by its scale."""
    found = Plateaus()
    for number in range(3):
        for name, held in (("before", 0), ("held", TAKEN_BYTES), ("returned", 0)):
            peak = TAKEN_BYTES if name == "returned" else 0
            values = {
                "footprint_bytes": GB + held,
                "other_footprint_bytes": GB + held,
                "available_bytes": 8 * GB - held,
                "other_available_bytes": 8 * GB - held,
                "peak_bytes": GB + peak,
            }
            found.by_name[f"{name}-{number}"] = {
                counter: value * scales.get(counter, 1.0) for counter, value in values.items()
            }
    return found


def memory_lines(found: Plateaus) -> list[InstrumentLine]:
    return [one.answer(found, None) for one in host_questions(True, "Linux")]


def test_a_second_source_that_fails_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil before August 2026 fails so on macOS 27."""

    def refused() -> None:
        raise RuntimeError("host_statistics64(HOST_VM_INFO64) syscall failed")

    monkeypatch.setattr("psutil.virtual_memory", refused)
    setup = Mock(device="cpu")
    setup.system.name.return_value = "Linux"
    assert counters_of(setup, os.getpid())["other_available_bytes"] is None


def test_right_counters_of_memory_pass() -> None:
    assert {line.status for line in memory_lines(plateaus())} == {"pass"}


@pytest.mark.parametrize(
    ("scales", "lines"),
    [
        (
            {"footprint_bytes": 1 / 1024},
            [
                "memory-host-footprint",
                "memory-host-footprint-returned",
                "memory-host-footprint-source",
            ],
        ),
        ({"other_footprint_bytes": 1024.0}, ["memory-host-footprint-source"]),
        ({"available_bytes": 0.0}, ["memory-host-free", "memory-host-free-source"]),
        ({"peak_bytes": 0.5}, ["memory-host-peak"]),
        ({"peak_bytes": 2.0}, ["memory-host-peak"]),
    ],
)
def test_a_counter_that_lies_by_a_factor_is_named(
    scales: dict[str, float], lines: list[str]
) -> None:
    assert failed(memory_lines(plateaus(**scales))) == lines


def test_where_other_programs_move_memory_the_line_is_unknown() -> None:
    restless = plateaus(available_bytes=3.0, other_available_bytes=3.0)
    assert statuses(memory_lines(restless))["memory-host-free"] == "unknown"


def test_where_nothing_seems_to_move_a_counter_that_stands_still_does_not_pass() -> None:
    # Another program gave back just what the worker took.
    still = plateaus(available_bytes=0.0, other_available_bytes=0.01)
    assert statuses(memory_lines(still))["memory-host-free-source"] == "unknown"


# --- load ----------------------------------------------------------------------------------------

LOAD: dict[str, Any] = {
    "used_s": 2.0,
    "child_s": 2.0,
    "others_s": 2.5,
    "busy_s": 2.5,
    "missing": None,
    "machine_source": True,
}


@pytest.mark.parametrize(
    ("broken", "lines"),
    [
        ({}, []),
        ({"child_s": 1.0}, ["load-child"]),
        ({"child_s": 4.0}, ["load-child"]),
        ({"others_s": 0.0}, ["load-others", "load-machine"]),
        ({"others_s": 25.0}, ["load-machine"]),
        ({"busy_s": 25.0}, ["load-machine"]),
    ],
)
def test_load(broken: dict[str, float], lines: list[str]) -> None:
    assert failed(load.judged(**{**LOAD, **broken})) == lines


def test_time_of_others_is_what_is_neither_idle_nor_ones_own() -> None:
    first = CpuTimes(total_s=100, idle_s=50, own_s=1, cores=2)
    last = CpuTimes(total_s=110, idle_s=55, own_s=3, cores=2)
    assert load.others_s([first, last]) == 3
    assert load.others_s([first]) is None


def test_proc_stat_counts_guests_once() -> None:
    text = "cpu  100 0 50 800 50 0 0 10 40 0\ncpu0 1 2 3\n"
    assert load.parse_busy_s(text, 100) == pytest.approx(1.6)
    assert load.parse_busy_s("cpu 1 2\n", 100) is None


# --- synchronisation -----------------------------------------------------------------------------

KERNEL = {
    "synchronised_s": 0.1,
    "copied_s": 0.101,
    "twice_s": 0.2,
    "event_s": 0.0995,
    "unrest": 1.0,
}


def test_a_right_kernel_time_passes() -> None:
    assert failed(synchronisation.judged("cuda", KERNEL, None)) == []
    assert failed(synchronisation.judged("mps", KERNEL, None)) == []


@pytest.mark.parametrize("unrest", [1.0, 3.0])
def test_the_time_of_a_launch_is_named_even_on_a_restless_machine(unrest: float) -> None:
    launch = KERNEL | {"synchronised_s": 0.0005, "unrest": unrest}
    lines = synchronisation.judged("cuda", launch, None)
    assert failed(lines) == ["sync-kernel", "clock-device-event"]


def test_an_event_timer_that_runs_a_tenth_fast_is_named() -> None:
    lines = synchronisation.judged("cuda", KERNEL | {"event_s": 0.11}, None)
    assert failed(lines) == ["clock-device-event"]


def test_a_restless_machine_accuses_nobody() -> None:
    lines = synchronisation.judged("cpu", KERNEL | {"copied_s": 0.2, "unrest": 2.0}, None)
    assert statuses(lines)["sync-kernel"] == "unknown"


# --- telemetry -----------------------------------------------------------------------------------

EVEN = {0: 1.0, 1: 1.001, 2: 0.999, 3: 1.0005}


def test_telemetry_that_costs_nothing_passes_with_its_interval() -> None:
    again = {0: 1.0005, 1: 1.0, 2: 1.001, 3: 0.9995}
    overhead, equal = telemetry_cost.judged(EVEN, again, again, EVEN)
    assert (overhead.status, equal.status) == ("pass", "pass")
    assert "interval" in (overhead.reason or "")


def test_telemetry_that_slows_by_a_fifth_fails() -> None:
    slow = {block: 1.2 * time * (1 + 0.001 * block) for block, time in EVEN.items()}
    overhead, equal = telemetry_cost.judged(EVEN, slow, slow, slow | {0: 1.201})
    assert (overhead.status, equal.status) == ("fail", "pass")


def test_a_verdict_on_equal_processes_fails() -> None:
    slow = {block: 1.2 * time * (1 + 0.001 * block) for block, time in EVEN.items()}
    assert telemetry_cost.judged(EVEN, EVEN, EVEN, slow)[1].status == "fail"


def test_scatter_leaves_the_cost_unknown() -> None:
    wild = {0: 1.0, 1: 1.6, 2: 0.7, 3: 1.2}
    overhead, equal = telemetry_cost.judged(EVEN, wild, EVEN | {0: 1.0007}, EVEN)
    assert (overhead.status, equal.status) == ("unknown", "pass")


def test_a_pass_counts_by_whether_telemetry_took_a_sample_in_it() -> None:
    passes = [(10.0, 0.2), (10.5, 0.3), (11.0, 0.4), (11.5, 0.5)]
    assert telemetry_cost.by_telemetry(passes, [10.1, 10.15, 11.95]) == ([0.3, 0.4], [0.2, 0.5])
    timeline = [b'{"t": 10.1, "footprint_bytes": 1}', b'{"t": 10.2, "phase": "pass 1"}']
    assert telemetry_cost.sample_times(timeline) == [10.1]


def test_telemetry_that_never_pauses_is_unknown() -> None:
    overhead, equal = telemetry_cost.judged({}, EVEN, EVEN, EVEN | {0: 1.002})
    assert (overhead.status, equal.status) == ("unknown", "pass")
    assert "on and off in turn" in (overhead.reason or "")


def test_telemetry_is_on_as_often_as_off_and_drift_cancels() -> None:
    sampled = telemetry_cost._SAMPLED
    on = [index for index, one in enumerate(sampled) if one]
    assert 2 * len(on) == len(sampled) and 2 * sum(on) == sum(range(len(sampled)))
    assert telemetry_cost._sides([1, 2, 3, 4, 5, 6, 7, 8]) == (
        {0: 1, 1: 4, 2: 5, 3: 8},
        {0: 2, 1: 3, 2: 6, 3: 7},
    )


def test_sensors_of_a_second_source() -> None:
    assert telemetry_cost.parse_smi("45, 71.03\n") == {"temperature_c": 45.0, "power_w": 71.03}
    assert telemetry_cost.parse_smi("[N/A], 71.03\n") == {}
    key = "com.apple.system.thermalpressurelevel"
    assert telemetry_cost.parse_thermal_level(f"{key} 2\n") == "heavy"
    assert telemetry_cost.parse_thermal_level("other.key 0\n") is None


def test_a_thermal_level_that_is_stuck_is_named() -> None:
    lines = telemetry_cost.sensor_lines(of_mac("m4-macos15", {"thermal": "trapping"}))
    assert failed(lines) == ["telemetry-thermal"]


# --- sleep ---------------------------------------------------------------------------------------

ASSERTIONS = """2026-11-01 10:00:00 +0100
Assertion status system-wide:
   PreventUserIdleSystemSleep     1
Listed by owning process:
   pid 123(caffeinate): [0x0001] 00:00:01 PreventUserIdleSystemSleep named: "caffeinate command"
   pid 99(powerd): [0x0002] 00:10:00 PreventUserIdleSystemSleep named: "Powerd"
"""


def test_assertions_of_caffeinate_are_counted() -> None:
    assert sleep.count_assertions(ASSERTIONS) == 1
    assert sleep.count_assertions("nothing of the kind") is None


@pytest.mark.parametrize(
    ("counts", "lines"),
    [
        ((0, 1, 0), []),
        ((2, 3, 2), []),
        ((0, 0, 0), ["sleep-held"]),
        ((0, 1, 1), ["sleep-released"]),
    ],
)
def test_sleep(counts: tuple[int, int, int], lines: list[str]) -> None:
    assert failed(sleep.judged(*counts)) == lines


# --- pictures ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """How an image was compared."""

    verdict: Any = "match"
    fault: Any = None
    latents_right: bool = True


def image(number: int, passes: list[int], judged: Judged) -> ImageCompared:
    latents = StageDifference(
        stage="latents",
        rel_l2=0.0,
        max_abs=0.0,
        cosine=1.0,
        margin=0.5 if judged.latents_right else 90.0,
    )
    return ImageCompared(
        image=number,
        passes=passes,
        pixels_sha256="a" * 64,
        latents_sha256="b" * 64,
        verdict=judged.verdict,
        fault=judged.fault,
        latents=latents,
    )


def test_a_comparison_that_calls_everything_right_is_named_for_each_fault() -> None:
    everything = [image(number, list(range(1, 10)), Judged()) for number in range(2)]
    lines = pictures.judged(everything, lambda one: False)
    assert failed(lines) == [
        f"picture-{planted}" for planted, _ in pictures.PASSES if planted != "none"
    ]


def test_a_comparison_that_calls_right_pictures_wrong_is_named() -> None:
    everything = [image(n, list(range(1, 10)), Judged("broken", "black")) for n in range(2)]
    lines = pictures.judged(everything, lambda one: False)
    assert "picture-right" in failed(lines) and "picture-black" not in failed(lines)


def test_pictures_that_were_not_compared_are_unknown() -> None:
    nothing = [image(n, list(range(1, 10)), Judged("unknown")) for n in range(2)]
    assert set(statuses(pictures.judged(nothing, lambda one: False)).values()) == {"unknown"}
    assert set(statuses(pictures.judged([], lambda one: False)).values()) == {"unknown"}


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (Judged(), Judged(), "match"),
        (Judged("broken", "black"), Judged("broken", "black"), "black"),
        (Judged(), Judged("broken"), "batch-item-2"),
        (Judged("broken"), Judged("broken"), "decode"),
        (Judged("drift", None, False), Judged("drift", None, False), "latents"),
        (Judged("unknown"), Judged("broken"), None),
    ],
)
def test_codes(first: Judged, second: Judged, code: str | None) -> None:
    images = [image(0, [1], first), image(1, [1], second)]
    assert pictures.code_of(images, lambda one: False) == code


def test_paths_of_the_planted_faults_are_there() -> None:
    folder = Path(PLANTED_FAULTS_FOLDER)
    assert (folder / f"{PLANTED_FAULTS_MODULE}.py").is_file()
