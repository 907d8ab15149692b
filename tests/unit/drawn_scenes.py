"""Images of scenes, drawn with Pillow and not with what training draws with."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sdbench.correctness.scene import PALETTE, Scene, Shape

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float]
"""Centre x, centre y and half the width, in units of the image's side."""
_FINE = 4  # drawn so much larger, then averaged: smooth edges


def draw_scene(scene: Scene, boxes: list[Box], side: int) -> Pixels:
    """The scene with its items in these boxes; the last item lies lowest."""
    image = Image.new("RGB", (side * _FINE, side * _FINE), PALETTE[scene.background])
    for item, box in reversed(list(zip(scene.items, boxes, strict=True))):
        _draw_shape(image, item.shape, box, PALETTE[item.colour])
    return np.asarray(image.resize((side, side), Image.Resampling.BOX))


def with_noise(pixels: Pixels, deviation: float, seed: int = 0) -> Pixels:
    """The image with normal noise in every channel, in 8-bit levels."""
    noise = np.random.default_rng(seed).normal(0, deviation, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def _draw_shape(image: Image.Image, shape: Shape, box: Box, colour: tuple[int, int, int]) -> None:
    pen, scale = ImageDraw.Draw(image), image.width
    x, y, half = (value * scale for value in box)

    def around(share: float) -> tuple[float, float, float, float]:
        return x - share * half, y - share * half, x + share * half, y + share * half

    if shape == "circle":
        pen.ellipse(around(1), fill=colour)
    elif shape == "square":
        pen.rectangle(around(1), fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, y - half), (x + half, y + half), (x - half, y + half)], fill=colour)
    elif shape == "cross":
        arm = 0.34 * half
        pen.rectangle((x - half, y - arm, x + half, y + arm), fill=colour)
        pen.rectangle((x - arm, y - half, x + arm, y + half), fill=colour)
    elif shape == "star":
        corners = []
        for index in range(10):
            radius = half * (0.45 if index % 2 else 1.0)
            angle = math.pi * index / 5
            corners.append((x + radius * math.sin(angle), y - radius * math.cos(angle)))
        pen.polygon(corners, fill=colour)
    else:
        hole = 0.58 * half
        mask = Image.new("L", image.size, 0)
        cutter = ImageDraw.Draw(mask)
        cutter.ellipse(around(1), fill=255)
        cutter.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
        image.paste(Image.new("RGB", image.size, colour), mask=mask)
