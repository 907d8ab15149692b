"""Estimates: right in direction everywhere, right in size where it was seen."""

from typing import Any

import pytest
from factories import make_case, make_config, make_model, make_replicate, make_slot

from sdbench.models.resolve import find_model
from sdbench.plan.cost import Pace, estimate_reference, estimate_run, estimate_slot, timeout_for
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.plan.order import make_plan
from sdbench.plan.predicted_memory import target_of, with_memory
from sdbench.records import DeviceKind, ModelInfo, StartMethod

SD15 = make_model("synthetic/sd15", bytes_on_disk=2_132_470_614)


def slot_s(
    device: DeviceKind = "cpu", cores: int = 2, start: StartMethod = "spawn", **changed: Any
) -> float:
    """The estimate of one process of SD 1.5 with these settings of case or configuration."""
    case = make_case(**{k: v for k, v in changed.items() if k in make_case().__struct_fields__})
    config = make_config(**{k: v for k, v in changed.items() if not hasattr(case, k)})
    return estimate_slot(config, case, SD15, device, cores, start)


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"steps": 2}, {"steps": 20}),
        ({"images": 1}, {"images": 4}),
        ({"passes": 2}, {"passes": 5}),
        ({"resolution": "256x256"}, {"resolution": "512x512"}),
        ({"warmup": False}, {"warmup": True}),
        ({"guidance_scale": 1.0}, {"guidance_scale": 7.5}),
        ({"cores": 8}, {"cores": 2}),
        ({"start": "fork"}, {"start": "spawn"}),
        ({"dtype": "float32"}, {"dtype": "float16"}),  # on a CPU
        ({"device": "mps", "dtype": "float16"}, {"device": "mps", "dtype": "float32"}),
        ({"device": "cuda"}, {"device": "mps"}),
    ],
)
def test_more_work_takes_longer(less: dict[str, Any], more: dict[str, Any]) -> None:
    assert slot_s(**less) < slot_s(**more)


def test_time_is_near_what_was_seen() -> None:
    # Seen, SD 1.5 on 2 cores at 512x512: one UNet call with guidance 17 s in float32.
    one, two = slot_s(steps=1, passes=1), slot_s(steps=2, passes=1)
    profile_share = 1.5  # with two replicates, half a profiling pass is in each
    assert 17 / 2 < (two - one) / profile_share < 17 * 2


def test_run_is_the_sum_of_its_processes() -> None:
    config = make_config(replicates=3)
    plan = make_plan(config, "cpu")
    whole = estimate_run(config, plan, SD15, "cpu", 2)
    expected = sum(
        estimate_slot(config, plan.planned(slot.case_id).case, SD15, "cpu", 2, "spawn")
        for slot in plan.slots
    )
    assert whole.duration_s == pytest.approx(expected)
    assert whole.disk_bytes > 0


def test_run_never_takes_longer_than_its_budget() -> None:
    config = shipped_for_its_model("default")
    plan = make_plan(config, "cpu")
    assert estimate_run(config, plan, SD15, "cpu", 2).duration_s == 20 * 60


def test_cases_that_are_skipped_cost_nothing() -> None:
    config = make_config(matrix={"resolution": ["64x64"]}, replicates=1)
    also = make_config(matrix={"resolution": ["64x64"], "offload": ["none", "model"]}, replicates=1)
    costs = [estimate_run(c, make_plan(c, "cpu"), SD15, "cpu", 2) for c in (config, also)]
    assert costs[0] == costs[1]


def test_quick_is_quick_on_two_cores() -> None:
    config = shipped_for_its_model("quick")
    model = make_model()
    plan = with_memory(make_plan(config, "cpu"), config, target_of(model, "cpu"))
    cost = estimate_run(config, plan, model, "cpu", 2)
    assert cost.duration_s < 180
    assert cost.peak_memory_bytes < 2e9


@pytest.mark.parametrize(
    ("timeout_s", "estimate_s", "expected"),
    [("auto", 10.0, 300.0), ("auto", 100.0, 500.0), (42, 100.0, 42.0)],
)
def test_timeout_is_five_times_the_estimate_and_at_least_five_minutes(
    timeout_s: Any, estimate_s: float, expected: float
) -> None:
    assert timeout_for(make_config(timeout_s=timeout_s), estimate_s) == expected


def test_pace_starts_from_the_estimates() -> None:
    pace = Pace({"a": 10.0, "b": 30.0})
    assert pace.remaining_s([make_slot("a"), make_slot("b"), make_slot("b")]) == 70.0


def test_pace_takes_what_was_measured_and_corrects_the_others_by_it() -> None:
    pace = Pace({"a": 10.0, "b": 30.0})
    pace.note(make_replicate(make_slot("a"), wall_s=20.0))
    pace.note(make_replicate(make_slot("a"), wall_s=30.0))
    assert pace.slot_s("a") == 25.0
    assert pace.slot_s("b") == 30.0 * 2.5


def test_pace_learns_nothing_from_a_crash() -> None:
    pace = Pace({"a": 10.0})
    pace.note(make_replicate(make_slot("a"), wall_s=0.1, outcome="crashed"))
    assert pace.slot_s("a") == 10.0


def outline(name: str) -> ModelInfo:
    return find_model(name).outline()


def model_s(name: str) -> float:
    config = make_config(steps=20, images=1, passes=3)
    case = make_case(resolution="512x512", dtype="float32")
    return estimate_slot(config, case, outline(name), "cpu", 2, "spawn")


def test_a_tiny_model_of_a_large_family_is_not_estimated_as_the_large_one() -> None:
    usual = model_s("synthetic/tiny")
    for name in ("tiny-sdxl", "tiny-lcm", "tiny-sd3", "tiny-flux", "tiny-z-image"):
        assert 0.5 * usual < model_s(f"synthetic/{name}") < 3 * usual
    config, case = make_config(images=1), make_case(resolution="64x64", dtype="float32")
    reference = estimate_reference(
        config, case, outline("synthetic/tiny-sdxl"), 2, images=2, dtypes=["float32", "float16"]
    )
    assert reference.peak_memory_bytes < 2e9 and reference.duration_s < 120


def test_a_large_transformer_takes_longer_than_a_small_one() -> None:
    assert model_s("synthetic/flux") > 2 * model_s("synthetic/sd3") > model_s("synthetic/sd15")
