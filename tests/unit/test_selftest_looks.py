"""All instruments in turn: a second look at failures, and what is left out where time is short."""

import dataclasses
import time
from types import SimpleNamespace
from typing import Any

import pytest
from factories import FakeClock, make_replicate, make_stack

from sdbench.process.executor import FakeExecutor
from sdbench.records import InstrumentLine
from sdbench.selftest import telemetry_cost
from sdbench.selftest.deaths import DEATHS, judged
from sdbench.selftest.looks import INSTRUMENTS, Instrument, run_selftest
from sdbench.selftest.workers import Setup


def line(name: str, status: Any = "pass") -> InstrumentLine:
    return InstrumentLine(id=name, status=status, instrument="a", source="b")


@pytest.fixture
def setup() -> Setup:
    nothing: Any = None
    executor = FakeExecutor(lambda task, supervise: pytest.fail("no worker is needed"))
    return Setup(make_stack(), {}, "cpu", executor, nothing, nothing)


def test_every_group_says_how_long_it_took(setup: Setup) -> None:
    looks = (
        Instrument(("clock",), "clocks", lambda setup: [line("clock-x")], 1),
        Instrument(("sync",), "synchronisation", lambda setup: [line("sync-x")], 1),
    )
    found = run_selftest(setup, simulated=False, instruments=looks)
    assert [one.id for one in found.lines] == ["clock-x", "sync-x"]
    assert found.durations_s.keys() == {"clocks", "synchronisation"}
    assert sum(found.durations_s.values()) <= found.duration_s


def test_where_no_time_is_left_each_kind_of_line_is_unknown(setup: Setup) -> None:
    looks = (Instrument(("memory-device", "sync"), "both", lambda setup: [line("sync-x")], 10),)
    found = run_selftest(setup, simulated=False, instruments=looks, limit_s=5)
    assert [(one.id, one.status) for one in found.lines] == [
        ("memory-device-all", "unknown"),
        ("sync-all", "unknown"),
    ]
    assert found.durations_s == {}


def test_a_failure_is_looked_at_a_second_time(setup: Setup) -> None:
    answers = iter(["fail", "pass"])
    looks = (Instrument(("clock",), "clocks", lambda setup: [line("clock-x", next(answers))], 0),)
    found = run_selftest(setup, simulated=False, instruments=looks)
    assert [(one.id, one.status) for one in found.lines] == [("clock-x", "unknown")]


def test_the_instruments_together_fit_into_five_minutes() -> None:
    assert sum(one.expected_s for one in INSTRUMENTS) < 200
    assert INSTRUMENTS[-1].what == "the cost of telemetry"


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.how)
def test_a_worker_that_never_came_to_its_death_proves_nothing(death: Any) -> None:
    record = make_replicate(outcome="timeout", reason="not finished after 5 s")
    found = judged(death, record, ordered=False)
    assert found.status == "unknown" and "not finished after 5 s" in (found.reason or "")


def test_processes_that_do_not_fit_into_the_time_are_not_started(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 10 s of 25: the third would end too late."""
    clock = FakeClock()
    monkeypatch.setattr(telemetry_cost, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(telemetry_cost, "_task", lambda *_: None)

    def run(*_: Any) -> telemetry_cost.ProcessTimes:
        clock.now += 10
        return telemetry_cost.ProcessTimes(on_s=1.0, off_s=1.0, all_s=1.0)

    monkeypatch.setattr(telemetry_cost, "_run", run)
    short = dataclasses.replace(setup, deadline=clock.now + 25)
    overhead, equal = telemetry_cost.cost_lines(short)
    assert (overhead.status, equal.status) == ("unknown", "unknown")
    assert equal.reason == "the machine was too busy: 2 of 8 processes in time"


def test_no_worker_has_more_time_than_is_left(setup: Setup) -> None:
    assert setup.task("kernel").timeout_s == setup.limit_s, "without a deadline"
    short = dataclasses.replace(setup, deadline=time.monotonic() + 20)
    assert 10 < short.task("kernel").timeout_s <= 20
    assert short.task("die", limit_s=5).timeout_s == 5
    over = dataclasses.replace(setup, deadline=time.monotonic() - 20)
    assert over.task("kernel").timeout_s == 1
