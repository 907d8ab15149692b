"""Verdicts: beyond the threshold, within it, or not known; over many cases; and how many more."""

import math
import random

import pytest
from scipy.stats import false_discovery_control

from sdbench.stats import RatioEstimate, SpeedVerdict, decide_family, more_processes


def estimate(ratio: float, half_width: float, n: int = 8) -> RatioEstimate:
    """An estimate whose 95% interval reaches so far on either side, on logarithms."""
    from scipy.special import stdtrit

    error = half_width / stdtrit(n - 1, 0.975)
    return RatioEstimate(math.log(ratio), error, n - 1.0, (n, n), True)


def broken() -> RatioEstimate:
    return RatioEstimate(None, None, None, (0, 8), True, "no-figures")


DELTA = math.log(1.03)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (DELTA + 1e-6, 0.1, "slower"),
        (DELTA - 1e-6, 0.1, "inconclusive"),
        (-0.1, -DELTA - 1e-6, "faster"),
        (-0.1, -DELTA + 1e-6, "inconclusive"),
        (-DELTA + 1e-6, DELTA - 1e-6, "equivalent"),
        (-DELTA - 1e-6, 0.0, "inconclusive"),
        (-0.01, DELTA + 1e-6, "inconclusive"),
        (-0.5, 0.5, "inconclusive"),
        (0.001, DELTA - 1e-6, "equivalent"),  # a difference that is real, and too small to count
    ],
)
def test_verdict_of_one_case_is_where_its_interval_lies(
    low: float, high: float, verdict: SpeedVerdict
) -> None:
    (judgement,) = decide_family([estimate(math.exp((low + high) / 2), (high - low) / 2)])
    assert judgement.verdict == verdict
    assert (judgement.reason == "interval-too-wide") == (verdict == "inconclusive")


def test_p_is_one_sided_against_the_nearer_bound() -> None:
    from scipy.special import stdtr

    one = estimate(1.10, 0.05)
    assert one.error is not None
    (judgement,) = decide_family([one])
    assert judgement.p_value == pytest.approx(
        stdtr(7, -(math.log(1.10) - DELTA) / one.error), rel=1e-9
    )
    assert judgement.q_value == judgement.p_value
    (faster,) = decide_family([estimate(1 / 1.10, 0.05)])
    assert faster.p_value == pytest.approx(judgement.p_value)


def test_wider_threshold_turns_slower_into_equivalent() -> None:
    case = [estimate(1.05, 0.01)]
    assert [decide_family(case, threshold)[0].verdict for threshold in (0.03, 0.05, 0.1)] == [
        "slower",
        "inconclusive",
        "equivalent",
    ]


def test_many_cases_are_corrected_by_benjamini_and_hochberg() -> None:
    """One of forty that is just beyond by itself is what chance gives; forty of them are not."""
    barely = estimate(math.exp(DELTA + 0.0201), 0.02)
    even = estimate(1.0, 0.1)
    (alone,) = decide_family([barely])
    assert alone.verdict == "slower"
    among, *_ = decide_family([barely, *[even] * 39])
    assert (among.verdict, among.reason) == ("inconclusive", "many-cases")
    assert among.p_value == alone.p_value
    assert (among.q_value or 0) > 0.025 >= (among.p_value or 1)
    assert {judgement.verdict for judgement in decide_family([barely] * 40)} == {"slower"}


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_correction_is_that_of_scipy(count: int) -> None:
    source = random.Random(count)
    beyond = [estimate(source.uniform(1.04, 1.1), source.uniform(0.01, 0.05)) for _ in range(count)]
    judgements = decide_family(beyond)
    p_values = [judgement.p_value for judgement in judgements]
    assert [judgement.q_value for judgement in judgements] == pytest.approx(
        false_discovery_control(p_values)
    )


def test_equivalent_cases_do_not_loosen_claims_of_a_difference() -> None:
    barely, same = estimate(math.exp(DELTA + 0.0201), 0.02), estimate(1.0, 0.005)
    verdicts = [judgement.verdict for judgement in decide_family([barely, *[same] * 39])]
    assert verdicts == ["inconclusive", *["equivalent"] * 39]


def test_estimate_with_a_problem_is_inconclusive_and_counts_in_no_family() -> None:
    barely = estimate(math.exp(DELTA + 0.0201), 0.02)
    first, *others = decide_family([barely, *[broken()] * 39])
    assert first.verdict == "slower"
    assert {(one.verdict, one.reason, one.p_value) for one in others} == {
        ("inconclusive", "no-figures", None)
    }


def test_statistics_error_is_never_significant() -> None:
    """NaN compares with nothing: whatever goes wrong must come out as no verdict."""
    nan = RatioEstimate(0.5, math.nan, 7.0, (8, 8), True)
    verdicts = [judgement.verdict for judgement in decide_family([nan])]
    assert verdicts == ["inconclusive"]
    sound = estimate(1.2, 0.01)
    mixed = decide_family([nan, sound, sound])
    assert mixed[0].verdict == "inconclusive"
    assert [one.verdict for one in mixed[1:]] == ["slower", "slower"]


def test_counts_without_scatter_are_judged_as_they_stand() -> None:
    exact = [
        RatioEstimate(math.log(ratio), 0.0, 7.0, (8, 8), True) for ratio in (0.5, 1.0, 1.01, 2.0)
    ]
    assert [judgement.verdict for judgement in decide_family(exact)] == [
        "faster",
        "equivalent",
        "equivalent",
        "slower",
    ]


def test_no_family_has_no_judgements() -> None:
    assert decide_family([]) == []


# --- how many more -------------------------------------------------------------------------------


def test_too_few_processes_ask_for_three() -> None:
    few = RatioEstimate(0.1, None, None, (1, 2), True, "too-few-processes")
    assert decide_family([few])[0].more_processes == 2


def test_so_many_more_processes_decide_it_four_times_in_five() -> None:
    import numpy as np

    ratio, scatter, now = 1.06, 0.03, 5
    one = RatioEstimate(math.log(ratio), scatter / math.sqrt(now), now - 1.0, (now, now), True)
    more = more_processes(one)
    assert more is not None
    count = now + more
    random = np.random.default_rng(5)
    logs = random.normal(math.log(ratio), scatter, (2000, count))
    found = sum(
        decide_family(
            [
                RatioEstimate(
                    float(row.mean()),
                    float(row.std(ddof=1)) / math.sqrt(count),
                    count - 1.0,
                    (count, count),
                    True,
                )
            ]
        )[0].verdict
        == "slower"
        for row in logs
    )
    assert 0.76 < found / 2000 < 0.90


def test_no_process_less_would_decide_it() -> None:
    """The number is the smallest with which the formula of the docstring holds."""
    from scipy.stats import t

    for ratio, error, now in ((1.06, 0.02, 5), (1.05, 0.01, 3), (0.9, 0.05, 8)):
        one = RatioEstimate(math.log(ratio), error, now - 1.0, (now, now), True)
        distance = abs(abs(math.log(ratio)) - math.log(1.03))
        for count in range(now + 1, 1000):
            quantiles = t.ppf(0.975, count - 1) + t.ppf(0.8, count - 1)
            if quantiles * error * math.sqrt(now / count) <= distance:
                break
        assert more_processes(one) == count - now


def test_ratio_on_the_threshold_itself_is_never_decided() -> None:
    assert more_processes(estimate(1.03, 0.05)) is None
    assert decide_family([estimate(1.03, 0.05)])[0].more_processes is None


def test_decided_case_asks_for_nothing() -> None:
    assert decide_family([estimate(1.2, 0.01)])[0].more_processes is None
