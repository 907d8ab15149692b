"""One device against itself: which questions are asked, and how each is answered."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from factories import make_config, make_pass, make_replicate, make_run, make_slot
from quality_factories import keep, latents_of, noise_picture, nudged, smooth_picture

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.equality import Equality, check_equality
from sdbench.correctness.padding import PADDED
from sdbench.records import (
    Case,
    Compared,
    ImageCompared,
    Picture,
    Replicate,
    Run,
    StageDifference,
)

EXPECTED = 1e-3
ALLOWED = 4 * EXPECTED


def run_of(**axes: Any) -> Run:
    return make_run(make_config(images=2, matrix={"resolution": ["64x64"], **axes}))


def replicate_of(run: Run, case: Case, passes: list[list[Picture]], block: int = 0) -> Replicate:
    assert any(planned.case_id == case.case_id for planned in run.plan.cases)
    made = [make_pass(index=number, images=images) for number, images in enumerate(passes, 1)]
    return make_replicate(make_slot(case.case_id, block=block), passes=made)


def picture(folder: Path, error: float = 0.0, image: int = 0, seed: int = 1) -> Picture:
    return keep(
        folder,
        nudged(smooth_picture(image), error, seed),
        nudged(latents_of(image)[-1], error, seed),
    )


def explained(case: Case, expected: float = EXPECTED) -> Compared:
    """A comparison that says what rounding explains in a case."""
    latents = StageDifference(
        stage="latents", rel_l2=0.0, max_abs=0.0, cosine=1.0, expected_rel_l2=expected
    )
    image = ImageCompared(
        image=0,
        passes=[1],
        pixels_sha256="",
        latents_sha256="",
        verdict="match",
        latents=latents,
        picture=msgspec.structs.replace(latents, stage="picture"),
        decode_expected_rel_l2=expected / 10,
    )
    return Compared(
        replicate_id="x",
        attempt=1,
        case_id=case.case_id,
        arm="current",
        dtype=case.dtype,
        simulated=False,
        verdict="match",
        images=[image],
    )


def check(folder: Path, run: Run, replicates: list[Replicate], *known: Case) -> list[Equality]:
    compared = [explained(case) for case in known]
    return check_equality(run, replicates, compared, Artifacts(folder))


PLAIN = Case(resolution="64x64")


def test_equal_bits_need_no_files_and_no_floor(tmp_path: Path) -> None:
    run, one = run_of(), picture(tmp_path)
    (found,) = check(tmp_path / "nothing", run, [replicate_of(run, PLAIN, [[one], [one], [one]])])
    assert (found.kind, found.verdict, found.pictures) == ("first-pass", "identical", 2)
    assert found.images == [] and found.case_ids == [PLAIN.case_id]


@pytest.mark.parametrize(
    ("error", "verdict"), [(0.9 * ALLOWED, "same"), (1.1 * ALLOWED, "different")]
)
def test_other_bits_are_held_against_the_floor(tmp_path: Path, error: float, verdict: str) -> None:
    run = run_of()
    first, later = picture(tmp_path, error), picture(tmp_path)
    (found,) = check(tmp_path, run, [replicate_of(run, PLAIN, [[first], [later]])], PLAIN)
    assert found.verdict == verdict
    assert found.rel_l2 == pytest.approx(error, rel=0.02)
    assert found.allowed_rel_l2 == pytest.approx(ALLOWED)
    assert found.same_picture is True


def test_without_a_floor_other_bits_are_unknown_but_another_picture_is_not(
    tmp_path: Path,
) -> None:
    run = run_of()
    near = replicate_of(run, PLAIN, [[picture(tmp_path, 1e-4)], [picture(tmp_path)]])
    (found,) = check(tmp_path, run, [near])
    assert found.verdict == "unknown" and found.reason is not None
    far = replicate_of(run, PLAIN, [[picture(tmp_path, image=1)], [picture(tmp_path)]])
    (found,) = check(tmp_path, run, [far])
    assert (found.verdict, found.same_picture) == ("different", False)


def test_one_of_two_that_is_not_a_number_differs(tmp_path: Path) -> None:
    run = run_of()
    broken = keep(tmp_path, smooth_picture(), np.full((4, 8, 8), np.nan, np.float32))
    (found,) = check(
        tmp_path, run, [replicate_of(run, PLAIN, [[picture(tmp_path)], [broken]])], PLAIN
    )
    assert found.verdict == "different" and found.rel_l2 is None
    assert found.reason == "one of the two is not a number"
    msgspec.json.encode(found)  # no infinity in it


def test_later_passes_are_compared_with_each_other(tmp_path: Path) -> None:
    run = run_of()
    good, other, third = (picture(tmp_path, error) for error in (0.0, 1e-2, 2e-2))
    for passes, later in (
        ([[other], [good]], None),
        ([[other], [good], [good]], "identical"),
        ([[good], [good], [other]], "different"),
        ([[third], [good], [good], [other]], "different"),
    ):
        (found,) = check(tmp_path, run, [replicate_of(run, PLAIN, passes)], PLAIN)
        assert (found.verdict, found.later) == ("different", later)


def test_processes_are_compared_pass_by_pass(tmp_path: Path) -> None:
    run = run_of()
    first, later = picture(tmp_path, 1e-2), picture(tmp_path)
    replicates = [replicate_of(run, PLAIN, [[first], [later]], block) for block in (0, 1)]
    found = {entry.kind: entry for entry in check(tmp_path, run, replicates, PLAIN)}
    assert found["first-pass"].verdict == "different"
    assert found["replicates"].verdict == "identical", "each pass is the same in both processes"


AXES: dict[str, dict[str, Any]] = {
    "warmup": {"warmup": [False, True]},
    "batching": {"batching": ["loop", "batch"]},
    "attention_slicing": {"attention_slicing": [False, True]},
}
ON: dict[str, Any] = {"warmup": True, "batching": "batch", "attention_slicing": True}


@pytest.mark.parametrize("axis", list(AXES))
def test_cases_that_differ_in_one_axis_are_compared(tmp_path: Path, axis: str) -> None:
    run = run_of(**AXES[axis])
    other = msgspec.structs.replace(PLAIN, **{axis: ON[axis]})
    images = [picture(tmp_path, image=0), picture(tmp_path, image=1)]
    wrong = [images[0], keep(tmp_path, noise_picture(), latents_of(2)[-1])]
    replicates = [replicate_of(run, PLAIN, [images]), replicate_of(run, other, [wrong])]
    (found,) = check(tmp_path, run, replicates, PLAIN)
    assert (found.kind, found.verdict) == (axis, "different")
    assert found.case_ids == [other.case_id, PLAIN.case_id]
    assert found.images == [1], "batch item 2 against loop item 2"
    assert found.same_picture is False


def test_a_padded_image_may_differ_between_batch_and_loop(tmp_path: Path) -> None:
    run = run_of(**AXES["batching"])
    batch = msgspec.structs.replace(PLAIN, batching="batch")
    images = [picture(tmp_path, image=0), picture(tmp_path, image=1)]
    other = keep(tmp_path, noise_picture(), latents_of(2)[-1])

    def answer(made: list[Picture]) -> Equality:
        replicates = [replicate_of(run, PLAIN, [images]), replicate_of(run, batch, [made])]
        records = [msgspec.structs.replace(explained(batch), padded_images=[0])]
        found = check_equality(run, replicates, records, Artifacts(tmp_path))
        return next(entry for entry in found if entry.kind == "batching")

    padded = answer([other, images[1]])
    assert (padded.verdict, padded.reason, padded.different_images) == ("unknown", PADDED, [])
    both = answer([other, other])
    assert (both.verdict, both.different_images) == ("different", [1])


def test_warmup_is_about_the_first_pass_and_the_rest_about_the_last(tmp_path: Path) -> None:
    run = run_of(warmup=[False, True], attention_slicing=[False, True])
    drifted, good = picture(tmp_path, 1e-2), picture(tmp_path)
    primed = msgspec.structs.replace(PLAIN, warmup=True)
    sliced = msgspec.structs.replace(PLAIN, attention_slicing=True)
    replicates = [
        replicate_of(run, PLAIN, [[drifted], [good]]),
        replicate_of(run, primed, [[good], [good]]),
        replicate_of(run, sliced, [[drifted], [good]]),
    ]
    found = {
        (entry.kind, entry.case_ids[0]): entry.verdict
        for entry in check(tmp_path, run, replicates, PLAIN, primed, sliced)
    }
    assert found["warmup", primed.case_id] == "different"
    assert found["attention_slicing", sliced.case_id] == "identical"


def test_processes_of_different_blocks_are_not_paired(tmp_path: Path) -> None:
    run = run_of(warmup=[False, True])
    primed = msgspec.structs.replace(PLAIN, warmup=True)
    replicates = [
        replicate_of(run, PLAIN, [[picture(tmp_path)]], block=0),
        replicate_of(run, primed, [[picture(tmp_path, 0.5)]], block=1),
    ]
    assert check(tmp_path, run, replicates, PLAIN) == []


# --- what a person sees --------------------------------------------------------------------------


def toned(folder: Path, brighter: float, image: int = 0) -> Picture:
    """The same latents, decoded to a lighter image."""
    return keep(folder, np.clip(smooth_picture(image) + brighter, 0, 1), latents_of(image)[-1])


@pytest.mark.parametrize("floor", [True, False], ids=["with a floor", "without"])
def test_a_fault_in_the_decode_is_seen_though_the_latents_are_identical(
    tmp_path: Path, floor: bool
) -> None:
    run = run_of()
    passes = [[toned(tmp_path, 0.08)], [picture(tmp_path)], [picture(tmp_path)]]
    (found,) = check(tmp_path, run, [replicate_of(run, PLAIN, passes)], *[PLAIN] * floor)
    assert (found.kind, found.verdict, found.rel_l2) == ("first-pass", "different", 0.0)
    assert found.decode_only and found.is_plain
    assert [entry.kind for entry in found.differences] == ["brightness"]
    assert found.pixels_rel_l2 is not None and found.pixels_rel_l2 > 0.05


def test_identical_pixels_of_other_latents_are_the_same_without_a_floor(tmp_path: Path) -> None:
    run = run_of()
    near = keep(tmp_path, smooth_picture(), nudged(latents_of()[-1], 1e-6))
    (found,) = check(tmp_path, run, [replicate_of(run, PLAIN, [[near], [picture(tmp_path)]])])
    assert (found.verdict, found.pixels_rel_l2) == ("same", 0.0)


def test_other_pixels_without_their_files_are_unknown(tmp_path: Path) -> None:
    run = run_of()
    lighter = toned(tmp_path, 0.08)
    (tmp_path / "images" / f"{lighter.pixels_sha256}.png").unlink()
    passes = [[lighter], [picture(tmp_path)]]
    (found,) = check(tmp_path, run, [replicate_of(run, PLAIN, passes)], PLAIN)
    assert found.verdict == "unknown" and "not kept" in (found.reason or "")


def test_a_floor_that_is_too_high_does_not_make_them_the_same(tmp_path: Path) -> None:
    run = run_of()
    passes = [[picture(tmp_path, 1e-3)], [picture(tmp_path)]]
    records = [explained(PLAIN, expected=0.5)]
    replicates = [replicate_of(run, PLAIN, passes)]
    (found,) = check_equality(run, replicates, records, Artifacts(tmp_path))
    assert found.verdict == "unknown"


def test_pictures_that_cases_share_are_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(attention_slicing=[False, True], vae_tiling=[False, True])
    one, other = picture(tmp_path), picture(tmp_path, 1e-4)
    replicates = [
        replicate_of(run, planned.case, [[one], [other]], block=block)
        for planned in run.plan.cases
        for block in range(3)
    ]
    opened: list[str] = []
    load = Artifacts.pixels

    def noted(self: Artifacts, digest: str) -> Any:
        opened.append(digest)
        return load(self, digest)

    monkeypatch.setattr(Artifacts, "pixels", noted)
    found = check_equality(run, replicates, [], Artifacts(tmp_path))
    first = [entry for entry in found if entry.kind == "first-pass"]
    assert len(first) == len(run.plan.cases) == 4
    assert {entry.pictures for entry in first} == {3}  # all count, whatever they share
    assert all(entry.images == [0] and entry.pixels_rel_l2 for entry in first)
    assert sorted(opened) == sorted([one.pixels_sha256, other.pixels_sha256])


def test_other_latents_without_their_files_are_unknown(tmp_path: Path) -> None:
    run = run_of()
    near = picture(tmp_path, 1e-4)
    (tmp_path / "latents" / f"{near.latents_sha256}.npy").unlink()
    passes = [[near], [picture(tmp_path)]]
    (found,) = check(tmp_path, run, [replicate_of(run, PLAIN, passes)], PLAIN)
    assert (found.verdict, found.rel_l2) == ("unknown", None)
    assert "not kept" in (found.reason or "")


def test_other_latents_need_a_floor_of_their_own(tmp_path: Path) -> None:
    run = run_of()
    record = explained(PLAIN)
    (image,) = record.images
    of_the_picture = msgspec.structs.replace(
        record, images=[msgspec.structs.replace(image, latents=None)]
    )
    replicates = [replicate_of(run, PLAIN, [[picture(tmp_path, 1e-4)], [picture(tmp_path)]])]
    for known, verdict in ((of_the_picture, "unknown"), (record, "same")):
        (found,) = check_equality(run, replicates, [known], Artifacts(tmp_path))
        assert found.verdict == verdict, found.reason


def test_pictures_of_different_sizes_are_different(tmp_path: Path) -> None:
    run = run_of()
    small = keep(tmp_path, smooth_picture()[:, :32, :32], latents_of()[-1])
    (found,) = check(tmp_path, run, [replicate_of(run, PLAIN, [[small], [picture(tmp_path)]])])
    assert (found.verdict, found.same_picture) == ("different", False)
    assert "different sizes" in (found.reason or "")


def test_a_process_without_its_first_pass_says_nothing_of_it(tmp_path: Path) -> None:
    run = run_of()
    made = [
        make_pass(index=number, images=[picture(tmp_path, error)])
        for number, error in ((2, 0.1), (3, 0.0))
    ]
    slot = make_slot(PLAIN.case_id)
    found = check(tmp_path, run, [make_replicate(slot, passes=made)], PLAIN)
    assert [entry.kind for entry in found] == []
