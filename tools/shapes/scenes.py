"""Random scenes of the language, laid out on the canvas; some are held out from training."""

import random
import zlib
from dataclasses import dataclass

from sdbench.correctness.scene import (
    HOLDERS,
    OPENINGS,
    PALETTE,
    RELATION_WORDS,
    SHAPES,
    Item,
    Relation,
    Scene,
)

HELD_OUT_SHARE = 10
"""One scene in this many is never trained on."""
_MARGIN = 0.04

# Share of each kind of scene: number of shapes and their relation.
_KINDS: list[tuple[int, Relation | None, float]] = [
    (1, None, 0.20),
    (2, "left of", 0.17),
    (2, "above", 0.17),
    (2, "inside", 0.17),
    (2, None, 0.09),
    (3, "left of", 0.06),
    (3, "above", 0.06),
    (3, None, 0.08),
]

Box = tuple[float, float, float]
"""Centre x, centre y and half the width, in units of the image's side; y points down."""


@dataclass(frozen=True)
class Drawing:
    """A scene with its wording and the place of every shape, in drawing order."""

    scene: Scene
    caption: str
    boxes: tuple[Box, ...]


def is_held_out(scene: Scene) -> bool:
    """Whether training must never see this scene, in any wording or layout."""
    return zlib.crc32(scene.caption().encode()) % HELD_OUT_SHARE == 0


def random_scene(rng: random.Random, *, held_out: bool) -> Scene:
    """A scene from one side of the split."""
    while True:
        weights = [weight for _, _, weight in _KINDS]
        (count, relation, _), *_ = rng.choices(_KINDS, weights)
        background, *colours = rng.sample(list(PALETTE), count + 1)
        shapes = [rng.choice(SHAPES) for _ in colours]
        if relation == "inside":
            shapes[1] = rng.choice(HOLDERS)
        items = tuple(Item(c, s) for c, s in zip(colours, shapes, strict=True))
        scene = Scene(background, items, relation)
        if is_held_out(scene) == held_out:
            return scene


def random_caption(rng: random.Random, scene: Scene) -> str:
    """One of the wordings of a scene."""
    words = None
    if scene.relation is not None:
        words = rng.choice(RELATION_WORDS[scene.relation])[0]
    opening = rng.choice(OPENINGS) if rng.random() < 0.5 else ""
    return scene.caption(words, opening, background_first=rng.random() < 0.3)


def random_drawing(rng: random.Random) -> Drawing:
    """A scene to train on."""
    scene = random_scene(rng, held_out=False)
    return Drawing(scene, random_caption(rng, scene), _layout(rng, scene))


def _layout(rng: random.Random, scene: Scene) -> tuple[Box, ...]:
    count = len(scene.items)
    if count == 1:
        return (_anywhere(rng, rng.uniform(0.35, 0.75) / 2),)
    if scene.relation == "inside":
        return _nested(rng, scene.items[1])
    if scene.relation is None:
        return _in_quarters(rng, count)
    return _in_line(rng, count, upright=scene.relation == "above")


def _anywhere(rng: random.Random, half: float) -> Box:
    low, high = _MARGIN + half, 1 - _MARGIN - half
    return rng.uniform(low, high), rng.uniform(low, high), half


def _nested(rng: random.Random, holder: Item) -> tuple[Box, ...]:
    x, y, half = _anywhere(rng, rng.uniform(0.62, 0.88) / 2)
    share, shift = (0.36, 0.02) if holder.shape == "ring" else (rng.uniform(0.36, 0.46), 0.1)
    dx, dy = (rng.uniform(-shift, shift) * half for _ in range(2))
    return (x + dx, y + dy, share * half), (x, y, half)


def _in_quarters(rng: random.Random, count: int) -> tuple[Box, ...]:
    boxes = []
    for quarter in rng.sample(range(4), count):
        half = rng.uniform(0.27, 0.38) / 2
        low, high = _MARGIN + half, 0.5 - _MARGIN / 2 - half
        boxes.append(
            (
                quarter % 2 * 0.5 + rng.uniform(low, high) - (_MARGIN / 2) * (quarter % 2),
                quarter // 2 * 0.5 + rng.uniform(low, high) - (_MARGIN / 2) * (quarter // 2),
                half,
            )
        )
    return tuple(boxes)


def _in_line(rng: random.Random, count: int, *, upright: bool) -> tuple[Box, ...]:
    small, large = (0.27, 0.42) if count == 2 else (0.22, 0.27)
    sizes = [rng.uniform(small, large) for _ in range(count)]
    room = 1 - 2 * _MARGIN - sum(sizes)
    cuts = sorted(rng.random() for _ in range(count))
    least = 0.03
    spare = room - least * (count - 1)
    across = rng.uniform(_MARGIN + max(sizes) / 2, 1 - _MARGIN - max(sizes) / 2)
    boxes, edge = [], _MARGIN
    for index, extent in enumerate(sizes):
        before = cuts[index] - (cuts[index - 1] if index else 0.0)
        edge += spare * before + (least if index else 0.0)
        low, high = _MARGIN + extent / 2, 1 - _MARGIN - extent / 2
        side = min(max(across + rng.uniform(-0.06, 0.06), low), high)
        along = edge + extent / 2
        boxes.append((side, along, extent / 2) if upright else (along, side, extent / 2))
        edge += extent
    return tuple(boxes)
