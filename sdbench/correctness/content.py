"""Does an image show what its prompt asked for? A reader for images of ``builtin/shapes``.

It needs no reference image and no network: colours come from a fixed palette, every shape of an
image has a colour of its own, so the pixels of one colour are one shape, which is compared with the
six outlines. The verdict depends on the pixels and the prompt alone.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from sdbench.correctness.scene import (
    PALETTE,
    SHAPES,
    Item,
    PromptError,
    Relation,
    Scene,
    Shape,
    parse_prompt,
)
from sdbench.correctness.shape_outlines import covers
from sdbench.records import Content

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Labels = NDArray[np.int8]
    Mask = NDArray[np.bool_]

_NEAR = 60
"""A pixel has a palette colour's name within this distance (levels); colours are 92 apart."""
_MOST_UNNAMED = 0.15
"""Edges blend two colours; at 128 pixels those of three shapes are about 6% of an image."""
_LEAST_AREA = 0.005
"""Of the image; the smallest shape trained on, a star, covers 0.018."""
_LEAST_OVERLAP = 0.65
"""Intersection over union with the best outline: two of a shape side by side reach 0.5, tips that
the VAE has rounded off cost a small star 0.3."""
_ROUNDED = (1.0, 1.12)
"""An outline may be so much larger than the box of the pixels: rounded tips fill less of it."""
_MOST_STRETCHED = 1.3
"""Width against height or the reverse; every shape is drawn as wide as high."""


@dataclass(frozen=True)
class ContentVerdict:
    """``content`` is None when the prompt says nothing that can be checked; ``reason`` says why."""

    content: Content | None
    reason: str | None = None


@dataclass(frozen=True)
class _Found:
    """The pixels of one colour: their box (edges in pixels) and the shape they are most like."""

    left: int
    top: int
    right: int
    bottom: int
    shape: Shape | None

    @property
    def x(self) -> float:
        return (self.left + self.right) / 2

    @property
    def y(self) -> float:
        return (self.top + self.bottom) / 2


def judge(pixels: "Pixels", prompt: str) -> ContentVerdict:
    """Judge an image (height, width, 3) against its prompt."""
    try:
        scene = parse_prompt(prompt)
    except PromptError as error:
        return ContentVerdict(None, f"the prompt is {error}")
    fault = _fault(pixels, scene)
    return ContentVerdict("right") if fault is None else ContentVerdict("wrong", fault)


def _fault(pixels: "Pixels", scene: Scene) -> str | None:
    """The first thing that is not as asked, or None."""
    labels = _name_colours(pixels)
    unnamed = float((labels < 0).mean())
    if unnamed > _MOST_UNNAMED:
        return f"{unnamed:.0%} of the image has a colour that was not asked for"
    background = _border_colour(labels)
    if background != scene.background:
        return f"the background is {background or 'of no one colour'}, not {scene.background}"
    wanted = {scene.background, *(item.colour for item in scene.items)}
    for colour in PALETTE:
        if colour not in wanted and _covers_enough(labels, colour):
            return f"it shows something {colour} that was not asked for"
    places = []
    for item in scene.items:
        found = _find(labels, item, scene)
        if found is None:
            return f"there is nothing {item.colour}"
        if found.shape != item.shape:
            return f"the {item.colour} object is {_a(found.shape)}, not {_a(item.shape)}"
        places.append(found)
    for (first, one), (second, other) in _neighbours(scene, places):
        if scene.relation is not None and not _holds(scene.relation, one, other):
            return f"the {first} is not {scene.relation} the {second}"
    return None


def _a(shape: Shape | None) -> str:
    return "none of the shapes" if shape is None else f"a {shape}"


def _neighbours(
    scene: Scene, places: list[_Found]
) -> list[tuple[tuple[Item, _Found], tuple[Item, _Found]]]:
    pairs = list(zip(scene.items, places, strict=True))
    return list(pairwise(pairs))


def _name_colours(pixels: "Pixels") -> "Labels":
    """The index of each pixel's palette colour, -1 where it is near none."""
    import numpy as np

    palette = np.array(list(PALETTE.values()), dtype=np.int32)
    difference = pixels[:, :, None, :].astype(np.int32) - palette
    distance = (difference**2).sum(axis=-1)
    labels: Labels = distance.argmin(axis=-1).astype(np.int8)
    labels[distance.min(axis=-1) > _NEAR**2] = -1
    return labels


def _border_colour(labels: "Labels") -> str | None:
    """The colour of most of the outermost pixels, if it is of half of them at least."""
    import numpy as np

    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    counts = np.bincount(border[border >= 0], minlength=len(PALETTE))
    if counts.max() < len(border) / 2:
        return None
    return list(PALETTE)[int(counts.argmax())]


def _mask(labels: "Labels", colour: str) -> "Mask":
    import numpy as np

    return np.asarray(labels == list(PALETTE).index(colour))


def _covers_enough(labels: "Labels", colour: str) -> bool:
    if _mask(labels, colour).mean() < _LEAST_AREA:
        return False
    return bool(_blob(labels, colour).mean() >= _LEAST_AREA)


def _blob(labels: "Labels", colour: str) -> "Mask":
    """The pixels of a colour without lines as thin as blended edges (a morphological opening)."""
    reach = max(1, round(max(labels.shape) / 160))
    return _grow(~_grow(~_mask(labels, colour), reach), reach)


def _grow(mask: "Mask", reach: int) -> "Mask":
    """Every pixel within ``reach`` of the mask, along both axes; outside counts as clear."""
    import numpy as np

    for axis in (0, 1):
        grown = mask.copy()
        for step in range(1, reach + 1):
            ahead: list[Any] = [slice(None), slice(None)]
            behind: list[Any] = [slice(None), slice(None)]
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            grown[tuple(ahead)] |= mask[tuple(behind)]
            grown[tuple(behind)] |= mask[tuple(ahead)]
        mask = np.asarray(grown)
    return mask


def _find(labels: "Labels", item: Item, scene: Scene) -> _Found | None:
    import numpy as np

    blob, mask = _blob(labels, item.colour), _mask(labels, item.colour)
    if blob.mean() < _LEAST_AREA:
        return None
    # The opening took the tips of stars and triangles too: let the blob grow back into them.
    for _ in range(max(labels.shape) // 32):
        blob = _grow(blob, 1) & mask
    rows, columns = np.flatnonzero(blob.any(axis=1)), np.flatnonzero(blob.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    shape = None
    width, height = right - left, bottom - top
    if max(width, height) <= _MOST_STRETCHED * min(width, height):
        surroundings = _mask(labels, scene.background)
        if scene.relation == "inside" and item == scene.items[0]:
            surroundings |= _mask(labels, scene.items[1].colour)
        inside = slice(top, bottom), slice(left, right)
        shape = _most_like(blob[inside], surroundings[inside])
    return _Found(left, top, right, bottom, shape)


def _most_like(mask: "Mask", surroundings: "Mask") -> Shape | None:
    """The shape whose outline, drawn into the same box, overlaps most.

    Only pixels that are clearly of the shape or clearly around it count: not the blended edges and
    not what lies inside a holder.
    """
    import numpy as np

    height, width = mask.shape
    y = (np.arange(height)[:, None] + 0.5) / height * 2 - 1
    x = (np.arange(width)[None, :] + 0.5) / width * 2 - 1
    counted = mask | surroundings
    overlaps: dict[Shape, float] = {}
    for shape in SHAPES:
        outlines = [covers(shape, x / scale, y / scale) & counted for scale in _ROUNDED]
        overlaps[shape] = max(_overlap(mask, outline) for outline in outlines)
    best = max(overlaps, key=overlaps.__getitem__)
    return best if overlaps[best] >= _LEAST_OVERLAP else None


def _overlap(one: "Mask", other: "Mask") -> float:
    """Intersection over union."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def _holds(relation: Relation, one: _Found, other: _Found) -> bool:
    """Whether the relation holds, as a person would say it: clearly, and not just by a little."""
    right, down = other.x - one.x, other.y - one.y
    if relation == "left of":
        return right > abs(down) and one.right <= other.x and one.x <= other.left
    if relation == "above":
        return down > abs(right) and one.bottom <= other.y and one.y <= other.top
    return (
        one.left >= other.left
        and one.top >= other.top
        and one.right <= other.right
        and one.bottom <= other.bottom
    )
