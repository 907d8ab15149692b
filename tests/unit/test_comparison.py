"""Comparisons of runs that were never run: what is paired, what is concluded, and what is not."""

import json
import math
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from factories import make_model, make_pass, make_picture, make_stack
from measured_runs import (
    MODEL_SHA,
    Fields,
    by_arm,
    changed,
    measured,
    one_case,
    steady,
    two_arms,
)

from sdbench.analysis.reasons import NOT_INTERLEAVED, REASONS
from sdbench.comparison import CaseComparison, Comparison, compare_axis, compare_runs
from sdbench.errors import UsageError
from sdbench.plan.config import Config
from sdbench.records import Gate, Slot, TelemetrySummary
from sdbench.runs import LoadedRun

SLICING = {"resolution": ["64x64"], "attention_slicing": [False, True]}


def only(comparison: Comparison) -> CaseComparison:
    (case,) = comparison.cases
    return case


def arms(old: float = 1.0, new: float = 1.0, replicates: int = 8, **more: Any) -> CaseComparison:
    """Two variants of one run, one case."""
    return only(
        compare_axis(
            [measured(by_arm(old=old, new=new), config=two_arms(replicates), **more)], "arm"
        )
    )


def other(loaded: LoadedRun | None = None, **fields: Any) -> LoadedRun:
    """A second run: other processes of the same, some fields changed."""
    return changed(loaded or measured(steady(seed=2)), run_id="other", **fields)


def in_arm(arm: str, **fields: Any) -> Any:
    return lambda slot: fields if slot.arm == arm else {}


def telemetry(**fields: Any) -> TelemetrySummary:
    return TelemetrySummary(samples=1, period_s=0.05, cost_share=0.0, **fields)


def profiled(samples: dict[str, int | None], key: str = "arm") -> Any:
    """Processes of which the first counts its denoiser's samples, by variant or other key of a
    slot."""

    def fields_of(slot: Slot) -> Fields:
        count = samples[getattr(slot, key)]
        profile = make_pass(1.0, 0, kind="profile", denoiser_calls=10, denoiser_samples=count)
        times = [make_pass(1.0, 1), make_pass(steady()(slot), 2)]
        return {"passes": [*times, *([profile] if slot.block == 0 else [])]}

    return fields_of


def plan_of(config: Config) -> Any:
    return measured(config=config).run.plan.cases


# --- what is compared ----------------------------------------------------------------------------


def test_arms_of_a_run_are_paired_by_block() -> None:
    case = arms(1.0, 1.1)
    assert (case.verdict, case.reason, case.paired, case.note) == ("slower", None, True, None)
    assert case.ratio == pytest.approx(1.1, rel=0.01)
    assert case.ci95 is not None
    assert case.ci95[0] < (case.ratio or 0) < case.ci95[1]
    assert (case.base, case.new, case.n) == ("old", "new", (8, 8))
    assert case.base_s == pytest.approx(1.0, rel=0.01)
    assert case.new_s == pytest.approx(1.1, rel=0.01)


def test_ratio_is_new_by_base_so_less_time_is_faster() -> None:
    assert arms(1.1, 1.0).verdict == "faster"
    assert arms(1.0, 1.0).verdict == "equivalent"


def test_two_runs_are_compared_without_control_of_drift_and_say_so() -> None:
    comparison = compare_runs(measured(), other(measured(steady(1.2, seed=2))))
    case = only(comparison)
    assert (case.verdict, case.paired) == ("slower", False)
    assert case.note == NOT_INTERLEAVED
    assert comparison.summary.notes == [NOT_INTERLEAVED]


def test_drift_that_blocks_share_is_cancelled() -> None:
    def heating(slot: Slot) -> float:
        return (1 + 0.1 * slot.block) * steady(noise=0.001)(slot)

    loaded = measured(heating, config=two_arms())
    assert only(compare_axis([loaded], "arm")).verdict == "equivalent"
    unpaired = compare_runs(measured(heating), other(measured(heating)))
    assert only(unpaired).verdict == "inconclusive"


def test_axis_pairs_the_cases_that_differ_in_it_alone() -> None:
    matrix = {**SLICING, "resolution": ["64x64", "128x128"]}
    comparison = compare_axis([measured(config=one_case(matrix=matrix))], "attention_slicing")
    assert [(case.case.resolution, case.base, case.new) for case in comparison.cases] == [
        ("64x64", "false", "true"),
        ("128x128", "false", "true"),
    ]
    assert all("sliced" in case.new_case_id for case in comparison.cases)
    assert all(case.paired for case in comparison.cases)
    assert comparison.differences[0].what == "attention_slicing"


def test_first_value_of_an_axis_is_the_base_of_all_others() -> None:
    matrix = {"resolution": ["64x64"], "attention": ["sdpa", "default", "math"]}
    comparison = compare_axis([measured(config=one_case(matrix=matrix))], "attention")
    assert [(case.base, case.new) for case in comparison.cases] == [
        ("sdpa", "default"),
        ("sdpa", "math"),
    ]
    assert [side.label for side in comparison.new] == ["default", "math"]


def test_axis_is_compared_within_each_arm() -> None:
    loaded = measured(config=two_arms(matrix=SLICING))
    comparison = compare_axis([loaded], "attention_slicing")
    assert [case.arm for case in comparison.cases] == ["old", "new"]


def test_one_factor_at_a_time_names_the_cases_without_a_partner() -> None:
    cases = [{"resolution": "64x64"}, {"resolution": "64x64", "attention_slicing": True}]
    cases.append({"resolution": "64x64", "batching": "batch"})
    config = one_case(case=cases, images=2)
    comparison = compare_axis([measured(config=config)], "attention_slicing")
    assert len(comparison.cases) == 1
    (note,) = comparison.summary.notes
    assert "64x64-batch" in note


@pytest.mark.parametrize(
    ("axis", "words"),
    [
        ("colour", "expected one of arm, stack, machine (of two runs), resolution"),
        ("dtype", "has only one value, float32"),
        ("arm", "has only one value, current"),
    ],
)
def test_axis_that_cannot_be_compared_is_one_clear_line(axis: str, words: str) -> None:
    with pytest.raises(UsageError, match="--by") as caught:
        compare_axis([measured()], axis)
    assert words in str(caught.value)


def test_stacks_are_arms_called_by_their_stack() -> None:
    arm = [{"name": "a", "stack": "current"}, {"name": "b", "stack": "torch-1.13"}]
    loaded = measured(config=one_case(arm=arm))
    case = only(compare_axis([loaded], "stack"))
    assert (case.base, case.new) == ("current", "torch-1.13")


def test_stack_given_as_a_path_is_called_like_its_arm() -> None:
    arm = [{"name": "a", "stack": "/opt/a"}, {"name": "b", "stack": "~/b/bin/python"}]
    loaded = measured(config=one_case(arm=arm))
    assert only(compare_axis([loaded], "stack")).base == "a"


def test_arms_of_one_stack_are_not_compared_by_stack() -> None:
    with pytest.raises(UsageError, match="--by arm"):
        compare_axis([measured(config=two_arms())], "stack")


def test_runs_without_a_common_case_are_a_wrong_use() -> None:
    config = one_case(matrix={"resolution": ["128x128"]})
    with pytest.raises(UsageError, match="no case in common"):
        compare_runs(measured(), other(measured(config=config)))


def test_case_of_one_side_only_is_inconclusive_and_says_which() -> None:
    both = {"resolution": ["64x64", "128x128"]}
    small, large = measured(), measured(config=one_case(matrix=both))
    cases = compare_runs(small, other(large)).cases
    assert [(case.verdict, case.reason) for case in cases][1] == ("inconclusive", "missing-in-base")
    assert compare_runs(large, other(small)).cases[1].reason == "missing-in-new"


def test_single_arms_belong_together_whatever_their_names() -> None:
    named = measured(steady(seed=4), config=one_case(arm=[{"name": "mine"}]))
    assert only(compare_runs(measured(), other(named))).verdict == "equivalent"


def test_several_arms_are_matched_by_name() -> None:
    comparison = compare_runs(measured(config=two_arms()), other(measured(config=two_arms())))
    assert [case.arm for case in comparison.cases] == ["old", "new"]


# --- always inconclusive -------------------------------------------------------------------------


def config_with(**keys: Any) -> dict[str, Any]:
    return {"config": measured().run.config | keys}


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("model-differs", {"model": make_model(sha256=MODEL_SHA)}),
        ("model-differs", {"model": make_model(sha256=None)}),
        ("prompts-differ", config_with(prompts=["another"])),
        ("steps-differ", config_with(steps=50)),
        ("seed-differs", config_with(seed=1)),
        ("settings-differ", config_with(scheduler="euler")),
        ("settings-differ", config_with(images=4)),
        ("settings-differ", config_with(guidance_scale=1.0)),
        ("device-differs", {"device": "cuda"}),
        ("machines-differ", {"machine_id": "another"}),
        ("os-differs", {"machine": {"chip": "Test", "build": "24A335"}}),
    ],
)
def test_unlike_runs_get_no_verdict_however_clear_the_numbers(reason: str, fields: Fields) -> None:
    case = only(compare_runs(measured(), other(measured(steady(2.0)), **fields)))
    assert (case.verdict, case.reason) == ("inconclusive", reason)
    assert case.explanation == REASONS[reason]
    assert (case.ratio, case.ci95, case.refused) == (None, None, [reason])
    assert (case.first_pass.ratio, case.peak_memory.ratio) == (None, None)
    assert case.base_s is not None and case.new_s is not None  # each side's own is shown


def test_sides_whose_denoiser_did_other_work_get_no_verdict() -> None:
    """One side had guidance: twice the samples for an image, and no setting says so."""
    comparison = compare_axis(
        [measured(config=two_arms(), fields=profiled({"old": 20, "new": 40}))], "arm"
    )
    case = only(comparison)
    assert (case.verdict, case.reason) == ("inconclusive", "work-differs")
    assert (case.ratio, case.first_pass.ratio, case.refused) == (None, None, ["work-differs"])
    assert case.explanation == REASONS["work-differs"]
    assert case.peak_memory.verdict == "equivalent"
    (difference,) = comparison.differences
    assert difference.what == "denoiser samples per image"
    assert (difference.base, difference.new) == ("20", "40")


@pytest.mark.parametrize("samples", [(20, 20), (20, None), (None, None), (None, 40), (0, 40)])
def test_work_that_is_alike_or_unknown_takes_no_verdict(samples: tuple[Any, Any]) -> None:
    counted = profiled(dict(zip(("old", "new"), samples, strict=True)))
    comparison = compare_axis([measured(config=two_arms(), fields=counted)], "arm")
    assert only(comparison).verdict == "equivalent"
    assert comparison.differences == []


def test_what_a_setting_of_the_work_costs_is_a_ratio_without_a_verdict() -> None:
    config = one_case(matrix={"resolution": ["64x64"], "steps": [10, 20]})
    first, second = [entry.case_id for entry in plan_of(config)]
    counted = profiled({first: 10, second: 20}, key="case_id")
    case = only(compare_axis([measured(config=config, fields=counted)], "steps"))
    assert (case.verdict, case.reason) == ("inconclusive", "work-differs")
    assert case.ratio == pytest.approx(1.0, rel=0.02)


def test_a_batch_does_the_work_of_its_images() -> None:
    """The profiled call of a loop makes one image, that of a batch all of them."""
    config = one_case(images=2, matrix={"resolution": ["64x64"], "batching": ["loop", "batch"]})
    batch = {entry.case_id: entry.case.batching == "batch" for entry in plan_of(config)}

    def counted(slot: Slot) -> Fields:
        images = 2 if batch[slot.case_id] else 1
        fields = profiled({slot.case_id: 20 * images}, key="case_id")(slot)
        whole = [
            msgspec.structs.replace(one, images=[make_picture()] * images)
            for one in fields["passes"]
        ]
        return {"passes": whole}

    case = only(compare_axis([measured(config=config, fields=counted)], "batching"))
    assert case.verdict == "equivalent"


def test_settings_that_differ_are_named_with_both_values() -> None:
    new = other(measured(steady(2.0)), **config_with(steps=50))
    (difference,) = compare_runs(measured(), new).differences
    steps = measured().run.config["steps"]
    assert (difference.what, difference.base, difference.new) == ("steps", str(steps), "50")


def test_all_reasons_are_told_the_gravest_first() -> None:
    new = other(measured(steady(2.0)), machine_id="another", **config_with(steps=50))
    case = only(compare_runs(measured(), new))
    assert case.reason == "steps-differ"
    assert case.explanation == f"{REASONS['steps-differ']}; {REASONS['machines-differ']}"


def test_same_bytes_under_another_name_are_the_same_model() -> None:
    first = other(model=make_model("a", sha256=MODEL_SHA))
    second = other(measured(steady(1.3)), model=make_model("b", sha256=MODEL_SHA))
    assert only(compare_runs(first, second)).verdict == "slower"


def test_machine_may_differ_where_it_is_what_is_compared() -> None:
    new = other(
        measured(steady(0.5)),
        machine_id="another",
        machine={"chip": "Faster", "system": "Darwin", "build": "24A335"},
    )
    case = only(compare_runs(measured(), new, by_machine=True))
    assert (case.verdict, case.reason) == ("faster", "machines-differ")
    with pytest.raises(UsageError, match="same machine"):
        compare_runs(measured(), other(), by_machine=True)


MACOS_15 = {
    "system": "Darwin",
    "release": "15.1",
    "build": "24B83",
    "architecture": "arm64",
    "chip": "Apple M2",
    "memory_bytes": 16 * 2**30,
}


@pytest.mark.parametrize(
    ("changes", "fields", "alone"),
    [
        ({"release": "26.0", "build": "25A354"}, {}, True),
        ({"build": "24B91"}, {}, True),
        ({"release": "26.0", "build": "25A354", "chip": "Apple M2 Pro"}, {}, False),
        ({"release": "26.0", "build": "25A354", "memory_bytes": 8 * 2**30}, {}, False),
        ({"release": "26.0"}, {"environment": {"PYTORCH_MPS_FAST_MATH": "1"}}, False),
        ({"release": "26.0"}, {"sdbench": "0.0.1"}, False),
        ({}, {}, False),
    ],
)
def test_machines_that_differ_in_macos_alone_are_compared_and_said_to(
    changes: dict[str, object], fields: dict[str, object], alone: bool
) -> None:
    base = changed(measured(), machine=MACOS_15)
    new = other(
        measured(steady(0.5)), machine_id="another", machine={**MACOS_15, **changes}, **fields
    )
    comparison = compare_runs(base, new, by_machine=True)
    assert (only(comparison).verdict, only(comparison).reason) == ("faster", "machines-differ")
    said = [note for note in comparison.summary.notes if "in macOS alone" in note]
    assert bool(said) is alone
    if alone:
        assert "macOS 15.1 (24B83) and macOS" in said[0]
        assert comparison.title == "system comparison"
    assert [note for note in compare_runs(base, new).summary.notes if "alone" in note] == []


def test_what_is_unknown_of_both_machines_is_not_called_the_same() -> None:
    unknown = {**MACOS_15, "chip": None}
    new = other(measured(steady(0.5)), machine_id="another", machine={**unknown, "release": "26.0"})
    comparison = compare_runs(changed(measured(), machine=unknown), new, by_machine=True)
    assert not [note for note in comparison.summary.notes if "in macOS alone" in note]


def test_machine_comparison_still_wants_the_same_work() -> None:
    new = other(measured(steady(0.5)), machine_id="another", **config_with(steps=5))
    case = only(compare_runs(measured(), new, by_machine=True))
    assert (case.verdict, case.reason) == ("inconclusive", "steps-differ")


def test_workers_started_differently_are_not_compared() -> None:
    forked = measured(steady(2.0), fields=lambda slot: {"start": "fork"})
    assert only(compare_runs(measured(), other(forked))).reason == "start-differs"


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_processes_give_figures_and_no_verdict(count: int) -> None:
    case = arms(1.0, 2.0, replicates=count)
    assert (case.verdict, case.reason, case.ci95) == ("inconclusive", "too-few-processes", None)
    assert case.ratio == pytest.approx(2.0, rel=0.01)
    assert case.more_processes == 3 - count


def test_unequal_blocks_give_no_verdict() -> None:
    case = arms(1.0, 2.0, skip=lambda slot: (slot.arm, slot.block) == ("new", 5))
    assert (case.verdict, case.reason, case.n) == ("inconclusive", "unequal-blocks", (8, 7))


def test_side_that_lags_by_more_than_the_block_of_a_stop_is_not_judged() -> None:
    case = arms(1.0, 2.0, skip=lambda slot: slot.arm == "new" and slot.block > 5)
    assert (case.verdict, case.reason, case.n) == ("inconclusive", "unequal-blocks", (8, 6))


def test_run_stopped_before_one_side_began_still_shows_the_other() -> None:
    case = arms(1.0, 2.0, skip=lambda slot: slot.block > 0 or slot.arm == "new")
    assert (case.verdict, case.new_s) == ("inconclusive", None)
    assert case.base_s == pytest.approx(1, rel=0.1)


def test_run_stopped_within_a_block_is_judged_by_those_before_and_says_how_to_go_on() -> None:
    loaded = measured(
        by_arm(old=1.0, new=1.3),
        config=two_arms(),
        skip=lambda slot: slot.block > 5 or slot.index == 11,
    )
    comparison = compare_axis([loaded], "arm")
    case = only(comparison)
    assert (case.verdict, case.reason, case.n) == ("slower", None, (5, 5))
    assert case.peak_memory.verdict == "equivalent"
    (note,) = comparison.summary.notes
    assert "11 of 16 processes are done; continue with: sdbench resume results/x" in note


def test_what_was_amiss_with_the_machine_is_told_beside_the_verdicts() -> None:
    busy = Gate(flags=["load"])
    loaded = measured(config=two_arms(), fields=lambda slot: {"gate": busy})
    (note,) = compare_axis([loaded], "arm").summary.notes
    assert note.endswith("16 of 16 processes began with busy cores")


def test_process_under_which_the_machine_slept_measured_nothing() -> None:
    slept = {"slept": True}
    case = arms(1.0, 2.0, fields=lambda slot: slept if slot.index == 0 else {})
    assert case.reason == "unequal-blocks"


@pytest.mark.parametrize(
    "slowed",
    [
        {"telemetry": telemetry(thermal_peak="heavy")},
        {"telemetry": telemetry(gpu_throttled=["heat (software)"])},
    ],
)
def test_one_side_slowed_by_heat_gives_no_verdict(slowed: Fields) -> None:
    hot = in_arm("new", **slowed)
    case = arms(1.0, 2.0, fields=lambda slot: hot(slot) if slot.block == 3 else {})
    assert (case.verdict, case.reason) == ("inconclusive", "throttled")


BUSY = {"other_cpu_share": 0.4, "idle_cpu_share": 0.05}


def held_up(blocks: range, **shares: float) -> Callable[[Slot], Fields]:
    """Other programs ran during the new side's processes of these blocks."""
    busy = {"telemetry": telemetry(**(shares or BUSY))}
    return lambda slot: busy if slot.block in blocks and slot.arm == "new" else {}


def test_verdict_that_rests_on_processes_other_programs_held_up_is_none() -> None:
    """Five of eight processes met other work, the three others ran as fast as the base's."""
    slow = range(3, 8)
    loaded = measured(
        lambda slot: steady(1.2 if slot.block in slow and slot.arm == "new" else 1.0)(slot),
        config=two_arms(),
        fields=held_up(slow),
    )
    case = only(compare_axis([loaded], "arm"))
    assert (case.verdict, case.reason) == ("inconclusive", "machine-busy")
    assert "no other programs run" in (case.explanation or "")
    assert case.ratio == pytest.approx(1.12, abs=0.01)  # nothing is left out of the figures


def test_verdict_that_quiet_processes_give_alone_stands() -> None:
    loaded = measured(by_arm(old=1.0, new=1.2), config=two_arms(), fields=held_up(range(3)))
    comparison = compare_axis([loaded], "arm")
    assert (only(comparison).verdict, only(comparison).reason) == ("slower", None)
    assert only(comparison).n == (8, 8)
    assert any("3 of 16 processes" in note for note in comparison.summary.notes)


def test_machine_that_was_busy_throughout_gives_no_verdict() -> None:
    loaded = measured(by_arm(old=1.0, new=1.2), config=two_arms(), fields=held_up(range(8)))
    case = only(compare_axis([loaded], "arm"))
    assert (case.verdict, case.reason) == ("inconclusive", "machine-busy")
    assert case.first_pass.verdict == "inconclusive"
    assert case.peak_memory.verdict == "equivalent"


@pytest.mark.parametrize(
    "shares",
    [
        {"other_cpu_share": 0.09, "idle_cpu_share": 0.0},
        {"other_cpu_share": 0.4, "idle_cpu_share": 0.4},  # beside a GPU's work
    ],
)
def test_other_programs_that_hold_nobody_up_are_no_matter(shares: dict[str, float]) -> None:
    loaded = measured(
        by_arm(old=1.0, new=1.2), config=two_arms(), fields=held_up(range(8), **shares)
    )
    comparison = compare_axis([loaded], "arm")
    assert only(comparison).verdict == "slower"
    assert comparison.summary.notes == []


def test_two_runs_are_held_to_the_same_when_one_met_other_work() -> None:
    busy = {"telemetry": telemetry(**BUSY)}
    base = measured(steady(1.0), config=one_case())
    new = measured(
        steady(1.2, seed=2),
        config=one_case(),
        fields=lambda slot: busy if slot.block < 6 else {},
        run_id="other",
    )
    case = only(compare_runs(base, new))
    assert (case.verdict, case.reason) == ("inconclusive", "machine-busy")


def test_heat_on_both_sides_is_remarked_and_cancels() -> None:
    hot = {"telemetry": telemetry(thermal_peak="moderate")}
    case = arms(1.0, 2.0, fields=lambda slot: hot)
    assert (case.verdict, case.reason) == ("slower", "both-throttled")


@pytest.mark.parametrize(
    "fine",
    [
        {"telemetry": telemetry(thermal_peak="nominal")},
        {"telemetry": telemetry(gpu_throttled=["power limit"])},
        {"telemetry": None},
    ],
)
def test_what_is_not_known_or_normal_is_not_called_throttled(fine: Fields) -> None:
    assert arms(1.0, 2.0, fields=in_arm("new", **fine)).reason is None


SWAP = {"telemetry": telemetry(swap_out_bytes=2_000_000_000)}


def test_swap_on_one_side_voids_where_the_axis_leaves_memory_alone() -> None:
    case = arms(1.0, 2.0, fields=in_arm("new", **SWAP))
    assert (case.verdict, case.reason) == ("inconclusive", "swap-in-one-arm")


def test_swap_on_one_side_is_part_of_the_answer_where_the_axis_changes_memory() -> None:
    def fields(slot: Slot) -> Fields:
        return {} if "sliced" in slot.case_id else SWAP

    loaded = measured(
        lambda slot: steady(1.0 if "sliced" in slot.case_id else 2.0)(slot),
        config=one_case(matrix=SLICING),
        fields=fields,
    )
    case = only(compare_axis([loaded], "attention_slicing"))
    assert (case.verdict, case.reason) == ("faster", "swap-in-one-arm")


def test_swap_is_part_of_the_answer_where_an_arm_holds_memory() -> None:
    loaded = measured(by_arm(old=1.0, new=2.0), config=two_arms(), fields=in_arm("new", **SWAP))
    plan = loaded.run.plan
    held = [plan.arms[0], msgspec.structs.replace(plan.arms[1], hold_bytes=8_000_000_000)]
    loaded = changed(loaded, plan=msgspec.structs.replace(plan, arms=held))
    case = only(compare_axis([loaded], "arm"))
    assert (case.verdict, case.reason) == ("slower", "swap-in-one-arm")


def test_a_little_swap_is_the_systems_own() -> None:
    little = {"telemetry": telemetry(swap_out_bytes=1_000_000)}
    assert arms(1.0, 2.0, fields=in_arm("new", **little)).verdict == "slower"


def test_virtual_device_gets_no_speed_verdict() -> None:
    case = arms(1.0, 2.0, fields=lambda slot: {"device": {"facts": {"virtualised": True}}})
    assert (case.verdict, case.reason) == ("inconclusive", "virtual-device")
    assert case.peak_memory.verdict == "equivalent"


MAC = {"chip": "Apple M4", "system": "Darwin"}
VIRTUAL_MAC: dict[str, Any] = {
    "machine": {"chip": "Apple M1 (Virtual)", "system": "Darwin"},
    "machine_facts": {"identity": {"virtual": True}},
}


def test_a_virtual_mac_is_never_compared_with_a_real_one() -> None:
    real = measured(machine=MAC)
    virtual = other(measured(steady(2.0)), machine_id="another", **VIRTUAL_MAC)
    for pair in ((real, virtual), (virtual, real)):
        case = only(compare_runs(*pair, by_machine=True))
        assert (case.verdict, case.reason) == ("inconclusive", "virtual-mac")
        assert "a virtual Mac" in (case.explanation or "")
        assert only(compare_runs(*pair)).verdict == "inconclusive"
    linux = {**VIRTUAL_MAC, "machine": {"system": "Linux"}}
    cloud = other(measured(steady(2.0)), machine_id="another", **linux)
    assert only(compare_runs(real, cloud, by_machine=True)).verdict == "slower"


def test_the_gpu_of_a_virtual_mac_is_virtual_whatever_torch_says() -> None:
    loaded = measured(by_arm(old=1.0, new=2.0), config=two_arms(8))
    on_mps = changed(loaded, device="mps", **VIRTUAL_MAC)
    case = only(compare_axis([on_mps], "arm"))
    assert (case.verdict, case.reason) == ("inconclusive", "virtual-device")
    on_cpu = changed(loaded, device="cpu", **VIRTUAL_MAC)
    assert only(compare_axis([on_cpu], "arm")).verdict == "slower"


def test_a_virtual_mac_is_left_out_of_a_verdict_over_real_machines() -> None:
    real = [machine(index, 0.8 + 0.01 * index) for index in range(3)]
    virtual = machine(3, 2.0, **VIRTUAL_MAC)
    comparison = compare_axis([*real, virtual], "arm")
    assert (only(comparison).verdict, only(comparison).n) == ("faster", (3, 3))
    (left_out,) = [one for one in comparison.machines if one.left_out]
    assert left_out.run_id == "run-3" and "a virtual Mac" in (left_out.left_out or "")
    assert only(compare_axis([virtual], "arm")).verdict == "slower", "by itself"


def test_simulated_is_never_compared_with_real() -> None:
    with pytest.raises(UsageError, match="never compared with real ones; simulated: other"):
        compare_runs(measured(), other(simulated=True))
    worker = measured(fields=lambda slot: {"simulated": True}, run_id="unreal")
    with pytest.raises(UsageError, match="simulated: unreal"):
        compare_runs(measured(), worker)


def test_simulated_among_themselves_say_so() -> None:
    unreal = changed(measured(config=two_arms()), simulated=True)
    assert compare_axis([unreal], "arm").simulated


# --- correctness ---------------------------------------------------------------------------------


def black(slot: Slot) -> Fields:
    images = [make_picture(black=True)]
    return {"passes": [make_pass(2.0, 1, images=images), make_pass(0.1, 2, images=images)]}


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("new", "wrong-in-new"), ("old", "wrong-in-base"), (None, "wrong-in-both")],
)
def test_wrong_picture_gets_no_speed_verdict(wrong: str | None, reason: str) -> None:
    case = arms(fields=lambda slot: black(slot) if wrong in (slot.arm, None) else {})
    assert (case.verdict, case.reason) == ("incorrect", reason)
    assert "broken" in (case.correct.base, case.correct.new)


@pytest.mark.parametrize("outcome", ["failed", "oom", "crashed", "timeout", "guard"])
def test_side_that_ended_badly_is_inconclusive_and_says_how(outcome: str) -> None:
    def fields(slot: Slot) -> Fields:
        bad = (slot.arm, slot.block) == ("new", 2)
        return {"outcome": outcome, "passes": []} if bad else {}

    case = arms(fields=fields)
    assert (case.verdict, case.reason) == ("inconclusive", f"{outcome}-in-new")
    assert (case.outcome.base, case.outcome.new) == ("ok", outcome)
    assert case.reason in REASONS


def test_side_that_crashed_always_has_no_ratio() -> None:
    gone = {"outcome": "crashed", "passes": []}
    case = arms(fields=in_arm("new", **gone))
    assert (case.reason, case.ratio, case.new_s, case.n) == ("crashed-in-new", None, None, (8, 0))
    both = arms(fields=lambda slot: gone)
    assert (both.reason, both.base_s) == ("crashed-in-both", None)


# --- first pass and memory -----------------------------------------------------------------------


def passes(first: float, later: float) -> Fields:
    return {"passes": [make_pass(first, 1), make_pass(later, 2)]}


def test_first_pass_has_a_verdict_of_its_own() -> None:
    noise = random.Random(1)

    def fields(slot: Slot) -> Fields:
        first = 5.0 if slot.arm == "new" else 2.0
        return passes(first * noise.uniform(0.99, 1.01), noise.uniform(0.99, 1.01))

    case = arms(fields=fields)
    assert (case.verdict, case.first_pass.verdict) == ("equivalent", "slower")
    assert case.first_pass.base_s == pytest.approx(2.0, rel=0.02)
    assert case.first_pass.new_s == pytest.approx(5.0, rel=0.02)


def test_process_that_met_cold_caches_on_one_side_only_is_no_first_pass() -> None:
    noise = random.Random(1)

    def fields(slot: Slot) -> Fields:
        cold = slot.index == 0
        return {"cold_cache": cold, **passes(90.0 if cold else noise.uniform(1, 1.01), 1.0)}

    case = arms(fields=fields)
    assert case.first_pass.verdict == "equivalent"
    assert case.first_pass.ratio == pytest.approx(1.0, abs=0.01)


def test_single_pass_runs_compare_first_passes_and_have_no_steady_time() -> None:
    noise = random.Random(1)
    case = arms(fields=lambda slot: {"passes": [make_pass(noise.uniform(1, 1.02), 1)]})
    assert (case.verdict, case.reason, case.ratio) == ("inconclusive", "no-figures", None)
    assert case.first_pass.verdict == "equivalent"


def test_memory_is_compared_in_words_of_its_own() -> None:
    case = arms(fields=in_arm("new", peak_memory_bytes=2_000_000_000))
    memory = case.peak_memory
    assert memory.verdict == "more"
    assert memory.ratio == pytest.approx(2.0)
    assert (memory.base_bytes, memory.new_bytes) == (1_000_000_000, 2_000_000_000)
    assert case.verdict == "equivalent"
    less = arms(fields=in_arm("old", peak_memory_bytes=2_000_000_000))
    assert less.peak_memory.verdict == "less"


def test_peaks_measured_in_different_ways_are_not_compared() -> None:
    case = arms(fields=in_arm("new", peak_memory_source="mps-allocated"))
    memory = case.peak_memory
    assert (memory.verdict, memory.reason) == ("inconclusive", "memory-source-differs")


def test_unknown_peak_is_no_figure() -> None:
    memory = arms(fields=in_arm("new", peak_memory_bytes=None)).peak_memory
    assert (memory.verdict, memory.reason, memory.new_bytes) == ("inconclusive", "no-figures", None)


# --- beside the verdicts -------------------------------------------------------------------------


def test_outliers_are_labelled_and_count() -> None:
    def times(slot: Slot) -> float:
        odd = (slot.arm, slot.block) == ("new", 6)
        return 3.0 if odd else steady()(slot)

    case = only(compare_axis([measured(times, config=two_arms())], "arm"))
    (outlier,) = [one for one in case.outliers if one.degree == "far-out"]
    assert (outlier.side, outlier.median_s) == ("new", 3.0)
    assert outlier.replicate_id.endswith(".new.6")
    assert (case.ratio or 0) > 1.1  # three seconds in the mean: it was not deleted


def test_bootstrap_is_given_from_ten_processes_on() -> None:
    assert arms(1.0, 1.2).bootstrap_ci95 is None
    bounds = arms(1.0, 1.2, replicates=10).bootstrap_ci95
    assert bounds is not None
    assert bounds[0] < 1.2 < bounds[1]


def test_inconclusive_case_says_how_many_more_processes() -> None:
    noisy = measured(
        lambda slot: steady(1.08 if slot.arm == "new" else 1.0, noise=0.06)(slot),
        config=two_arms(5),
    )
    case = only(compare_axis([noisy], "arm"))
    assert (case.verdict, case.reason) == ("inconclusive", "interval-too-wide")
    assert (case.more_processes or 0) > 3


def test_run_that_could_stop_early_is_judged_at_99_percent() -> None:
    loaded = measured(by_arm(old=1.0, new=1.1), config=two_arms())
    early = changed(loaded, config=loaded.run.config | {"until_decided": True})
    comparison = compare_axis([early], "arm")
    case = only(comparison)
    assert comparison.confidence == pytest.approx(0.99)
    assert case.ci99 is not None
    assert case.ci95 is not None
    assert case.ci99[0] < case.ci95[0] < case.ci95[1] < case.ci99[1]
    assert only(compare_axis([loaded], "arm")).ci99 is None


def test_geometric_mean_stands_beside_the_cases() -> None:
    matrix = {"resolution": ["64x64", "128x128"]}

    def times(slot: Slot) -> float:
        new = 2.0 if slot.case_id.startswith("64") else 0.5
        return steady(new if slot.arm == "new" else 1.0)(slot)

    comparison = compare_axis([measured(times, config=two_arms(matrix=matrix))], "arm")
    assert [case.verdict for case in comparison.cases] == ["slower", "faster"]
    mean = comparison.summary.geometric_mean
    assert mean.n == 2
    assert mean.ratio == pytest.approx(1.0, rel=0.01)
    assert comparison.summary.verdicts == {"slower": 1, "faster": 1}


def test_ratios_of_unlike_things_are_not_in_the_geometric_mean() -> None:
    comparison = compare_runs(measured(), other(measured(steady(2.0)), machine_id="another"))
    assert (comparison.summary.geometric_mean.ratio, comparison.summary.geometric_mean.n) == (
        None,
        0,
    )


def test_threshold_is_the_users() -> None:
    loaded = measured(by_arm(old=1.0, new=1.1), config=two_arms())
    assert only(compare_axis([loaded], "arm", threshold=0.2)).verdict == "equivalent"


# --- what differs --------------------------------------------------------------------------------


def differences(comparison: Comparison) -> dict[str, tuple[str | None, str | None]]:
    return {entry.what: (entry.base, entry.new) for entry in comparison.differences}


def test_what_differs_is_listed() -> None:
    base = changed(measured(), stacks={"current": make_stack(torch="1.13.1", numpy="1.26")})
    new = other(
        stacks={"current": make_stack(torch="2.5.1", numpy="1.26", accelerate="1")},
        environment={"PYTORCH_ENABLE_MPS_FALLBACK": "1"},
        preload=["slow"],
        machine={"chip": "Test", "cores_physical": 2, "memory_bytes": 16_000_000_000},
        sdbench="0.2.0",
    )
    assert differences(compare_runs(base, new)) == {
        "torch": ("1.13.1", "2.5.1"),
        "accelerate": (None, "1"),
        "machine: memory_bytes": ("8000000000", "16000000000"),
        "variable PYTORCH_ENABLE_MPS_FALLBACK": (None, "1"),
        "preload": (None, "slow"),
        "sdbench": ("0.1.0", "0.2.0"),
    }


def test_arms_differ_in_stack_variables_and_telemetry() -> None:
    arm = [
        {"name": "a"},
        {"name": "b", "stack": "torch-1.13", "env": {"X": "1"}, "telemetry": False},
    ]
    stacks = {"current": make_stack(torch="2.5.1"), "torch-1.13": make_stack(torch="1.13.1")}
    comparison = compare_axis([measured(config=one_case(arm=arm), stacks=stacks)], "stack")
    assert differences(comparison) == {
        "torch": ("2.5.1", "1.13.1"),
        "variable X": (None, "1"),
        "telemetry": ("true", "false"),
    }


def test_what_only_one_of_several_new_sides_has_says_so() -> None:
    arm = [
        {"name": "old", "stack": "torch-1.13", "env": {"X": "1"}},
        {"name": "middle", "stack": "torch-2.5"},
        {"name": "new"},
    ]
    stacks = {
        "torch-1.13": make_stack(torch="1.13.1", numpy="1.26"),
        "torch-2.5": make_stack(torch="2.5.1", numpy="1.26"),
        "current": make_stack(torch="2.13.0", numpy="2.4"),
    }
    comparison = compare_axis([measured(config=one_case(arm=arm), stacks=stacks)], "stack")
    assert [(entry.words, entry.new) for entry in comparison.differences] == [
        ("torch [torch-2.5]", "2.5.1"),
        ("variable X", None),
        ("torch [current]", "2.13.0"),
        ("numpy [current]", "2.4"),
    ]
    told = msgspec.to_builtins(comparison)["differences"]
    assert told[0] == {"what": "torch", "base": "1.13.1", "new": "2.5.1", "side": "torch-2.5"}
    assert told[1] == {"what": "variable X", "base": "1", "new": None}


def test_equal_arms_differ_in_nothing() -> None:
    assert compare_axis([measured(config=two_arms())], "arm").differences == []


@pytest.mark.parametrize(
    "fields",
    [{"machine": {"system": "Darwin", "build": "24A335"}}, {"machine": {"release": "15.1"}}],
)
def test_other_system_makes_it_a_system_comparison(fields: Fields) -> None:
    assert compare_runs(measured(), other(**fields)).title == "system comparison"
    assert compare_runs(measured(), other()).title == "comparison"


def test_other_mpsgraph_makes_it_a_system_comparison() -> None:
    newer = measured(fields=lambda slot: {"device": {"facts": {"macos": "15.1"}}})
    older = measured(fields=lambda slot: {"device": {"facts": {"macos": "14.5"}}})
    assert compare_runs(older, other(newer)).title == "system comparison"


# --- an unchanged system -------------------------------------------------------------------------

MANY = {
    "resolution": ["64x64", "128x128", "256x256"],
    "attention_slicing": [False, True],
    "warmup": [False, True],
}


@pytest.mark.parametrize("replicates", [1, 2, 3, 8])
def test_run_compared_with_itself_is_never_faster_or_slower(replicates: int) -> None:
    loaded = measured(steady(noise=0.02), config=one_case(replicates, matrix=MANY))
    verdicts = {case.verdict for case in compare_runs(loaded, loaded).cases}
    assert verdicts <= {"equivalent", "inconclusive"}


def test_equal_arms_are_never_faster_or_slower() -> None:
    """A/A, 120 comparisons: none may have a verdict of a difference, in any of the measures."""
    for seed in range(10):
        loaded = measured(steady(noise=0.02, seed=seed), config=two_arms(3, matrix=MANY))
        for case in compare_axis([loaded], "arm").cases:
            assert case.verdict in ("equivalent", "inconclusive")
            assert case.first_pass.verdict in ("equivalent", "inconclusive")
            assert case.peak_memory.verdict == "equivalent"


def test_times_without_scatter_are_not_significant() -> None:
    case = arms(fields=lambda slot: passes(2.0, 2.0 if slot.arm == "new" else 1.0))
    assert (case.verdict, case.reason, case.ci95) == ("inconclusive", "zero-variance", None)


# --- many machines -------------------------------------------------------------------------------


def machine(index: int, new: float, config: Config | None = None, **fields: Any) -> LoadedRun:
    loaded = measured(
        lambda slot: steady(new if slot.arm == "new" else 1.0, seed=index)(slot),
        config=config or two_arms(),
    )
    chip = {"chip": f"Chip {index}", "system": "Darwin"}
    identity = {"run_id": f"run-{index}", "machine_id": f"{index:08d}ffffffff", "machine": chip}
    return changed(loaded, **{**identity, **fields})


def test_each_machine_is_one_observation_of_one_verdict() -> None:
    runs = [machine(index, 0.8 + 0.002 * index) for index in range(18)]
    runs += [machine(18, 1.0), machine(19, 1.3)]
    comparison = compare_axis(runs, "arm")
    case = only(comparison)
    assert (case.verdict, case.n) == ("faster", (20, 20))
    assert case.explanation == (
        "faster on 18 of 20 machines, the same on 1, slower on 1; "
        "apart from the others: 00000018 (Chip 18), 00000019 (Chip 19)"
    )
    apart = [one.machine_id[:8] for one in case.machines if one.outlier]
    assert apart == ["00000018", "00000019"]
    assert len(comparison.machines) == 20


def test_run_beside_itself_or_beside_another_machines_says_so() -> None:
    loaded = measured(config=one_case())
    assert "both sides are the same run" in compare_runs(loaded, loaded).summary.notes
    elsewhere = other(machine_id="f" * 16)
    hint = "the runs are from two machines; to compare the machines, add --by machine"
    assert hint in compare_runs(loaded, elsewhere).summary.notes
    assert hint not in compare_runs(loaded, elsewhere, by_machine=True).summary.notes
    assert hint not in compare_runs(loaded, other()).summary.notes


def test_machines_that_disagree_get_no_verdict() -> None:
    case = only(
        compare_axis([machine(i, ratio) for i, ratio in enumerate((0.8, 1.0, 1.25))], "arm")
    )
    assert (case.verdict, case.reason) == ("inconclusive", "interval-too-wide")
    assert [one.verdict for one in case.machines] == ["faster", "equivalent", "slower"]


def test_two_machines_are_too_few() -> None:
    case = only(compare_axis([machine(0, 0.8), machine(1, 0.8)], "arm"))
    assert (case.verdict, case.reason) == ("inconclusive", "too-few-machines")
    assert case.ratio == pytest.approx(0.8, rel=0.01)


def test_machine_whose_own_comparison_is_void_does_not_count() -> None:
    hot = machine(3, 2.0)
    for index, entry in enumerate(hot.attempts):
        if entry.arm == "new":
            hot.attempts[index] = msgspec.structs.replace(
                entry, telemetry=telemetry(thermal_peak="heavy")
            )
    runs = [machine(index, 0.8 + 0.01 * index) for index in range(3)]
    case = only(compare_axis([*runs, hot], "arm"))
    assert (case.verdict, case.n) == ("faster", (3, 3))
    (left_out,) = [one for one in case.machines if not one.counts]
    assert (left_out.machine_id[:8], left_out.reason) == ("00000003", "throttled")
    assert f"not counted: 00000003 (Chip 3) ({REASONS['throttled']})" in (case.explanation or "")
    few = only(compare_axis([runs[0], runs[1], hot], "arm"))
    assert few.reason == "too-few-machines"
    assert REASONS["throttled"] in (few.explanation or "")


def test_picture_wrong_on_one_machine_is_wrong() -> None:
    bad = machine(3, 0.8)
    for index, entry in enumerate(bad.attempts):
        if entry.arm == "new":
            bad.attempts[index] = msgspec.structs.replace(entry, **black(make_slot_of(entry)))
    runs = [machine(index, 0.8 + 0.01 * index) for index in range(3)]
    case = only(compare_axis([*runs, bad], "arm"))
    assert (case.verdict, case.reason, case.correct.new) == ("incorrect", "wrong-in-new", "broken")
    assert "wrong image on 1" in (case.explanation or "")


def make_slot_of(entry: Any) -> Slot:
    return Slot(index=entry.slot, block=entry.block, case_id=entry.case_id, arm=entry.arm)


def test_newest_run_of_a_machine_counts() -> None:
    older = machine(0, 5.0, created_utc="2025-01-01T00:00:00")
    comparison = compare_axis([older, *(machine(i, 0.8 + 0.01 * i) for i in range(3))], "arm")
    assert only(comparison).n == (3, 3)
    (left_out,) = [one for one in comparison.machines if one.left_out]
    assert left_out.left_out == "an older run of the same machine"


def test_machine_without_the_axis_is_left_out_and_named() -> None:
    alone = machine(7, 1.0, config=one_case())
    comparison = compare_axis([*(machine(i, 0.8 + 0.01 * i) for i in range(3)), alone], "arm")
    (left_out,) = [one for one in comparison.machines if one.left_out]
    assert left_out.run_id == "run-7"
    assert only(comparison).verdict == "faster"
    with pytest.raises(UsageError, match="only one value"):
        compare_axis([alone], "arm")


def test_small_machine_wide_effect_asks_for_more_machines() -> None:
    ratios = (0.93, 0.99, 0.92, 0.97)
    case = only(compare_axis([machine(i, ratio) for i, ratio in enumerate(ratios)], "arm"))
    assert case.verdict == "inconclusive"
    assert case.more_processes is None
    assert (case.more_machines or 0) > 0
    assert case.ci99 is None, "that is for runs that went on until they were decided"


# --- the document --------------------------------------------------------------------------------


def test_document_is_json_with_what_the_contract_names() -> None:
    loaded = measured(by_arm(old=1.0, new=1.1), config=two_arms())
    comparison = msgspec.to_builtins(compare_axis([loaded], "arm"))
    document = json.loads(json.dumps(comparison, allow_nan=False))
    (case,) = document["cases"]
    assert {"case_id", "ratio", "ci95", "verdict", "reason"} <= set(case)
    assert (case["verdict"], case["reason"]) == ("slower", None)
    assert math.isclose(case["ratio"], 1.1, rel_tol=0.01)
    assert document["summary"]["sentence"] == "1 case: 1 slower."
    assert {"differences", "title", "threshold", "confidence", "base", "new"} <= set(document)


def test_every_reason_has_words() -> None:
    from typing import get_args

    from sdbench.records import Outcome
    from sdbench.stats import Problem
    from sdbench.stats.verdict import WhyOpen

    ended = {f"{one}-in-{side}" for one in get_args(Outcome) for side in ("base", "new", "both")}
    used = {*get_args(Problem), *get_args(WhyOpen), *ended} - {
        f"ok-in-{side}" for side in ("base", "new", "both")
    }
    assert used <= set(REASONS)
