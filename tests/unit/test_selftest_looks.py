"""All instruments in turn: a second look at failures, and what is left out where time is short."""

from typing import Any

import pytest
from factories import make_replicate, make_stack

from sdbench.process.executor import FakeExecutor
from sdbench.records import InstrumentLine
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
