"""Each fault is found under its code, alone; a healthy run has nothing above info."""

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from diagnosed_runs import (
    above_info,
    beside_cpu,
    case,
    codes,
    equality,
    findings,
    image_of,
    loaded_run,
    matching,
    only,
    passes,
    plan,
    telemetry,
)
from factories import make_pass, make_picture

from sdbench.records import Case, Compared, FailureCause, Gate, ImageCompared, Slot

BASE, SLICED, PRIMED, BATCH = (
    case(),
    case(attention_slicing=True),
    case(warmup=True),
    case(batching="batch"),
)


def wrong(of: Case, *images: ImageCompared) -> Any:
    """Comparisons in which the processes of one case look like this."""

    def compared(slot: Slot, here: Case) -> Compared:
        return beside_cpu(slot, here, [*images]) if here == of else matching(slot, here)

    return compared


def with_picture(of: Case, image: int = 0, **fields: Any) -> Any:
    """One image of one case's passes is like this."""
    pictures = [make_picture(pixels_sha256=f"{index}" * 64) for index in range(2)]
    pictures[image] = make_picture(**{"pixels_sha256": "f" * 64, **fields})
    made = [make_pass(1.0, index, images=pictures) for index in (1, 2, 3)]
    return only(of, passes=made)


# --- health --------------------------------------------------------------------------------------


def test_healthy_run_has_nothing_to_say() -> None:
    assert findings(loaded_run()) == []


def test_unknown_is_no_finding() -> None:
    assert findings(loaded_run(compared=lambda slot, here: None)) == []


def test_known_issue_that_did_not_show_is_information() -> None:
    found = findings(loaded_run(versions={"torch": "1.13.1", "diffusers": "0.31.0"}))
    assert {entry.code for entry in found} == {"known-issue"}
    assert {entry.severity for entry in found} == {"info"}
    first = next(e for e in found if e.evidence["known_issues"][0]["id"] == "first-pass-differs")
    assert PRIMED.case_id not in first.case_ids and BASE.case_id in first.case_ids


# --- processes -----------------------------------------------------------------------------------

ABORT = FailureCause(kind="metal-assertion", sentence="Metal aborted.", remedy="Use a loop.")


def died(of: Case, **fields: Any) -> Any:
    defaults = {
        "outcome": "crashed",
        "signal": "SIGABRT",
        "passes": [],
        "last_phase": "pass 1",
        "cause": ABORT,
    }
    return only(of, **{**defaults, **fields})


def test_batch_that_dies_where_a_loop_does_not() -> None:
    (found,) = above_info(loaded_run(died(BATCH)))
    assert (found.code, found.severity, found.case_ids) == ("batch-crash", "error", [BATCH.case_id])
    assert "SIGABRT" in found.sentence and "in a loop are right" in found.sentence
    assert "loop" in found.remedy
    assert found.evidence["cases"][BATCH.case_id]["cause"] == "metal-assertion"


def test_death_before_the_model_is_loaded_is_not_the_batchs() -> None:
    assert codes(loaded_run(died(BATCH, last_phase="import"))) == ["worker-crash"]


def test_batch_that_dies_like_the_loop() -> None:
    def both(slot: Slot, here: Case) -> dict[str, Any]:
        return died(here)(slot, here) if here in (BASE, BATCH) else {}

    (found,) = above_info(loaded_run(both))
    assert found.code == "worker-crash" and len(found.case_ids) == 2
    assert "1 more case" in found.sentence


def test_batch_without_a_loop_beside_it_says_so() -> None:
    config = plan(case=[{"resolution": "64x64", "batching": "batch"}])
    (found,) = above_info(loaded_run(died(BATCH), config=config))
    assert found.code == "batch-crash" and "a loop was not measured" in found.sentence
    raised = died(BATCH, outcome="failed", signal=None)
    assert codes(loaded_run(raised, config=config)) == ["worker-crash"]
    assert codes(loaded_run(raised)) == ["batch-crash"]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("oom", "oom"),
        ("timeout", "timeout"),
        ("guard", "memory-guard"),
        ("failed", "worker-crash"),
    ],
)
def test_each_end_has_its_code(outcome: str, code: str) -> None:
    (found,) = above_info(loaded_run(died(SLICED, outcome=outcome, signal=None)))
    assert (found.code, found.severity, found.case_ids) == (code, "error", [SLICED.case_id])
    assert "attention slicing off" in found.sentence, "what is fine beside it is named"


def test_guard_is_what_holding_memory_asks_for() -> None:
    config = plan(pressure={"hold_bytes": [0, 1e9]})

    def held(slot: Slot, here: Case) -> dict[str, Any]:
        return died(here, outcome="guard")(slot, here) if slot.arm != "current" else {}

    run = loaded_run(held, config=config)
    arms = {arm.name for arm in run.run.plan.arms}
    assert len(arms) == 2
    names = {slot.arm for slot in run.run.plan.slots if run.run.plan.arm(slot.arm).hold_bytes}

    def guarded(slot: Slot, here: Case) -> dict[str, Any]:
        return died(here, outcome="guard")(slot, here) if slot.arm in names else {}

    assert codes(loaded_run(guarded, config=config)) == []


# --- images ------------------------------------------------------------------------------------


def test_nan_is_told_once_and_the_cpu_not_asked() -> None:
    broken = [image_of(i, "broken", fault="not-a-number", passes=[1, 2, 3]) for i in (0, 1)]
    run = loaded_run(with_picture(SLICED, nan_count=9), compared=wrong(SLICED, *broken))
    vary = equality("first-pass", SLICED), equality("attention_slicing", SLICED)
    (found,) = above_info(run, *vary)
    assert (found.code, found.severity, found.case_ids) == ("nan-output", "error", [SLICED.case_id])
    assert "attention slicing off none does" in found.sentence
    assert found.evidence["cases"][SLICED.case_id]["images"] == [1]


def test_nan_with_slicing_is_linked_to_its_known_issue() -> None:
    versions = {"torch": "2.8.0", "diffusers": "0.35.0"}
    found = above_info(loaded_run(with_picture(SLICED, nan_count=9), versions=versions))[0]
    assert found.code == "nan-output"
    assert found.evidence["known_issues"][0]["id"] == "baddbmm-nan"
    assert "https://github.com/pytorch/pytorch/issues/187521" in found.sentence
    assert "attention slicing off" in found.remedy
    told = findings(loaded_run(with_picture(SLICED, nan_count=9), versions=versions))
    unseen = [e.evidence["known_issues"][0]["id"] for e in told if e.code == "known-issue"]
    assert "baddbmm-nan" not in unseen


def test_black() -> None:
    assert codes(loaded_run(with_picture(BASE, black=True, flat=True))) == ["black-output"]


def test_first_pass() -> None:
    run = loaded_run()
    drift = equality("first-pass", BASE)
    (found,) = above_info(run, drift, equality("first-pass", PRIMED, "identical"))
    assert (found.code, found.severity) == ("first-pass-drift", "warning")
    assert "after a warm-up pass it does not" in found.sentence
    assert "in this run it helps" in found.remedy
    (worse,) = above_info(run, equality("first-pass", BASE, same_picture=False))
    assert worse.severity == "error"


def test_first_pass_that_nobody_can_judge_is_information() -> None:
    drift = equality("first-pass", BASE, "unknown", allowed_rel_l2=None)
    assert codes(loaded_run(), drift) == []
    assert [entry.code for entry in findings(loaded_run(), drift)] == ["first-pass-drift"]


def test_wrong_first_pass_is_not_told_again_as_the_cpus() -> None:
    images = [
        image_of(0, "broken", fault="another-picture", passes=[1]),
        image_of(0, "match", passes=[2, 3]),
    ]
    run = loaded_run(compared=wrong(BASE, *images))
    assert codes(run, equality("first-pass", BASE, same_picture=False)) == ["first-pass-drift"]


def test_batch_unlike_the_loop() -> None:
    images = image_of(0), image_of(1, "broken", fault="noise")
    run = loaded_run(compared=wrong(BATCH, *images))
    (found,) = above_info(run, equality("batching", BATCH, same_picture=False))
    assert (found.code, found.severity, found.case_ids) == (
        "batch-mismatch",
        "error",
        [BATCH.case_id],
    )
    assert found.evidence["cases"][BATCH.case_id]["wrong_images"] == [2]


def test_batch_unlike_the_loop_without_a_reference() -> None:
    run = loaded_run(compared=lambda slot, here: None)
    assert codes(run, equality("batching", BATCH)) == ["batch-mismatch"]


def test_wrong_everywhere_is_the_cpus_finding_and_no_batchs() -> None:
    def compared(slot: Slot, here: Case) -> Compared:
        images = [image_of(i, "broken", fault="another-picture") for i in (0, 1)]
        return beside_cpu(slot, here, images)

    (found,) = above_info(loaded_run(compared=compared), equality("batching", BATCH))
    assert (found.code, found.severity, len(found.case_ids)) == ("cpu-mismatch", "error", 4)
    assert "sdbench localise" in found.remedy


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("noise", "noise-output"),
        ("flat", "wrong-content"),
        ("saturated", "wrong-content"),
        ("another-picture", "cpu-mismatch"),
    ],
)
def test_each_fault_beside_the_cpu_has_its_code(fault: str, code: str) -> None:
    images = [image_of(i, "broken", fault=fault) for i in (0, 1)]
    (found,) = above_info(loaded_run(compared=wrong(SLICED, *images)))
    assert (found.code, found.severity) == (code, "error")
    assert "attention slicing off" in found.sentence


@pytest.mark.parametrize(("margin", "severity"), [(1.5, "info"), (30.0, "warning")])
def test_slightly_different(margin: float, severity: str) -> None:
    images = [image_of(i, "drift", margin=margin) for i in (0, 1)]
    (found,) = findings(loaded_run(compared=wrong(BASE, *images)))
    assert (found.code, found.severity) == ("cpu-mismatch", severity)
    assert found.evidence["cases"][BASE.case_id]["margin"] == margin


@pytest.mark.parametrize(
    ("margin", "capability", "env", "device", "severity"),
    [
        pytest.param(178.0, "9.0", {}, "cuda", "info", id="seen on an H200"),
        pytest.param(
            178.0, "9.0", {"NVIDIA_TF32_OVERRIDE": "0"}, "cuda", "warning", id="forbidden"
        ),
        pytest.param(178.0, "7.5", {}, "cuda", "warning", id="a GPU without TF32"),
        pytest.param(178.0, None, {}, "cuda", "warning", id="nothing known of the GPU"),
        pytest.param(9000.0, "9.0", {}, "cuda", "warning", id="more than TF32 explains"),
        pytest.param(178.0, "9.0", {}, "mps", "warning", id="not CUDA"),
    ],
)
def test_what_tf32_explains_is_no_fault(
    margin: float, capability: str | None, env: dict[str, str], device: str, severity: str
) -> None:
    images = [image_of(i, "drift", margin=margin) for i in (0, 1)]
    facts = {"device": {"facts": {"capability": capability}}}
    run = loaded_run(
        lambda slot, here: facts, compared=wrong(BASE, *images), environment=env, device=device
    )
    (found,) = [entry for entry in findings(run) if entry.code == "cpu-mismatch"]
    assert found.severity == severity
    assert ("NVIDIA_TF32_OVERRIDE=0" in (found.remedy or "")) == (severity == "info")


PART = {
    "kind": "part",
    "strength": 9.0,
    "noticed": 6.0,
    "plain": 12.0,
    "words": "the upper left part is wrong (3% of the image)",
}


def test_images_that_show_something_are_named_and_others_apart() -> None:
    """Seen on an H200: TF32 moves all three, and only one shows it."""
    images = [
        image_of(0, "drift", margin=5e3, differences=[PART]),
        image_of(1, "drift", margin=198.0),
    ]
    (found,) = above_info(loaded_run(compared=wrong(BASE, *images)))
    assert "image 1 in every pass has: the upper left part is wrong" in found.sentence
    assert "image 2 differs too, without a visible difference" in found.sentence
    assert "is right" not in found.sentence, "image 2 is not the CPU's either"


def test_what_the_model_misdraws_names_the_images_that_look_different() -> None:
    def misread(slot: Slot, here: Case) -> dict[str, Any]:
        pictures = [make_picture(pixels_sha256=f"{i}" * 64, content="wrong") for i in (0, 1)]
        return {"passes": [make_pass(1.0, n, images=pictures) for n in (1, 2, 3)]}

    images = [
        image_of(0, "match", reference_content="wrong"),
        image_of(1, "broken", reference_content="wrong", differences=[PART]),
    ]
    found = findings(loaded_run(misread, compared=wrong(BASE, *images)))
    (sentence,) = [entry.sentence for entry in found if entry.severity == "error"]
    assert (
        "the CPU's images do not either, and they look different: image 2 in every pass" in sentence
    )
    assert "the upper left part is wrong" in sentence and "(image 1 is right)" in sentence


def test_nothing_broken_goes_unsaid() -> None:
    """An image wrong in one pass only, and no answer about equality."""
    images = [
        image_of(0, "broken", fault="another-picture", passes=[3]),
        image_of(0, "match", passes=[1, 2]),
    ]
    assert codes(loaded_run(compared=wrong(BASE, *images))) == ["cpu-mismatch"]


def test_runs_that_do_not_agree_with_each_other() -> None:
    def varying(slot: Slot, here: Case) -> dict[str, Any]:
        latents = f"{slot.block}" * 64
        pictures = [make_picture(latents_sha256=latents) for _ in range(2)]
        return {"passes": [make_pass(1.0, index, images=pictures) for index in (1, 2, 3)]}

    unlike = equality("replicates", BASE), equality("batching", BATCH)
    (found,) = above_info(loaded_run(varying), *unlike, equality("replicates", BATCH))
    assert found.code == "nondeterministic"
    assert set(found.case_ids) == {BASE.case_id, BATCH.case_id}


def test_last_digits_that_vary_are_told_and_no_more() -> None:
    def varying(slot: Slot, here: Case) -> dict[str, Any]:
        made = [
            make_pass(1.0, index, images=[make_picture(latents_sha256=f"{index}" * 64)])
            for index in (1, 2, 3)
        ]
        return {"passes": made}

    within = equality("first-pass", BASE, verdict="same", same_picture=True, rel_l2=1e-8)
    (found,) = [
        one for one in findings(loaded_run(varying), within) if BASE.case_id in one.case_ids
    ]
    assert (found.code, found.severity) == ("nondeterministic", "info")
    assert "last digits" in found.sentence
    steady = loaded_run(lambda slot, here: {"passes": passes((1.0, 1.0, 1.0))})
    assert findings(steady, within) == [], "the first pass alone has other digits"


def test_first_pass_is_not_blamed_where_later_passes_could_not_be_compared() -> None:
    for later in ("different", "unknown"):
        differs = equality("first-pass", BASE, later=later)
        found = above_info(loaded_run(), differs)
        assert [entry.code for entry in found] == ["nondeterministic"]


def test_processes_that_differ_in_the_first_pass_only() -> None:
    def varying(slot: Slot, here: Case) -> dict[str, Any]:
        made = passes((1.0, 1.0, 1.0))
        first = make_pass(1.0, 1, images=[make_picture(latents_sha256=f"{slot.block}" * 64)])
        return {"passes": [first, *made[1:]]}

    unlike = equality("replicates", BASE), equality("first-pass", BASE)
    assert codes(loaded_run(varying), *unlike) == ["first-pass-drift"]


# --- the machine ---------------------------------------------------------------------------------


def test_swap() -> None:
    swap = only(SLICED, telemetry=telemetry(swap_out_bytes=3_000_000_000, pressure_peak="warn"))
    (found,) = above_info(loaded_run(swap))
    assert (found.code, found.severity) == ("swap-bound", "warning")
    assert "3.0 GB" in found.sentence


def test_swap_at_normal_pressure_is_somebody_elses() -> None:
    swap = only(SLICED, telemetry=telemetry(swap_out_bytes=100_000_000, pressure_peak="normal"))
    (found,) = findings(loaded_run(swap))
    assert (found.code, found.severity) == ("swap-bound", "info")


def growing(per_pass: int, name: str = "allocated_bytes", passes: int = 3) -> Any:
    made = []
    for index in range(1, passes + 1):
        held: dict[str, Any] = {name: 1_000_000_000 + index * per_pass}
        made.append(make_pass(1.0, index, **held))
    return only(BASE, passes=made)


@pytest.mark.parametrize(
    ("per_pass", "name", "expected"),
    [
        (5_000_000, "allocated_bytes", ["memory-growth"]),
        (1_100_000, "allocated_bytes", ["memory-growth"]),  # a tensor of 512x512 in float32
        (900_000, "allocated_bytes", []),
        (100, "allocated_bytes", []),
        (5_000_000, "driver_bytes", []),
        (50_000_000, "driver_bytes", ["memory-growth"]),
    ],
)
def test_memory_that_grows(per_pass: int, name: str, expected: list[str]) -> None:
    assert codes(loaded_run(growing(per_pass, name))) == expected


def test_process_that_grows_is_seen_where_no_counter_tells() -> None:
    found = findings(loaded_run(growing(60_000_000, "footprint_bytes", passes=4)))
    (growth,) = [entry for entry in found if entry.code == "memory-growth"]
    assert "60 MB" in growth.sentence and "by the process" in growth.sentence
    for less in (
        growing(60_000_000, "footprint_bytes", passes=3),  # the first passes fill caches
        growing(5_000_000, "footprint_bytes", passes=4),
    ):
        assert codes(loaded_run(less)) == []


def test_heat() -> None:
    (found,) = above_info(loaded_run(only(BASE, telemetry=telemetry(thermal_peak="heavy"))))
    assert found.code == "throttled" and "heavy" in found.sentence
    saving = loaded_run(only(BASE, gate=Gate(low_power_mode=True)))
    assert "low-power mode" in above_info(saving)[0].sentence


def test_a_warm_machine_is_told_and_no_more() -> None:
    warm = only(BASE, telemetry=telemetry(thermal_peak="moderate"))
    (found,) = findings(loaded_run(warm))
    assert (found.code, found.severity) == ("throttled", "info")
    assert "its clocks may have been lower" in found.sentence
    times = tuple(1.0 + 0.05 * index for index in range(12))
    slower = only(BASE, telemetry=telemetry(thermal_peak="moderate"), passes=passes(times))
    assert codes(loaded_run(slower)) == ["not-steady"], "what is slower is slower"
    for grave in (
        telemetry(thermal_peak="moderate", gpu_throttled=["heat (hardware)"]),
        telemetry(thermal_peak="heavy"),
    ):
        assert codes(loaded_run(only(BASE, telemetry=grave))) == ["throttled"]
    assert codes(loaded_run(only(BASE, gate=Gate(thermal="heavy")))) == ["throttled"]


def held(sizes: Sequence[int], name: str = "footprint_bytes") -> Any:
    fields: list[dict[str, Any]] = [{name: size} for size in sizes]
    made = [make_pass(1.0, n, **held) for n, held in enumerate(fields, start=1)]
    return only(BASE, passes=made)


def test_memory_that_grows_over_many_passes_is_seen_although_some_tidy_up() -> None:
    leak = [10**9 + 50_000_000 * n - (60_000_000 if n % 7 == 0 else 0) for n in range(64)]
    assert min(b - a for a, b in itertools.pairwise(leak)) < 0
    assert codes(loaded_run(held(leak))) == ["memory-growth"]
    (found,) = above_info(loaded_run(held(leak)))
    (numbers,) = found.evidence["cases"].values()
    assert numbers["least_growth_bytes_per_pass"] == pytest.approx(50e6, rel=0.1)


@pytest.mark.parametrize(
    "sizes",
    [
        [10**9 + 500_000_000 * min(n, 5) for n in range(64)],  # caches that fill and stay
        [10**9 + 50_000_000 * (n % 16) for n in range(64)],  # tidied up now and then
        [10**9 + 1_000_000 * n for n in range(64)],  # less than a footprint moves by itself
    ],
)
def test_memory_that_does_not_grow_over_many_passes(sizes: list[int]) -> None:
    assert codes(loaded_run(held(sizes))) == []


def test_operators_that_ran_on_the_cpu() -> None:
    (found,) = above_info(loaded_run(only(BASE, fallback_operators=["aten::silu"])))
    assert found.code == "cpu-fallback" and "aten::silu" in found.sentence


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "steady", "severity"),
    [
        (1.2, 1.0, None),
        (1.9, 0.1, "info"),  # many times as long, but nobody minds
        (3.0, 0.3, "info"),  # kernels that an H100 loads
        (5.0, 2.0, "info"),  # exactly 3 s more
        (5.1, 2.0, "warning"),
        (9.0, 2.0, "warning"),
        (15.9, 8.0, "info"),  # less than the images themselves take
        (16.1, 8.0, "warning"),
    ],
)
def test_first_pass_that_takes_long(first: float, steady: float, severity: str | None) -> None:
    found = findings(loaded_run(only(BASE, passes=passes((first, steady, steady)))))
    told = [entry.severity for entry in found if entry.code == "slow-first-pass"]
    assert told == ([severity] if severity else [])


def test_cold_caches_are_no_warning() -> None:
    slow = only(BASE, passes=passes((9.0, 1.0, 1.0)), cold_cache=True)
    assert codes(loaded_run(slow)) == []


def test_busy_machine_is_no_warning() -> None:
    slow = only(BASE, passes=passes((9.0, 1.0, 1.0)), gate=Gate(flags=["load"]))
    assert codes(loaded_run(slow)) == []


def test_passes_that_do_not_level_off() -> None:
    times = tuple(1.0 + 0.05 * index for index in range(12))
    found = above_info(loaded_run(only(BASE, passes=passes(times))))
    assert [entry.code for entry in found] == ["not-steady"]


def wandering(slot: Slot, here: Case) -> dict[str, Any]:
    """Two processes of three get slower, as a host makes them that others use."""
    if here != BASE:
        return {}
    slope = (0.05, 0.05, -0.01)[slot.block]
    return {"passes": passes(tuple(1.0 + slope * index for index in range(12)))}


def test_passes_that_get_slower_in_some_processes_only_are_told_and_no_more() -> None:
    (found,) = [one for one in findings(loaded_run(wandering)) if one.code == "not-steady"]
    assert found.severity == "info" and "it may be the host that wanders" in found.sentence
    assert codes(loaded_run(wandering)) == []


@pytest.mark.parametrize(
    ("slopes", "severity"),
    [
        ((0.02, 0.20, 0.05), "info"),
        ((0.02, 0.05, 0.08), "info"),  # 3.5 standard errors from none, of 7 that three must be
        ((0.045, 0.050, 0.055), "warning"),  # 22
    ],
)
def test_passes_that_get_slower_by_unlike_amounts_may_be_the_hosts(
    slopes: tuple[float, ...], severity: str
) -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        slope = slopes[slot.block]
        return {"passes": passes(tuple(1.0 + slope * index for index in range(12)))}

    (found,) = [one for one in findings(loaded_run(change)) if one.code == "not-steady"]
    assert found.severity == severity


def test_passes_that_get_faster_are_told_and_no_more() -> None:
    times = tuple(2.0 - 0.05 * index for index in range(12))
    found = findings(loaded_run(only(BASE, passes=passes(times))))
    assert [(one.code, one.severity) for one in found if one.code == "not-steady"] == [
        ("not-steady", "info")
    ]


def test_a_process_of_few_passes_does_not_hide_what_the_others_show() -> None:
    times = tuple(1.0 + 0.05 * index for index in range(12))
    config = plan(replicates=4)

    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return {"passes": passes(times if slot.block else times[:3])} if here == BASE else {}

    assert codes(loaded_run(change, config=config)) == ["not-steady"]


def test_heat_explains_passes_that_do_not_level_off() -> None:
    times = tuple(1.0 + 0.05 * index for index in range(12))
    hot = only(BASE, passes=passes(times), telemetry=telemetry(thermal_peak="heavy"))
    assert codes(loaded_run(hot)) == ["throttled"]


@pytest.mark.parametrize(("factor", "code"), [(1.5, "slicing-hurts"), (0.7, "slicing-helps")])
def test_slicing_is_information(factor: float, code: str) -> None:
    def seconds(slot: Slot, here: Case) -> float:
        jitter = 1 + 0.001 * slot.block + 0.0005 * here.attention_slicing * slot.block**2
        return (factor if here.attention_slicing else 1.0) * jitter

    run = loaded_run(only(SLICED, peak_memory_bytes=700_000_000), seconds=seconds)
    (found,) = findings(run)
    assert (found.code, found.severity) == (code, "info")
    assert "and 0.70 times the memory" in found.sentence
    assert found.evidence["cases"][SLICED.case_id]["ratio"] == pytest.approx(factor, rel=0.01)


def test_worst_comes_first() -> None:
    def several(slot: Slot, here: Case) -> dict[str, Any]:
        if here == BATCH:
            return dict(died(BATCH)(slot, here))
        return {"fallback_operators": ["aten::silu"]} if here == BASE else {}

    assert codes(loaded_run(several)) == ["batch-crash", "cpu-fallback"]


def test_arms_are_told_apart() -> None:
    config = plan(arm=[{"name": "old"}, {"name": "new"}])

    def one(slot: Slot, here: Case) -> dict[str, Any]:
        return {"fallback_operators": ["aten::silu"]} if slot.arm == "new" else {}

    (found,) = above_info(loaded_run(one, config=config))
    assert found.evidence["arm"] == "new" and "[new]" in found.sentence


def test_first_pass_is_not_blamed_where_the_later_ones_are_wrong() -> None:
    images = [
        image_of(0, "match", passes=[1]),
        image_of(0, "broken", fault="noise", passes=[2, 3]),
    ]
    run = loaded_run(compared=wrong(BASE, *images))
    assert codes(run, equality("first-pass", BASE, same_picture=False)) == [
        "noise-output",
        "nondeterministic",
    ]


@pytest.mark.parametrize(("profiled", "said"), [("match", True), ("unknown", False)])
def test_profiling_pass_that_is_right_is_told(profiled: str, said: bool) -> None:
    """It waits for the device after every step, so a missing wait is likely."""
    images = [
        image_of(0, "broken", fault="another-picture"),
        image_of(0, profiled, passes=[0]),
    ]
    (found,) = above_info(loaded_run(compared=wrong(BASE, *images)))
    words = "the profiling pass, which waits for the device after every step, is right"
    assert (words in found.sentence) is said


def test_batch_is_not_blamed_by_a_loop_that_cannot_be_trusted() -> None:
    unlike = equality("batching", BATCH)
    unchecked: dict[str, Any] = {"compared": lambda slot, here: None}
    plain = case(batching="loop")
    black = loaded_run(with_picture(plain, black=True, flat=True), **unchecked)
    assert codes(black, unlike) == ["black-output"]

    def varying(slot: Slot, here: Case) -> dict[str, Any]:
        if here != BATCH:
            return {}
        pictures = [make_picture(latents_sha256=f"{slot.block}" * 64) for _ in range(2)]
        return {"passes": [make_pass(1.0, index, images=pictures) for index in (1, 2, 3)]}

    unsteady = loaded_run(varying, **unchecked)
    assert codes(unsteady, unlike, equality("replicates", BATCH)) == ["nondeterministic"]
    assert codes(loaded_run(**unchecked), unlike) == ["batch-mismatch"]


@pytest.mark.parametrize(
    ("dtype", "fields", "code", "severity"),
    [
        ("float32", {}, "batch-mismatch", "warning"),
        ("float16", {}, "cpu-mismatch", "warning"),  # with nothing to be seen, no batch's fault
        ("float16", {"differences": [PART]}, "batch-mismatch", "warning"),
        ("float16", {"verdict": "broken"}, "batch-mismatch", "error"),
    ],
)
def test_images_of_a_batch_that_drift(
    dtype: Any, fields: dict[str, Any], code: str, severity: str
) -> None:
    config = plan(
        case=[{"resolution": "64x64", "batching": how, "dtype": dtype} for how in ("loop", "batch")]
    )
    batch = case(batching="batch", dtype=dtype)
    images = [image_of(0), image_of(1, **{"verdict": "drift", "margin": 9.0, **fields})]
    run = loaded_run(config=config, compared=wrong(batch, *images))
    (found,) = above_info(run)
    assert (found.code, found.severity, found.case_ids) == (code, severity, [batch.case_id])


@pytest.mark.parametrize(
    ("fields", "severity", "words"),
    [
        ({"verdict": "match"}, "info", "there is no visible difference"),
        ({"verdict": "drift", "reference_content": None}, "warning", "was not read"),
        ({"verdict": "drift"}, "warning", "how much rounding alone changes them was not measured"),
    ],
)
def test_misread_picture_is_whose_fault(fields: dict[str, Any], severity: str, words: str) -> None:
    def misread(slot: Slot, here: Case) -> dict[str, Any]:
        if here != BASE:
            return {}
        pictures = [
            make_picture(pixels_sha256="0" * 64, content="wrong"),
            make_picture(pixels_sha256="1" * 64, content="right"),
        ]
        return {"passes": [make_pass(1.0, n, images=pictures) for n in (1, 2, 3)]}

    images = [image_of(0, **{"reference_content": "right", **fields}), image_of(1)]
    found = findings(loaded_run(misread, compared=wrong(BASE, *images)))
    (about,) = [entry for entry in found if entry.code == "wrong-content"]
    assert about.severity == severity
    assert "do not show what the prompt asks for" in about.sentence and words in about.sentence


def test_images_misread_for_different_causes_are_told_apart() -> None:
    def misread(slot: Slot, here: Case) -> dict[str, Any]:
        pictures = [make_picture(pixels_sha256=f"{i}" * 64, content="wrong") for i in (0, 1)]
        return {"passes": [make_pass(1.0, n, images=pictures) for n in (1, 2, 3)]}

    images = [
        image_of(0, "match", reference_content="wrong"),
        image_of(1, "drift", reference_content="right"),
    ]
    found = findings(loaded_run(misread, compared=wrong(BASE, *images)))
    sentences = [entry.sentence for entry in found if entry.code == "wrong-content"]
    assert any("image 2: the CPU's images do; how much rounding" in words for words in sentences)
