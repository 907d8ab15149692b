"""Ratios of two sides: paired by block, or Welch; and what is said where there is none."""

import math
import random

import pytest

from sdbench.stats import Problem, bootstrap_interval, paired_ratio, ratio_of_logs, welch_ratio


def by_block(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_paired_interval_is_the_t_interval_of_the_blocks_log_ratios() -> None:
    # Log ratios -1, 0, 1: mean 0, standard deviation 1; t(0.975; 2) = 4.30265 (any table).
    estimate = paired_ratio(by_block(1, 1, 1), by_block(math.exp(-1), 1, math.e))
    half = 4.30265273 / math.sqrt(3)
    assert estimate.interval() == pytest.approx((math.exp(-half), math.exp(half)), rel=1e-7)
    assert estimate.ratio == pytest.approx(1)
    assert estimate.freedom == 2


def test_pairing_cancels_what_both_sides_of_a_block_share() -> None:
    heat = [1.0, 1.5, 2.0, 2.5]
    noise = [1.001, 0.999, 1.0, 1.002]
    base = by_block(*heat)
    new = by_block(*(1.1 * level * one for level, one in zip(heat, noise, strict=True)))
    paired, unpaired = paired_ratio(base, new), welch_ratio([*base.values()], [*new.values()])
    assert paired.ratio == unpaired.ratio == pytest.approx(1.1, rel=1e-3)
    assert paired.error is not None
    assert unpaired.error is not None
    assert paired.error < unpaired.error / 100


def test_welch_agrees_with_a_worked_example() -> None:
    # Logs 1..4 and 2, 4, 6, 8: means 2.5 and 5, variances 5/3 and 20/3; by Welch 1947
    # error = sqrt(25/12) and freedom = (25/12)^2 / ((5/12)^2/3 + (20/12)^2/3).
    estimate = welch_ratio(
        [math.exp(i) for i in (1, 2, 3, 4)], [math.exp(2 * i) for i in range(1, 5)]
    )
    assert estimate.log == pytest.approx(2.5)
    assert estimate.error == pytest.approx(math.sqrt(25 / 12))
    assert estimate.freedom == pytest.approx(
        (25 / 12) ** 2 / ((5 / 12) ** 2 / 3 + (20 / 12) ** 2 / 3)
    )
    assert not estimate.paired


def test_ratio_does_not_depend_on_the_unit_and_turns_over_with_the_sides() -> None:
    base, new = by_block(1.0, 1.1, 1.2), by_block(1.3, 1.2, 1.5)
    estimate = paired_ratio(base, new)
    milliseconds = paired_ratio(
        {block: 1000 * time for block, time in base.items()},
        {block: 1000 * time for block, time in new.items()},
    )
    turned = paired_ratio(new, base)
    assert milliseconds.interval() == pytest.approx(estimate.interval())
    assert estimate.interval() is not None
    assert turned.interval() == pytest.approx(
        [1 / bound for bound in estimate.interval() or ()][::-1]
    )


@pytest.mark.parametrize(
    ("base", "new", "problem", "ratio"),
    [
        ([], [], "no-figures", None),
        ([1, 1, 1], [], "no-figures", None),
        ([1, 2], [2, 4], "too-few-processes", 2),
        ([1, 1, 1], [2, 2], "too-few-processes", 2),
        ([1, 1, 1, 1], [2, 2, 2], "unequal-blocks", 2),
        ([1, 1.1, 1.2], [1, math.nan, 1], "not-a-number", None),
        ([1, 1.1, 1.2], [1, math.inf, 1], "not-a-number", None),
        ([1, 1.1, 0], [1, 1, 1], "not-a-number", None),
        ([1, 1.1, -1], [1, 1, 1], "not-a-number", None),
        ([1, 1, 1], [2, 2, 2], "zero-variance", 2),
    ],
)
def test_what_carries_no_interval_says_why(
    base: list[float], new: list[float], problem: Problem, ratio: float | None
) -> None:
    for estimate in (paired_ratio(by_block(*base), by_block(*new)), welch_ratio(base, new)):
        assert (estimate.problem, estimate.interval(), estimate.error) == (problem, None, None)
        assert estimate.ratio == pytest.approx(ratio)
        assert estimate.n == (len(base), len(new))


def test_blocks_must_be_the_same_and_not_only_as_many() -> None:
    base = {0: 1.0, 1: 1.1, 2: 1.2}
    assert paired_ratio(base, {0: 1.0, 1: 1.1, 3: 1.2}).problem == "unequal-blocks"


def test_differences_that_repeat_to_the_last_digit_are_no_measurement() -> None:
    base = by_block(1.0, 1.1, 1.3)
    copied = {block: 1.05 * time for block, time in base.items()}
    assert paired_ratio(base, copied).problem == "zero-variance"


def test_bytes_may_repeat() -> None:
    estimate = paired_ratio(by_block(4, 4, 4), by_block(2, 2, 2), exact=True)
    assert estimate.problem is None
    assert estimate.interval() == pytest.approx((0.5, 0.5))


def test_machines_are_one_observation_each() -> None:
    assert ratio_of_logs([]).problem == "no-figures"
    assert ratio_of_logs([0.1, 0.2]).problem == "too-few-processes"
    estimate = ratio_of_logs([-1.0, 0.0, 1.0])
    assert (estimate.ratio, estimate.freedom, estimate.n) == (1, 2, (3, 3))


# --- bootstrap -----------------------------------------------------------------------------------


def scattered(count: int, center: float, seed: int) -> dict[int, float]:
    source = random.Random(seed)
    return {block: center * math.exp(source.gauss(0, 0.02)) for block in range(count)}


@pytest.mark.parametrize("paired", [True, False])
def test_bootstrap_agrees_with_t_from_ten_processes_on(paired: bool) -> None:
    base, new = scattered(30, 1.0, 1), scattered(30, 1.1, 2)
    bounds = bootstrap_interval(base, new, paired=paired)
    estimate = paired_ratio(base, new) if paired else welch_ratio([*base.values()], [*new.values()])
    assert bounds is not None
    assert bounds == pytest.approx(estimate.interval(), rel=0.003)
    assert bounds == bootstrap_interval(base, new, paired=paired)  # seeded


def test_bootstrap_is_not_given_below_ten_processes() -> None:
    nine, ten = scattered(9, 1.0, 1), scattered(10, 1.0, 2)
    assert bootstrap_interval(nine, ten, paired=False) is None
    assert bootstrap_interval(ten, ten, paired=True) == pytest.approx((1, 1))
