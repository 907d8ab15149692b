"""The identity of the image that image-to-image begins with."""

import functools
import hashlib


@functools.cache
def input_image_sha256(width: int, height: int) -> str:
    """The SHA-256 of its pixels (height, width, 3), 8 bits."""
    from sdbench.worker.input_image import input_pixels

    return hashlib.sha256(input_pixels(width, height).tobytes()).hexdigest()
