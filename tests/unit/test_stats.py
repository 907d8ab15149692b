"""Intervals, held against published t quantiles and against simulation-free identities."""

import math

import pytest

from sdbench.stats import MIN_PROCESSES, log_t_interval


@pytest.mark.parametrize("times", [[], [1.0], [1.0, 2.0]])
def test_fewer_than_three_processes_give_no_interval(times: list[float]) -> None:
    assert MIN_PROCESSES == 3
    assert log_t_interval(times) is None


def test_interval_is_the_t_interval_on_logarithms() -> None:
    # t(0.975; 2) = 4.30265 (any table); logs -1, 0, 1: mean 0, standard deviation 1.
    interval = log_t_interval([math.exp(-1), 1.0, math.e])
    assert interval is not None
    half = 4.30265273 / math.sqrt(3)
    assert interval == pytest.approx((math.exp(-half), math.exp(half)), rel=1e-7)


def test_wider_confidence_gives_a_wider_interval() -> None:
    times = [1.0, 1.1, 1.2, 1.05]
    usual, wide = log_t_interval(times), log_t_interval(times, confidence=0.99)
    assert usual is not None
    assert wide is not None
    assert wide[0] < usual[0] < usual[1] < wide[1]


def test_interval_scales_with_the_unit() -> None:
    times = [1.0, 1.1, 1.3]
    in_seconds = log_t_interval(times)
    in_milliseconds = log_t_interval([1000 * time for time in times])
    assert in_seconds is not None
    assert in_milliseconds == pytest.approx(tuple(1000 * bound for bound in in_seconds))


def test_interval_holds_the_geometric_mean_in_its_middle() -> None:
    interval = log_t_interval([1.0, 2.0, 4.0, 8.0])
    assert interval is not None
    assert math.sqrt(interval[0] * interval[1]) == pytest.approx(8.0**0.5)


def test_times_of_enormous_scatter_give_an_enormous_interval() -> None:
    low, high = log_t_interval([1e-6, 1.0, 1e9], 0.999999) or (1.0, 1.0)
    assert 0 < low < 1e-300 and 1e300 < high < math.inf


def test_equal_times_give_a_point() -> None:
    assert log_t_interval([2.0, 2.0, 2.0]) == pytest.approx((2.0, 2.0))
