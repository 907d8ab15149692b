"""What an image tells of its fault without a reference, and what it does not."""

import numpy as np
import pytest
from drawn_scenes import draw_scene, with_noise
from numpy.typing import NDArray

from sdbench.correctness.picture_kinds import kinds_of
from sdbench.correctness.scene import Item, Scene

Pixels = NDArray[np.uint8]
SIDE = 128
RNG = np.random.default_rng


def landscape(side: int = SIDE) -> Pixels:
    """Sky, hills, a sun and texture, with dark and light in it."""
    y, x = np.mgrid[0:side, 0:side] / side
    hills = y > 0.55 + 0.1 * np.sin(7 * x) + 0.04 * np.sin(23 * x)
    sky = np.stack([0.5 + 0.4 * y, 0.6 + 0.3 * y, 0.95 - 0.1 * y], axis=2)
    ground = np.stack([0.05 + 0.3 * x, 0.3 - 0.25 * y * x, 0.05 + 0.1 * y], axis=2)
    made = np.where(hills[..., None], ground, sky)
    made[(x - 0.7) ** 2 + (y - 0.25) ** 2 < 0.01] = (1.0, 0.95, 0.6)
    texture = RNG(1).normal(0, 1, (side, side))
    for _ in range(2):
        texture = (texture + np.roll(texture, 1, 0) + np.roll(texture, 1, 1)) / 3
    return to_pixels(made + 0.06 * texture[..., None])


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    made: Pixels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return made


def drawing() -> Pixels:
    scene = Scene("white", (Item("red", "circle"), Item("blue", "star")), "left of")
    return draw_scene(scene, [(0.3, 0.5, 0.18), (0.72, 0.5, 0.18)], SIDE)


def names(pixels: Pixels) -> list[tuple[str, str]]:
    return [(found.kind, found.confidence) for found in kinds_of(pixels)]


@pytest.mark.parametrize(
    "pixels",
    [
        landscape(),
        landscape(256),
        drawing(),
        with_noise(drawing(), 6.0),
        landscape()[:, ::-1],
        np.repeat(landscape().mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
        landscape()[:20, :20],
    ],
    ids=["landscape", "large", "drawing", "scanned drawing", "mirrored", "grey", "tiny"],
)
def test_ordinary_pictures_have_no_kind(pixels: Pixels) -> None:
    assert kinds_of(pixels) == []


def flat(*rgb: int) -> Pixels:
    return np.full((SIDE, SIDE, 3), rgb, np.uint8)


def tiles(parts: int, by: int) -> Pixels:
    signs = RNG(5).choice([-by, by], (parts, parts))
    signs[0, :2], signs[1, :2] = (by, -by), (-by, by)
    stepped = np.kron(signs, np.ones((SIDE // parts, SIDE // parts)))
    return np.clip(landscape() + stepped[..., None], 0, 255).astype(np.uint8)


def bands() -> Pixels:
    wave = 12 * np.sin(np.arange(SIDE) * 0.9)
    made: Pixels = np.clip(landscape() + wave[:, None, None], 0, 255).astype(np.uint8)
    return made


def specks(number: int) -> Pixels:
    pixels, random = landscape().copy(), RNG(3)
    for _ in range(number):
        pixels[random.integers(0, 50), random.integers(0, SIDE)] = random.integers(0, 2, 3) * 255
    return pixels


def colour_noise() -> Pixels:
    noise = RNG(4).normal(0, 40, (SIDE, SIDE, 3))
    noise -= noise.mean(axis=2, keepdims=True)
    grey = landscape().mean(axis=2, keepdims=True)
    made: Pixels = np.clip(grey + noise, 0, 255).astype(np.uint8)
    return made


def blobs() -> Pixels:
    cells = RNG(6).random((SIDE // 8, SIDE // 8, 3)) * 255
    return cells.repeat(8, axis=0).repeat(8, axis=1).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "kind", "confidence"),
    [
        (flat(0, 0, 0), "black", "high"),
        (flat(2, 3, 1), "black", "high"),
        (flat(118, 92, 66), "flat", "high"),
        (with_noise(flat(118, 92, 66), 0.6), "flat", "high"),
        (flat(255, 255, 255), "flat", "high"),
        (RNG(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8), "noise", "high"),
        (with_noise(flat(120, 120, 120), 30.0), "noise", "high"),
        (blobs(), "noise", "medium"),
        (colour_noise(), "colour-noise", "high"),
        (tiles(4, 20), "tiles", "medium"),
        (tiles(8, 24), "tiles", "medium"),
        (bands(), "bands", "medium"),
        (bands().transpose(1, 0, 2), "bands", "medium"),
        (specks(40), "specks", "medium"),
        ((landscape() // 32 * 32 + 16).astype(np.uint8), "posterised", "medium"),
        (to_pixels(0.62 + (landscape() / 255 - 0.5) * 0.3), "washed-out", "low"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kind_is_told(pixels: Pixels, kind: str, confidence: str) -> None:
    found = names(pixels)
    assert (kind, confidence) in found, found
    assert kinds_of(pixels)[0].sentence.endswith(".")


def test_what_leaves_no_picture_stands_alone() -> None:
    assert names(flat(118, 92, 66)) == [("flat", "high")]


def test_the_colour_of_a_flat_picture_is_told() -> None:
    (found,) = kinds_of(flat(118, 92, 66))
    assert "118, 92, 66" in found.sentence
