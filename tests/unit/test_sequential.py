"""Measuring until decided: when to look, how wide, when to stop."""

import math

import pytest
from measured_runs import by_arm, measured, two_arms

from sdbench.analysis.interim import look_after
from sdbench.records import Slot
from sdbench.stats import LOOK_CONFIDENCE, LOOKS, RatioEstimate, decide_family, look_at


def estimate(ratio: float, error: float, n: int = 8) -> RatioEstimate:
    return RatioEstimate(math.log(ratio), error, n - 1.0, (n, n), True)


def test_looks_are_the_five_of_the_protocol() -> None:
    assert LOOKS == (3, 5, 8, 13, 21)
    assert pytest.approx(0.99) == LOOK_CONFIDENCE


@pytest.mark.parametrize("blocks", [1, 2, 4, 7, 12, 22])
def test_nobody_looks_in_between(blocks: int) -> None:
    with pytest.raises(ValueError, match="after"):
        look_at([], blocks)


def test_look_takes_99_percent_intervals() -> None:
    """Decided at 95%, not at 99%."""
    barely = estimate(1.06, 0.0113)
    assert decide_family([barely])[0].verdict == "slower"
    look = look_at([barely], 8)
    assert (look.judgements[0].verdict, look.open_cases, look.next_look) == (
        "inconclusive",
        [0],
        13,
    )


def test_it_goes_on_until_every_case_is_decided() -> None:
    clear, open_ = estimate(1.3, 0.005), estimate(1.03, 0.01)
    assert look_at([clear, clear], 3).next_look is None
    look = look_at([clear, open_], 3)
    assert (look.next_look, look.open_cases) == (5, [1])


def test_last_look_is_the_last() -> None:
    look = look_at([estimate(1.03, 0.01)], 21)
    assert (look.judgements[0].verdict, look.next_look) == ("inconclusive", None)


def test_case_that_cannot_be_judged_keeps_nobody_waiting() -> None:
    crashed = RatioEstimate(None, None, None, (0, 3), True, "no-figures")
    assert look_at([crashed, estimate(1.3, 0.005)], 3).next_look is None


# --- on records ----------------------------------------------------------------------------------


def test_run_is_looked_at_by_its_first_blocks_alone() -> None:
    """Clear in the first three blocks, and nonsense after: a look after three sees no nonsense."""

    def times(slot: Slot) -> float:
        if slot.block >= 3:
            return 50.0 + 40.0 * (slot.index % 2)
        return by_arm(old=1.0, new=1.3)(slot)

    loaded = measured(times, config=two_arms(21))
    look = look_after(loaded, "arm", 3)
    assert (look.cases[0].verdict, look.next_look) == ("slower", None)
    assert look_after(loaded, "arm", 5).next_look == 8


def test_crashing_case_keeps_nobody_waiting() -> None:
    gone = {"outcome": "crashed", "passes": []}
    loaded = measured(config=two_arms(21), fields=lambda slot: gone if slot.arm == "new" else {})
    assert look_after(loaded, "arm", 3).next_look is None
