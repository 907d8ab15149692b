"""Outliers, percentiles and steadiness: what is said of passes beside their median."""

import numpy as np
import pytest

from sdbench.stats import judge_steadiness, percentile, tukey_outliers

# --- outliers ------------------------------------------------------------------------------------


def test_outliers_are_labelled_by_how_far_out_they_are() -> None:
    # Quartiles 2 and 4 (inclusive), fences at -1 and 7, far ones at -4 and 10.
    figures = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 7.5}
    assert [(one.key, one.degree) for one in tukey_outliers(figures)] == [("e", "outside")]
    figures["e"] = 10.5
    (found,) = tukey_outliers(figures)
    assert (found.key, found.value, found.degree) == ("e", 10.5, "far-out")


def test_outlier_may_be_the_fastest() -> None:
    assert [one.key for one in tukey_outliers({0: 1, 1: 9, 2: 9.1, 3: 9.2, 4: 9.3})] == [0]


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 1.0, 1.0, 9.0], [1.0] * 20])
def test_too_few_or_even_figures_have_no_outlier(values: list[float]) -> None:
    assert tukey_outliers(dict(enumerate(values))) == []


# --- percentiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "fewest"), [(50, 1), (90, 64), (99, 662)])
def test_percentile_waits_for_its_number_of_passes(percent: int, fewest: int) -> None:
    times = [float(i) for i in range(1, fewest + 1)]
    assert percentile(times[1:], percent) is None
    assert percentile(times, percent) == pytest.approx(1 + (fewest - 1) * percent / 100)


def test_percentile_that_nobody_vouches_for_is_not_offered() -> None:
    with pytest.raises(KeyError):
        percentile([1.0], 95)


# --- steadiness ----------------------------------------------------------------------------------


def passes(
    level: list[float], processes: int = 3, noise: float = 0.01, seed: int = 0
) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [
        [3.0, *(np.array(level) * np.exp(random.normal(0, noise, len(level))))]
        for _ in range(processes)
    ]


@pytest.mark.parametrize(("processes", "count"), [(2, 12), (3, 7), (0, 0)])
def test_too_little_is_unknown_and_no_finding(processes: int, count: int) -> None:
    rising = [[1.0 + 0.1 * i for i in range(count)]] * processes
    verdict = judge_steadiness(rising)
    assert (verdict.state, verdict.change) == ("unknown", None)
    assert verdict.reason is not None
    assert f"here: {processes} of {count}" in verdict.reason


@pytest.mark.parametrize(
    ("end", "state"), [(1.15, "slowing"), (0.85, "quickening"), (1.0, "steady")]
)
def test_trend_beyond_the_threshold_is_told(end: float, state: str) -> None:
    verdict = judge_steadiness(passes([*np.linspace(1, end, 11)], noise=0.005))
    assert verdict.state == state
    assert verdict.change == pytest.approx(end, abs=0.03)


def test_first_pass_is_not_judged() -> None:
    assert judge_steadiness([[9.0, *[1.0] * 8]] * 3).state == "steady"


def test_trend_too_small_to_matter_is_steady() -> None:
    assert judge_steadiness(passes([*np.linspace(1, 1.02, 15)], noise=1e-4)).state == "steady"


def test_nan_is_unknown() -> None:
    assert judge_steadiness([[1.0] * 7 + [float("nan")]] * 3).state == "unknown"


@pytest.mark.parametrize("count", [7, 15])
def test_healthy_windows_are_called_unsteady_in_under_two_percent(count: int) -> None:
    """Naive rules: 35 to 45%. Noise of 2%, and a spike in every twentieth pass."""
    random = np.random.default_rng(3)
    alarms = 0
    for _ in range(400):
        level = np.exp(random.normal(0, 0.02, (3, count)))
        level *= np.where(random.random((3, count)) < 0.05, 1.3, 1.0)
        alarms += judge_steadiness([[2.0, *row] for row in level]).state != "steady"
    assert alarms / 400 < 0.02
