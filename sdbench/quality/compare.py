"""A replicate's pictures beside the CPU's: how far apart, and whether that is more than rounding.

`match`: no stage is further from the reference than :data:`~.thresholds.MATCH_MULTIPLE` times what
the noise floor explains. `drift`: further, but the picture still shows the same. `broken`: NaN,
black, flat, noise or another picture. `unknown`: there was nothing to compare with. The margin is
the distance over what is allowed, so up to 1 it matches.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.quality import measures, pictures, thresholds
from sdbench.quality.artifacts import Artifacts, Tensors
from sdbench.quality.floors import Floor
from sdbench.quality.references import Reference
from sdbench.schema import (
    CORRECTNESS_SEVERITY,
    Case,
    Compared,
    Correctness,
    Divergence,
    ImageCompared,
    Picture,
    Replicate,
    StageDifference,
    TracedStage,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TILED = "tiles are blended by design, so the picture is only held against another's content"
_STAGE_WORDS: dict[TracedStage, str] = {
    "text": "text embeddings",
    "latents": "latents",
    "picture": "picture",
}
FAULT_WORDS = {
    "not-a-number": "not a number (NaN)",
    "black": "black",
    "saturated": "saturated: all light or dark, nothing between",
    "flat": "flat, of one colour",
    "noise": "noise",
    "another-picture": "another picture than the CPU's",
}


@dataclass(frozen=True)
class Yardstick:
    """What a case's replicates are held against; ``absent`` says why a part is missing."""

    references: Mapping[int, Reference] = field(default_factory=dict)
    """By image, those there are."""
    floor: Floor | None = None
    absent: str | None = None


class Comparison:
    """Compares the replicates of one run; a picture made many times is looked at once."""

    def __init__(self, artifacts: Artifacts, *, trained: bool) -> None:
        self._artifacts = artifacts
        self._trained = trained
        self._seen: dict[tuple[object, ...], ImageCompared] = {}

    def compare(self, replicate: Replicate, case: Case, yardstick: Yardstick) -> Compared:
        """The record for a replicate, whatever became of it."""
        images = [
            self._image(case, yardstick, image, passes, picture)
            for (image, *_), (passes, picture) in _distinct_pictures(replicate).items()
        ]
        stages, divergence = self._traced(replicate, case, yardstick)
        margins = [entry.margin for entry in images] + [entry.margin for entry in stages]
        margin = max((known for known in margins if known is not None), default=None)
        verdict = worst(entry.verdict for entry in images)
        if verdict == "match" and margin is not None and margin > 1:
            verdict = "drift"  # a stage on the way differs, though the picture came out right
        sources = dict.fromkeys(entry.source for entry in yardstick.references.values())
        return Compared(
            replicate_id=replicate.replicate_id,
            attempt=replicate.attempt,
            case_id=replicate.case_id,
            arm=replicate.arm,
            dtype=case.dtype,
            simulated=replicate.simulated,
            verdict=verdict,
            reason=_reason(verdict, margin, case, images, stages, yardstick),
            margin=margin,
            reference="; ".join(sources) or None,
            images=images,
            stages=stages,
            divergence=divergence,
        )

    def _image(
        self, case: Case, yardstick: Yardstick, image: int, passes: list[int], picture: Picture
    ) -> ImageCompared:
        reference = yardstick.references.get(image)
        key = (
            *(case.dtype, case.vae_tiling, image, picture.pixels_sha256, picture.latents_sha256),
            *(None if reference is None else reference.folder, yardstick.floor is None),
        )
        if key not in self._seen:
            self._seen[key] = self._judge_image(case, yardstick.floor, image, picture, reference)
        return msgspec.structs.replace(self._seen[key], passes=passes)

    def _judge_image(
        self,
        case: Case,
        floor: Floor | None,
        image: int,
        picture: Picture,
        reference: Reference | None,
    ) -> ImageCompared:
        pixels = self._artifacts.pixels(picture.pixels_sha256)
        fault = pictures.certain_fault(picture, pixels)
        if fault is None and self._trained:
            fault = pictures.likely_fault(picture, pixels)
        found: dict[str, Any] = {"verdict": "unknown" if fault is None else "broken"}
        if reference is not None:
            found |= self._beside(case, floor, picture, pixels, reference)
            fault = fault or found["fault"]
        if fault is not None:
            found |= {"verdict": "broken", "margin": None}
        return ImageCompared(
            image=image,
            passes=[],
            pixels_sha256=picture.pixels_sha256,
            latents_sha256=picture.latents_sha256,
            **(found | {"fault": fault}),
        )

    def _beside(
        self,
        case: Case,
        floor: Floor | None,
        picture: Picture,
        pixels: "Array | None",
        reference: Reference,
    ) -> dict[str, Any]:
        """Everything told about an image by its reference."""
        expected = measures.to_pixels(reference.picture)
        found: dict[str, Any] = {
            "fault": None,
            "reference_pixels_sha256": self._artifacts.keep_pixels(expected),
        }
        divergence = None if floor is None else floor.expected_divergence()
        latents = self._artifacts.latents(picture.latents_sha256)
        steps = reference.latents
        if latents is not None and latents.shape == steps[max(steps)].shape:
            final = None if divergence is None else float(divergence[-1])
            found["latents"] = _stage("latents", latents, steps[max(steps)], final, case)
        if pixels is not None and pixels.shape == expected.shape:
            error = None if floor is None else floor.expected_picture(reference.picture_gain)
            found["picture"] = _picture_stage(pixels, expected, error, case)
            found["psnr_db"] = measures.peak_signal_to_noise_db(pixels, expected)
            found["ssim"] = measures.structural_similarity(pixels, expected)
            found["correlation"] = measures.correlation(pixels, expected)
            found["fault"] = pictures.difference_of_content(picture, pixels, expected)
        elif "latents" in found and pictures.other_latents(found["latents"].cosine):
            found["fault"] = "another-picture"  # the picture itself was not kept
        margins = [
            found[name].margin
            for name in ("latents", "picture")
            if name in found and found[name].margin is not None
        ]
        if margins:
            found["margin"] = max(margins)
            found["verdict"] = "match" if found["margin"] <= 1 else "drift"
        return found

    def _traced(
        self, replicate: Replicate, case: Case, yardstick: Yardstick
    ) -> tuple[list[StageDifference], list[Divergence]]:
        """Stages and divergence of the profiling pass, the worst over the images it kept."""
        digests = [entry.trace_sha256 for entry in replicate.passes if entry.trace_sha256]
        trace = self._artifacts.trace(digests[0]) if digests else None
        if trace is None:
            return [], []
        references = {
            image: reference
            for image, reference in yardstick.references.items()
            if image < len(trace.arrays["pictures"])
        }
        if not references:
            return [], []
        stages: list[StageDifference] = []
        divergences: list[Divergence] = []
        for image, reference in references.items():
            divergence = _divergence(image, trace, reference, yardstick.floor, case)
            if divergence is not None:
                divergences.append(divergence)
            stages += _traced_stages(image, trace, reference, yardstick.floor, case, divergence)
        return _worst_stages(stages), divergences


def _traced_stages(
    image: int,
    trace: Tensors,
    reference: Reference,
    floor: Floor | None,
    case: Case,
    divergence: Divergence | None,
) -> list[StageDifference]:
    """Text, final latents and picture of one image of a trace; latents with their worst margin."""
    stages = []
    for name, array in reference.tensors.text.items():
        got = trace.arrays.get(name)
        if got is not None and got[image].shape == array[0].shape:
            error = None if floor is None else floor.text
            stages.append(_stage("text", got[image], array[0], error, case))
    if divergence is not None:
        final, curve = divergence.step[-1], None
        if floor is not None and (expected := floor.expected_divergence()) is not None:
            curve = float(expected[-1])
        stage = _stage(
            "latents", trace.arrays["latents"][image, -1], reference.latents[final], curve, case
        )
        margins = [
            rel / allowed
            for rel, allowed in zip(divergence.rel_l2, divergence.allowed_rel_l2, strict=True)
            if rel is not None and allowed
        ]
        stages.append(msgspec.structs.replace(stage, margin=max(margins, default=None)))
    picture = trace.arrays["pictures"][image]
    if picture.shape == reference.picture.shape:
        error = None if floor is None else floor.expected_picture(reference.picture_gain)
        beside = picture, reference.picture
        if reference.is_packed:
            beside = measures.to_pixels(picture), measures.to_pixels(reference.picture)
        stages.append(_picture_stage(*beside, error, case))
    return stages


def _divergence(
    image: int, trace: Tensors, reference: Reference, floor: Floor | None, case: Case
) -> Divergence | None:
    """The curve over the steps that both have; None where they did not take the same steps."""
    latents = trace.arrays["latents"][image]
    known = reference.latents
    steps = [step for step in trace.kept if step in known]
    if max(trace.kept) != max(known) or latents.shape[1:] != known[max(known)].shape:
        return None
    expected = None if floor is None else floor.expected_divergence()
    if expected is not None and len(expected) <= max(steps):
        expected = None
    return Divergence(
        image=image,
        step=steps,
        rel_l2=[
            measures.relative_l2(latents[trace.kept.index(step)], known[step]) for step in steps
        ],
        allowed_rel_l2=[
            None if expected is None else _allowed(float(expected[step]), case) for step in steps
        ],
    )


def _stage(
    stage: TracedStage,
    got: "Array",
    reference: "Array",
    expected: float | None,
    case: Case,
    always: float = 0.0,
) -> StageDifference:
    """One result beside the reference's; ``always`` is allowed beyond what rounding explains."""
    rel_l2 = measures.relative_l2(got, reference)
    margin = None
    if rel_l2 is not None and expected is not None:
        margin = rel_l2 / (_allowed(expected, case) + always)
    return StageDifference(
        stage=stage,
        rel_l2=rel_l2,
        max_abs=measures.max_abs(got, reference),
        cosine=measures.cosine(got, reference),
        expected_rel_l2=expected,
        margin=margin,
    )


def _picture_stage(
    got: "Array", reference: "Array", expected: float | None, case: Case
) -> StageDifference:
    """As :func:`_stage`, on a scale from 0 to 1; two 8-bit pictures may round differently."""
    import numpy as np

    always = 0.0
    if reference.dtype == np.uint8:
        got, reference = (array.astype(np.float64) / 255 for array in (got, reference))
        level = thresholds.EIGHT_BIT_STEP / 2
        always = level / max(float(np.sqrt((reference**2).mean())), level)
    return _stage("picture", got, reference, None if case.vae_tiling else expected, case, always)


def _allowed(expected: float, case: Case) -> float:
    """The largest relative distance that still counts as the same; never below the type's own."""
    return thresholds.MATCH_MULTIPLE * max(expected, thresholds.UNIT_ROUNDOFF[case.dtype])


def _worst_stages(stages: list[StageDifference]) -> list[StageDifference]:
    """Of each kind of stage the one furthest off, in the order of a pass."""
    order: tuple[TracedStage, ...] = ("text", "latents", "picture")
    found = []
    for kind in order:
        alike = [stage for stage in stages if stage.stage == kind]
        if alike:
            found.append(max(alike, key=lambda stage: (stage.margin or 0, stage.rel_l2 or 0)))
    return found


def _reason(
    verdict: Correctness,
    margin: float | None,
    case: Case,
    images: list[ImageCompared],
    stages: list[StageDifference],
    yardstick: Yardstick,
) -> str | None:
    if verdict == "unknown":
        return yardstick.absent if images else "no picture was made"
    if verdict == "broken":
        return _broken_words(images)
    words = f"{margin:.2g} of what {case.dtype} rounding allows" if margin else "identical"
    if verdict == "drift":
        place = _STAGE_WORDS[_worst_place(images, stages)]
        times = f"{margin:,.0f}" if margin is not None and margin >= 10 else f"{margin:.2g}"
        words = f"{place} {times} times further from the CPU's than {case.dtype} rounding allows; "
        words += "the picture shows the same"
    missing = sorted({entry.image + 1 for entry in images if entry.verdict == "unknown"})
    if missing:
        numbers = ", ".join(map(str, missing))
        words += f"; image {numbers} not compared: {yardstick.absent}"
    return f"{words}; {TILED}" if case.vae_tiling else words


def _broken_words(images: list[ImageCompared]) -> str:
    broken = [entry for entry in images if entry.verdict == "broken"]
    first = broken[0]
    passes = ", ".join(str(number) if number else "profile" for number in first.passes)
    assert first.fault is not None
    words = f"image {first.image + 1} of pass {passes} is {FAULT_WORDS[first.fault]}"
    if first.correlation is not None:
        words += f" (correlation {first.correlation:.2f})"
    return words if len(broken) == 1 else f"{words}; {len(broken)} different pictures are wrong"


def _worst_place(images: list[ImageCompared], stages: list[StageDifference]) -> TracedStage:
    """Which stage is furthest beyond what is allowed."""
    found = [*stages]
    for entry in images:
        found += [stage for stage in (entry.latents, entry.picture) if stage is not None]
    return max(found, key=lambda stage: stage.margin or 0).stage


def worst(verdicts: Iterable[Correctness]) -> Correctness:
    """The worst of some verdicts; ``unknown`` where there is none."""
    return min(verdicts, key=CORRECTNESS_SEVERITY.index, default="unknown")


def _distinct_pictures(
    replicate: Replicate,
) -> dict[tuple[int, str, str], tuple[list[int], Picture]]:
    """Each image as it came out, by number and digests, and in which passes it came out so."""
    found: dict[tuple[int, str, str], tuple[list[int], Picture]] = {}
    for entry in replicate.passes:
        if entry.kind == "prime":
            continue  # one step: another picture by design
        for image, picture in enumerate(entry.images):
            key = image, picture.pixels_sha256, picture.latents_sha256
            found.setdefault(key, ([], picture))[0].append(entry.index)
    return found
