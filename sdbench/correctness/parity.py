"""Compares a replicate's images with the CPU's: how large the difference is, and whether rounding
explains it.

`match`: no stage is further from the reference than :data:`~.thresholds.MATCH_MULTIPLE` times what
the noise floor explains, and nothing is to be seen. `drift`: further, or what only a careful eye
sees. `broken`: NaN, black, flat, noise, another image, or a difference that anybody sees.
`unknown`: there was nothing to compare with, or the floor is too high to tell. The margin is the
distance over what is allowed, so up to 1 it matches. Identical images need no floor.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.correctness import measures, picture_measures, thresholds
from sdbench.correctness import picture_faults as pictures
from sdbench.correctness.arithmetic import own_arithmetic
from sdbench.correctness.artifact_files import Artifacts, Tensors, is_finite
from sdbench.correctness.floors import Floor
from sdbench.correctness.own_rounding import (
    OF_A_SHAPE,
    amplified_by,
    as_far_as_its_picture,
    as_far_as_rounding,
    cell_errors,
    faint_tones,
    is_gross,
    moved_cells,
    own_margins,
    times_to_make,
    unexplained,
)
from sdbench.correctness.padding import PADDED, padded_images, without_accusation
from sdbench.correctness.picture_differences import picture_differences
from sdbench.correctness.references import Reference, Rounded
from sdbench.correctness.stage_differences import (
    allowed_by_rounding,
    divergence_of,
    furthest,
    picture_stage,
    stage_difference,
    traced_stages,
    worst_stages,
)
from sdbench.correctness.verdict_words import reason_of
from sdbench.records import (
    CORRECTNESS_SEVERITY,
    Arithmetic,
    Case,
    Compared,
    Content,
    Correctness,
    Divergence,
    ImageCompared,
    OwnRounding,
    Picture,
    PictureDifference,
    PictureFault,
    Replicate,
    StageDifference,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_NOT_KEPT = "the image was not kept, so its decode was not checked"
_NOT_ROUNDED = "how much rounding alone changes this image was not measured"
_TOO_FEW_TIMES = "how much rounding alone changes this image was measured a few times only"
_NO_PICTURE_FLOOR = "how much rounding explains of the image was not measured"


@dataclass(frozen=True)
class ReferenceSet:
    """What a case's replicates are compared with; ``absent`` says why a part is missing."""

    references: Mapping[int, Reference] = field(default_factory=dict)
    """By image, those there are."""
    floor: Floor | None = None
    absent: str | None = None
    rounded: Mapping[int, Rounded] = field(default_factory=dict)
    """By image, those made as rounding alone makes them: images that were beyond the floor."""
    not_rounded: str | None = None
    """Why one was not made, or not more often."""
    arithmetic: Arithmetic | None = None
    """What may have rounded the device's results; None: what the data type itself does."""
    excess: str | None = None
    """Why the floor is not believed, where :meth:`trusted` has left it out."""

    def arithmetic_of(self, case: Case) -> Arithmetic | None:
        """What may have rounded a case's results more than float32 does; None: nothing."""
        return self.arithmetic or own_arithmetic(case.dtype)

    def trusted(self) -> "ReferenceSet":
        """The same without what would explain any fault of a device.

        That is a floor higher than rounding can be, and an image whose arithmetic overflowed on
        the CPU.
        """
        finite = {image: one for image, one in self.rounded.items() if is_finite(one.tensors)}
        excess = None if self.floor is None else self.floor.excess
        known = replace(self, rounded=finite)
        return known if excess is None else replace(known, floor=None, absent=excess, excess=excess)

    @property
    def not_float64(self) -> list[str] | None:
        """Modules whose rounding the floor does not contain; None: not known, or no floor."""
        names = None if self.floor is None else self.floor.not_float64
        return None if names is None else [*names]


ReadContent = Callable[[int, "Array"], Content | None]
"""Whether an image shows what its prompt asks for; None: that cannot be read."""


def _unread(image: int, pixels: "Array") -> Content | None:
    return None


class ParityResult:
    """Compares the replicates of one run; an image made many times is looked at once."""

    def __init__(self, artifacts: Artifacts, *, trained: bool, read: ReadContent = _unread) -> None:
        self._artifacts = artifacts
        self._trained = trained
        self._read = read
        self._seen: dict[tuple[object, ...], ImageCompared] = {}

    def padded(self, replicate: Replicate, yardstick: ReferenceSet) -> frozenset[int]:
        """Images of a profiled batch that depend on their neighbours' prompts."""
        unmasked = any(one.text_masked is False for one in replicate.of_kind("profile"))
        trace = self._trace_of(replicate) if unmasked else None
        return frozenset() if trace is None else padded_images(trace, yardstick.references)

    def compare(
        self,
        replicate: Replicate,
        case: Case,
        yardstick: ReferenceSet,
        padded: frozenset[int] = frozenset(),
    ) -> Compared:
        """The record for a replicate, whatever became of it.

        ``padded`` are the images of its batch that depend on their neighbours' prompts.
        """
        yardstick = yardstick.trusted()
        images = [
            self._image(case, yardstick, image, passes, picture)
            for (image, *_), (passes, picture) in _distinct_pictures(replicate).items()
        ]
        images = [without_accusation(entry) if entry.image in padded else entry for entry in images]
        stages, divergence = self._traced(replicate, case, yardstick, padded)
        margins = [entry.margin for entry in images] + [entry.margin for entry in stages]
        margin = max((known for known in margins if known is not None), default=None)
        verdict = worst(entry.verdict for entry in images)
        if verdict == "match" and any(map(_is_undecided, images)):
            verdict = "unknown"  # the other images do not acquit one that differs visibly
        if verdict == "match" and margin is not None and margin > 1:
            verdict = "drift"  # a stage on the way differs, though the image came out right
        sources = dict.fromkeys(entry.source for entry in yardstick.references.values())
        return Compared(
            replicate_id=replicate.replicate_id,
            attempt=replicate.attempt,
            case_id=replicate.case_id,
            arm=replicate.arm,
            dtype=case.dtype,
            simulated=replicate.simulated,
            verdict=verdict,
            reason=reason_of(verdict, margin, case, images, stages, yardstick.absent),
            margin=margin,
            reference="; ".join(sources) or None,
            images=images,
            stages=stages,
            divergence=divergence,
            not_float64=yardstick.not_float64,
            padded_images=sorted(padded),
        )

    def _image(
        self, case: Case, yardstick: ReferenceSet, image: int, passes: list[int], picture: Picture
    ) -> ImageCompared:
        reference = yardstick.references.get(image)
        key = (
            *(case.dtype, image, picture.pixels_sha256, picture.latents_sha256, picture.broken),
            *(None if reference is None else reference.folder, yardstick.floor is None),
            yardstick.not_rounded,
        )
        if key not in self._seen:
            self._seen[key] = self._judge_image(case, yardstick, image, picture, reference)
        return msgspec.structs.replace(self._seen[key], passes=passes)

    def _judge_image(
        self,
        case: Case,
        yardstick: ReferenceSet,
        image: int,
        picture: Picture,
        reference: Reference | None,
    ) -> ImageCompared:
        pixels = self._artifacts.pixels(picture.pixels_sha256)
        expected = None if reference is None else measures.to_pixels(reference.picture)
        fault = pictures.certain_fault(picture, pixels)
        if expected is not None and pixels is not None and _is_models_own(fault, expected):
            fault = None
        if fault is None and expected is None and self._trained:
            fault = pictures.likely_fault(picture, pixels)
        found: dict[str, Any] = {"verdict": "unknown", "reason": yardstick.absent, "fault": fault}
        if reference is not None and expected is not None:
            found |= self._beside(case, yardstick, image, picture, pixels, reference, expected)
            found["fault"] = fault or found["fault"]
        if found["fault"] is not None:
            found |= {"verdict": "broken", "margin": None, "reason": None}
            if found["fault"] != "another-picture":  # no rounding makes such a one
                found |= {"own_rounding": None, "own_rounding_missing": None}
        return ImageCompared(
            image=image,
            passes=[],
            pixels_sha256=picture.pixels_sha256,
            latents_sha256=picture.latents_sha256,
            **found,
        )

    def _beside(
        self,
        case: Case,
        yardstick: ReferenceSet,
        image: int,
        picture: Picture,
        pixels: "Array | None",
        reference: Reference,
        expected: "Array",
    ) -> dict[str, Any]:
        """Everything told about an image by its reference."""
        floor = yardstick.floor
        found: dict[str, Any] = {
            "fault": None,
            "reference_pixels_sha256": self._artifacts.keep_pixels(expected),
            "decode_expected_rel_l2": None if floor is None else floor.picture,
            "reference_content": self._read(image, expected),
        }
        divergence = None if floor is None else floor.expected_divergence()
        latents = self._artifacts.latents(picture.latents_sha256)
        steps = reference.latents
        if latents is not None and latents.shape == steps[max(steps)].shape:
            final = None if divergence is None else float(divergence[-1])
            found["latents"] = stage_difference("latents", latents, steps[max(steps)], final, case)
        differences: list[PictureDifference] = []
        alike = pixels is not None and pixels.shape == expected.shape
        if pixels is not None and alike:
            error = None if floor is None else floor.expected_picture(reference.picture_gain)
            found["picture"] = picture_stage(pixels, expected, error, case)
            found["psnr_db"] = measures.peak_signal_to_noise_db(pixels, expected)
            found["ssim"] = measures.structural_similarity(pixels, expected)
            found["correlation"] = measures.correlation(pixels, expected)
            levels = rounding_levels(error, expected, case)
            differences = picture_differences(pixels, expected, levels)
        elif pixels is not None:
            found["fault"] = "another-picture"  # of another size
        elif "latents" in found and pictures.other_latents(found["latents"].cosine):
            found["fault"] = "another-picture"  # the image itself was not kept
        found |= _judged(found, differences, case, yardstick)
        if pixels is None or not alike or yardstick.arithmetic_of(case) is None:
            return found
        misread = found["reference_content"] == "right" and self._read(image, pixels) == "wrong"
        # Of TF32 all images are beyond float32's floor, so there only what is seen counts.
        beyond = case.dtype != "float32" and (found["margin"] or 0) > 1
        if differences or misread or beyond:
            pair = _Pair(image, pixels, expected, latents, steps[max(steps)], levels)
            found |= self._by_own_rounding(case, yardstick, pair, found)
        return found

    def _by_own_rounding(
        self, case: Case, yardstick: ReferenceSet, pair: "_Pair", found: dict[str, Any]
    ) -> dict[str, Any]:
        """The judgement of an image beyond its floor, by what rounding alone makes of this image.

        Where that was not measured, what rounding may have made (AMPLIFIED_SSIM) leaves the verdict
        unknown in half precision; in float32 it stays as it is.
        """
        differences: list[PictureDifference] = found["differences"]
        of_latents = bool(pair.latents_differ_there)
        rounded = yardstick.rounded.get(pair.image)
        if rounded is None or not pair.fits(rounded):
            reported: dict[str, Any] = {
                "own_rounding_missing": yardstick.not_rounded or _NOT_ROUNDED
            }
            amplified = amplified_by(differences, found.get("latents"), in_place=of_latents)
            if amplified and case.dtype != "float32" and found["ssim"] >= thresholds.AMPLIFIED_SSIM:
                left = [entry for entry in differences if entry not in amplified]
                reported |= _judged(found, left, case, yardstick)
                # What else is seen stays a finding.
                if not left and reported["verdict"] != "broken":
                    reported |= {"verdict": "unknown", "reason": reported["own_rounding_missing"]}
            return reported
        own = [measures.to_pixels(picture) for picture in rounded.pictures]
        read = [self._read(pair.image, picture) for picture in own]
        record = OwnRounding(
            arithmetic=yardstick.arithmetic_of(case),
            latents_rel_l2=furthest(rounded.latents, pair.expected_latents),
            picture_rel_l2=furthest(own, pair.expected),
            ssim=min(measures.structural_similarity(one, pair.expected) for one in own),
            part_levels=max(float(cell_errors(one, pair.expected).max()) for one in own),
            moved_share=float(moved_cells(pair.expected, own, pair.levels).mean()),
            content=read,
            pixels_sha256=[name for one in own if (name := self._artifacts.keep_pixels(one))],
        )
        left = unexplained(pair.pixels, pair.expected, own, differences, pair.levels)
        margins = own_margins(found, record)
        beyond = [name for name, margin in margins.items() if margin > 1]
        beyond += [entry.kind for entry in left]
        of_a_shape = any(entry.kind in OF_A_SHAPE for entry in differences)
        followed = of_latents or as_far_as_rounding(found.get("latents"), record)
        if yardstick.excess is not None:  # the image stays "unknown", which acquits nothing
            pair_of = found.get("latents"), found.get("picture")
            followed = followed or as_far_as_its_picture(*pair_of, record)
        if of_a_shape and not left and not followed:  # (tones have no place to be compared in)
            beyond.append("decode")
        reported = {}
        if beyond:
            reported = _judged(found, left or differences, case, yardstick)
        else:
            reported = _judged(found, [], case, yardstick)
            if reported["verdict"] != "unknown":  # without a floor to trust it stays so
                reported |= {"verdict": "drift", "margin": max(margins.values(), default=None)}
        misread = found["reference_content"] == "right" and "wrong" not in read
        if misread and self._read(pair.image, pair.pixels) == "wrong":
            beyond.append("content")
        if beyond and times_to_make(rounded) is not None and not is_gross(found, record):
            reported["own_rounding_missing"] = yardstick.not_rounded or _TOO_FEW_TIMES
            faint = [] if case.dtype == "float32" else faint_tones(left, found.get("latents"))
            if len(faint) == len(beyond):  # nothing else, so more of rounding may explain it
                reported |= {"verdict": "unknown", "reason": reported["own_rounding_missing"]}
        return reported | {"own_rounding": msgspec.structs.replace(record, beyond=beyond)}

    def _trace_of(self, replicate: Replicate) -> Tensors | None:
        digests = [entry.trace_sha256 for entry in replicate.passes if entry.trace_sha256]
        return self._artifacts.trace(digests[0]) if digests else None

    def _traced(
        self,
        replicate: Replicate,
        case: Case,
        yardstick: ReferenceSet,
        padded: frozenset[int],
    ) -> tuple[list[StageDifference], list[Divergence]]:
        """Stages and divergence of the profiling pass, the worst over the images it kept."""
        trace = self._trace_of(replicate)
        if trace is None:
            return [], []
        references = {
            image: reference
            for image, reference in yardstick.references.items()
            if image < len(trace.arrays["pictures"]) and image not in padded
        }
        if not references:
            return [], []
        stages: list[StageDifference] = []
        divergences: list[Divergence] = []
        for image, reference in references.items():
            own = allowed_by_rounding(yardstick.rounded.get(image), reference)
            divergence = divergence_of(image, trace, reference, yardstick.floor, case, own)
            if divergence is not None:
                divergences.append(divergence)
            stages += traced_stages(image, trace, reference, yardstick.floor, case, divergence, own)
        return worst_stages(stages), divergences


@dataclass(frozen=True)
class _Pair:
    """An image and the CPU's in float32; ``levels`` is what the floor explains."""

    image: int
    pixels: "Array"
    expected: "Array"
    latents: "Array | None"
    expected_latents: "Array"
    levels: float

    @property
    def latents_differ_there(self) -> bool:
        """Whether the latents differ where the image does (AMPLIFIED_LATENTS)."""
        if self.latents is None:
            return False
        alike = measures.correlation_of_errors(
            self.pixels, self.expected, self.latents, self.expected_latents
        )
        return alike is not None and alike >= thresholds.AMPLIFIED_LATENTS

    def fits(self, rounded: Rounded) -> bool:
        """Whether these are of the same image, by their sizes."""
        height, width = self.expected.shape[:2]
        return all(one.shape[-2:] == (height, width) for one in rounded.pictures) and all(
            one.shape == self.expected_latents.shape for one in rounded.latents
        )


def _is_models_own(fault: PictureFault | None, expected: "Array") -> bool:
    """Whether the CPU's image is of that kind too, so that the two are to be compared."""
    if fault == "saturated":
        return pictures.is_saturated(expected)
    return fault == "flat" and picture_measures.is_of_one_colour(expected)


def _fault_of(
    differences: list[PictureDifference], correlation: float | None
) -> PictureFault | None:
    """The fault that makes an image another one, if one of the differences does."""
    kinds = {entry.kind for entry in differences}
    if "flat" in kinds:
        return "flat"
    if "noise" in kinds:
        return "noise"
    alike = correlation is None or correlation >= thresholds.SAME_PICTURE_CORRELATION
    other = "another-picture" in kinds or (not alike and kinds & _OF_ANOTHER_PLACE)
    return "another-picture" if other else None


_OF_ANOTHER_PLACE = frozenset({"shift", "mirrored", "exchanged-parts"})


def rounding_levels(error: float | None, expected: "Array", case: Case) -> float:
    """What rounding explains of an 8-bit image: root mean square in levels."""
    relative = thresholds.SOME_ROUNDING[case.dtype] if error is None else error
    eight_bits = 0.29  # a level's uniform distribution has a deviation of 1 / sqrt(12)
    return relative * picture_measures.root_mean_square(expected) + eight_bits


def _judged(
    found: dict[str, Any], differences: list[PictureDifference], case: Case, yardstick: ReferenceSet
) -> dict[str, Any]:
    """Fault, verdict, margin and reason of an image with these differences from the CPU's."""
    fault = found["fault"]
    if "correlation" in found:
        fault = _fault_of(differences, found["correlation"])
    reported = _verdict(found, differences, case, yardstick)
    return reported | {"differences": differences, "fault": fault}


def _verdict(
    found: dict[str, Any],
    differences: list[PictureDifference],
    case: Case,
    yardstick: ReferenceSet,
) -> dict[str, Any]:
    """Verdict, margin and reason of an image that has a reference and no fault of its own."""
    stages = [found[name] for name in ("latents", "picture") if name in found]
    margins = [stage.margin for stage in stages if stage.margin is not None]
    reported: dict[str, Any] = {"margin": max(margins, default=None), "reason": None}
    if any(entry.is_plain for entry in differences):
        return reported | {"verdict": "broken"}
    if differences or (margins and max(margins) > 1):
        return reported | {"verdict": "drift"}
    picture = found.get("picture")
    if picture is not None and picture.rel_l2 == 0:
        return {
            "margin": 0.0,
            "reason": None,
            "verdict": "match",
        }  # what is identical needs no floor
    if yardstick.floor is None:
        return reported | {"verdict": "unknown", "reason": yardstick.absent}
    if picture is None:
        return reported | {"verdict": "unknown", "reason": _NOT_KEPT}
    if picture.margin is None:
        return reported | {"verdict": "unknown", "reason": _NO_PICTURE_FLOOR}
    seen = picture.rel_l2 is not None and picture.rel_l2 > thresholds.VISIBLE_ERROR
    return reported | {"verdict": "drift" if seen else "match"}


def _is_undecided(entry: ImageCompared) -> bool:
    """Whether it differs visibly, and rounding that was not measured, or padding, may be why."""
    may_be_of_rounding = entry.own_rounding_missing is not None
    return entry.verdict == "unknown" and (may_be_of_rounding or entry.reason == PADDED)


def worst(verdicts: Iterable[Correctness]) -> Correctness:
    """The worst of some verdicts; ``unknown`` where there is none."""
    return min(verdicts, key=CORRECTNESS_SEVERITY.index, default="unknown")


def _distinct_pictures(
    replicate: Replicate,
) -> dict[tuple[int, str, str, str | None], tuple[list[int], Picture]]:
    """Each image as it came out, by number and digests, and in which passes it came out so.

    NaN is stored as black, so the digests of a black image and one of NaN are the same.
    """
    found: dict[tuple[int, str, str, str | None], tuple[list[int], Picture]] = {}
    for entry in replicate.passes:
        if entry.kind == "prime":
            continue  # one step: another image by design
        for image, picture in enumerate(entry.images):
            key = image, picture.pixels_sha256, picture.latents_sha256, picture.broken
            found.setdefault(key, ([], picture))[0].append(entry.index)
    return found
