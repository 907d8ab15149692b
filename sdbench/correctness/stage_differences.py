"""How far the results of a pass's stages are from the CPU's, and how far rounding explains."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.correctness import measures, thresholds
from sdbench.correctness.artifact_files import Tensors
from sdbench.correctness.floors import Floor
from sdbench.correctness.own_rounding import allowed_by_own
from sdbench.correctness.references import Reference, Rounded
from sdbench.records import Case, Divergence, StageDifference, TracedStage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def furthest(own: "Iterable[Array]", expected: "Array") -> float | None:
    """The largest relative distance of some results from the CPU's in float32."""
    distances = [measures.relative_l2(one, expected) for one in own]
    return max((one for one in distances if one is not None), default=None)


def traced_stages(
    image: int,
    trace: Tensors,
    reference: Reference,
    floor: Floor | None,
    case: Case,
    divergence: Divergence | None,
    own: "AllowedByOwn",
) -> list[StageDifference]:
    """Text, final latents and pixels of one image of a trace; latents with their worst margin."""
    stages = []
    for name, array in reference.tensors.text.items():
        got = trace.arrays.get(name)
        if got is not None and got[image].shape == array[0].shape:
            error = None if floor is None else floor.text
            stages.append(stage_difference("text", got[image], array[0], error, case))
    if divergence is not None:
        final, curve = divergence.step[-1], None
        if floor is not None and (expected := floor.expected_divergence()) is not None:
            curve = float(expected[-1])
        stage = stage_difference(
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
        stages.append(picture_stage(*beside, error, case, own.picture))
    return stages


@dataclass(frozen=True)
class AllowedByOwn:
    """How far an image may be from float32 by its own rounding: latents by step, the image."""

    latents: Mapping[int, float] = field(default_factory=dict)
    picture: float = 0.0


def allowed_by_rounding(rounded: Rounded | None, reference: Reference) -> AllowedByOwn:
    """Nothing where that was not measured."""
    if rounded is None:
        return AllowedByOwn()
    kept, known = rounded.tensors.kept, reference.latents
    path = rounded.tensors.arrays["latents"]
    latents = {
        step: furthest(path[:, kept.index(step)], known[step])
        for step in known
        if step in kept and path.shape[2:] == known[step].shape
    }
    own = [measures.to_pixels(picture) for picture in rounded.pictures]
    expected = measures.to_pixels(reference.picture)
    picture = furthest(own, expected) if own[0].shape == expected.shape else None
    times = rounded.times
    return AllowedByOwn(
        {step: allowed_by_own(distance, times) for step, distance in latents.items()},
        allowed_by_own(picture, times),
    )


def divergence_of(
    image: int,
    trace: Tensors,
    reference: Reference,
    floor: Floor | None,
    case: Case,
    own: AllowedByOwn,
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
            None
            if expected is None
            else max(_allowed(float(expected[step]), case), own.latents.get(step, 0.0))
            for step in steps
        ],
    )


def stage_difference(
    stage: TracedStage,
    got: "Array",
    reference: "Array",
    expected: float | None,
    case: Case,
    always: float = 0.0,
    own: float = 0.0,
) -> StageDifference:
    """One result compared with the reference's; ``always`` is allowed beyond what rounding
    explains.

    ``own`` is allowed of this very image by its own rounding.
    """
    rel_l2 = measures.relative_l2(got, reference)
    margin = 0.0 if rel_l2 == 0 else None
    if rel_l2 and expected is not None:
        margin = rel_l2 / max(_allowed(expected, case) + always, own)
    return StageDifference(
        stage=stage,
        rel_l2=rel_l2,
        max_abs=measures.max_abs(got, reference),
        cosine=measures.cosine(got, reference),
        expected_rel_l2=expected,
        margin=margin,
    )


def picture_stage(
    got: "Array",
    reference: "Array",
    expected: float | None,
    case: Case,
    own: float = 0.0,
) -> StageDifference:
    """As :func:`stage_difference`, from 0 to 1; two 8-bit images may round differently."""
    import numpy as np

    always = 0.0
    if reference.dtype == np.uint8:
        got, reference = (array.astype(np.float64) / 255 for array in (got, reference))
        level = thresholds.EIGHT_BIT_STEP / 2
        always = level / max(float(np.sqrt((reference**2).mean())), level)
    return stage_difference("picture", got, reference, expected, case, always, own)


def _allowed(expected: float, case: Case) -> float:
    """The largest relative distance that still counts as the same; never below the type's own."""
    return thresholds.MATCH_MULTIPLE * max(expected, thresholds.UNIT_ROUNDOFF[case.dtype])


def worst_stages(stages: list[StageDifference]) -> list[StageDifference]:
    """Of each kind of stage the one furthest off, in the order of a pass."""
    order: tuple[TracedStage, ...] = ("text", "latents", "picture")
    found = []
    for kind in order:
        alike = [stage for stage in stages if stage.stage == kind]
        if alike:
            found.append(max(alike, key=lambda stage: (stage.margin or 0, stage.rel_l2 or 0)))
    return found
