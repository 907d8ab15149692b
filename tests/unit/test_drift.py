"""The drift between separate runs: where it is taken from, and what it does to an interval."""

import math
from typing import Any

import pytest
from factories import make_model, make_stack
from measured_runs import (
    MODEL_SHA,
    Fields,
    changed,
    measured,
    one_case,
    replace,
    steady,
    two_arms,
    yardstick,
)

from sdbench.analysis.case_result import rows_of
from sdbench.comparison import CaseComparison, compare_runs
from sdbench.comparison.history import Past, past_of
from sdbench.comparison.run_drift import PRIOR_LOG_SD, machine_kind
from sdbench.comparison.series import series_of
from sdbench.records import Gate, Slot, Yardstick
from sdbench.runs import LoadedRun
from sdbench.stats import Drift, RatioEstimate, decide_family, drift_between, with_drift
from sdbench.stats.drift import LEAST_LOG_SD, satterthwaite

STILL = [0.0100, 0.0101, 0.0099, 0.0100, 0.0101, 0.0099]


def moved(share: float) -> list[float]:
    return [value * (1 + share) for value in STILL]


def between(
    base: list[float] = STILL,
    new: list[float] = STILL,
    history: list[list[float]] | None = None,
    prior: float = 0.15,
    same_software: bool = True,
) -> Drift:
    return drift_between(base, new, history or [], prior, same_software=same_software)


# --- the estimator -------------------------------------------------------------------------------


def test_still_yardstick_leaves_the_interval_narrow_and_a_moved_one_does_not() -> None:
    still, restless = between(), between(new=moved(0.10))
    assert (still.source, restless.source) == ("yardstick", "yardstick")
    assert still.log_sd < 0.02
    assert restless.log_sd > 0.10
    assert restless.machine_ratio == pytest.approx(1.10)
    assert restless.freedom == pytest.approx(1, abs=0.1)  # one observation of the drift


def test_yardstick_that_scatters_between_processes_widens_too() -> None:
    restless = [0.0100, 0.0110, 0.0090, 0.0115, 0.0088, 0.0100]
    assert between(restless, restless).log_sd > 5 * between().log_sd


@pytest.mark.parametrize("readings", [[], [0.01], [0.01, 0.01]])
def test_without_three_readings_a_side_the_prior_is_assumed(readings: list[float]) -> None:
    drift = between(new=readings, prior=0.12)
    assert drift.source == "prior"
    assert drift.log_sd == pytest.approx(0.12)
    assert drift.machine_ratio is None


def test_other_software_lets_a_yardstick_widen_and_never_narrow() -> None:
    still = between(same_software=False)
    assert still.source == "prior"
    assert still.log_sd == pytest.approx(0.15)
    assert between(new=moved(0.5), same_software=False).variance > 2 * still.variance


def test_history_of_three_runs_tells_the_drift() -> None:
    drift = between(history=[[1.00, 1.05, 0.95]])
    assert (drift.source, drift.runs, drift.freedom) == ("history", 3, 2)
    assert drift.log_sd == pytest.approx(0.05, rel=0.02)
    assert between(history=[[1.0, 1.05]]).source == "yardstick"
    assert between(history=[[1.0], [1.0], [1.0]]).source == "yardstick"  # nothing scatters


def test_history_of_two_softwares_is_pooled_within_each() -> None:
    drift = between(history=[[1.00, 1.05, 0.95], [2.0, 2.1, 1.9]])
    assert (drift.runs, drift.freedom) == (6, 4)
    assert drift.log_sd == pytest.approx(0.05, rel=0.02)


def test_few_runs_that_agree_by_chance_claim_no_perfect_machine() -> None:
    assert between(history=[[1.0, 1.0, 1.0]]).log_sd == pytest.approx(LEAST_LOG_SD)


def test_quiet_history_does_not_speak_for_a_restless_hour() -> None:
    quiet = [[1.00, 1.01, 0.99, 1.00, 1.01]]
    assert between(history=quiet).source == "history"
    now = between(new=moved(0.15), history=quiet)
    assert now.source == "yardstick"
    assert now.log_sd > 0.14


def test_drift_adds_to_the_variance_with_its_own_freedom() -> None:
    estimate = RatioEstimate(0.2, 0.03, 10.0, (6, 6), False)
    with_it = with_drift(estimate, Drift("history", 0.04**2, 2.0))
    assert with_it.log == estimate.log  # the ratio is never shifted
    assert with_it.error == pytest.approx(0.05)
    assert with_it.freedom == pytest.approx(0.05**4 / (0.03**4 / 10 + 0.04**4 / 2))
    assert satterthwaite((1.0, 1.0), (math.inf, math.inf)) == math.inf
    assert satterthwaite((0.0, 0.0), (3.0, 5.0)) == 3.0


def test_estimate_with_a_problem_keeps_it() -> None:
    estimate = RatioEstimate(0.2, None, None, (2, 2), False, "too-few-processes")
    assert with_drift(estimate, Drift("prior", 0.1, math.inf)) == estimate


def test_undisturbed_processes_are_held_to_the_same_drift() -> None:
    quiet = RatioEstimate(0.2, 0.03, 5.0, (3, 3), False)
    estimate = RatioEstimate(0.2, 0.03, 10.0, (6, 6), False, undisturbed=quiet)
    found = with_drift(estimate, Drift("prior", 0.04**2, math.inf)).undisturbed
    assert found is not None and found.error == pytest.approx(0.05)


def test_more_processes_are_not_asked_for_where_they_do_not_help() -> None:
    estimate = with_drift(
        RatioEstimate(0.1, 0.03, 10.0, (6, 6), False), Drift("prior", 0.05, math.inf)
    )
    (judgement,) = decide_family([estimate])
    assert (judgement.verdict, judgement.reason) == ("inconclusive", "not-interleaved")
    assert judgement.more_processes is None


# --- from records --------------------------------------------------------------------------------


def run(seconds: float = 1.0, seed: int = 1, unit_s: float = 0.010, **fields: Any) -> LoadedRun:
    loaded = measured(steady(seconds, seed=seed), fields=yardstick(unit_s, seed=seed))
    return changed(loaded, **{"run_id": f"run-{seed}", **fields})


def only(base: LoadedRun, new: LoadedRun, pasts: list[Past] | None = None) -> CaseComparison:
    (case,) = compare_runs(base, new, pasts=pasts or []).cases
    return case


def past(seconds: float, seed: int, **fields: Any) -> Past:
    return past_of(run(seconds, seed, **{"created_utc": f"2025-01-{seed:02}", **fields}))


def test_machine_that_stood_still_lets_a_quarter_be_told() -> None:
    case = only(run(1.0), run(1.25, seed=2))
    assert (case.verdict, case.reason, case.command) == ("slower", None, None)
    assert case.drift is not None
    assert case.drift.source == "yardstick"
    assert case.drift.machine_ratio == pytest.approx(1, abs=0.01)


def test_machine_that_became_slower_is_not_called_a_slower_software() -> None:
    case = only(run(1.0), run(1.25, seed=2, unit_s=0.0125))
    assert (case.verdict, case.reason) == ("inconclusive", "not-interleaved")
    assert case.drift is not None and case.drift.machine_ratio == pytest.approx(1.25, abs=0.01)
    assert "fixed reference work took 24.8% longer" in (case.explanation or "")
    assert case.ratio == pytest.approx(1.25, abs=0.01)  # as the times say
    assert case.ci95 is not None and case.ci95[0] < 1 < case.ci95[1]


def test_first_pass_contains_the_drift_and_memory_has_none() -> None:
    case = only(run(1.0), run(1.25, seed=2, unit_s=0.0125))
    assert case.first_pass.verdict == "inconclusive"
    assert case.first_pass.reason == "not-interleaved"
    assert case.peak_memory.verdict == "equivalent"


@pytest.mark.parametrize(
    ("reading", "source"),
    [
        (None, "prior"),  # a record of an older sdbench
        (Yardstick(version=2, before_s=0.01, after_s=0.01), "prior"),  # other work
        (Yardstick(version=1, reason="no kernel for Half"), "prior"),
        (Yardstick(version=1, before_s=0.01), "yardstick"),
    ],
)
def test_readings_of_one_version_only_are_compared(reading: Yardstick | None, source: str) -> None:
    fields: Fields = {"yardstick": reading}
    new = measured(steady(1.4, seed=2), fields=lambda slot: fields, run_id="new")
    case = only(run(), new)
    assert case.drift is not None and case.drift.source == source
    assert case.verdict == ("inconclusive" if source == "prior" else "slower")


def test_other_torch_is_judged_by_the_prior_or_by_history() -> None:
    newer: Fields = {"stacks": {"current": make_stack(torch="2.5.0")}}
    case = only(run(), run(1.3, seed=2, **newer))
    assert case.drift is not None
    assert (case.verdict, case.drift.source) == ("inconclusive", "prior")
    pasts = [past(seconds, seed) for seed, seconds in enumerate((1.0, 1.01, 0.99), start=3)]
    case = only(run(), run(1.3, seed=2, **newer), pasts)
    assert case.drift is not None
    assert (case.verdict, case.drift.source, case.drift.runs) == ("slower", "history", 3)


@pytest.mark.parametrize(
    "unlike",
    [
        {"stacks": {"current": make_stack(torch="1.13.1")}},
        {"machine_id": "another"},
        {"environment": {"OMP_NUM_THREADS": "1"}},
        {"preload": ["other"]},
        {"simulated": True},
        {"created_utc": "2027-01-01"},  # made after the two
        {"config": measured().run.config | {"steps": 77}},
    ],
)
def test_only_earlier_runs_of_the_same_series_are_a_history(unlike: Fields) -> None:
    pasts = [past(1.0, 3), past(1.02, 4), past(0.98, 5, **unlike)]
    case = only(run(), run(seed=2), pasts)
    assert case.drift is not None and case.drift.source == "yardstick"
    pasts.append(past(0.99, 6))
    case = only(run(), run(seed=2), pasts)
    assert case.drift is not None and (case.drift.source, case.drift.runs) == ("history", 3)


def test_arms_of_one_earlier_run_are_one_run() -> None:
    loaded = measured(steady(), config=two_arms())
    arms = replace(loaded.run, run_id="two-arms", created_utc="2025-02-02")
    two = past_of(LoadedRun(loaded.path, arms, [], loaded.attempts))
    series = {entry.conditions for _, entry in two.entries}
    assert len(series) == 1  # alike but for the name of the variant
    case = only(run(), run(seed=2), [two, past(1.0, 3)])
    assert case.drift is not None and case.drift.source == "yardstick"  # two runs, not three


def test_series_knows_work_software_and_machine_but_no_label_and_no_counts() -> None:
    def series(loaded: LoadedRun) -> str:
        (row,) = rows_of(loaded)
        return series_of(row)

    base = series(run())
    assert series(run(2.0, seed=5, label="mine", created_utc="2020")) == base
    assert series(measured(config=one_case(replicates=3))) == base
    assert series(run(environment={"SDBENCH_CACHE": "/elsewhere"})) == base
    assert series(run(model=make_model(sha256=MODEL_SHA))) != base
    assert series(run(device="mps")) != base


@pytest.mark.parametrize(
    ("facts", "fields", "kind"),
    [
        ({}, {}, "unknown"),
        ({"machine_facts": {"identity": {"virtual": True}}}, {}, "virtual"),
        ({"machine_facts": {"identity": {"virtual": {"unavailable": "why"}}}}, {}, "unknown"),
        ({"machine_facts": {"identity": {"virtual": False}}}, {}, "still"),
        (
            {
                "machine_facts": {"identity": {"virtual": False}},
                "machine": {"model": "MacBookAir10,1"},
            },
            {},
            "fanless",
        ),
        *(
            (
                {
                    "machine_facts": {"identity": {"virtual": False}},
                    "machine": {"chip": chip, "model": model},
                },
                {},
                kind,
            )
            for chip, model, kind in (
                ("Apple M4", "Mac16,10", "still"),
                ("Apple M5", "Mac17,2", "still"),
                ("Apple M5 Max", "Mac17,6", "still"),
                # It may have no fan: nothing is assumed.
                ("Apple M5", "Mac17,99", "unknown"),
                ("Apple M9 Extreme", "Mac30,1", "unknown"),
            )
        ),
        (
            {"machine_facts": {"identity": {"virtual": False}}},
            {"gate": Gate(power_source="battery")},
            "battery",
        ),
        (
            {"machine_facts": {"identity": {"virtual": False}}},
            {"gate": Gate(flags=["load"])},
            "other-load",
        ),
    ],
)
def test_kind_of_machine_decides_the_prior(facts: Fields, fields: Fields, kind: str) -> None:
    def one(slot: Slot) -> Fields:
        return fields | {"yardstick": None}

    base = measured(fields=one, **facts)
    new = measured(steady(seed=2), fields=one, run_id="new", **facts)
    (row,) = rows_of(base)
    assert machine_kind(row) == kind
    case = only(base, new)
    assert case.drift is not None
    assert (case.drift.machine, case.drift.source) == (kind, "prior")
    assert case.drift.log_sd == pytest.approx(PRIOR_LOG_SD[machine_kind(row)])


def test_two_machines_are_compared_without_the_yardstick_of_either() -> None:
    base = run(1.0)
    new = run(0.4, seed=2, unit_s=0.004, machine_id="another")
    (case,) = compare_runs(base, new, by_machine=True).cases
    assert case.drift is not None
    assert (case.verdict, case.drift.source, case.drift.machine_ratio) == ("faster", "prior", None)


def test_refused_comparison_shows_no_drift() -> None:
    case = only(run(), run(seed=2, device="cuda"))
    assert (case.reason, case.drift) == ("device-differs", None)
