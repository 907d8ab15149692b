"""Two numbers and an allowed difference: every way to a verdict of the selftest."""

import math

import pytest

from sdbench.records import InstrumentLine
from sdbench.selftest.clocks import rate_lines
from sdbench.selftest.judging import Question, all_unknown, confirmed

QUESTION = Question(
    id="clock-x", instrument="ours", source="theirs", unit="s", allowed=0.5, ground="why"
)


@pytest.mark.parametrize(
    ("measured", "expected", "status"),
    [
        (10.0, 10.0, "pass"),
        (10.0, 10.5, "pass"),
        (10.0, 10.6, "fail"),
        (10.6, 10.0, "fail"),  # whichever of the two is wrong
        (0.0, 10.0, "fail"),
        (None, 10.0, "unknown"),
        (10.0, None, "unknown"),
        (math.nan, 10.0, "fail"),
        (10.0, math.inf, "fail"),
    ],
)
def test_numbers(measured: float | None, expected: float | None, status: str) -> None:
    line = QUESTION.compare(measured, expected)
    assert line.status == status
    explained = status == "unknown" or not all(map(math.isfinite, (measured or 0, expected or 0)))
    assert (line.reason is not None) == explained


def test_a_line_carries_both_sides_and_the_ground() -> None:
    line = QUESTION.compare(10.0, 10.2)
    assert (line.measured, line.expected, line.allowed, line.unit) == (10.0, 10.2, 0.5, "s")
    assert (line.instrument, line.source, line.ground) == ("ours", "theirs", "why")


def test_nothing_is_allowed_where_nothing_is_said() -> None:
    question = Question(id="x", instrument="a", source="b")
    assert question.compare(1.0, 1.0).status == "pass"
    assert question.compare(1.0, 1.0 + 1e-9).status == "fail"


def test_words() -> None:
    assert QUESTION.compare_words("oom", "oom").status == "pass"
    assert QUESTION.compare_words("ok", "oom").status == "fail"
    assert QUESTION.compare_words(None, "oom").status == "unknown"


def test_what_could_not_be_looked_at_is_unknown() -> None:
    lines = all_unknown([QUESTION], "no such program")
    assert [(line.status, line.reason) for line in lines] == [("unknown", "no such program")]


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("fail", "fail", "fail"),
        ("fail", "pass", "unknown"),
        ("pass", "fail", "unknown"),
        ("unknown", "fail", "unknown"),
        ("pass", "pass", "pass"),
        ("unknown", "pass", "pass"),
    ],
)
def test_a_line_fails_only_in_two_looks(first: str, second: str, status: str) -> None:
    def line(word: str) -> InstrumentLine:
        return InstrumentLine(id="x", status=word, instrument="a", source="b")  # type: ignore[arg-type]

    assert confirmed([line(first)], [line(second)])[0].status == status


def test_a_clock_that_runs_3_percent_fast_fails_against_both_kernel_clocks() -> None:
    right = {"perf_counter_s": 1.0, "monotonic_s": 1.0, "realtime_s": 1.0005, "raw_s": 0.9999}
    assert {line.status for line in rate_lines("worker", right, None)} == {"pass"}
    fast = right | {"perf_counter_s": 1.03}
    failed = [line.id for line in rate_lines("worker", fast, None) if line.status == "fail"]
    assert failed == ["clock-worker-perf-counter-realtime", "clock-worker-perf-counter-raw"]


def test_clocks_of_a_worker_that_died_are_unknown() -> None:
    lines = rate_lines("worker", {}, "the worker ended with status 1")
    assert {(line.status, line.reason) for line in lines} == {
        ("unknown", "the worker ended with status 1")
    }
