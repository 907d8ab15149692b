"""Gates: what is recorded, what is flagged, what is waited for, and that no wait is endless."""

from typing import Any

import pytest
from factories import UNTOLD, FakeClock, RecordingWatcher, make_facts, make_gates

from sdbench.records import Gate, GateFlag
from sdbench.runner.gates import flags_of

HOT = make_facts(thermal="heavy")
FINE = make_facts()


def test_healthy_machine_passes_at_once_and_is_recorded() -> None:
    gate = make_gates(wait_for=["thermal", "pressure", "load", "battery"]).passed(1000.0)
    assert gate == Gate(
        load_1min=0.5,
        available_bytes=4_000_000_000,
        swap_used_bytes=0,
        free_disk_bytes=100_000_000_000,
        pressure="normal",
        thermal="nominal",
        power_source="ac",
        battery_percent=None,
        low_power_mode=False,
        unavailable={"battery_percent": "the tests do not tell"},
    )


@pytest.mark.parametrize(
    ("facts", "flags"),
    [
        ({"thermal": "moderate"}, ["thermal"]),
        ({"pressure": "warn"}, ["pressure"]),
        ({"load_1min": 3.1}, ["load"]),
        ({"load_1min": 3.0}, []),  # two cores: their own benchmark loads both
        ({"source": "battery", "battery_percent": 80}, ["on-battery"]),
        ({"source": "battery", "battery_percent": 19}, ["battery", "on-battery"]),
        ({"source": "ac", "battery_percent": 5}, []),
        ({"low_power_mode": True}, ["low-power-mode"]),
        ({"background": True}, ["background"]),
        ({"free_disk_bytes": 9_000_000_000}, ["disk"]),
        ({"thermal": UNTOLD, "pressure": UNTOLD, "load_1min": UNTOLD, "source": UNTOLD}, []),
        ({"free_disk_bytes": UNTOLD, "low_power_mode": UNTOLD, "background": UNTOLD}, []),
    ],
)
def test_what_is_not_as_it_should_be_is_flagged(
    facts: dict[str, Any], flags: list[GateFlag]
) -> None:
    assert flags_of(make_facts(**facts), 10e9) == flags


def test_nothing_is_waited_for_unless_asked() -> None:
    watcher = RecordingWatcher()
    gate = make_gates([HOT], watcher=watcher).passed(1000.0)
    assert (gate.flags, gate.thermal, gate.waited_s) == (["thermal"], "heavy", 0.0)
    assert watcher.waited == []


def test_wait_ends_when_the_machine_is_ready_and_each_second_of_it_is_shown() -> None:
    watcher = RecordingWatcher()
    gates = make_gates([HOT, HOT, HOT, FINE], watcher=watcher, wait_for=["thermal"])
    gate = gates.passed(1000.0)
    assert (gate.flags, gate.thermal, gate.waited_s) == ([], "nominal", 3.0)
    assert watcher.waited == [
        (["thermal"], 0.0, 60.0),
        (["thermal"], 1.0, 60.0),
        (["thermal"], 2.0, 60.0),
    ]


def test_after_the_longest_wait_the_process_runs_and_is_flagged() -> None:
    gates = make_gates([HOT], wait_for=["thermal"], max_wait_s=7.5)
    gate = gates.passed(1000.0)
    assert (gate.flags, gate.waited_s) == (["thermal"], 7.5)


def test_longest_wait_is_for_the_whole_run() -> None:
    gates = make_gates([HOT, HOT, FINE, HOT], wait_for=["thermal"], max_wait_s=5)
    assert [gates.passed(1000.0).waited_s for _ in range(3)] == [2.0, 3.0, 0.0]
    assert gates.waited_s == 5.0


def test_earlier_sittings_waits_count() -> None:
    gates = make_gates([HOT], wait_for=["thermal"], max_wait_s=5)
    gates.waited_s = 4.0
    assert gates.passed(1000.0).waited_s == 1.0


@pytest.mark.parametrize(("at_most_s", "waited_s"), [(3.0, 3.0), (0.0, 0.0), (-50.0, 0.0)])
def test_wait_leaves_the_process_its_time(at_most_s: float, waited_s: float) -> None:
    gates = make_gates([HOT], wait_for=["thermal"])
    assert gates.passed(at_most_s).waited_s == waited_s


def test_wait_that_is_not_waited_for_is_flagged_beside_the_one_that_is() -> None:
    both = make_facts(thermal="heavy", source="battery", battery_percent=50)
    watcher = RecordingWatcher()
    gates = make_gates([both], watcher=watcher, wait_for=["thermal"], max_wait_s=1)
    assert gates.passed(1000.0).flags == ["thermal", "on-battery"]
    assert watcher.waited == [(["thermal"], 0.0, 1.0)]


def test_low_battery_pauses_until_it_is_plugged_in() -> None:
    low = make_facts(source="battery", battery_percent=12)
    plugged = make_facts(source="ac", battery_percent=12)
    gate = make_gates([low, low, plugged], wait_for=["battery"]).passed(1000.0)
    assert (gate.waited_s, gate.flags, gate.battery_percent) == (2.0, [], 12)


def test_interruption_ends_a_wait() -> None:
    clock = FakeClock()
    gates = make_gates([HOT], clock, interrupted=lambda: clock.now >= 1003.0, wait_for=["thermal"])
    assert gates.passed(1000.0).waited_s == 3.0


# --- after the guard ------------------------------------------------------------------------------


def available(size: int, **facts: Any) -> Any:
    return make_facts(available_bytes=size, **facts)


BEFORE = Gate(available_bytes=4_000_000_000, pressure="normal")


def test_recovery_waits_until_memory_is_about_what_it_was() -> None:
    watcher = RecordingWatcher()
    looks = [available(500_000_000), available(3_000_000_000), available(3_700_000_000)]
    make_gates(looks, watcher=watcher).recover(BEFORE)
    assert watcher.waited == [(["recovery"], 0.0, 60.0), (["recovery"], 1.0, 60.0)]


def test_recovery_waits_for_pressure_to_ease() -> None:
    watcher = RecordingWatcher()
    looks = [available(4_000_000_000, pressure="critical"), available(4_000_000_000)]
    make_gates(looks, watcher=watcher).recover(BEFORE)
    assert len(watcher.waited) == 1


def test_recovery_has_an_end() -> None:
    clock, watcher = FakeClock(), RecordingWatcher()
    make_gates([available(1)], clock, watcher).recover(BEFORE)
    assert clock.now == 1060.0
    assert len(watcher.waited) == 60


def test_recovery_can_be_interrupted() -> None:
    watcher = RecordingWatcher()
    make_gates([available(1)], watcher=watcher, interrupted=lambda: True).recover(BEFORE)
    assert watcher.waited == []


@pytest.mark.parametrize("before", [Gate(), Gate(available_bytes=None, pressure="warn")])
def test_unknown_memory_is_not_waited_for(before: Gate) -> None:
    watcher = RecordingWatcher()
    make_gates([available(1)], watcher=watcher).recover(before)
    make_gates([make_facts(available_bytes=UNTOLD)], watcher=watcher).recover(BEFORE)
    assert watcher.waited == []


def test_work_of_this_session_on_other_devices_is_no_foreign_load() -> None:
    facts = make_facts(load_1min=4.5)
    assert flags_of(facts, 10e9) == ["load"]
    assert flags_of(facts, 10e9, own_load=2.0) == []
    assert flags_of(facts, 10e9, own_load=1.0) == ["load"], "the rest is somebody else's"
