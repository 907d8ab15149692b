"""Verdicts on a replicate's images, from files as workers leave them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from factories import make_pass, make_picture, make_replicate
from quality_factories import (
    STEPS,
    keep,
    keep_trace,
    latents_of,
    make_floor,
    make_reference,
    noise_picture,
    nudged,
    smooth_picture,
)

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.measures import to_pixels
from sdbench.correctness.parity import ParityResult, ReferenceSet, rounding_levels
from sdbench.correctness.stage_differences import picture_stage
from sdbench.correctness.thresholds import AMPLIFIED_SSIM
from sdbench.correctness.verdict_words import stage_words
from sdbench.records import Case, Compared, Dtype, Picture, Replicate
from sdbench.report.view.correctness_words import correctness_lines

CASE = Case(resolution="64x64", dtype="float16")
REFERENCES = {0: make_reference(0), 1: make_reference(1)}
YARDSTICK = ReferenceSet(REFERENCES, make_floor())
EXPECTED = 2e-3  # of the final latents, see make_floor


def replicate_of(*passes: list[Picture], **fields: Any) -> Replicate:
    """Measured passes with these images."""
    made = [make_pass(index=number, images=images) for number, images in enumerate(passes, 1)]
    return make_replicate(passes=made, **fields)


def compare(
    folder: Path,
    replicate: Replicate,
    yardstick: ReferenceSet = YARDSTICK,
    case: Case = CASE,
    *,
    trained: bool = False,
) -> Compared:
    return ParityResult(Artifacts(folder), trained=trained).compare(replicate, case, yardstick)


def kept(folder: Path, image: int = 0, error: float = 0.0, **fields: Any) -> Picture:
    """The reference's image with an error of that relative size in latents and image."""
    latents = latents_of(image)[-1]
    picture = smooth_picture(image)
    if error:
        latents, picture = nudged(latents, error), nudged(picture, error)
    return keep(folder, picture, latents, **fields)


def test_identical_is_a_match_with_margin_zero(tmp_path: Path) -> None:
    found = compare(tmp_path, replicate_of([kept(tmp_path, 0), kept(tmp_path, 1)]))
    assert (found.verdict, found.margin, found.reason) == ("match", 0.0, "identical")
    assert found.reference == "computed here, made with torch 2.0.0"
    for image in found.images:
        assert image.psnr_db is None and image.ssim == pytest.approx(1.0)
        path = tmp_path / "images" / f"{image.reference_pixels_sha256}.png"
        assert path.is_file(), "the CPU's image is kept beside"


def test_margin_is_the_error_over_four_times_what_is_expected(tmp_path: Path) -> None:
    found = compare(tmp_path, replicate_of([kept(tmp_path, error=2 * EXPECTED)]))
    (image,) = found.images
    assert image.latents is not None
    assert image.latents.expected_rel_l2 == pytest.approx(EXPECTED)
    assert image.latents.margin == pytest.approx(0.5, rel=0.01)
    assert found.verdict == "match"


def test_beyond_it_the_same_picture_drifts(tmp_path: Path) -> None:
    found = compare(tmp_path, replicate_of([kept(tmp_path, error=10 * EXPECTED)]))
    assert found.verdict == "drift"
    assert found.margin == pytest.approx(2.5, rel=0.01)
    assert found.reason is not None and "fine noise lies over it" in found.reason


def test_beyond_rounding_and_nothing_to_be_seen_drifts_too(tmp_path: Path) -> None:
    picture = keep(tmp_path, smooth_picture(), nudged(latents_of()[-1], 10 * EXPECTED))
    found = compare(tmp_path, replicate_of([picture]))
    assert (found.verdict, found.images[0].differences) == ("drift", [])
    assert found.reason is not None and "latents 2.5 times" in found.reason


def test_an_image_that_shows_nothing_is_named_apart(tmp_path: Path) -> None:
    seen, unseen = smooth_picture().copy(), smooth_picture(1)
    seen[:, 48:56, 48:56] += 0.03
    pictures = [
        keep(tmp_path, picture, nudged(latents_of(image)[-1], 10 * EXPECTED))
        for image, picture in enumerate((seen, unseen))
    ]
    case = Case(resolution="64x64", dtype="float32")
    found = compare(tmp_path, replicate_of(pictures), case=case)
    assert [bool(image.differences) for image in found.images] == [True, False]
    assert found.verdict == "drift" and found.reason is not None
    assert found.reason.startswith("image 1 of pass 1 ")
    assert found.reason.endswith("image 2 differs too, without a visible difference")


@pytest.mark.parametrize("where", ["in the latents too", "in the decode alone"])
def test_a_part_may_be_rounding_only_where_the_latents_differ_too(
    tmp_path: Path, where: str
) -> None:
    """As long as the image was not made as rounding makes it, nobody knows."""
    picture, latents = smooth_picture().copy(), latents_of()[-1].copy()
    picture[:, 48:56, 48:56] += 0.1
    if where == "in the latents too":
        latents[..., 6, 6] += EXPECTED * np.linalg.norm(latents) / latents.shape[-3] ** 0.5
    found = compare(tmp_path, replicate_of([keep(tmp_path, picture, latents)]))
    (image,) = found.images
    assert image.ssim is not None and image.ssim >= AMPLIFIED_SSIM
    assert found.margin is not None
    if where == "in the latents too":
        assert (found.verdict, image.differences) == ("unknown", [])
        assert found.reason is not None and "was not measured" in found.reason
    else:
        assert [entry.kind for entry in image.differences] == ["part"]
        assert found.verdict == "broken"


@pytest.mark.parametrize(
    ("levels", "latents_times", "verdict"),
    [(3.6, 1.0, "unknown"), (3.6, 0.0, "drift"), (3.6, 0.3, "drift"), (10.0, 1.0, "broken")],
)
def test_a_faint_cast_may_be_rounding_where_the_latents_differ_as_rounding_does(
    tmp_path: Path, levels: float, latents_times: float, verdict: str
) -> None:
    picture, latents = smooth_picture().copy(), latents_of()[-1].copy()
    picture[2] += 1.5 * levels / 255  # of one channel, so two thirds of it are a cast
    if latents_times:
        latents = nudged(latents, latents_times * EXPECTED)
    found = compare(tmp_path, replicate_of([keep(tmp_path, picture, latents)]))
    assert found.verdict == verdict
    if verdict == "unknown":
        assert found.reason is not None and "was not measured" in found.reason


def test_a_part_in_float32_is_never_excused(tmp_path: Path) -> None:
    picture, latents = smooth_picture().copy(), latents_of()[-1].copy()
    picture[:, 48:56, 48:56] += 0.1
    latents[..., 6, 6] += 1e-6
    case = Case(resolution="64x64", dtype="float32")
    (image,) = compare(tmp_path, replicate_of([keep(tmp_path, picture, latents)]), case=case).images
    assert [entry.kind for entry in image.differences] == ["part"]


@pytest.mark.parametrize(("times", "verdict"), [(3.8, "match"), (4.2, "drift")])
def test_the_margin_of_one_is_where_it_parts(tmp_path: Path, times: float, verdict: str) -> None:
    found = compare(tmp_path, replicate_of([kept(tmp_path, error=times * EXPECTED)]))
    assert found.verdict == verdict


def test_a_small_margin_in_the_latents_does_not_hide_a_wrong_decode(tmp_path: Path) -> None:
    picture = keep(tmp_path, nudged(smooth_picture(), 0.1), latents_of()[-1])
    found = compare(tmp_path, replicate_of([picture]))
    assert found.verdict == "broken"
    assert found.reason is not None and "fine noise lies over it" in found.reason
    assert "the latents are right, so the fault is in the decode" in found.reason


def test_the_decode_is_not_blamed_for_an_image_no_further_off_than_its_latents(
    tmp_path: Path,
) -> None:
    picture, latents = smooth_picture().copy(), nudged(latents_of()[-1], 3.9 * EXPECTED)
    picture[:, 48:56, 48:56] += 0.1
    found = compare(tmp_path, replicate_of([keep(tmp_path, picture, latents)]))
    (image,) = found.images
    assert image.latents is not None and image.picture is not None
    nearer = msgspec.structs.replace(image.picture, margin=0.5)
    for stage, blamed in ((image.picture, True), (nearer, False)):
        words = stage_words([msgspec.structs.replace(image, picture=stage)])
        assert ("the fault is in the decode" in words) == blamed


def test_rounding_to_eight_bits_is_always_allowed(tmp_path: Path) -> None:
    exact = make_floor(dtype="float32", text=0, latents={1: 0.0}, picture=0.0)
    case = Case(resolution="64x64")
    picture = keep(tmp_path, nudged(smooth_picture(), 1e-5), latents_of()[-1])
    found = compare(tmp_path, replicate_of([picture]), ReferenceSet(REFERENCES, exact), case)
    assert found.verdict == "match"


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        (smooth_picture(1), "another-picture"),
        (noise_picture(), "noise"),
        (np.full((3, 64, 64), 0.5, np.float32), "flat"),
        (np.zeros((3, 64, 64), np.float32), "black"),
        (np.sign(noise_picture() - 0.5), "saturated"),
        (np.full((3, 64, 64), np.nan, np.float32), "not-a-number"),
    ],
)
def test_another_picture_is_broken_and_says_how(tmp_path: Path, picture: Any, fault: str) -> None:
    wrong = keep(tmp_path, picture, latents_of()[-1])
    found = compare(tmp_path, replicate_of([kept(tmp_path)], [wrong]))
    assert found.verdict == "broken"
    assert [image.verdict for image in found.images] == ["match", "broken"]
    assert found.images[1].fault == fault
    assert found.reason is not None and "image 1 of pass 2 and later" in found.reason


def test_a_picture_of_another_size_is_another_picture(tmp_path: Path) -> None:
    small = keep(tmp_path, smooth_picture()[:, :32, :32], latents_of()[-1])
    found = compare(tmp_path, replicate_of([small]))
    assert (found.verdict, found.images[0].fault) == ("broken", "another-picture")
    assert found.images[0].ssim is None


@pytest.mark.parametrize(
    ("own", "fault"),
    [
        (np.clip(np.sign(noise_picture() - 0.5), 0, 1), "saturated"),
        (np.full((3, 64, 64), 0.5, np.float32), "flat"),
    ],
)
def test_what_the_cpus_picture_is_too_is_no_fault(tmp_path: Path, own: Any, fault: str) -> None:
    """Random weights may make such images."""
    made = replicate_of([keep(tmp_path, own, latents_of()[-1])])
    alike = ReferenceSet({0: make_reference(pictures=own[None])}, make_floor())
    found = compare(tmp_path, made, alike)
    assert (found.verdict, found.images[0].fault) == ("match", None)
    unlike = compare(tmp_path, made)
    assert (unlike.verdict, unlike.images[0].fault) == ("broken", fault)


def test_not_a_number_in_the_latents_is_broken_whatever_the_picture(tmp_path: Path) -> None:
    latents = latents_of()[-1].copy()
    latents[0, 0, 0] = np.inf
    found = compare(tmp_path, replicate_of([keep(tmp_path, smooth_picture(), latents)]))
    assert found.verdict == "broken" and found.images[0].fault == "not-a-number"


def test_only_one_image_of_two_may_be_wrong(tmp_path: Path) -> None:
    wrong = keep(tmp_path, noise_picture(), latents_of(1)[-1])
    found = compare(tmp_path, replicate_of([kept(tmp_path, 0), wrong]))
    assert found.verdict == "broken"
    assert found.reason is not None and found.reason.startswith("image 2 of pass 1 is noise")


def test_a_picture_made_in_several_passes_is_told_once(tmp_path: Path) -> None:
    first, later = kept(tmp_path, error=1e-3), kept(tmp_path)
    found = compare(tmp_path, replicate_of([first], [later], [later]))
    assert [image.passes for image in found.images] == [[1], [2, 3]]


# --- without a reference ------------------------------------------------------------------------


def test_without_references_nothing_is_known_and_it_says_why(tmp_path: Path) -> None:
    absent = ReferenceSet(absent="it would take 9 minutes")
    found = compare(tmp_path, replicate_of([kept(tmp_path)]), absent)
    assert (found.verdict, found.reason) == ("unknown", "it would take 9 minutes")
    assert found.margin is None and found.reference is None


def test_black_and_not_a_number_need_no_reference(tmp_path: Path) -> None:
    black = keep(tmp_path, np.zeros((3, 64, 64), np.float32), latents_of()[-1])
    found = compare(tmp_path, replicate_of([black]), ReferenceSet(absent="none"))
    assert (found.verdict, found.images[0].fault) == ("broken", "black")


@pytest.mark.parametrize(("trained", "verdict"), [(True, "broken"), (False, "unknown")])
def test_noise_is_judged_without_a_reference_where_the_model_is_trained(
    tmp_path: Path, trained: bool, verdict: str
) -> None:
    noise = keep(tmp_path, noise_picture(), latents_of()[-1])
    found = compare(tmp_path, replicate_of([noise]), ReferenceSet(absent="none"), trained=trained)
    assert found.verdict == verdict


def nearly_flat() -> Any:
    """Orange, with a change of 3 levels from the top to the bottom."""
    change = np.linspace(0.0, 0.012, 64 * 64).reshape(64, 64)
    return np.array([0.9, 0.5, 0.1])[:, None, None] + change


@pytest.mark.parametrize(
    ("picture", "fault"),
    [
        (np.full((3, 64, 64), 0.5, np.float32), "flat"),
        (nearly_flat(), "flat"),
        (np.full((3, 64, 64), 0.5) + np.linspace(0.0, 0.04, 64)[:, None], None),
        (np.random.default_rng(4).random((3, 64, 64)), "noise"),
        (smooth_picture(), None),
    ],
    ids=["of one colour", "nearly of one colour", "of 10 levels", "noise of pixels", "an image"],
)
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "not kept"])
def test_what_a_trained_model_never_makes_needs_no_reference(
    tmp_path: Path, picture: Any, fault: str | None, is_kept: bool
) -> None:
    made = keep(tmp_path, picture, latents_of()[-1])
    if not is_kept:  # then the record alone says something
        (tmp_path / "images" / f"{made.pixels_sha256}.png").unlink()
        fault = "flat" if made.flat else None
    found = compare(tmp_path, replicate_of([made]), ReferenceSet(absent="none"), trained=True)
    assert found.images[0].fault == fault
    assert found.verdict == ("broken" if fault else "unknown")


def test_a_matching_image_does_not_acquit_one_that_may_be_rounding(tmp_path: Path) -> None:
    picture, latents = smooth_picture().copy(), latents_of()[-1].copy()
    picture[:, 48:56, 48:56] += 0.1
    latents[..., 6, 6] += EXPECTED * np.linalg.norm(latents) / latents.shape[-3] ** 0.5
    pictures = [keep(tmp_path, picture, latents), kept(tmp_path, 1)]
    found = compare(tmp_path, replicate_of(pictures))
    assert [image.verdict for image in found.images] == ["unknown", "match"]
    assert found.verdict == "unknown"
    assert found.reason is not None and "was not measured" in found.reason


def test_some_images_without_a_reference_are_named(tmp_path: Path) -> None:
    yardstick = ReferenceSet({0: REFERENCES[0]}, make_floor(), "no time left")
    found = compare(tmp_path, replicate_of([kept(tmp_path, 0), kept(tmp_path, 1)]), yardstick)
    assert found.verdict == "match"
    assert found.reason is not None and "image 2 not compared: no time left" in found.reason


def test_without_a_floor_only_another_picture_is_told(tmp_path: Path) -> None:
    yardstick = ReferenceSet(REFERENCES, None, "floor not measured")
    near = compare(tmp_path, replicate_of([kept(tmp_path, error=1e-3)]), yardstick)
    assert (near.verdict, near.reason) == ("unknown", "floor not measured")
    assert near.images[0].latents is not None and near.images[0].latents.rel_l2 is not None
    wrong = keep(tmp_path, noise_picture(), latents_of()[-1])
    assert compare(tmp_path, replicate_of([wrong]), yardstick).verdict == "broken"


def test_no_picture_was_made(tmp_path: Path) -> None:
    prime = make_pass(kind="prime", index=0, images=[make_picture()])
    found = compare(tmp_path, make_replicate(passes=[prime]))
    assert (found.verdict, found.reason, found.images) == ("unknown", "no image was made", [])


# --- files that are not as they should be --------------------------------------------------------


def test_missing_and_foreign_files_read_as_nothing(tmp_path: Path) -> None:
    gone = make_picture(pixels_sha256="c" * 64, latents_sha256="../../etc/passwd")
    found = compare(tmp_path, replicate_of([gone]))
    assert found.verdict == "unknown"
    assert found.images[0].latents is None and found.images[0].picture is None


@pytest.mark.parametrize("name", ["images", "latents", "traces"])
def test_torn_files_read_as_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    suffix = {"images": ".png", "latents": ".npy", "traces": ".safetensors"}[name]
    artifacts = Artifacts(tmp_path)
    read = {"images": artifacts.pixels, "latents": artifacts.latents, "traces": artifacts.trace}
    for content in (b"", b"\x00" * 64, b"\xff" * 8 + b"{}"):
        (folder / ("d" * 64 + suffix)).write_bytes(content)
        assert read[name]("d" * 64) is None


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "latents").mkdir()
    np.save(tmp_path / "latents" / f"{'e' * 64}.npy", np.array([{}], object), allow_pickle=True)
    assert Artifacts(tmp_path).latents("e" * 64) is None


# --- the profiling pass --------------------------------------------------------------------------


def traced(folder: Path, errors: list[float], text: float = 0.0, picture: float = 0.0) -> Compared:
    """A perfect measured pass and a profiling pass with these errors after each step."""
    reference = latents_of()
    latents = np.array([nudged(reference[k], error) for k, error in enumerate(errors)])
    digest = keep_trace(
        folder,
        latents[None],
        nudged(smooth_picture(), picture)[None],
        nudged(np.ones((1, 7, 5), np.float32), text),
    )
    profile = make_pass(kind="profile", index=0, images=[kept(folder)], trace_sha256=digest)
    good = make_pass(images=[kept(folder)])
    return compare(folder, make_replicate(passes=[good, profile]))


def test_divergence_is_told_for_every_step(tmp_path: Path) -> None:
    found = traced(tmp_path, [0.0, 1e-3, 1e-3, 2e-3, 3e-3])
    (curve,) = found.divergence
    assert curve.step == list(range(STEPS + 1))
    assert curve.rel_l2 == pytest.approx([0.0, 1e-3, 1e-3, 2e-3, 3e-3], rel=0.01)
    allowed = [4 * 2**-11, *(4e-3 * k**0.5 for k in range(1, STEPS + 1))]
    assert curve.allowed_rel_l2 == pytest.approx(allowed)
    assert [stage.stage for stage in found.stages] == ["text", "latents", "picture"]
    assert found.stages[1].expected_rel_l2 == pytest.approx(1e-3 * STEPS**0.5)
    assert found.verdict == "match"


@pytest.mark.parametrize(
    ("errors", "text", "picture", "where"),
    [
        ([0.0, 2e-2, 1e-3, 1e-3, 1e-3], 0.0, 0.0, "latents"),
        ([0.0] * 5, 2e-2, 0.0, "text"),
        ([0.0] * 5, 0.0, 5e-2, "picture"),
    ],
)
def test_a_stage_on_the_way_that_differs_is_drift(
    tmp_path: Path, errors: list[float], text: float, picture: float, where: str
) -> None:
    found = traced(tmp_path, errors, text, picture)
    assert found.verdict == "drift"
    assert found.reason is not None and found.reason.startswith(where.replace("picture", "image"))


def test_a_packaged_picture_has_eight_bits_and_that_is_allowed_for(tmp_path: Path) -> None:
    pixels = to_pixels(smooth_picture()).transpose(2, 0, 1)
    packed = make_reference(0, pictures=pixels[None])
    exact = make_floor(dtype="float32", text=0, latents={1: 0.0}, picture=0.0)
    trace = keep_trace(
        tmp_path, latents_of()[None], smooth_picture()[None], np.ones((1, 7, 5), np.float32)
    )
    profile = make_pass(kind="profile", index=0, images=[kept(tmp_path)], trace_sha256=trace)
    found = compare(
        tmp_path, make_replicate(passes=[profile]), ReferenceSet({0: packed}, exact), Case()
    )
    assert (found.verdict, found.margin) == ("match", 0.0)
    near = keep(tmp_path, nudged(smooth_picture(), 1e-5), latents_of()[-1])
    found = compare(tmp_path, replicate_of([near]), ReferenceSet({0: packed}, exact), Case())
    assert found.verdict == "match"


def test_half_a_level_of_an_eight_bit_picture_is_allowed() -> None:
    packed = np.full((3, 4, 4), 51, np.uint8)  # a fifth of 255, and so is its root mean square
    found = picture_stage(packed + 1, packed, 0.0, Case())
    assert found.rel_l2 == pytest.approx(1 / 51)
    assert found.margin == pytest.approx(2.0, rel=1e-3), "one level is twice as much"


@pytest.mark.parametrize(
    ("dtype", "levels"), [("float32", 0.002), ("float16", 0.4), ("bfloat16", 4.0)]
)
def test_without_a_floor_the_type_says_what_rounding_explains(dtype: Dtype, levels: float) -> None:
    of_eight_bits = 0.29
    bright = np.full((4, 4, 3), 200, np.uint8)
    found = rounding_levels(None, bright, Case(dtype=dtype)) - of_eight_bits
    assert found == pytest.approx(levels)
    assert rounding_levels(0.01, bright, Case(dtype=dtype)) - of_eight_bits == pytest.approx(2.0)


def test_another_number_of_steps_gives_no_curve(tmp_path: Path) -> None:
    found = traced(tmp_path, [0.0] * 3)
    assert found.divergence == []
    assert [stage.stage for stage in found.stages] == ["text", "picture"]


def test_a_picture_in_tiles_is_judged_as_any_other(tmp_path: Path) -> None:
    """The CPU's was decoded in tiles too, so a change of tones is the device's."""
    tiled = Case(resolution="64x64", dtype="float16", vae_tiling=True)
    toned = (smooth_picture() * 0.9 + 0.02).astype(np.float32)
    toned[:, :32] += 0.02
    found = compare(tmp_path, replicate_of([keep(tmp_path, toned, latents_of()[-1])]), case=tiled)
    assert found.verdict in ("drift", "broken")
    assert found.images[0].differences


# --- the floor -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "floor",
    [
        make_floor(latents={1: 0.3, STEPS: 0.3}),
        make_floor(picture=0.5),
        make_floor(text=0.5),
        make_floor(dtype="float32", latents={1: 2e-3, STEPS: 2e-3}),
    ],
    ids=["latents", "picture", "text", "float32"],
)
def test_a_floor_that_is_too_high_acquits_nothing(tmp_path: Path, floor: Any) -> None:
    case = Case(resolution="64x64", dtype=floor.dtype)
    near = replicate_of([kept(tmp_path, error=2e-3)])
    found = compare(tmp_path, near, ReferenceSet(REFERENCES, floor), case)
    assert found.verdict == "unknown"
    assert found.reason is not None and "cannot be checked: the noise floor" in found.reason
    pale = keep(tmp_path, (0.62 + smooth_picture() * 0.33).astype(np.float32), latents_of()[-1])
    seen = compare(tmp_path, replicate_of([pale]), ReferenceSet(REFERENCES, floor), case)
    assert seen.verdict == "broken", "what anybody sees needs no floor"


def test_what_stayed_float32_in_the_floor_is_in_the_record(tmp_path: Path) -> None:
    made = replicate_of([kept(tmp_path)])
    name = "transformer.pos_embed (FluxPosEmbed)"
    floor = make_floor(not_float64=(name,))
    found = compare(tmp_path, made, ReferenceSet(REFERENCES, floor))
    assert found.not_float64 == [name]
    assert correctness_lines([found])[-1] == (
        "noise floor",
        (f"without the rounding of {name}: it stays in 32 bits where the CPU computes in float64"),
    )
    unknown = compare(tmp_path, made, ReferenceSet(REFERENCES, make_floor()))
    assert unknown.not_float64 is None
    assert "noise floor" not in dict(correctness_lines([unknown]))


@pytest.mark.parametrize(
    "floor",
    [None, make_floor(latents={1: None, STEPS: 1e-3}, noise=None), make_floor(picture=None)],
    ids=["none", "nulls", "no image"],
)
def test_identical_pictures_need_no_floor(tmp_path: Path, floor: Any) -> None:
    """Seen with torch 1.13.1 and the tiny model in 2, 3 and 8 steps."""
    yardstick = ReferenceSet(REFERENCES, floor, "no floor")
    found = compare(tmp_path, replicate_of([kept(tmp_path)]), yardstick)
    assert (found.verdict, found.margin, found.reason) == ("match", 0.0, "identical")
    near = compare(tmp_path, replicate_of([kept(tmp_path, error=2e-3)]), yardstick)
    assert near.verdict == "unknown", "what is not identical does"


def test_a_picture_that_was_not_kept_is_not_called_the_same(tmp_path: Path) -> None:
    made = kept(tmp_path, error=1e-3)
    (tmp_path / "images" / f"{made.pixels_sha256}.png").unlink()
    found = compare(tmp_path, replicate_of([made]))
    assert found.verdict == "unknown" and "not kept" in (found.reason or "")


def test_latents_of_another_image_need_no_picture(tmp_path: Path) -> None:
    made = keep(tmp_path, smooth_picture(1), latents_of(1)[-1])
    (tmp_path / "images" / f"{made.pixels_sha256}.png").unlink()
    found = compare(tmp_path, replicate_of([made]))
    assert (found.verdict, found.images[0].fault) == ("broken", "another-picture")
