"""Each claim gets a verdict from a measurement, and none without one."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from diagnosed_runs import (
    beside_cpu,
    case,
    claim,
    diagnosis,
    equality,
    image_of,
    loaded_run,
    matching,
    plan,
    telemetry,
)

from sdbench.correctness.equality import Equality
from sdbench.records import Case, Compared, Slot
from sdbench.runs import LoadedRun

BASE, SLICED, PRIMED, BATCH = (
    case(),
    case(attention_slicing=True),
    case(warmup=True),
    case(batching="batch"),
)
OLD = {"torch": "1.13.1", "diffusers": "0.31.0"}
GB = 1_000_000_000


def uneven(slot: Slot, share: float = 0.004) -> float:
    """A little scatter of its own in each process."""
    return 1 + share * ((slot.index * 7919) % 11 - 5) / 5


def sliced_takes(factor: float, share: float = 0.004) -> Callable[[Slot, Case], float]:
    return lambda slot, here: (factor if here.attention_slicing else 1.0) * uneven(slot, share)


def on(memory_bytes: float, **fields: Any) -> dict[str, Any]:
    return {"machine": {"chip": "Test", "memory_bytes": memory_bytes}, **fields}


def test_every_claim_says_whose_and_about_what() -> None:
    found = diagnosis(loaded_run()).claims
    assert [entry.id for entry in found] == ["a", "b", "c", "d", "e", "f"]
    for entry in found:
        assert "documentation" in entry.speaks_of and "torch" in entry.speaks_of
        assert entry.sentence.endswith(".") and entry.effect_unit


def test_no_verdict_without_a_measurement() -> None:
    run = loaded_run(config=plan(case=[{"resolution": "64x64"}]), compared=lambda slot, here: None)
    found = diagnosis(run).claims
    assert {entry.verdict for entry in found} == {"inconclusive"}
    assert all(entry.effect is None and "not decided" in entry.sentence for entry in found)


def test_mac_claims_do_not_apply_elsewhere_but_say_what_was_measured() -> None:
    run = loaded_run(device="cuda", seconds=sliced_takes(1.2))
    found = {entry.id: entry for entry in diagnosis(run).claims}
    assert {i for i, entry in found.items() if entry.verdict == "not-applicable"} == set("abcdf")
    assert found["b"].effect == pytest.approx(0.2)
    assert found["e"].verdict == "confirmed"


# --- (a) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "cold", "primed", "verdict"),
    [
        (OLD, "different", "identical", "confirmed"),
        (OLD, "different", "different", "refuted"),
        (OLD, "identical", "identical", "refuted"),
        (None, "identical", "identical", "confirmed"),
        (None, "same", "same", "confirmed"),
        (None, "different", "identical", "refuted"),
        (None, "unknown", "identical", "inconclusive"),
    ],
)
def test_first_pass(versions: dict[str, str] | None, cold: str, primed: str, verdict: str) -> None:
    run = loaded_run(versions=versions)
    assert claim(run, "a", *first_passes(run, cold, primed)).verdict == verdict


def first_passes(run: LoadedRun, cold: str, primed: str) -> list[Equality]:
    """The same answers for every case of a run that has warm-up, and for every one that has not."""
    cases = [planned.case for planned in run.run.plan.cases]
    return [equality("first-pass", one, primed if one.warmup else cold) for one in cases]


def test_first_pass_on_an_old_torch_without_priming_is_open() -> None:
    run = loaded_run(versions=OLD, config=plan(case=[{"resolution": "64x64"}]))
    found = claim(run, "a", equality("first-pass", BASE))
    assert (found.verdict, found.effect) == ("inconclusive", 0.5)
    assert "a warm-up pass helps was not measured" in found.sentence


def test_cases_that_made_one_pass_leave_the_claim_open() -> None:
    found = claim(loaded_run(), "a", equality("first-pass", BASE, "same"))
    assert (
        found.verdict == "inconclusive"
        and "no process of the case made two passes" in found.sentence
    )


@pytest.mark.parametrize("later", ["different", "unknown"])
def test_passes_that_all_differ_say_nothing_of_the_first(later: str) -> None:
    vary = equality("first-pass", BASE, later=later)
    found = claim(loaded_run(), "a", vary, equality("first-pass", PRIMED, "identical"))
    assert (found.verdict, found.effect) == ("inconclusive", None)
    assert "later passes also differ" in found.sentence


@pytest.mark.parametrize("versions", [OLD, None])
def test_wrong_later_passes_are_no_first_pass_that_differs(versions: dict[str, str] | None) -> None:
    def worse_later(slot: Slot, here: Case) -> Compared:
        right, wrong = image_of(0, "match"), image_of(0, "broken", fault="noise")
        return beside_cpu(
            slot,
            here,
            [
                msgspec.structs.replace(right, passes=[1]),
                msgspec.structs.replace(wrong, passes=[2, 3]),
            ],
        )

    run = loaded_run(versions=versions, compared=worse_later)
    found = claim(run, "a", equality("first-pass", BASE, later="identical"))
    assert (found.verdict, found.effect) == ("inconclusive", None)


def test_a_fault_of_the_decode_alone_has_an_effect() -> None:
    differs = equality("first-pass", BASE, rel_l2=0.0, pixels_rel_l2=0.3, decode_only=True)
    found = claim(loaded_run(), "a", differs)
    assert (found.verdict, found.effect) == ("refuted", 0.3)


def test_one_case_that_cannot_be_told_leaves_the_claim_open() -> None:
    run = loaded_run()
    others = [one for one in first_passes(run, "same", "same") if one.case_ids != [SLICED.case_id]]
    found = claim(run, "a", *others, equality("first-pass", SLICED, "unknown"))
    assert found.verdict == "inconclusive" and "1 more case could not be decided" in found.sentence


# --- (b) -----------------------------------------------------------------------------------------


def test_results_beside_the_cpu_after_warm_up() -> None:
    assert claim(loaded_run(), "b").verdict == "confirmed"

    def drifting(slot: Slot, here: Case) -> Compared:
        if here != PRIMED:
            return matching(slot, here)
        return beside_cpu(slot, here, [image_of(0, "drift", margin=12.0)])

    found = claim(loaded_run(compared=drifting), "b")
    assert (found.verdict, found.effect) == ("refuted", 12.0)

    def cold_one(slot: Slot, here: Case) -> Compared:
        if here == PRIMED:
            return matching(slot, here)
        return beside_cpu(slot, here, [image_of(0, "broken")])

    assert claim(loaded_run(compared=cold_one), "b").verdict == "confirmed"


# --- (c) -----------------------------------------------------------------------------------------


def held_slows(factor: float) -> Any:
    config = plan(pressure={"hold_bytes": [0, 1e9]})
    arms = {arm.name: arm.hold_bytes for arm in loaded_run(config=config).run.plan.arms}

    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return {"telemetry": telemetry(swap_out_bytes=2 * GB)} if arms[slot.arm] else {}

    def seconds(slot: Slot, here: Case) -> float:
        return (factor if arms[slot.arm] else 1.0) * uneven(slot)

    return loaded_run(change, config=config, seconds=seconds)


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, "confirmed"), (1.02, "refuted")])
def test_swapping_beside_not_swapping(factor: float, verdict: str) -> None:
    found = claim(held_slows(factor), "c")
    assert found.verdict == verdict
    assert found.effect == pytest.approx(factor, rel=0.01)
    assert found.ci95 is not None and found.ci95[0] < factor * 1.01 < found.ci95[1] * 1.02
    assert len(found.evidence["pairs"]) == 4
    for pair in found.evidence["pairs"]:
        assert (pair["base"], pair["new"]) == ("current", "current+hold-1GB")


def test_nothing_swapped_is_no_answer() -> None:
    found = claim(loaded_run(), "c")
    assert found.verdict == "inconclusive" and "hold_bytes" in found.sentence


# --- (d) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sliced_bytes", "verdict"), [(GB // 2, "confirmed"), (GB, "refuted"), (2 * GB, "refuted")]
)
def test_slicing_and_memory(sliced_bytes: int, verdict: str) -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        return {"peak_memory_bytes": sliced_bytes} if here == SLICED else {}

    found = claim(loaded_run(change), "d")
    assert found.verdict == verdict
    assert found.effect == pytest.approx(sliced_bytes / GB)


def test_swap_that_slicing_prevents_is_told() -> None:
    def change(slot: Slot, here: Case) -> dict[str, Any]:
        if here == SLICED:
            return {"peak_memory_bytes": GB // 2}
        return {"telemetry": telemetry(swap_out_bytes=2 * GB, pressure_peak="warn")}

    found = claim(loaded_run(change), "d")
    assert found.evidence["swap_prevented"] == [SLICED.case_id]
    assert "no longer swap" in found.sentence


# --- (e) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "memory", "factor", "verdict"),
    [
        ("cuda", 80 * GB, 1.2, "confirmed"),
        ("cuda", 80 * GB, 1.6, "refuted"),
        ("cpu", 80 * GB, 1.0, "refuted"),
        ("mps", 16 * GB, 0.8, "confirmed"),
        ("mps", 16 * GB, 1.2, "refuted"),
        ("mps", 16 * GB, 1.0, "refuted"),
        ("mps", 64 * GB, 1.2, "confirmed"),
        ("mps", 64 * GB, 0.8, "refuted"),
    ],
)
def test_slicing_and_speed(device: str, memory: int, factor: float, verdict: str) -> None:
    run = loaded_run(seconds=sliced_takes(factor), **on(memory, device=device))
    found = claim(run, "e")
    assert found.verdict == verdict
    assert found.effect == pytest.approx(factor, rel=0.01)


def test_a_wide_interval_decides_nothing() -> None:
    run = loaded_run(seconds=sliced_takes(1.2, share=0.2), device="cuda")
    found = claim(run, "e")
    assert found.verdict == "inconclusive" and found.ci95 is not None


def test_fewer_than_three_processes_decide_nothing() -> None:
    found = claim(loaded_run(config=plan(2), seconds=sliced_takes(1.2), device="cuda"), "e")
    assert (found.verdict, found.ci95) == ("inconclusive", None)
    assert found.effect == pytest.approx(1.2, rel=0.01) and "fewer than 3" in found.sentence


def test_speed_of_wrong_pictures_decides_nothing() -> None:
    def compared(slot: Slot, here: Case) -> Compared:
        if here != SLICED:
            return matching(slot, here)
        return beside_cpu(slot, here, [image_of(0, "broken", fault="noise")])

    found = claim(loaded_run(seconds=sliced_takes(0.5), compared=compared), "e")
    assert (found.verdict, found.effect) == ("inconclusive", None)
    assert found.evidence["pairs"][0]["not_judged"] == ["wrong-in-new"]


# --- (f) -----------------------------------------------------------------------------------------


def test_batches_that_work() -> None:
    found = claim(loaded_run(), "f", equality("batching", BATCH, "identical"))
    assert (found.verdict, found.effect) == ("refuted", 0.0)


def test_batches_that_nobody_looked_at() -> None:
    assert claim(loaded_run(compared=lambda slot, here: None), "f").verdict == "inconclusive"


def test_batches_that_crash_or_differ() -> None:
    def crashed(slot: Slot, here: Case) -> dict[str, Any]:
        if here != BATCH:
            return {}
        return {"outcome": "crashed", "signal": "SIGABRT", "passes": [], "last_phase": "pass 1"}

    found = claim(loaded_run(crashed), "f")
    assert (found.verdict, found.effect) == ("confirmed", 1.0)
    assert found.evidence["cases"][BATCH.case_id]["finding"] == "batch-crash"
    unlike = loaded_run(compared=lambda slot, here: None)
    assert claim(unlike, "f", equality("batching", BATCH)).verdict == "confirmed"
