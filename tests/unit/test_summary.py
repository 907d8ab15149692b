"""What a run's records come to, one row per case and variant."""

import json
from typing import Any

import msgspec
import pytest
from factories import make_config, make_pass, make_picture, make_replicate, make_run, summarise

from sdbench.analysis.run_summary import CaseSummary, as_json, device_facts
from sdbench.records import (
    OUTCOME_SEVERITY,
    Compared,
    Correctness,
    Outcome,
    Replicate,
    Run,
    TelemetrySummary,
)


@pytest.fixture
def run() -> Run:
    """One case, three blocks."""
    return make_run(make_config(matrix={"resolution": ["64x64"]}, replicates=3))


def replicates_of(run: Run, *fields: dict[str, Any]) -> list[Replicate]:
    """One replicate a slot, each with its own fields."""
    return [
        make_replicate(slot, **given) for slot, given in zip(run.plan.slots, fields, strict=False)
    ]


def row_of(run: Run, *fields: dict[str, Any]) -> CaseSummary:
    (row,) = summarise(run, replicates_of(run, *fields), "results/x").cases
    return row


def test_statistic_of_a_process_is_the_median_of_its_steady_passes() -> None:
    assert make_replicate(times=(9.0, 1.0, 5.0, 2.0)).steady_median_s == 2.0


def test_first_pass_is_never_part_of_the_steady_ones() -> None:
    assert make_replicate(times=(9.0,)).steady_median_s is None
    assert make_replicate(times=(9.0, 1.0)).steady_median_s == 1.0


def test_prime_and_profiling_passes_are_no_steady_passes() -> None:
    passes = [
        make_pass(7.0, 2, "prime"),
        make_pass(2.0, 1),
        make_pass(1.0, 2),
        make_pass(50.0, 2, "profile"),
    ]
    assert make_replicate(passes=passes).steady_median_s == 1.0


@pytest.mark.parametrize("outcome", [one for one in OUTCOME_SEVERITY if one != "ok"])
def test_process_that_did_not_end_well_gives_no_statistic(outcome: Outcome) -> None:
    assert make_replicate(outcome=outcome).steady_median_s is None


def test_latency_is_the_median_over_processes_with_an_interval(run: Run) -> None:
    row = row_of(run, {"times": (9.0, 1.0)}, {"times": (8.0, 1.2)}, {"times": (7.0, 1.1)})
    assert (row.latency_s.median, row.latency_s.n, row.latency_s.reason) == (1.1, 3, None)
    assert row.latency_s.ci95 is not None
    low, high = row.latency_s.ci95
    assert low < 1.1 < high
    assert row.first_pass_s == 8.0


def test_two_processes_give_no_interval(run: Run) -> None:
    row = row_of(run, {"times": (9.0, 1.0)}, {"times": (8.0, 2.0)})
    assert (row.latency_s.median, row.latency_s.ci95, row.latency_s.n) == (1.5, None, 2)


def test_one_pass_gives_no_steady_time_and_says_why(run: Run) -> None:
    row = row_of(run, {"times": (9.0,)}, {"times": (8.0,)})
    assert (row.latency_s.median, row.latency_s.n) == (None, 0)
    assert row.latency_s.reason == "no process made a second pass"
    assert row.first_pass_s == 8.5


def test_no_pass_at_all_is_said(run: Run) -> None:
    row = row_of(run, {"times": (), "outcome": "crashed", "reason": "ended by SIGSEGV in load"})
    assert row.latency_s.reason == "no pass was made"
    assert (row.first_pass_s, row.prime_s) == (None, None)
    assert row.correct_reason == "no image was made"


def test_prime_pass_is_reported_apart(run: Run) -> None:
    row = row_of(run, {"passes": [make_pass(7.0, 0, "prime"), make_pass(2.0, 1)]})
    assert (row.prime_s, row.first_pass_s) == (7.0, 2.0)


@pytest.mark.parametrize("index", range(len(OUTCOME_SEVERITY) - 1))
def test_outcome_of_a_case_is_its_worst_replicates(run: Run, index: int) -> None:
    worse, better = OUTCOME_SEVERITY[index : index + 2]
    row = row_of(
        run, {"outcome": better, "reason": "b"}, {"outcome": worse, "reason": "w"}, {"times": ()}
    )
    assert (row.outcome, row.reason) == (worse, "w")


def test_severity_is_in_the_documented_order() -> None:
    order = "crashed timeout guard oom failed skipped ok"
    assert " ".join(OUTCOME_SEVERITY) == order


def test_case_that_was_not_reached_is_skipped_and_says_how_to_go_on(run: Run) -> None:
    summary = summarise(run, [], "results/x")
    assert summary.cases[0].outcome == "skipped"
    assert "sdbench resume" in (summary.cases[0].reason or "")
    assert (summary.complete, summary.exit_code) == (False, 0)


def test_case_that_cannot_be_run_says_why_and_leaves_the_run_complete() -> None:
    config = make_config(matrix={"resolution": ["64x64"], "offload": ["model"]})
    summary = summarise(make_run(config), [], "results/x")
    assert summary.cases[0].outcome == "skipped"
    assert "offload" in (summary.cases[0].reason or "")
    assert summary.complete


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("ok", 0), ("skipped", 0), *((one, 1) for one in OUTCOME_SEVERITY[:5])],
)
def test_exit_code_follows_the_outcomes(run: Run, outcome: Outcome, code: int) -> None:
    assert summarise(run, replicates_of(run, {"outcome": outcome}), "x").exit_code == code


def test_arms_are_rows_of_their_own() -> None:
    config = make_config(
        matrix={"resolution": ["64x64"]}, replicates=1, arm=[{"name": "a"}, {"name": "b"}]
    )
    run = make_run(config)
    times = {"a": (9.0, 1.0), "b": (9.0, 2.0)}
    records = [make_replicate(slot, times=times[slot.arm]) for slot in run.plan.slots]
    rows = summarise(run, records, "x").cases
    assert [(row.arm, row.latency_s.median) for row in rows] == [("a", 1.0), ("b", 2.0)]


def test_peak_memory_is_the_largest_and_names_its_source(run: Run) -> None:
    row = row_of(
        run,
        {"peak_memory_bytes": 5, "peak_memory_source": "rss"},
        {"peak_memory_bytes": 9, "peak_memory_source": "cuda-allocated"},
        {"peak_memory_bytes": None},
    )
    assert (row.peak_memory_bytes, row.peak_memory_source) == (9, "cuda-allocated")


def test_unknown_peak_memory_is_none_with_the_reason(run: Run) -> None:
    row = row_of(run, {"peak_memory_reason": "telemetry was off"})
    assert (row.peak_memory_bytes, row.peak_memory_reason) == (None, "telemetry was off")
    assert row_of(run).peak_memory_reason == "not run"


def test_swap_change_is_the_largest_known(run: Run) -> None:
    def telemetry(delta: int | None) -> TelemetrySummary:
        return TelemetrySummary(samples=1, period_s=0.05, cost_share=0.0, swap_delta_bytes=delta)

    known = ({"telemetry": telemetry(5)}, {"telemetry": telemetry(-3)}, {"telemetry": None})
    assert row_of(run, *known).swap_delta_bytes == 5
    assert row_of(run, {"telemetry": telemetry(None)}).swap_delta_bytes is None


@pytest.mark.parametrize(
    ("fault", "word"),
    [({"black": True}, "black"), ({"nan_count": 3}, "not-a-number"), ({"inf_count": 1}, "not-a")],
)
def test_picture_that_is_wrong_whatever_it_shows_is_broken(
    run: Run, fault: dict[str, Any], word: str
) -> None:
    bad = make_pass(1.0, 2, images=[make_picture(), make_picture(**fault)])
    row = row_of(run, {"passes": [make_pass(), bad]})
    assert row.correct == "broken"
    assert (row.correct_reason or "").startswith(f"of 3 images: 1 {word}")


def test_picture_without_a_reference_is_unknown_and_never_a_match(run: Run) -> None:
    row = row_of(run, {})
    assert (row.correct, row.correct_reason) == ("unknown", "not compared with the CPU")


def test_prime_picture_is_not_judged(run: Run) -> None:
    prime = make_pass(1.0, 0, "prime", images=[make_picture(black=True)])
    assert row_of(run, {"passes": [prime, make_pass()]}).correct == "unknown"


def test_one_simulated_process_makes_the_whole_simulated(run: Run) -> None:
    records = replicates_of(run, {}, {"simulated": True})
    assert summarise(run, records, "x").simulated
    assert not summarise(run, replicates_of(run, {}), "x").simulated


def test_document_holds_what_the_contract_names(run: Run) -> None:
    summary = summarise(run, replicates_of(run, {}, {}, {}), "results/x", ["line 3 is unreadable"])
    document = json.loads(json.dumps(as_json(summary), allow_nan=False))
    assert set(document) >= {"run_id", "path", "device", "simulated", "outcomes", "cases"}
    assert document["outcomes"] == {"ok": 1}
    assert document["warnings"] == ["line 3 is unreadable"]
    (row,) = document["cases"]
    assert set(row) >= {
        *("case_id", "arm", "case", "outcome", "reason", "latency_s", "first_pass_s", "prime_s"),
        *("load_s", "peak_memory_bytes", "peak_memory_source", "swap_delta_bytes", "correct"),
    }
    assert set(row["latency_s"]) >= {"median", "ci95", "n"}
    assert row["case"] == msgspec.to_builtins(run.plan.cases[0].case)


def test_times_of_a_virtual_gpu_come_with_a_warning(run: Run) -> None:
    facts = {"name": None, "virtualised": True}
    real = {"name": "Apple M1", "virtualised": False}
    told = replicates_of(run, {"device": {"facts": facts}}, {"device": {"facts": real}})
    (warning,) = summarise(run, told, "results/x").warnings
    assert "virtual machine" in warning and "no verdict" in warning
    assert summarise(run, replicates_of(run, {}), "results/x").warnings == []


def test_device_is_what_any_stack_tells_of_it(run: Run) -> None:
    old = {"device": {"facts": {"name": None, "macos": "15.1"}}}
    new = {"device": {"facts": {"name": "Apple M1", "gpu_cores": 8, "macos": "15.1"}}}
    other = {"device": {"facts": {"gpu_cores": 10}}}
    merged = {"name": "Apple M1", "gpu_cores": 8, "macos": "15.1"}
    assert device_facts(replicates_of(run, new, old)) == merged
    assert device_facts(replicates_of(run, old, new, other)) == merged
    assert device_facts(replicates_of(run, {})) == {}


# --- beside the CPU ------------------------------------------------------------------------------


def compared_with(replicate: Replicate, verdict: Correctness, **fields: Any) -> Compared:
    return Compared(
        replicate_id=replicate.replicate_id,
        attempt=replicate.attempt,
        case_id=replicate.case_id,
        arm=replicate.arm,
        dtype="float32",
        simulated=False,
        verdict=verdict,
        **fields,
    )


def test_a_row_is_as_correct_as_its_worst_process(run: Run) -> None:
    replicates = replicates_of(run, {}, {}, {})
    records = [
        compared_with(replicates[0], "match", margin=0.2, reason="0.2 of what is allowed"),
        compared_with(replicates[1], "drift", margin=3.0, reason="latents 3 times"),
        compared_with(replicates[2], "unknown", reason="no time"),
    ]
    (row,) = summarise(run, replicates, "results/x", compared=records).cases
    assert (row.correct, row.correct_margin) == ("drift", 3.0)
    assert row.correct_reason == "latents 3 times (in 1 of 3 processes)"
    (row,) = summarise(run, replicates, "results/x", compared=records[2:]).cases
    assert (row.correct, row.correct_margin, row.correct_reason) == ("unknown", None, "no time")


def test_document_has_the_seconds_that_screens_show() -> None:
    run = make_run(make_config(matrix={"resolution": ["64x64"]}, replicates=1, images=2))
    document = as_json(summarise(run, replicates_of(run, {"times": (9.0, 1.0)}), "results/x"))
    (case,) = document["cases"]
    assert (case["latency_s"]["median"], case["seconds_per_picture"]) == (1.0, 0.5)
    nothing = as_json(summarise(run, [], "results/x"))
    assert nothing["cases"][0]["seconds_per_picture"] is None
