"""Are the verdicts right as often as they say? Counted in simulated runs, where the truth is known.

Process noise of 1.5%, spikes in 3% of passes, 5% of heat drift under the order sdbench runs in.
``tests/benchmarks/error_rates.py`` prints the same, and more, from many more trials.
"""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from simulated_runs import (
    STILL,
    USUAL,
    Wander,
    World,
    auto_estimates_of,
    busy_estimates_of,
    estimates_of,
    medians_of,
    separate_estimates_of,
)

from sdbench.stats import LOOKS, decide_family, look_at, paired_ratio

TRIALS = 400
# A share of 5% counted in 400 trials has a standard error of 1.1%; more than 5% plus two of them
# would be seen. Nominal here is 2.5% on each side.
AT_MOST = 0.05
DELTA = 0.03


def verdicts(ratio: float, blocks: int, world: World = USUAL, trials: int = TRIALS) -> Counter[str]:
    found: Counter[str] = Counter()
    for estimates in estimates_of(world, seed=blocks, trials=trials, blocks=blocks, ratios=[ratio]):
        found[decide_family(estimates, DELTA)[0].verdict] += 1
    return Counter({verdict: count / trials for verdict, count in found.items()})


@pytest.mark.parametrize("blocks", [3, 5, 8])
def test_unchanged_system_is_not_called_faster_or_slower(blocks: int) -> None:
    found = verdicts(1.0, blocks)
    assert found["faster"] + found["slower"] <= 0.01


@pytest.mark.parametrize("blocks", [3, 5, 8])
@pytest.mark.parametrize("ratio", [1 + DELTA, 1 - DELTA])
def test_change_of_exactly_the_threshold_gets_few_verdicts_of_any_kind(
    ratio: float, blocks: int
) -> None:
    found = verdicts(ratio, blocks)
    assert found["faster"] + found["slower"] <= AT_MOST
    assert found["equivalent"] <= AT_MOST


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(1.10, "slower"), (1.08, "slower"), (0.9, "faster")]
)
def test_real_change_is_found_with_eight_processes(ratio: float, verdict: str) -> None:
    assert verdicts(ratio, 8)[verdict] >= 0.9


def test_unchanged_quiet_system_is_mostly_called_equivalent() -> None:
    assert verdicts(1.0, 8, STILL)["equivalent"] >= 0.7


def test_drift_would_fool_a_comparison_that_does_not_interleave() -> None:
    """Why order matters: the same heat, but first all of A and then all of B."""
    heat = World(heat=0.15, warm_after=1.0, spike_chance=0.0, process_noise=0.005)
    interleaved = verdicts(1.0, 8, heat, trials=100)
    assert interleaved["faster"] + interleaved["slower"] == 0
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(100):
        times = 1 + heat.heat * (1 - np.exp(-np.arange(16) / 16 / heat.warm_after))
        times *= np.exp(random.normal(0, heat.process_noise, 16))
        base, new = dict(enumerate(times[:8])), dict(enumerate(times[8:]))
        wrong += decide_family([paired_ratio(base, new)])[0].verdict == "slower"
    assert wrong > 90


def until_decided(ratio: float, trials: int) -> Counter[str]:
    """As a run would: look after 3, 5, 8, 13, 21 blocks of one plan, and stop when told."""
    random = np.random.default_rng(12)
    found: Counter[str] = Counter()
    for _ in range(trials):
        ((base, new),) = medians_of(USUAL, random, LOOKS[-1], [ratio])
        blocks: int | None = LOOKS[0]
        while blocks is not None:
            so_far = [{block: side[block] for block in range(blocks)} for side in (base, new)]
            look = look_at([paired_ratio(*so_far)], blocks, DELTA)
            blocks = look.next_look
        found[look.judgements[0].verdict] += 1
    return Counter({verdict: count / trials for verdict, count in found.items()})


@pytest.mark.parametrize("ratio", [1 + DELTA, 1 - DELTA])
def test_looking_five_times_keeps_the_error_rates(ratio: float) -> None:
    found = until_decided(ratio, TRIALS)
    assert found["faster"] + found["slower"] <= AT_MOST
    assert found["equivalent"] <= AT_MOST


def test_until_decided_finds_a_change_and_clears_an_unchanged_system() -> None:
    assert until_decided(1.10, 100)["slower"] >= 0.95
    unchanged = until_decided(1.0, 100)
    assert unchanged["faster"] + unchanged["slower"] == 0
    assert unchanged["equivalent"] >= 0.9


@pytest.mark.parametrize("ratio", [1.0, 1 + DELTA])
def test_false_alarms_of_a_whole_job_of_many_cases(ratio: float) -> None:
    """Family-wise: any of 12 cases called slower. At most 2.5% by Benjamini–Hochberg at 2.5%."""
    trials = 200
    alarms = 0
    for estimates in estimates_of(USUAL, 7, trials, blocks=8, ratios=[ratio] * 12):
        alarms += any(one.verdict == "slower" for one in decide_family(estimates, DELTA))
    assert alarms / trials <= 0.025 + 2 * 0.011  # two standard errors


@pytest.mark.parametrize("ratio", [1.0, 1 + DELTA, 1 - DELTA])
def test_busy_machine_gets_no_more_false_verdicts_and_marks_take_some_away(ratio: float) -> None:
    wrong = {}
    for marked in (False, True):
        found = Counter(
            decide_family([one], DELTA)[0].verdict
            for one in busy_estimates_of(USUAL, 5, TRIALS, 8, ratio, 0.3, marked=marked)
        )
        wrong[marked] = (found["faster"] + found["slower"]) / TRIALS
    assert wrong[True] <= min(wrong[False], AT_MOST)


def test_change_is_still_found_where_few_processes_were_held_up() -> None:
    estimates = busy_estimates_of(STILL, 5, 100, 8, 1.3, 0.1, marked=True)
    found = Counter(decide_family([one], DELTA)[0].verdict for one in estimates)
    assert found["slower"] >= 85


# --- two separate runs ---------------------------------------------------------------------------


def apart(wander: Wander, ratio: float, trials: int = TRIALS, **more: bool) -> Counter[str]:
    found: Counter[str] = Counter()
    for estimate in separate_estimates_of(wander, 3, trials, 6, ratio, **more):
        found[decide_family([estimate], DELTA)[0].verdict] += 1
    return Counter({verdict: count / trials for verdict, count in found.items()})


@pytest.mark.parametrize("drift", [0.15, pytest.param(0.05, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "how",
    [
        {"correlation": 0.5},
        {"correlation": 0.95},
        {"correlation": 0.5, "within": 1.0},
        {"correlation": 0.5, "earlier": 3},
        {"correlation": 0.5, "earlier": 5, "earlier_between": 0.005},  # made in a quiet hour
    ],
    ids=str,
)
def test_drift_between_separate_runs_is_no_change(drift: float, how: dict[str, Any]) -> None:
    found = apart(Wander(between=drift, **how), 1.0, 200)
    assert found["faster"] + found["slower"] <= AT_MOST + 2 * 0.015  # two standard errors


@pytest.mark.parametrize("more", [{"yardstick": False}, {"same_software": False}], ids=str)
def test_prior_keeps_the_error_rate_where_the_yardstick_cannot(more: dict[str, bool]) -> None:
    found = apart(Wander(between=0.15), 1.0, 200, **more)
    assert found["faster"] + found["slower"] <= AT_MOST + 2 * 0.015


def test_quarter_is_found_in_separate_runs_where_the_machine_stood_still() -> None:
    assert apart(Wander(between=0.0), 1.25, 100)["slower"] >= 0.95
    assert apart(Wander(between=0.02, earlier=6), 1.25, 60)["slower"] >= 0.4


def test_real_slow_down_is_not_reversed_by_drift() -> None:
    assert apart(Wander(between=0.15, correlation=0.5), 1.5, 200)["faster"] <= 0.01
    assert apart(Wander(between=0.05, correlation=0.5), 1.25, 100)["faster"] == 0


@pytest.mark.parametrize(("ratio", "at_most", "found"), [(1.0, 0.05, 0.0), (1.1, 1.0, 0.9)])
def test_processes_that_decide_how_many_passes_they_make(
    ratio: float, at_most: float, found: float
) -> None:
    """Stopping where the median seems to be known neither invents differences nor hides them."""
    trials = 60
    estimates = auto_estimates_of(USUAL, 3, trials, 8, ratio, pass_s=1.0, start_s=16.0)
    counts = Counter(decide_family([one])[0].verdict for one in estimates)
    assert found <= (counts["slower"] + counts["faster"]) / trials <= at_most
    assert counts["faster"] <= at_most * trials and counts["slower"] >= found * trials
