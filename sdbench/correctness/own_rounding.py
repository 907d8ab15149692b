"""Does rounding alone explain how far an image is from the CPU's in float32?

It is asked of half precision, and of float32 where a device may have multiplied in TF32.
A noise floor is measured one step at a time, so it knows nothing of an image about which a trained
model is undecided: there the steps amplify rounding, and a shape comes out otherwise. Whether this
is such an image is seen by making it on the CPU in the same arithmetic, freely and more than once
(``worker/reference.py``). Rounding moves the same place each time, by amounts that differ
(:data:`~.thresholds.OWN_ROUNDING_MULTIPLE`), and where three times do not explain the image, it is
made more often (:func:`times_to_make`). So it explains a difference that lies in this place
and is not much larger; what remains without this place (a wash-out, a cast, bands, another part)
is judged as in every image.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sdbench.correctness import picture_measures
from sdbench.correctness.artifact_files import is_finite
from sdbench.correctness.picture_differences import picture_differences
from sdbench.correctness.picture_kinds import lone_specks
from sdbench.correctness.references import Rounded
from sdbench.correctness.thresholds import (
    AMPLIFIED_KINDS,
    AMPLIFIED_TONES,
    OWN_LATENTS_SHARE,
    OWN_ROUNDING_GROSS,
    OWN_ROUNDING_LEVELS,
    OWN_ROUNDING_MULTIPLE,
    OWN_ROUNDING_MULTIPLE_OF_MANY,
    OWN_ROUNDING_OF_FLOOR,
    OWN_ROUNDING_TIMES,
    OWN_TONES_MULTIPLE,
    VISIBLE,
)
from sdbench.records import OwnRounding, PictureDifference, StageDifference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pixels = NDArray[Any]

OF_A_SHAPE = frozenset({"part", "unlike", "another-picture"})
"""What a shape that came out otherwise is seen as; no fault of the whole image is among them."""


def times_to_make(made: Rounded | None) -> int | None:
    """How often in all an image is to be made next; None: it was made often enough."""
    if made is None:
        return OWN_ROUNDING_TIMES[0]
    if not is_finite(made.tensors):
        return None  # rounding that overflows explains nothing
    return next((times for times in OWN_ROUNDING_TIMES if times > made.times), None)


def own_multiple(times: int) -> float:
    """How many times the most of so many images still is rounding."""
    many = times >= OWN_ROUNDING_TIMES[1]
    return OWN_ROUNDING_MULTIPLE_OF_MANY if many else OWN_ROUNDING_MULTIPLE


def unexplained(
    got: "Pixels",
    expected: "Pixels",
    own: "Sequence[Pixels]",
    differences: Sequence[PictureDifference],
    rounding: float,
) -> list[PictureDifference]:
    """What is to be seen and is not of rounding, strongest first.

    ``own`` are the CPU's images in this arithmetic, ``differences`` what is to be seen between
    ``got`` and ``expected``, ``rounding`` is what the noise floor explains (root mean square in
    levels).
    """
    import numpy as np

    multiple = own_multiple(len(own))
    # Rounding's own change may be too small to be noticed, while a few times as much is noticed.
    tones = OWN_TONES_MULTIPLE * multiple / OWN_ROUNDING_MULTIPLE
    left = [entry for entry in differences if entry.kind not in OF_A_SHAPE]
    moves = _moves(expected, own)
    excused = moves > _moved_from(rounding)
    limit = max(VISIBLE["part"].noticed, VISIBLE["part"].of_rounding * rounding)
    excused &= cell_errors(got, expected) <= np.maximum(limit, multiple * moves)
    there = excused.repeat(picture_measures.CELL, axis=0).repeat(picture_measures.CELL, axis=1)
    rest = np.where(there[..., None], expected, got)
    left += picture_differences(rest, expected, rounding)
    of_shapes = [entry for entry in left if entry.kind in OF_A_SHAPE]
    if len(of_shapes) < len(left):
        seen_of_own = [
            entry
            for picture in own
            for entry in picture_differences(picture, expected, rounding, share=1 / tones)
        ]
        left = [e for e in left if e.kind in OF_A_SHAPE or not _as_strong(e, seen_of_own, tones)]
    if not any(lone_specks(picture) for picture in (expected, *own)):
        left += _specks(got)
    by_kind = {entry.kind: entry for entry in reversed(left)}
    return sorted(by_kind.values(), key=lambda entry: -entry.strength / entry.noticed)


def allowed_by_own(distance: float | None, times: int) -> float:
    """What is allowed of an image that rounding alone took so far at most, made so many times."""
    return own_multiple(times) * (distance or 0.0)


def own_margins(found: dict[str, Any], own: OwnRounding) -> dict[str, float]:
    """The distance of latents and image over what the floor or the image's own rounding allows.

    A stage whose floor is not known is left out; without the image's the verdict is ``unknown``.
    """
    margins = {}
    for name, distance in (("latents", own.latents_rel_l2), ("picture", own.picture_rel_l2)):
        stage: StageDifference | None = found.get(name)
        if stage is None or stage.margin is None or stage.rel_l2 is None:
            continue
        margins[name] = stage.margin
        if distance:
            by_own = stage.rel_l2 / allowed_by_own(distance, own.times)
            margins[name] = min(stage.margin, by_own)
    return margins


def is_gross(found: dict[str, Any], own: OwnRounding) -> bool:
    """Whether the image is so far off that making it more often would not explain it."""
    picture: StageDifference | None = found.get("picture")
    allowed = OWN_ROUNDING_GROSS * allowed_by_own(own.picture_rel_l2, own.times)
    return picture is not None and picture.rel_l2 is not None and picture.rel_l2 > allowed


def amplified_by(
    differences: Sequence[PictureDifference], latents: StageDifference | None, *, in_place: bool
) -> list[PictureDifference]:
    """The differences that rounding may have made in the steps (AMPLIFIED_LATENTS).

    ``in_place``: the latents differ where the image does. Tones have no place, so of them the
    latents have to differ as rounding makes them differ, and nothing may be plain to see.
    """
    tones = faint_tones(differences, latents)
    return [
        entry
        for entry in differences
        if entry in tones or (in_place and entry.kind in AMPLIFIED_KINDS)
    ]


def faint_tones(
    differences: Sequence[PictureDifference], latents: StageDifference | None
) -> list[PictureDifference]:
    """The tones that are noticed, not plain, in an image whose latents differ by rounding."""
    found, allowed = (latents.rel_l2, latents.expected_rel_l2) if latents else (None, None)
    if found is None or not allowed or found < OWN_LATENTS_SHARE * allowed:
        return []
    return [
        entry
        for entry in differences
        if entry.kind in AMPLIFIED_TONES and entry.strength < entry.plain
    ]


def as_far_as_rounding(latents: StageDifference | None, own: OwnRounding) -> bool:
    """Whether the final latents are about as far off as rounding alone takes them."""
    if latents is None or latents.rel_l2 is None or own.latents_rel_l2 is None:
        return False
    return latents.rel_l2 >= OWN_LATENTS_SHARE * own.latents_rel_l2 > 0


def as_far_as_its_picture(
    latents: StageDifference | None, picture: StageDifference | None, own: OwnRounding
) -> bool:
    """Whether final latents and image are about as far off as each other, as rounding's are.

    Where rounding takes an image far, a device's may come out nearer to the CPU's float32.
    """
    if latents is None or picture is None or not own.latents_rel_l2 or not own.picture_rel_l2:
        return False
    if latents.rel_l2 is None or picture.rel_l2 is None:
        return False
    share = picture.rel_l2 / own.picture_rel_l2
    return latents.rel_l2 >= OWN_LATENTS_SHARE * share * own.latents_rel_l2


def moved_cells(expected: "Pixels", own: "Sequence[Pixels]", rounding: float) -> "Array":
    """In which cells of 8x8 pixels, or next to which, rounding alone changes the image."""
    moved: Array = _moves(expected, own) > _moved_from(rounding)
    return moved


def _moves(expected: "Pixels", own: "Sequence[Pixels]") -> "Array":
    """By how many levels rounding alone changes each cell, or one next to it, at most."""
    import numpy as np

    return _around(np.max([cell_errors(picture, expected) for picture in own], axis=0))


def _moved_from(rounding: float) -> float:
    """From how many levels on a cell counts as changed."""
    return max(OWN_ROUNDING_LEVELS, OWN_ROUNDING_OF_FLOOR * rounding)


def cell_errors(got: "Pixels", expected: "Pixels") -> "Array":
    """Root mean square difference in levels of every cell of 8x8 pixels: (rows, columns)."""
    import numpy as np

    side = picture_measures.CELL
    rows, columns = (size // side for size in expected.shape[:2])
    squares = (got.astype(np.float64) - expected.astype(np.float64)) ** 2
    errors: Array = np.sqrt(squares.reshape(rows, side, columns, side, -1).mean(axis=(1, 3, 4)))
    return errors


def _around(errors: "Array") -> "Array":
    """The largest of each cell and the eight next to it."""
    import numpy as np

    rows, columns = errors.shape
    padded = np.pad(errors, 1, mode="edge")
    near = [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    largest: Array = np.max(near, axis=0)
    return largest


def _as_strong(entry: PictureDifference, own: Sequence[PictureDifference], multiple: float) -> bool:
    """Whether rounding alone makes a difference of this kind, not much weaker."""
    return any(
        entry.kind == other.kind and entry.strength <= multiple * other.strength for other in own
    )


def _specks(got: "Pixels") -> list[PictureDifference]:
    """Single pixels that stand out by themselves: a shape that moves brings none."""
    number, limit = lone_specks(got), VISIBLE["specks"]
    if not number:
        return []
    return [
        PictureDifference(
            kind="specks",
            strength=number / (got.shape[0] * got.shape[1]),
            noticed=limit.noticed,
            plain=limit.plain,
            words=f"{number} single pixels are wrong (specks)",
        )
    ]
