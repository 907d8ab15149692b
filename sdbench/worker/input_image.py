"""The image that image-to-image begins with, drawn by arithmetic with whole numbers."""

from typing import Any


def input_pixels(width: int, height: int) -> Any:
    """Pixels (height, width, 3), 8 bits: the same bytes everywhere.

    A sky over a ground with a disc: large areas, edges, a gradient, three colours.
    """
    import numpy as np

    rows, columns = np.ogrid[0:height, 0:width]
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    sky = rows < height * 5 // 8
    pixels[..., 0] = np.where(sky, 90 + 80 * rows // height, 70)
    pixels[..., 1] = np.where(sky, 140 + 60 * rows // height, 120 + 60 * columns // width)
    pixels[..., 2] = np.where(sky, 220, 60)
    side = min(width, height)
    disc = (columns - width // 2) ** 2 + (rows - height // 2) ** 2 < (side // 5) ** 2
    pixels[disc] = (200, 60, 40)
    return pixels
