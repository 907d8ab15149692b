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
from sdbench.diagnosis.claims import EDITIONS
from sdbench.records import Case, Compared, FailureCause, Slot
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
    assert [entry.id for entry in found] == [*"abcdefghij"]
    for entry in found:
        assert "documentation" in entry.speaks_of and "torch" in entry.speaks_of
        assert entry.sentence.endswith(".") and entry.effect_unit and entry.meaning
        assert entry.editions and set(entry.editions) <= EDITIONS.keys()
        assert all(EDITIONS[name] in entry.speaks_of for name in entry.editions)


def test_no_verdict_without_a_measurement() -> None:
    run = loaded_run(config=plan(case=[{"resolution": "64x64"}]), compared=lambda slot, here: None)
    found = [
        entry for entry in diagnosis(run).claims if entry.id not in "ij"
    ]  # which loading shows
    assert {entry.verdict for entry in found} == {"inconclusive"}
    assert all(entry.effect is None and "not decided" in entry.sentence for entry in found)


def test_mac_claims_do_not_apply_elsewhere_but_say_what_was_measured() -> None:
    run = loaded_run(device="cuda", seconds=sliced_takes(1.2))
    found = {entry.id: entry for entry in diagnosis(run).claims}
    assert {i for i, entry in found.items() if entry.verdict == "not-applicable"} == set("abcdfhij")
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


# --- today's page --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "memory", "factor", "verdict", "words"),
    [
        ("cuda", 80 * GB, 0.83, "confirmed", "about 0.83"),
        ("cuda", 80 * GB, 1.2, "refuted", "It slows down here instead."),
        ("cuda", 80 * GB, 0.96, "refuted", "It gains less here than claimed."),
        ("cpu", 80 * GB, 0.5, "refuted", "It gains more here than claimed."),
        ("mps", 16 * GB, 0.8, "confirmed", "less than 64 GB"),
        ("mps", 64 * GB, 0.8, "refuted", "64 GB and more"),
    ],
)
def test_slicing_and_speed_today(
    device: str, memory: int, factor: float, verdict: str, words: str
) -> None:
    run = loaded_run(seconds=sliced_takes(factor), **on(memory, device=device))
    found = claim(run, "g")
    assert (found.verdict, found.editions) == (verdict, ["today"])
    assert words in found.sentence


@pytest.mark.parametrize(
    ("device", "factor", "edition", "words"),
    [
        ("cuda", 1.2, "2023", "agrees with the pages of 2022 and 2023"),
        ("cuda", 0.83, "today", "agrees with today's page"),
        ("cuda", 2.0, "2023", "slows down here, as the pages of 2022 and 2023 say, though not by"),
        ("cpu", 0.95, "today", "gains here, as today's page says, though not by about 20%"),
        ("cuda", 1.0, None, "Not decided"),
        ("mps", 0.8, None, "cannot decide"),
    ],
)
def test_which_edition_a_machine_agrees_with(
    device: str, factor: float, edition: str | None, words: str
) -> None:
    run = loaded_run(seconds=sliced_takes(factor), **on(16 * GB, device=device))
    (conflict,) = diagnosis(run).conflicts
    assert (conflict.claims, conflict.agrees_with) == (["e", "g"], edition)
    assert words in conflict.sentence


def test_a_conflict_without_a_measurement_is_not_decided() -> None:
    run = loaded_run(config=plan(case=[{"resolution": "64x64"}]), device="cuda")
    (conflict,) = diagnosis(run).conflicts
    assert conflict.agrees_with is None and "Not decided" in conflict.sentence


LARGE = {"resolution": "768x768", "dtype": "float32", "attention": "math"}


def large(change: Any = lambda slot, here: {}, **fields: Any) -> LoadedRun:
    return loaded_run(change, config=plan(case=[LARGE, {"resolution": "64x64"}]), **fields)


def ends_with(kind: str) -> Callable[[Slot, Case], dict[str, Any]]:
    cause = FailureCause(kind=kind, sentence="s", remedy="r")

    def change(slot: Slot, here: Case) -> dict[str, Any]:
        if here.attention != "math":
            return {}
        return {"outcome": "crashed", "signal": "SIGABRT", "passes": [], "cause": cause}

    return change


def test_large_arrays_that_are_right() -> None:
    found = claim(large(), "h")
    assert (found.verdict, found.effect) == ("refuted", 0.0)
    (entry,) = found.evidence["cases"].values()
    assert entry["score_bytes"] == 5_435_817_984


def test_large_arrays_that_abort() -> None:
    found = claim(large(ends_with("ndarray-over-2-32-bytes")), "h")
    assert (found.verdict, found.effect) == ("confirmed", 1.0)


def test_large_arrays_that_are_wrong() -> None:
    def compared(slot: Slot, here: Case) -> Compared:
        if here.attention != "math":
            return matching(slot, here)
        return beside_cpu(slot, here, [image_of(0, "broken", fault="noise")])

    assert claim(large(compared=compared), "h").verdict == "confirmed"


@pytest.mark.parametrize("kind", ["mps-out-of-memory", "segmentation-fault"])
def test_another_end_says_nothing_of_large_arrays(kind: str) -> None:
    assert claim(large(ends_with(kind)), "h").verdict == "inconclusive"


def test_large_arrays_that_nobody_compared() -> None:
    found = claim(large(compared=lambda slot, here: None), "h")
    assert found.verdict == "inconclusive" and "0 match the CPU" in found.sentence


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "default"},  # torch's own attention need not make the array
        {"attention_slicing": True},
        {"dtype": "float16"},
        {"resolution": "512x512"},
    ],
)
def test_what_makes_no_large_array(settings: dict[str, Any]) -> None:
    run = loaded_run(config=plan(case=[{**LARGE, **settings}]))
    found = claim(run, "h")
    assert found.verdict == "inconclusive" and "no case was measured" in found.sentence


def test_half_precision_that_loads() -> None:
    cases = [{"resolution": "64x64", "dtype": dtype} for dtype in ("float16", "float32")]

    def fails(slot: Slot, here: Case) -> dict[str, Any]:
        failed = {"outcome": "failed", "passes": [], "last_phase": "load"}
        return failed if here.dtype == "float16" else {}

    found = claim(loaded_run(config=plan(case=cases)), "i")
    assert (found.verdict, found.effect) == ("confirmed", 1.0)
    assert claim(loaded_run(fails, config=plan(case=cases)), "i").verdict == "refuted"
    alone = loaded_run(fails, config=plan(case=cases[:1]))
    assert claim(alone, "i").verdict == "inconclusive", "nothing loads"
    none = claim(loaded_run(config=plan(case=cases[1:])), "i")
    assert none.verdict == "inconclusive" and "no case in float16" in none.sentence


@pytest.mark.parametrize(
    ("versions", "verdict", "words"),
    [
        ({"torch": "1.13.1", "diffusers": "0.31.0"}, "confirmed", "with torch 1.13.1."),
        ({"torch": "2.0.1", "diffusers": "0.31.0"}, "confirmed", "with torch 2.0.1."),
        ({"torch": "1.12.1", "diffusers": "0.31.0"}, "refuted", "which is older"),
        ({"torch": "2.13.0", "diffusers": "0.42.1"}, "refuted", "needs torch >=2.6"),
        ({"torch": "2.13.0", "diffusers": "0.35.0"}, "refuted", "needs torch >=2.1"),
        ({"torch": "unknown", "diffusers": "0.31.0"}, "inconclusive", "torch release is unknown"),
    ],
)
def test_releases_of_torch(versions: dict[str, str], verdict: str, words: str) -> None:
    found = claim(loaded_run(versions=versions), "j")
    assert found.verdict == verdict and words in found.sentence


def test_releases_of_torch_with_which_nothing_completes() -> None:
    run = loaded_run(lambda slot, here: {"outcome": "failed", "passes": []}, versions=OLD)
    assert claim(run, "j").verdict == "inconclusive"
