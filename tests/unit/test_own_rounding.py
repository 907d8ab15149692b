"""Images about which a model is undecided: rounding is excused, faults are not.

In half precision, and in float32 on a GPU that may multiply in TF32.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_picture_faults as kinds
from factories import make_config, make_model, make_pass, make_replicate, make_run
from faulty_pictures import SIDE, Paint, scene
from quality_factories import STEPS, Array, keep, latents_of, make_floor, make_reference, nudged

from sdbench.correctness.artifact_files import Artifacts, Tensors
from sdbench.correctness.equality import check_equality
from sdbench.correctness.parity import ParityResult, ReadContent, ReferenceSet
from sdbench.correctness.references import Rounded
from sdbench.diagnosis.diagnose import diagnose
from sdbench.records import Compared, Picture
from sdbench.runs import LoadedRun

UNITS = {"float16": 1e-3, "bfloat16": 8e-3, "tf32": 1e-6}
HALF = pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
ROUNDED = pytest.mark.parametrize("arithmetic", UNITS)
UNDECIDED = np.s_[40:56, 24:40]  # where the shape comes out otherwise
CALM = np.s_[0:16, 40:56]
KINDS: dict[str, Paint] = {
    "lighter": kinds.lighter(0.05),
    "washed out": kinds.contrast(0.85),
    "red cast": kinds.cast(0.08, 0, 0),
    "channels exchanged": lambda p: p[::-1],
    "negative": lambda p: 1 - p,
    "mirrored": lambda p: p[:, :, ::-1],
    "tiles": kinds.tile_steps(4, 0.05),
    "bands": kinds.bands(0.04),
    "many specks": kinds.specks(60),
    "grain": kinds.grain(0.05),
    "moved": kinds.moved(5, 0),
    "gamma": kinds.gamma(1.5),
    "pale colours": kinds.saturation(0.6),
    "posterised": kinds.levels(8),
    "lower part noise": kinds.lower_part(kinds.noise),
    "flat": kinds.colour(118, 92, 66),
    "black": kinds.colour(0, 0, 0),
    "noise": kinds.noise,
}
OFTEN = ("washed out", "channels exchanged", "tiles", "many specks", "moved", "noise")
# All kinds in all arithmetics take 20 s: `make test-long`.
IN_EACH = pytest.mark.parametrize(
    ("arithmetic", "kind"),
    [
        pytest.param(arithmetic, kind, marks=() if kind in OFTEN else pytest.mark.long)
        for arithmetic in UNITS
        for kind in KINDS
    ],
)


def made(amount: float, at: Any = UNDECIDED, seed: int = 0) -> tuple[Array, Array]:
    """Image and final latents of image 0 with a place that came out otherwise by so much."""
    rows, columns = (slice(part.start // 8, part.stop // 8) for part in at)
    picture, latents = scene().copy(), nudged(latents_of()[-1], 1e-4, seed + 1)
    picture[(slice(None), *at)] += 0.2 * amount * np.array([1, -0.5, 0.5])[:, None, None]
    latents[:, rows, columns] += 0.5 * amount
    return np.clip(picture, 0, 1), latents.astype(np.float32)


def rounded(*amounts: float) -> Rounded:
    """The image as rounding alone makes it, changed by each of these amounts."""
    own = [made(amount, seed=seed) for seed, amount in enumerate(amounts, 10)]
    path = np.stack([np.stack([*latents_of()[:-1], latents]) for _, latents in own])
    arrays = {"latents": path, "pictures": np.stack([picture for picture, _ in own])}
    return Rounded(Tensors(arrays, list(range(STEPS + 1))))


def compared(
    folder: Path,
    arithmetic: str,
    own: Rounded | None,
    *pictures: Picture,
    read: ReadContent = lambda image, pixels: None,
    absent: str | None = None,
    step_error: float | None = None,
    **yardstick: Any,
) -> LoadedRun:
    """A run of one case and as many passes as images, compared with the CPU's.

    ``absent`` says why there is no noise floor; ``step_error`` is the floor's error of each step,
    where it is not what this arithmetic has.
    """
    is_half = arithmetic != "tf32"
    dtype: Any = arithmetic if is_half else "float32"
    config = make_config(
        case=[{"resolution": f"{SIDE}x{SIDE}", "dtype": dtype}],
        images=1,
        passes=len(pictures),
        replicates=1,
    )
    device = "mps" if is_half else "cuda"
    run = make_run(config, device=device, model=make_model(trained=True))
    unit = UNITS[arithmetic]
    step = unit if step_error is None else step_error
    floor = make_floor(
        dtype=dtype, text=unit, latents={1: step, STEPS: step}, picture=unit / 2, noise=0.0
    )
    reference = make_reference(pictures=scene()[None])
    held = ReferenceSet(
        {0: reference},
        None if absent else floor,
        absent,
        {} if own is None else {0: own},
        arithmetic=None if is_half else "tf32",
        **yardstick,
    )
    passes = [make_pass(1.0, n, images=[one]) for n, one in enumerate(pictures, 1)]
    (slot,) = run.plan.slots
    facts = {"kind": device, "facts": {"capability": "9.0"}}
    replicate = make_replicate(slot, passes=passes, versions={"torch": "2.99.0"}, device=facts)
    comparison = ParityResult(Artifacts(folder), trained=True, read=read)
    case = run.plan.planned(slot.case_id).case
    record = comparison.compare(replicate, case, held)
    return LoadedRun(folder, run, [], [replicate], comparisons=[record])


def washed(picture: Array, contrast: float) -> Array:
    """With less contrast around its mean."""
    mean = float(picture.mean())
    grey: Array = ((picture - mean) * contrast + mean).astype(np.float32)
    return grey


def record_of(loaded: LoadedRun) -> Compared:
    (record,) = loaded.compared
    return record


def findings_of(loaded: LoadedRun) -> dict[str, list[str]]:
    """Sentences by severity."""
    equal = check_equality(loaded.run, loaded.replicates, loaded.compared, Artifacts(loaded.files))
    found: dict[str, list[str]] = {}
    for entry in diagnose(loaded, equal).findings:
        found.setdefault(entry.severity, []).append(f"{entry.code}: {entry.sentence}")
    return found


@ROUNDED
@pytest.mark.parametrize("amount", [0.8, 1.0, 2.0])
def test_what_rounding_alone_does_to_an_image_is_no_fault(
    tmp_path: Path, arithmetic: str, amount: float
) -> None:
    loaded = compared(tmp_path, arithmetic, rounded(0.5, 1.0), keep(tmp_path, *made(amount)))
    record = record_of(loaded)
    (image,) = record.images
    assert (image.verdict, image.differences, image.is_of_rounding) == ("drift", [], True)
    assert image.margin is not None and image.margin <= 1
    name = "TF32" if arithmetic == "tf32" else arithmetic
    assert f"image 1 differs, and the CPU's own {name} rounding" in str(record.reason)
    assert set(findings_of(loaded)) <= {"info"}
    own = image.own_rounding
    assert own is not None and own.part_levels > 10 and 0 < own.moved_share < 0.5
    for digest in own.pixels_sha256:
        assert (tmp_path / "images" / f"{digest}.png").is_file(), "kept with the run"


@IN_EACH
def test_a_fault_of_the_whole_picture_is_found_though_rounding_moved_a_shape(
    tmp_path: Path, arithmetic: str, kind: str
) -> None:
    picture, latents = made(1.0)
    wrong = np.clip(KINDS[kind](picture), 0, 1).astype(np.float32)
    loaded = compared(tmp_path, arithmetic, rounded(0.5, 1.0), keep(tmp_path, wrong, latents))
    (image,) = record_of(loaded).images
    assert not image.is_of_rounding and image.verdict in ("broken", "drift")
    assert image.fault or image.differences
    assert set(findings_of(loaded)) & {"error", "warning"}


@ROUNDED
@pytest.mark.parametrize(("device", "explained"), [(0.90, True), (0.6, False)])
def test_tones_that_rounding_changes_as_much_are_no_fault_of_the_decode(
    tmp_path: Path, arithmetic: str, device: float, explained: bool
) -> None:
    """They lie nowhere, so latents that agree in most places do not speak against it."""
    own = rounded(0.0, 0.0)
    right, latents = made(0.0)
    own.tensors.arrays["pictures"][:] = washed(right, 0.88)
    loaded = compared(tmp_path, arithmetic, own, keep(tmp_path, washed(right, device), latents))
    (image,) = record_of(loaded).images
    assert image.is_of_rounding is explained
    assert bool(set(findings_of(loaded)) & {"error", "warning"}) is not explained


@ROUNDED
@pytest.mark.parametrize(
    ("case", "own", "wrong"),
    [
        ("another place", (0.5, 1.0), made(1.0, CALM)),
        ("much stronger", (0.2, 0.25), made(3.0)),
        ("rounding leaves it as it is", (0.0, 0.0), made(1.0)),
        ("in the decode alone", (0.5, 1.0), (made(1.0)[0], made(0.0)[1])),
    ],
)
def test_a_wrong_part_is_found_where_rounding_does_not_make_it(
    tmp_path: Path, arithmetic: str, case: str, own: tuple[float, ...], wrong: tuple[Array, Array]
) -> None:
    loaded = compared(tmp_path, arithmetic, rounded(*own), keep(tmp_path, *wrong))
    (image,) = record_of(loaded).images
    assert image.own_rounding is not None and image.own_rounding.beyond
    assert image.differences and not image.is_of_rounding
    assert set(findings_of(loaded)) & {"error", "warning"}


@HALF
def test_a_little_part_is_unknown_until_rounding_was_measured(tmp_path: Path, dtype: str) -> None:
    """What may be rounding by its share of the image (AMPLIFIED_SSIM)."""
    picture = keep(tmp_path, *made(1.2, np.s_[40:48, 24:32]))
    before = record_of(compared(tmp_path, dtype, None, picture))
    assert (before.verdict, before.images[0].differences) == ("unknown", [])
    after = record_of(compared(tmp_path, dtype, rounded(0.0, 0.0), picture))
    assert after.images[0].differences and not after.images[0].is_of_rounding
    assert after.verdict == ("broken" if dtype == "float16" else "drift"), "as it is seen"


def test_where_rounding_was_not_measured_it_says_so(tmp_path: Path) -> None:
    picture = keep(tmp_path, *made(2.0))
    for reason in (None, "no time left"):
        record = record_of(compared(tmp_path, "float16", None, picture, not_rounded=reason))
        (image,) = record.images
        assert image.own_rounding is None and not image.is_of_rounding
        assert (reason or "was not measured") in str(image.own_rounding_missing)
        assert record.verdict == "broken"
    fine = record_of(compared(tmp_path, "float16", None, keep(tmp_path, *made(0.0)))).images[0]
    assert (fine.verdict, fine.own_rounding_missing) == ("match", None), "none is needed"
    black = keep(tmp_path, np.zeros((3, SIDE, SIDE), np.float32), latents_of()[-1])
    (image,) = record_of(compared(tmp_path, "float16", None, black)).images
    assert image.own_rounding_missing is None, "nothing would excuse it"


@HALF
def test_faint_tones_stay_open_until_rounding_was_measured_often(
    tmp_path: Path, dtype: str
) -> None:
    """Seen with Stable Diffusion 3 of random weights in bfloat16 on a healthy H200."""
    unit = UNITS[dtype]
    follow = nudged(latents_of()[-1], unit), nudged(latents_of()[-1], 1e-6)
    pale = kinds.contrast(0.93)(scene())
    for times, latents, verdict in (
        (3, follow[0], "unknown"),
        (27, follow[0], "drift"),
        (3, follow[1], "drift"),  # the latents are the CPU's, so rounding in the steps is not why
    ):
        own = rounded(*[0.4] * times)  # as far off, in another way
        record = record_of(compared(tmp_path, dtype, own, keep(tmp_path, pale, latents)))
        (image,) = record.images
        assert [entry.kind for entry in image.differences] == ["contrast"]
        assert (record.verdict, image.verdict) == (verdict, verdict), (times, image)
        assert (image.own_rounding_missing is None) == (times == 27)


@pytest.mark.parametrize("own", [(0.5, 1.0), None], ids=["measured", "not measured"])
def test_a_part_without_its_latents_is_not_excused(
    tmp_path: Path, own: tuple[float, ...] | None
) -> None:
    """Whether the latents differ there too, nobody can see."""
    picture = keep(tmp_path, *made(1.2, np.s_[40:48, 24:32]))
    (tmp_path / "latents" / f"{picture.latents_sha256}.npy").unlink()
    record = record_of(
        compared(tmp_path, "float16", None if own is None else rounded(*own), picture)
    )
    (image,) = record.images
    assert record.verdict == "broken" and image.differences and not image.is_of_rounding


def test_without_a_floor_to_trust_rounding_excuses_nothing(tmp_path: Path) -> None:
    picture = keep(tmp_path, *made(1.0))
    own = rounded(0.5, 1.0)
    record = record_of(compared(tmp_path, "float16", own, picture, absent="the floor is too high"))
    assert (record.verdict, record.images[0].reason) == ("unknown", "the floor is too high")
    assert not record.images[0].is_of_rounding


def test_an_image_that_rounding_changes_as_much_is_not_accused_by_a_floor_too_high(
    tmp_path: Path,
) -> None:
    """Seen with synthetic/tiny-flux2-klein in bfloat16: a floor of 0.3, and a healthy CPU."""
    own = rounded(1.0, 2.0)
    elsewhere = made(0.9, CALM)[1]  # latents that differ in another place
    picture = keep(tmp_path, made(1.0)[0], elsewhere)
    (image,) = record_of(compared(tmp_path, "float16", own, picture)).images
    assert image.own_rounding is not None and "decode" in image.own_rounding.beyond
    record = record_of(compared(tmp_path, "float16", own, picture, step_error=0.3))
    assert record.verdict == "unknown" and record.images[0].own_rounding is not None
    assert record.reason is not None and record.reason.startswith("cannot be checked")
    faults = (made(1.0)[0], made(0.0)[1]), (washed(made(1.0)[0], 0.5), elsewhere)
    for fault in faults:
        wrong = compared(tmp_path, "float16", own, keep(tmp_path, *fault), step_error=0.3)
        assert record_of(wrong).verdict in ("drift", "broken")


@pytest.mark.parametrize("where", ["pictures", "latents"])
def test_rounding_that_overflows_on_the_cpu_explains_nothing(tmp_path: Path, where: str) -> None:
    own = rounded(0.5, 1.0)
    own.tensors.arrays[where][..., -1, -1] = np.nan
    (image,) = record_of(compared(tmp_path, "float16", own, keep(tmp_path, *made(2.0)))).images
    assert image.own_rounding is None and image.own_rounding_missing is not None
    assert image.verdict == "broken"


@pytest.mark.parametrize(
    ("own_amount", "severity"), [(1.6, "info"), (0.7, "error"), (None, "error")]
)
def test_a_misread_picture_is_excused_only_where_rounding_makes_one(
    tmp_path: Path, own_amount: float | None, severity: str
) -> None:
    """A reader that calls wrong what changed by more than an amount of 1.2."""

    def read(image: int, pixels: Array) -> Any:
        changed = pixels[UNDECIDED].astype(float).mean() - 255 * scene()[:, 40:56, 24:40].mean()
        return "wrong" if changed > 255 * 0.2 * 0.33 * 1.2 else "right"

    own = None if own_amount is None else rounded(own_amount, 0.6)
    picture = keep(tmp_path, *made(1.6), content="wrong")
    loaded = compared(tmp_path, "float16", own, picture, read=read)
    (image,) = record_of(loaded).images
    assert image.reference_content == "right"
    said = findings_of(loaded)
    assert any("wrong-content" in words for words in said[severity])
    assert severity != "info" or set(said) == {"info"}


def test_a_misread_picture_is_not_the_models_where_the_cpus_was_not_read(tmp_path: Path) -> None:
    for amount, severity in ((1.0, "warning"), (0.0, "info")):
        picture = keep(tmp_path, *made(amount), content="wrong")
        loaded = compared(tmp_path, "float16", rounded(0.5, 1.0), picture)
        assert record_of(loaded).images[0].reference_content is None
        assert any("wrong-content" in words for words in findings_of(loaded)[severity])


def test_what_the_model_misdraws_hides_no_fault(tmp_path: Path) -> None:
    """The CPU's image shows something else too, and the device's is washed out besides."""
    picture, latents = made(0.0)
    dull = keep(tmp_path, washed(picture, 0.93), latents, content="wrong")
    loaded = compared(tmp_path, "float16", rounded(0.0), dull, read=lambda image, pixels: "wrong")
    assert record_of(loaded).verdict == "drift"
    (words,) = findings_of(loaded)["warning"]
    assert words.startswith("cpu-mismatch") and "washed out" in words


@pytest.mark.parametrize(("contrast", "explained"), [(0.96, True), (0.90, False)])
def test_tones_that_rounding_changes_too_little_to_be_noticed_explain_a_few_times_as_much(
    tmp_path: Path, contrast: float, explained: bool
) -> None:
    own, (right, latents) = rounded(0.0, 0.0), made(0.0)
    own.tensors.arrays["pictures"][:] = washed(right, 0.98)
    loaded = compared(tmp_path, "float16", own, keep(tmp_path, washed(right, contrast), latents))
    assert record_of(loaded).images[0].is_of_rounding is explained


@ROUNDED
def test_passes_that_rounding_explains_are_the_same(tmp_path: Path, arithmetic: str) -> None:
    first, later = keep(tmp_path, *made(1.0)), keep(tmp_path, *made(0.0))
    loaded = compared(tmp_path, arithmetic, rounded(0.5, 1.0), first, later, later)
    (found,) = check_equality(loaded.run, loaded.replicates, loaded.compared, Artifacts(tmp_path))
    assert found.verdict == "same" and "rounding" in str(found.reason)
    assert set(findings_of(loaded)) <= {"info"}
    for own in (rounded(0.0, 0.0), None):
        loaded = compared(tmp_path, arithmetic, own, first, later, later)
        (found,) = check_equality(
            loaded.run, loaded.replicates, loaded.compared, Artifacts(tmp_path)
        )
        assert found.verdict == "different"


# --- made more often -----------------------------------------------------------------------------

FEW = (0.2, 0.25, 0.2)
MANY = (*FEW, 0.1, 0.3, 0.2, 0.2, 0.5, 0.2)


@ROUNDED
def test_what_three_times_do_not_explain_nine_may(tmp_path: Path, arithmetic: str) -> None:
    picture = keep(tmp_path, *made(1.25))
    few = record_of(compared(tmp_path, arithmetic, rounded(*FEW), picture)).images[0]
    assert few.own_rounding is not None and few.own_rounding.beyond, "five times as far off"
    assert few.own_rounding_missing is not None, "so it is to be made more often"
    loaded = compared(tmp_path, arithmetic, rounded(*FEW), picture, not_rounded="no time left")
    assert record_of(loaded).images[0].own_rounding_missing == "no time left"
    assert set(findings_of(loaded)) & {"error", "warning"}
    loaded = compared(tmp_path, arithmetic, rounded(*MANY), picture)
    many = record_of(loaded).images[0]
    assert many.is_of_rounding and many.own_rounding_missing is None
    assert set(findings_of(loaded)) <= {"info"}
    loaded = compared(tmp_path, arithmetic, rounded(*MANY), keep(tmp_path, *made(1.8)))
    still = record_of(loaded).images[0]
    assert still.own_rounding is not None and still.own_rounding.beyond
    assert still.own_rounding_missing is not None, "27 may"


@ROUNDED
def test_what_is_grossly_beyond_is_not_made_more_often(tmp_path: Path, arithmetic: str) -> None:
    for own in (rounded(0.02, 0.03, 0.02), rounded(0.0, 0.0, 0.0)):
        loaded = compared(tmp_path, arithmetic, own, keep(tmp_path, *made(3.0)))
        (image,) = record_of(loaded).images
        assert image.own_rounding is not None and image.own_rounding.beyond
        assert image.own_rounding_missing is None
        assert set(findings_of(loaded)) & {"error", "warning"}


@IN_EACH
def test_27_times_excuse_no_fault_of_the_whole_picture(
    tmp_path: Path, arithmetic: str, kind: str
) -> None:
    picture, latents = made(1.0)
    wrong = np.clip(KINDS[kind](picture), 0, 1).astype(np.float32)
    own = rounded(*(0.1 * amount for amount in range(2, 11)), *MANY, *MANY)
    loaded = compared(tmp_path, arithmetic, own, keep(tmp_path, wrong, latents))
    (image,) = record_of(loaded).images
    assert not image.is_of_rounding and image.own_rounding_missing is None
    assert set(findings_of(loaded)) & {"error", "warning"}


@ROUNDED
@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        ("another place", made(0.8, CALM)),
        ("stronger", made(1.8)),
        ("in the decode alone", (made(0.8)[0], made(0.0)[1])),
    ],
)
def test_27_times_excuse_no_wrong_part(
    tmp_path: Path, arithmetic: str, case: str, wrong: tuple[Array, Array]
) -> None:
    own = rounded(*MANY, *MANY, *MANY)
    loaded = compared(tmp_path, arithmetic, own, keep(tmp_path, *wrong))
    (image,) = record_of(loaded).images
    assert image.own_rounding is not None and image.own_rounding.beyond
    assert not image.is_of_rounding and image.own_rounding_missing is None
    assert set(findings_of(loaded)) & {"error", "warning"}


# --- float32 that may be TF32 --------------------------------------------------------------------


def test_what_nobody_sees_in_float32_needs_no_rounding(tmp_path: Path) -> None:
    picture = keep(tmp_path, scene(), nudged(latents_of()[-1], 1e-3, 1))
    loaded = compared(tmp_path, "tf32", None, picture)
    (image,) = record_of(loaded).images
    assert (image.verdict, image.own_rounding_missing) == ("drift", None)
    assert set(findings_of(loaded)) == {"info"}


def test_where_tf32_was_not_measured_the_verdict_stays(tmp_path: Path) -> None:
    loaded = compared(tmp_path, "tf32", None, keep(tmp_path, *made(0.3, np.s_[40:48, 24:32])))
    (image,) = record_of(loaded).images
    assert (image.verdict, bool(image.differences)) == ("drift", True)
    assert image.own_rounding_missing is not None
    evidence = check_equality(loaded.run, loaded.replicates, loaded.compared, Artifacts(tmp_path))
    (found,) = diagnose(loaded, evidence).findings
    assert (found.code, found.severity) == ("cpu-mismatch", "warning")
    assert "NVIDIA_TF32_OVERRIDE=0" in str(found.remedy)


def test_in_float32_of_no_tf32_rounding_excuses_nothing(tmp_path: Path) -> None:
    picture = keep(tmp_path, *made(1.0))
    (slot_run,) = [compared(tmp_path, "tf32", rounded(0.5, 1.0), picture)]
    assert record_of(slot_run).images[0].is_of_rounding
    case = slot_run.run.plan.cases[0].case
    held = ReferenceSet({0: make_reference(pictures=scene()[None])}, None, None, {0: rounded(1.0)})
    assert held.arithmetic_of(case) is None
    comparison = ParityResult(Artifacts(tmp_path), trained=True)
    (image,) = comparison.compare(slot_run.replicates[0], case, held).images
    assert image.own_rounding is None and image.differences


@HALF
def test_what_else_is_seen_stays_a_finding_while_a_part_is_undecided(
    tmp_path: Path, dtype: str
) -> None:
    picture, latents = made(1.2, np.s_[40:48, 24:32])
    picture = np.clip(picture + 0.05, 0, 1).astype(np.float32)
    loaded = compared(tmp_path, dtype, None, keep(tmp_path, picture, latents))
    (image,) = record_of(loaded).images
    assert image.verdict in ("drift", "broken") and image.differences
    assert set(findings_of(loaded)) & {"error", "warning"}
