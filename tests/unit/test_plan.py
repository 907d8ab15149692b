"""Plans: which cases, merged or skipped and why, and in which order."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from factories import make_case, make_config

from sdbench.errors import ConfigError, UsageError
from sdbench.plan.config import Matrix, Selection
from sdbench.plan.order import make_plan, order_slots, resolve_start
from sdbench.plan.read_config import load_config
from sdbench.records import AXES, Case, DeviceKind, Plan


def plan_of(device: DeviceKind = "cpu", **document: Any) -> Plan:
    return make_plan(make_config(**document), device)


@pytest.mark.parametrize("part", [Case, Matrix, Selection])
def test_the_table_of_axes_has_every_setting_in_its_order(part: type[msgspec.Struct]) -> None:
    assert part.__struct_fields__ == tuple(AXES)


def test_same_configuration_gives_the_same_plan() -> None:
    assert plan_of(seed=3) == plan_of(seed=3)


def test_another_seed_gives_another_order() -> None:
    matrix = {"resolution": ["64x64", "128x128", "192x192", "256x256", "320x320", "384x384"]}
    orders = {
        tuple(slot.case_id for slot in plan_of(seed=seed, matrix=matrix, replicates=1).slots)
        for seed in range(5)
    }
    assert len(orders) > 1


def test_plan_is_the_product_of_the_axes() -> None:
    plan = make_plan(load_config("full"), "mps")
    assert len(plan.cases) == 3 * 2 * 2 * 2
    assert len({planned.case_id for planned in plan.cases}) == len(plan.cases)
    assert {planned.case.dtype for planned in plan.cases} == {"float16"}


@pytest.mark.parametrize(
    ("device", "dtype"), [("mps", "float16"), ("cuda", "float16"), ("cpu", "float32")]
)
def test_dtype_left_open_is_the_devices(device: DeviceKind, dtype: str) -> None:
    assert {planned.case.dtype for planned in plan_of(device).cases} == {dtype}


def test_listed_cases_are_changes_from_the_defaults() -> None:
    plan = plan_of("mps", case=[{}, {"warmup": True}, {"dtype": "float32"}], images=2)
    assert [planned.case for planned in plan.cases] == [
        Case(dtype="float16"),
        Case(dtype="float16", warmup=True),
        Case(dtype="float32"),
    ]


def test_case_listed_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match="listed twice"):
        plan_of(case=[{"warmup": True}, {"warmup": True}])


def test_batch_of_one_image_is_merged_with_the_loop_and_says_why() -> None:
    matrix = {"resolution": ["64x64"], "batching": ["loop", "batch"]}
    (only,) = plan_of(matrix=matrix, images=1).cases
    assert only.case.batching == "loop"
    assert len(only.merged) == 1
    assert only.merged[0].endswith("a batch of one image is a loop of one")
    assert len(plan_of(matrix=matrix, images=2).cases) == 2


def test_slicing_takes_the_place_of_an_attention_implementation() -> None:
    matrix = {"attention_slicing": [False, True], "attention": ["default", "math"]}
    plan = plan_of(matrix=matrix)
    assert [(p.case.attention_slicing, p.case.attention) for p in plan.cases] == [
        (False, "default"),
        (False, "math"),
        (True, "default"),
    ]
    assert "slicing replaces the attention processor" in plan.cases[2].merged[0]


def test_offload_on_a_cpu_is_skipped_with_the_reason_and_gets_no_slot() -> None:
    plan = plan_of(matrix={"resolution": ["64x64"], "offload": ["none", "model"]})
    skipped = [planned for planned in plan.cases if planned.skip_reason is not None]
    assert [planned.case.offload for planned in skipped] == ["model"]
    assert "CPU" in (skipped[0].skip_reason or "")
    assert {slot.case_id for slot in plan.slots}.isdisjoint({skipped[0].case_id})
    on_cuda = plan_of("cuda", matrix={"offload": ["none", "model"]})
    assert all(planned.skip_reason is None for planned in on_cuda.cases)


def test_exclude_leaves_out_what_matches_all_its_keys() -> None:
    matrix = {"resolution": ["64x64", "128x128"], "dtype": ["float32", "float16"]}
    plan = plan_of(matrix=matrix, exclude=[{"resolution": "128x128", "dtype": "float32"}])
    assert {(p.case.resolution, p.case.dtype) for p in plan.cases} == {
        ("64x64", "float32"),
        ("64x64", "float16"),
        ("128x128", "float16"),
    }


def test_excluding_everything_is_an_error() -> None:
    with pytest.raises(ConfigError, match="at least one case"):
        plan_of(exclude=[{"warmup": False}])


def test_only_keeps_the_cases_named() -> None:
    config = load_config("quick")
    plan = make_plan(config, "cpu", ["resolution=128x128", "warmup=TRUE", "batching=loop,batch"])
    assert {(p.case.resolution, p.case.warmup) for p in plan.cases} == {("128x128", True)}
    assert {p.case.batching for p in plan.cases} == {"loop", "batch"}


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("size=512", "expected AXIS=VALUE; AXIS is one of resolution"),
        ("warmup", "expected AXIS=VALUE"),
        ("resolution=512x512", "no case has resolution=512x512; there are 128x128, 192x192"),
        ("warmup=true,maybe", "no case has warmup=maybe"),
        ("warmup=", "no case has warmup=(nothing)"),
    ],
)
def test_only_that_names_nothing_is_wrong_usage(only: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_plan(load_config("quick"), "cpu", [only])
    assert expected in str(caught.value)


def test_each_block_holds_every_case_and_arm_once() -> None:
    slots = order_slots(["a", "b", "c"], ["x", "y"], blocks=4, seed=1)
    for block in range(4):
        cells = Counter((slot.case_id, slot.arm) for slot in slots if slot.block == block)
        assert cells == Counter({(case, arm): 1 for case in "abc" for arm in "xy"})
    assert [slot.index for slot in slots] == list(range(24))
    assert [slot.block for slot in slots] == sorted(slot.block for slot in slots)


def test_arms_of_a_case_are_adjacent() -> None:
    slots = order_slots(["a", "b", "c"], ["x", "y", "z"], blocks=5, seed=7)
    for start in range(0, len(slots), 3):
        assert len({slot.case_id for slot in slots[start : start + 3]}) == 1


def test_two_arms_alternate_so_that_drift_cancels() -> None:
    slots = order_slots(["a"], ["x", "y"], blocks=4, seed=0)
    assert "".join(slot.arm for slot in slots) == "xyyxyxxy"


def test_each_of_three_arms_stands_at_each_place_equally_often() -> None:
    slots = order_slots(["a"], ["x", "y", "z"], blocks=6, seed=0)
    places = Counter((slot.arm, slot.index % 3) for slot in slots)
    assert set(places.values()) == {2}


def test_cases_are_shuffled_anew_in_each_block() -> None:
    cases = [f"case-{index}" for index in range(8)]
    slots = order_slots(cases, ["x"], blocks=3, seed=0)
    orders = {tuple(s.case_id for s in slots if s.block == block) for block in range(3)}
    assert len(orders) == 3


def test_order_does_not_depend_on_how_cases_are_listed() -> None:
    listed = order_slots(["a", "b", "c", "d"], ["x"], blocks=2, seed=5)
    assert listed == order_slots(["d", "c", "b", "a"], ["x"], blocks=2, seed=5)


def test_start_forks_only_for_the_cpu_on_linux_and_only_without_a_verdict() -> None:
    assert resolve_start(make_config(start="auto", replicates=2), "cpu", "linux") == "fork"
    assert resolve_start(make_config(start="auto", replicates=3), "cpu", "linux") == "spawn"
    assert resolve_start(make_config(start="auto", replicates=1), "cpu", "darwin") == "spawn"
    assert resolve_start(make_config(start="auto", replicates=1), "cuda", "linux") == "spawn"
    assert resolve_start(make_config(start="fork", replicates=9), "cpu", "linux") == "fork"
    assert resolve_start(make_config(start="spawn", replicates=1), "cpu", "linux") == "spawn"


@pytest.mark.parametrize(
    ("device", "platform"),
    [("cpu", "darwin"), ("mps", "darwin"), ("cuda", "linux"), ("mps", "linux")],
)
def test_fork_where_it_cannot_be_is_refused(device: DeviceKind, platform: str) -> None:
    with pytest.raises(ConfigError, match=r"^test: start: .*for the CPU on Linux only"):
        resolve_start(make_config(start="fork"), device, platform)


def test_case_id_reads_well_and_stays_as_it_is() -> None:
    # Ids are in result folders and scripts: a change here breaks both.
    assert make_case().case_id == "512x512-44136f"
    sliced = make_case(resolution="256x256", attention_slicing=True, batching="batch")
    assert sliced.case_id == "256x256-sliced-batch-ff256b"


def test_case_ids_differ_wherever_settings_do() -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"resolution": "768x768"},
        {"attention_slicing": True},
        {"warmup": True},
        {"batching": "batch"},
        {"dtype": "float16"},
        {"dtype": "bfloat16"},
        {"vae_slicing": True},
        {"vae_tiling": True},
        {"attention": "math"},
        {"offload": "model"},
    ]
    ids = {make_case(**changed).case_id for changed in settings}
    assert len(ids) == len(settings)
    assert len({case_id.rsplit("-", 1)[1] for case_id in ids}) == len(settings)


def test_default_plan_changes_one_factor_at_a_time() -> None:
    plan = make_plan(load_config("default"), "mps")
    base = plan.cases[0].case
    assert base == Case(dtype="float16")
    for planned in plan.cases[1:]:
        changed = [
            name
            for name in Case.__struct_fields__
            if getattr(planned.case, name) != getattr(base, name)
        ]
        assert len(changed) == 1
    assert len(plan.slots) == 5 * 3
    assert plan.start == "spawn"


def test_plan_finds_its_cases_and_arms_by_name() -> None:
    plan = plan_of(arm=[{"name": "a"}, {"name": "b"}])
    assert plan.arm("b").name == "b"
    assert plan.planned(plan.cases[1].case_id) is plan.cases[1]
    with pytest.raises(KeyError):
        plan.arm("c")
    with pytest.raises(KeyError):
        plan.planned("nothing")


# --- memory held meanwhile ------------------------------------------------------------------------


def arms_of(hold: list[float | str], memory_bytes: int = 16_000_000_000, **document: Any) -> Plan:
    config = make_config(pressure={"hold_bytes": hold}, **document)
    return make_plan(config, "cpu", memory_bytes=memory_bytes)


def test_each_level_is_an_arm_of_its_own_and_nothing_held_keeps_its_name() -> None:
    plan = arms_of([0, 4e9, "50%"])
    assert [(arm.name, arm.hold_bytes) for arm in plan.arms] == [
        ("current", 0),
        ("current+hold-4GB", 4_000_000_000),
        ("current+hold-8GB", 8_000_000_000),
    ]
    assert {slot.arm for slot in plan.slots} == {arm.name for arm in plan.arms}


def test_every_arm_is_run_at_every_level_with_its_own_stack_and_environment() -> None:
    plan = arms_of([0, 1e9], arm=[{"name": "a", "env": {"X": "1"}}, {"name": "b"}])
    assert [(arm.name, arm.env, arm.hold_bytes) for arm in plan.arms] == [
        ("a", {"X": "1"}, 0),
        ("a+hold-1GB", {"X": "1"}, 1_000_000_000),
        ("b", {}, 0),
        ("b+hold-1GB", {}, 1_000_000_000),
    ]


def test_levels_of_a_case_are_adjacent_and_turned_round_from_block_to_block() -> None:
    plan = arms_of([0, 1e9], matrix={"resolution": ["64x64"]}, replicates=2)
    assert [slot.arm for slot in plan.slots] == [
        "current",
        "current+hold-1GB",
        "current+hold-1GB",
        "current",
    ]


def test_without_levels_arms_are_as_configured() -> None:
    assert [arm.name for arm in arms_of([]).arms] == ["current"]


@pytest.mark.parametrize(
    ("levels", "memory_bytes", "expected"),
    [
        ([16e9], 16_000_000_000, r"hold_bytes\[0\]: expected less than the memory there is"),
        ([0, 2e9, "50%"], 4_000_000_000, r"hold_bytes\[2\]: expected each level once"),
        ([4e9], 0, r"hold_bytes\[0\]: expected less than the memory there is"),
    ],
)
def test_level_that_cannot_be_held_is_an_error(
    levels: list[float | str], memory_bytes: int, expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        arms_of(levels, memory_bytes)


def test_more_cases_than_the_configuration_allows_are_refused_before_they_are_made() -> None:
    matrix = {"resolution": ["64x64", "128x128"], "warmup": [False, True]}
    with pytest.raises(ConfigError, match=r"4 cases and max_cases is 3.*--set max_cases=4"):
        plan_of(matrix=matrix, max_cases=3)
    assert len(plan_of(matrix=matrix, max_cases=4).cases) == 4


def test_more_arms_and_levels_than_anybody_reads_are_refused() -> None:
    arms = [{"name": f"arm-{number}"} for number in range(501)]
    with pytest.raises(ConfigError, match="arm: expected at most 1,000 variants and levels"):
        make_plan(
            make_config(arm=arms, pressure={"hold_bytes": [0, 1e9]}), "cpu", memory_bytes=10**10
        )
