"""What is recommended was measured, is right and fits; and the code for it can be run."""

import ast
import re
from collections.abc import Callable
from typing import Any

import pytest
from diagnosed_runs import (
    beside_cpu,
    case,
    diagnosis,
    equality,
    image_of,
    loaded_run,
    matching,
    plan,
    telemetry,
)
from factories import make_model

from sdbench.diagnosis.result import Choice, Goal
from sdbench.diagnosis.snippets import elsewhere
from sdbench.records import Case, Compared, Slot
from sdbench.runs import LoadedRun

BASE, SLICED, PRIMED, BATCH = (
    case(),
    case(attention_slicing=True),
    case(warmup=True),
    case(batching="batch"),
)
GB = 1_000_000_000


def taking(**seconds: float) -> Callable[[Slot, Case], float]:
    """Seconds a pass of the sliced, primed and batch case; the base takes 1."""

    def time_of(slot: Slot, here: Case) -> float:
        factor = {
            SLICED: seconds.get("sliced", 1.5),
            PRIMED: seconds.get("primed", 1.0),
            BATCH: seconds.get("batch", 0.6),
        }.get(here, 1.0)
        return factor * (1 + 0.002 * ((slot.index * 7919) % 11 - 5) / 5)

    return time_of


def goal_of(run: LoadedRun, *equalities: Any) -> Goal:
    (goal,) = diagnosis(run, *equalities).recommendation.goals
    return goal


def both(goal: Goal) -> tuple[Choice, Choice]:
    assert goal.latency is not None and goal.throughput is not None
    return goal.latency, goal.throughput


def test_one_picture_is_not_made_in_a_batch_but_many_are() -> None:
    found = diagnosis(loaded_run(seconds=taking())).recommendation
    latency, throughput = both(found.goals[0])
    assert (latency.case, throughput.case) == (BASE, BATCH)
    assert latency.seconds_per_picture == pytest.approx(0.5, rel=0.01)
    assert throughput.seconds_per_picture == pytest.approx(0.3, rel=0.01)
    assert throughput.ci95 is not None and throughput.correct == "match"
    assert throughput.ci95[0] < (throughput.seconds_per_picture or 0) < throughput.ci95[1]
    assert not found.first_look


def test_each_choice_says_what_it_gains() -> None:
    _, throughput = both(goal_of(loaded_run(seconds=taking())))
    (gain,) = throughput.gains
    assert (gain.setting, gain.chosen, gain.other) == ("batching", "batch", "loop")
    assert gain.ratio == pytest.approx(0.6, rel=0.01)
    assert gain.ci95 is not None and gain.ci95[0] < 0.6 < gain.ci95[1]
    assert gain.sentence.startswith("one batch takes 0.60 times (95% interval")


def test_the_plainest_of_those_that_cannot_be_told_apart() -> None:
    latency, _ = both(goal_of(loaded_run(seconds=taking(primed=0.9999))))
    assert latency.case == BASE


def broken_batch(slot: Slot, here: Case) -> Compared:
    if here != BATCH:
        return matching(slot, here)
    return beside_cpu(slot, here, [image_of(0), image_of(1, "broken", fault="noise")])


def test_what_is_broken_is_never_recommended() -> None:
    found = diagnosis(loaded_run(seconds=taking(), compared=broken_batch)).recommendation
    latency, throughput = both(found.goals[0])
    assert latency.case == throughput.case == BASE
    entries = {entry.case: entry for entry in found.tradeoffs}
    assert entries[BATCH].correct == "broken" and not entries[BATCH].efficient
    assert entries[BASE].efficient


def test_what_has_a_finding_about_its_pictures_is_not_recommended() -> None:
    _, throughput = both(goal_of(loaded_run(seconds=taking()), equality("batching", BATCH)))
    assert throughput.case == BASE


def test_what_nobody_checked_is_not_recommended() -> None:
    found = diagnosis(loaded_run(compared=lambda slot, here: None)).recommendation
    assert found.goals[0].latency is None and found.goals[0].throughput is None
    assert "4 cases not checked" in found.sentence
    assert len(found.tradeoffs) == 4, "the figures are shown all the same"


def test_slightly_different_pictures_only_where_none_are_the_same() -> None:
    def drifting(slot: Slot, here: Case) -> Compared:
        return beside_cpu(slot, here, [image_of(0, "drift", margin=1.5)])

    latency, _ = both(goal_of(loaded_run(seconds=taking(), compared=drifting)))
    assert any("slightly different" in note for note in latency.notes)

    def batch_drifts(slot: Slot, here: Case) -> Compared:
        return drifting(slot, here) if here == BATCH else matching(slot, here)

    _, throughput = both(goal_of(loaded_run(seconds=taking(), compared=batch_drifts)))
    assert throughput.case == BASE


@pytest.mark.parametrize(
    "fields",
    [
        {"peak_memory_bytes": 7 * GB},
        {"telemetry": telemetry(swap_out_bytes=GB, pressure_peak="warn")},
        {"outcome": "crashed", "signal": "SIGABRT", "last_phase": "pass 3"},
    ],
)
def test_what_does_not_fit_or_end_well_is_not_recommended(fields: dict[str, Any]) -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return fields if here == BATCH else {}

    _, throughput = both(goal_of(loaded_run(change, seconds=taking())))
    assert throughput.case == BASE, "the machine of the tests has 8 GB"


def test_the_devices_own_limit_counts() -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return {"device": {"facts": {"recommended_max_bytes": GB}}}

    goal = goal_of(loaded_run(change, seconds=taking()))
    assert goal.latency is None and "too little memory" in (goal.reason or "")


def test_other_findings_stand_beside_the_choice() -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return {"fallback_operators": ["aten::silu"]}

    latency, _ = both(goal_of(loaded_run(change, seconds=taking())))
    assert "see the finding cpu-fallback" in latency.notes


def test_first_look() -> None:
    found = diagnosis(loaded_run(config=plan(2), seconds=taking())).recommendation
    words = "no speed verdict or recommendation: 2 processes per case"
    assert found.first_look and found.few_processes == words
    assert found.sentence.lower() == f"{words}."
    (goal,) = found.goals
    assert (goal.latency, goal.throughput, goal.reason) == (None, None, words)
    assert len(found.tradeoffs) == 4, "the figures are shown all the same"


def noisy(share: float) -> Callable[[Slot, Case], float]:
    """Seconds of cases that are alike and scatter by a share."""
    return lambda slot, here: 1 + share * ((slot.index * 7919) % 11 - 5) / 5


def test_what_is_not_decided_is_not_recommended() -> None:
    (goal,) = diagnosis(loaded_run(seconds=noisy(0.2))).recommendation.goals
    assert (goal.latency, goal.throughput) == (None, None)
    assert "cannot be distinguished" in (goal.reason or "")
    assert "would decide" in (goal.reason or "") or "95% interval" in (goal.reason or "")


def test_two_that_cannot_be_distinguished_are_told_with_their_ratio() -> None:
    config = plan(
        case=[{"resolution": "64x64"}, {"resolution": "64x64", "attention_slicing": True}]
    )
    reason = goal_of(loaded_run(config=config, seconds=noisy(0.2))).reason
    assert re.search(
        r"s per image\) cannot be distinguished \(ratio \d\.\d\d, 95% interval \d", reason or ""
    )


def test_slower_beyond_chance_is_decided_below_the_threshold_too() -> None:
    found = diagnosis(loaded_run(seconds=taking(sliced=1.035, batch=1.6))).recommendation
    assert both(found.goals[0])[0].case == BASE


def test_the_only_case_that_completed_is_not_recommended() -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return {} if here == SLICED else {"outcome": "timeout", "passes": []}

    (goal,) = diagnosis(loaded_run(change)).recommendation.goals
    assert (goal.latency, goal.throughput) == (None, None)
    assert "sliced is the only case of this kind that completed" in (goal.reason or "")


def test_what_only_others_programs_decide_is_not_recommended() -> None:
    busy = telemetry(other_cpu_share=0.8, idle_cpu_share=0.0)
    run = loaded_run(lambda slot, here: {"telemetry": busy}, seconds=taking())
    (goal,) = diagnosis(run).recommendation.goals
    assert (goal.latency, goal.throughput) == (None, None)
    assert "other programs" in (goal.reason or "")


def test_arms_that_cannot_be_told_apart_are_not_chosen_between() -> None:
    config = plan(arm=[{"name": "old"}, {"name": "new"}])
    (goal,) = diagnosis(loaded_run(config=config, seconds=noisy(0.2))).recommendation.goals
    assert goal.latency is None and "[old]" in (goal.reason or "")
    faster = diagnosis(
        loaded_run(
            config=config,
            seconds=lambda slot, here: (0.5 if slot.arm == "new" else 1.0) * taking()(slot, here),
        )
    ).recommendation
    assert both(faster.goals[0])[0].arm == "new"
    assert "[new]" in faster.sentence


def test_memory_held_on_purpose_is_not_recommended() -> None:
    config = plan(pressure={"hold_bytes": [0, 1e9]})
    found = diagnosis(loaded_run(config=config)).recommendation
    assert len({entry.arm for entry in found.tradeoffs}) == 1


def test_time_against_memory() -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return {"peak_memory_bytes": {SLICED: GB // 2, BATCH: 2 * GB}.get(here, GB)}

    found = diagnosis(loaded_run(change, seconds=taking(primed=1.2))).recommendation.tradeoffs
    assert [entry.case for entry in found] == [BATCH, BASE, PRIMED, SLICED]
    assert [entry.efficient for entry in found] == [True, True, False, True]


# --- code ----------------------------------------------------------------------------------------


def taking_longer(axis: str, value: object) -> Callable[[Slot, Case], float]:
    """A second a pass, two where a setting has a value."""

    def time_of(slot: Slot, here: Case) -> float:
        return (2.0 if getattr(here, axis) == value else 1.0) * taking()(slot, BASE)

    return time_of


def test_snippet_is_python_and_does_what_was_measured() -> None:
    batch = {"resolution": "64x128", "batching": "batch", "dtype": "float16"}
    config = plan(steps=7, case=[batch, {**batch, "attention_slicing": True}])
    run = loaded_run(config=config, seconds=taking_longer("attention_slicing", True))
    (goal,) = diagnosis(run).recommendation.goals
    assert goal.latency is None and "one image at a time" in (goal.reason or "")
    assert goal.throughput is not None
    code = goal.throughput.snippet
    ast.parse(code)
    assert "measured in diffusers 0.42.1, torch 2.99.0 on mps" in code
    assert (
        "dtype=torch.float16, use_safetensors=True, safety_checker=None" in code
        and "torch_dtype" not in code
    )
    assert "7 steps\n# without the safety checker" in code and "pipe.to('mps')" in code
    assert max(map(len, code.splitlines())) < 80, "a terminal of 80 columns does not fold it"
    assert "num_inference_steps=7" in code and "width=64, height=128" in code
    assert "* 2" in code and "enable_attention_slicing" not in code
    assert "DDIMScheduler.from_config" in code


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"attention_slicing": True}, "pipe.enable_attention_slicing()"),
        ({"vae_slicing": True}, "pipe.vae.enable_slicing()"),
        ({"vae_tiling": True}, "pipe.vae.enable_tiling()"),
        ({"attention": "math"}, "set_attn_processor(AttnProcessor())"),
        ({"warmup": True}, "num_inference_steps=1"),
    ],
)
def test_every_setting_is_in_the_code(settings: dict[str, Any], expected: str) -> None:
    config = plan(
        case=[{"resolution": "64x64", **settings}, {"resolution": "64x64", "dtype": "float16"}]
    )
    run = loaded_run(config=config, seconds=taking_longer("dtype", "float16"))
    latency, _ = both(goal_of(run))
    ast.parse(latency.snippet)
    assert expected in latency.snippet


def test_no_folder_of_the_users_gets_into_the_code() -> None:
    model = make_model("~/secret/model", trained=True)
    latency, _ = both(goal_of(loaded_run(model=model)))
    assert "model = 'path/to/your/model'" in latency.snippet


def test_other_programs_have_their_nearest_options() -> None:
    found = elsewhere(case(attention_slicing=True, dtype="float16", batching="batch"))
    assert "--use-split-cross-attention" in found["ComfyUI"]
    assert "--force-fp16" in found["ComfyUI"]
    assert "attention_type: sliced" in found["InvokeAI"]
