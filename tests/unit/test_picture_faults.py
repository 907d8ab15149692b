"""Every kind of wrong image, at the weakest that a person sees: what is found and said."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_pictures import At, Fault, Paint, equalities_of, faulty_run, scene
from quality_factories import Array

from sdbench.diagnosis.diagnose import diagnose
from sdbench.diagnosis.result import Finding

RNG = np.random.default_rng

# --- kinds ---------------------------------------------------------------------------------------


def lighter(by: float) -> Paint:
    return lambda picture: picture + by


def contrast(factor: float, around: float = 0.5) -> Paint:
    return lambda picture: around + (picture - around) * factor


def cast(red: float, green: float, blue: float) -> Paint:
    return lambda picture: picture + np.array([red, green, blue])[:, None, None]


def saturation(factor: float) -> Paint:
    def paint(picture: Array) -> Array:
        grey = picture.mean(axis=0, keepdims=True)
        changed: Array = grey + (picture - grey) * factor
        return changed

    return paint


def moved(down: int, right: int) -> Paint:
    return lambda picture: np.roll(picture, (down, right), axis=(1, 2))


def tile_steps(parts: int, by: float) -> Paint:
    def paint(picture: Array) -> Array:
        signs = np.indices((parts, parts)).sum(axis=0) % 2 * 2 - 1
        side = picture.shape[1] // parts
        stepped: Array = picture + by * np.kron(signs, np.ones((side, side)))
        return stepped

    return paint


def quarters(picture: Array) -> Array:
    return np.roll(picture, (picture.shape[1] // 2, picture.shape[2] // 2), axis=(1, 2))


def bands(by: float, axis: int = 1) -> Paint:
    def paint(picture: Array) -> Array:
        wave = by * np.sign(np.sin(np.arange(picture.shape[axis]) * 0.9))
        striped: Array = picture + np.expand_dims(wave, (0, 3 - axis))
        return striped

    return paint


def black_line(picture: Array) -> Array:
    changed = picture.copy()
    changed[:, 20] = 0
    return changed


def specks(number: int) -> Paint:
    def paint(picture: Array) -> Array:
        changed, random = picture.copy(), RNG(3)
        for _ in range(number):
            y, x = random.integers(0, picture.shape[1], 2)
            changed[:, y, x] = random.integers(0, 2, 3)
        return changed

    return paint


def colour(*rgb: int) -> Paint:
    return lambda picture: np.broadcast_to(np.array(rgb)[:, None, None] / 255, picture.shape)


def noise(picture: Array) -> Array:
    return RNG(int(1e6 * float(picture[0, 0, 0]))).random(picture.shape)


def random_noise() -> Paint:
    random = RNG(11)
    return lambda picture: random.random(picture.shape)


def shaking(by: float) -> Paint:
    """Another brightness each time it is made."""
    random = RNG(12)
    return lambda picture: picture + by * random.choice([-1.0, -0.5, 0.5, 1.0])


def grain(by: float) -> Paint:
    return lambda picture: picture + by * RNG(5).normal(size=picture.shape)


def blurred(picture: Array) -> Array:
    around = [np.roll(picture, shift, axis) for axis in (1, 2) for shift in (-1, 1)]
    averaged: Array = (picture + sum(around)) / 5
    return averaged


def lower_part(paint: Paint) -> Paint:
    def painted(picture: Array) -> Array:
        changed = picture.copy()
        changed[:, 40:] = paint(picture)[:, 40:]
        return changed

    return painted


def gamma(power: float) -> Paint:
    return lambda picture: np.clip(picture, 0, 1) ** power


def levels(number: int) -> Paint:
    return lambda picture: (np.floor(picture * number) + 0.5) / number


def checkered(picture: Array) -> Array:
    changed: Array = picture + 0.02 * (np.indices(picture.shape[1:]).sum(axis=0) % 2 * 2 - 1)
    return changed


def nothing(picture: Array) -> Array:
    return picture


# --- places --------------------------------------------------------------------------------------


def first(at: At) -> bool:
    return at.number == 1


def later(at: At) -> bool:
    return at.number > 1


def third_pass(at: At) -> bool:
    return at.number == 3


def from_third(at: At) -> bool:
    return at.number >= 3


def in_batch(at: At) -> bool:
    return at.case.batching == "batch"


def second_of_batch(at: At) -> bool:
    return in_batch(at) and at.image == 2


def later_of_batch(at: At) -> bool:
    return in_batch(at) and at.image > 1


def third_image(at: At) -> bool:
    return at.image == 3


def sliced(at: At) -> bool:
    return at.case.attention_slicing


PLAIN_AND_SLICED: tuple[dict[str, Any], ...] = ({}, {"attention_slicing": True})
PLAIN_AND_PRIMED: tuple[dict[str, Any], ...] = ({}, {"warmup": True})
PRIMED = ({"warmup": True},)
DECODE = "the latents are right, so it went wrong in the decode"
LATENTS = "latents are wrong already"
NO_FLOAT32 = "float32"
FAULTS = [
    # every image, in the decode: kind and strength
    Fault("lighter", lighter(0.05), says=("lighter", DECODE)),
    Fault("a little lighter", lighter(0.018), severity="warning", says=("lighter",)),
    Fault("darker", lighter(-0.05), says=("darker", DECODE)),
    Fault("washed out", contrast(0.85), says=("washed out|contrast", DECODE)),
    Fault("washed out a little", contrast(0.94), severity="warning", says=("washed out",)),
    Fault("a third of the contrast", contrast(0.33, 0.6), says=("contrast",)),
    Fault("too much contrast", contrast(1.2), says=("contrast",)),
    Fault("red cast", cast(0.06, 0, 0), says=("red cast",)),
    Fault("slight green cast", cast(0, 0.025, 0), severity="warning", says=("green cast",)),
    Fault("cast of one channel less", cast(0, 0, -0.08), says=("yellow cast|cast",)),
    Fault("grey", saturation(0.0), says=("every pass has: its colours are paler",)),
    Fault("paler colours", saturation(0.7), says=("colours are paler",)),
    Fault("channels exchanged", lambda p: p[::-1], says=("red and blue are exchanged",)),
    Fault("channels rotated", lambda p: p[[1, 2, 0]], says=("order green, blue, red",)),
    Fault("negative", lambda p: 1 - p, says=("negative",)),
    Fault("mirrored", lambda p: p[:, :, ::-1], says=("mirrored",)),
    Fault("upside down", lambda p: p[:, ::-1], says=("upside down",)),
    Fault("one pixel right", moved(0, 1), says=("moved by 1 pixel right",)),
    Fault("five pixels down", moved(5, 0), says=("moved by 5 pixels down",)),
    Fault("quarters exchanged", quarters, says=("not the CPU's",)),
    Fault("tiles of other tones", tile_steps(4, 0.02), says=("tiles",)),
    Fault("slight tiles", tile_steps(2, 0.007), severity="warning", says=("tiles|bands",)),
    Fault("bands", bands(0.03), says=("horizontal bands",)),
    Fault("slight vertical bands", bands(0.009, 2), severity="warning", says=("vertical bands",)),
    Fault("black line", black_line, says=("horizontal bands",)),
    Fault("few specks", specks(4), severity="warning", says=("specks",)),
    Fault("many specks", specks(60), says=("specks",)),
    Fault("brown", colour(118, 92, 66), code="wrong-content", says=("flat, of one colour",)),
    Fault("white", colour(255, 255, 255), code="wrong-content", says=("flat|saturated",)),
    Fault("grain", grain(0.03), says=("fine noise",)),
    Fault("slight grain", grain(0.013), severity="warning", says=("fine noise",)),
    Fault("blurred", blurred, says=("blurred",)),
    Fault("lower part black", lower_part(colour(0, 0, 0)), says=("lower part is wrong",)),
    Fault("lower part noise", lower_part(noise), says=("lower part is wrong",)),
    Fault("gamma", gamma(1.4), says=("darker|tone curve",)),
    Fault("posterised", levels(12), says=("levels of each colour",)),
    Fault("checkered", checkered, says=("regular pattern",)),
    # in half precision, where rounding explains more
    Fault("washed out in float16", contrast(0.85), says=("contrast",), dtype="float16"),
    Fault("red cast in bfloat16", cast(0.08, 0, 0), says=("red cast",), dtype="bfloat16"),
    Fault("tiles in bfloat16", tile_steps(4, 0.04), says=("tiles",), dtype="bfloat16"),
    # stages
    Fault("noise from the denoising", noise, in_latents=True, code="noise-output", says=(LATENTS,)),
    Fault("lighter from the latents", lighter(0.08), in_latents=True, says=(LATENTS,)),
    Fault("latents alone", nothing, in_latents=True, severity="warning", says=("latents",)),
    # passes
    Fault(
        "first pass lighter in the decode",
        lighter(0.06),
        first,
        code="first-pass-drift",
        says=("first pass", "lighter", "latents are identical", "of no later pass"),
        never=("torch 2.0 or later",),
    ),
    Fault(
        "first pass noise",
        noise,
        first,
        in_latents=True,
        code="first-pass-drift",
        says=("noise", r"warmup = true"),
    ),
    Fault(
        "first pass noise on an old torch",
        noise,
        first,
        code="first-pass-drift",
        says=("torch 2.0 or later",),
        versions={"torch": "1.13.1"},
    ),
    Fault(
        "first pass wrong although primed",
        lighter(0.1),
        first,
        code="first-pass-drift",
        says=("does not help",),
        never=(r"warmup = true",),
        cases=PRIMED,
    ),
    Fault(
        "later passes noise",
        noise,
        later,
        code="noise-output",
        says=("noise", "pass 2 and later", "pass 1 is right"),
        never=("first pass of a process gives", "warmup = true"),
    ),
    Fault(
        "later passes pale",
        contrast(0.6),
        later,
        says=("pass 2 and later", "contrast", DECODE),
        never=("first pass of a process gives", "warmup = true"),
    ),
    Fault("from the third pass on", lighter(0.1), from_third, says=("pass 3 and later",)),
    Fault("third pass alone", lighter(0.1), third_pass, says=("pass 3 of 4",)),
    Fault("growing", lighter(0.04), grows=True, says=("grows from pass to pass",)),
    Fault(
        "other each time", shaking(0.1), code="nondeterministic", says=("same settings and seed",)
    ),
    Fault("noise each time", random_noise(), code="noise-output", says=("noise",)),
    # images
    Fault(
        "second of a batch noise",
        noise,
        second_of_batch,
        code="batch-mismatch",
        says=("image 2", "noise", "loop", "image 1, 3 is right"),
    ),
    Fault(
        "later of a batch pale",
        contrast(0.7),
        later_of_batch,
        code="batch-mismatch",
        says=("image 2, 3", "contrast", DECODE),
    ),
    Fault("whole batch lighter", lighter(0.1), in_batch, code="batch-mismatch", says=("loop",)),
    Fault(
        "third image black",
        colour(0, 0, 0),
        third_image,
        code="black-output",
        says=("image 3 in every pass",),
        never=("first pass", NO_FLOAT32, "in a loop"),
    ),
    Fault(
        "third image black in float16",
        colour(0, 0, 0),
        third_image,
        code="black-output",
        says=("image 3",),
        never=("first pass", "in a loop"),
        dtype="float16",
    ),
    Fault(
        "all black in float16",
        colour(0, 0, 0),
        code="black-output",
        says=(NO_FLOAT32,),
        dtype="float16",
    ),
    Fault("all black", colour(0, 0, 0), code="black-output", never=(NO_FLOAT32,)),
    Fault("third image pale", contrast(0.6), third_image, says=("image 3", "image 1, 2 is right")),
    # settings
    Fault(
        "pale when sliced",
        contrast(0.7),
        sliced,
        says=("contrast", "attention slicing off they match", "Use attention slicing off"),
        cases=PLAIN_AND_SLICED,
    ),
    Fault(
        "noise when sliced",
        noise,
        sliced,
        code="noise-output",
        says=("attention slicing off the image is right",),
        cases=PLAIN_AND_SLICED,
    ),
    Fault(
        "first pass mended by a warm-up",
        lighter(0.1),
        lambda at: at.number == 1 and not at.case.warmup,
        code="first-pass-drift",
        says=("in this run it helps",),
        cases=PLAIN_AND_PRIMED,
    ),
    # without the CPU's images
    Fault(
        "first pass, not checked",
        lighter(0.1),
        first,
        code="first-pass-drift",
        says=("was not checked", "latents are identical"),
        checked=False,
    ),
    Fault(
        "sliced, not checked",
        contrast(0.6),
        sliced,
        code="wrong-content",
        says=("which of the two is right was not checked", "contrast"),
        checked=False,
        cases=PLAIN_AND_SLICED,
    ),
    Fault(
        "batch, not checked",
        contrast(0.6),
        later_of_batch,
        code="batch-mismatch",
        says=("image 2, 3", "contrast"),
        checked=False,
    ),
    Fault(
        "other each time, not checked",
        shaking(0.1),
        code="nondeterministic",
        says=("latents are identical", "lighter|darker"),
        checked=False,
    ),
]


# One of each place and of each way to look, and the kinds that different measures find. The others
# are in `make test-long`.
OFTEN = {
    *("lighter", "washed out", "red cast", "grey", "channels exchanged", "mirrored", "bands"),
    *("one pixel right", "tiles of other tones", "few specks", "brown", "grain", "blurred"),
    *("lower part noise", "posterised", "washed out in float16", "tiles in bfloat16"),
    *("noise from the denoising", "latents alone", "first pass lighter in the decode"),
    *("first pass wrong although primed", "later passes pale", "growing", "other each time"),
    *("second of a batch noise", "third image black in float16", "all black"),
    *("pale when sliced", "first pass mended by a warm-up", "first pass, not checked"),
    *("sliced, not checked", "other each time, not checked"),
}


def advice_of(finding: Finding) -> str:
    """The remedy without its commands, which name the settings of the case."""
    words = finding.remedy
    for command in finding.commands:
        words = words.replace(command, "")
    return words


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(
            fault,
            id=fault.name.replace(" ", "-"),
            marks=() if fault.name in OFTEN else pytest.mark.long,
        )
        for fault in FAULTS
    ],
)
def test_fault_is_found_and_named(tmp_path: Path, fault: Fault) -> None:
    loaded = faulty_run(tmp_path, fault)
    found = diagnose(loaded, equalities_of(tmp_path, loaded))
    above_info = [entry for entry in found.findings if entry.severity != "info"]
    told = {(entry.code, entry.severity) for entry in above_info}
    said = " ".join(f"{entry.sentence} {advice_of(entry)}" for entry in above_info)
    assert (fault.code, fault.severity) in told, said or "nothing"
    assert not found.healthy
    assert [words for words in fault.says if not re.search(words, said)] == [], said
    never = ("slightly different", *fault.never)
    if fault.name != "latents alone":
        assert [words for words in never if re.search(words, said)] == [], said
    wrong = {case_id for entry in above_info for case_id in entry.case_ids}
    for goal in found.recommendation.goals:
        for choice in (goal.latency, goal.throughput):
            assert choice is None or choice.case_id not in wrong


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 40
    assert {fault.name for fault in FAULTS} >= OFTEN
    assert [name for name, times in Counter(f.name for f in FAULTS).items() if times > 1] == []


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_healthy_pictures_have_no_finding(tmp_path: Path, dtype: str) -> None:
    loaded = faulty_run(tmp_path, None, dtype=dtype)
    found = diagnose(loaded, equalities_of(tmp_path, loaded))
    assert [entry.sentence for entry in found.findings if entry.severity != "info"] == []
    assert {record.verdict for record in loaded.compared} == {"match"}


def test_the_scene_is_one_that_faults_can_be_seen_in() -> None:
    assert float(scene().std()) > 0.15
    assert not np.array_equal(scene(0), scene(1))
