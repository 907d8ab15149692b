"""How far two arrays, or two images, are apart: plain numbers, no judgement."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pixels = NDArray[Any]
    """An 8-bit image (height, width, 3)."""

_CELL = 8  # pixels of an image for one point of its latents


def relative_l2(got: "Array", expected: "Array") -> float | None:
    """Distance over the expected norm; None where a number is not finite or all is expected 0."""
    import numpy as np

    difference = np.asarray(got, np.float64) - np.asarray(expected, np.float64)
    norm = float(np.linalg.norm(np.asarray(expected, np.float64)))
    distance = float(np.linalg.norm(difference))
    if norm == 0.0:
        return 0.0 if distance == 0.0 else None
    return distance / norm if np.isfinite(distance) and np.isfinite(norm) else None


def max_abs(got: "Array", expected: "Array") -> float | None:
    """Largest absolute difference; None where a number is not finite."""
    import numpy as np

    largest = float(np.max(np.abs(np.asarray(got, np.float64) - np.asarray(expected, np.float64))))
    return largest if np.isfinite(largest) else None


def cosine(got: "Array", expected: "Array") -> float | None:
    """Cosine of the angle between the two as vectors; None where it is not defined."""
    import numpy as np

    one, other = (np.asarray(array, np.float64).ravel() for array in (got, expected))
    norms = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not np.isfinite(norms) or norms == 0.0:
        return None
    return min(1.0, max(-1.0, float(one @ other) / norms))


def correlation(got: "Pixels", expected: "Pixels") -> float | None:
    """Correlation of two images over all channels, each channel's mean removed."""
    import numpy as np

    one, other = (np.asarray(picture, np.float64) for picture in (got, expected))
    return cosine(one - one.mean(axis=(0, 1)), other - other.mean(axis=(0, 1)))


def correlation_of_errors(
    got: "Pixels", expected: "Pixels", latents: "Array", expected_latents: "Array"
) -> float | None:
    """How far an image and its latents differ in the same places, from -1 to 1.

    Images are (height, width, 3), latents (..., rows, columns). The error of each point of the
    latents is compared with that of the pixels which it becomes. None where the shapes do not
    fit, a number is not finite or one of the two differs nowhere.
    """
    import numpy as np

    rows, columns = latents.shape[-2:]
    if latents.shape != expected_latents.shape or not np.isfinite(latents).all():
        return None
    if got.shape[0] % rows or got.shape[1] % columns:
        return None
    apart = latents.astype(np.float64) - expected_latents.astype(np.float64)
    of_latents = np.sqrt((apart.reshape(-1, rows, columns) ** 2).mean(axis=0))
    squares = (got.astype(np.float64) - expected.astype(np.float64)) ** 2
    blocks = squares.reshape(rows, got.shape[0] // rows, columns, -1)
    of_pixels = np.sqrt(blocks.mean(axis=(1, 3)))
    return correlation(of_latents[..., None], of_pixels[..., None])


def peak_signal_to_noise_db(got: "Pixels", expected: "Pixels") -> float | None:
    """PSNR of 8-bit images; None (infinite) when they are identical."""
    import numpy as np
    from skimage.metrics import peak_signal_noise_ratio

    if np.array_equal(got, expected):
        return None
    return float(peak_signal_noise_ratio(expected, got, data_range=255))


def structural_similarity(got: "Pixels", expected: "Pixels") -> float:
    """SSIM of 8-bit images (Wang et al. 2004), mean over channels."""
    from skimage.metrics import structural_similarity as ssim

    return float(ssim(expected, got, channel_axis=2, data_range=255))


def neighbour_correlation(pixels: "Pixels") -> float | None:
    """How much a cell of 8x8 pixels is like the next one; None for a flat or tiny image.

    A cell is what one point of the latents becomes, so this is low for a decoded field of noise
    although its pixels, smoothed by the decoder, follow each other closely.
    """
    import numpy as np

    rows, columns = pixels.shape[0] // _CELL, pixels.shape[1] // _CELL
    if min(rows, columns) < 4:
        return None
    inside = np.asarray(pixels[: rows * _CELL, : columns * _CELL], np.float64)
    cells = inside.reshape(rows, _CELL, columns, _CELL, 3).mean(axis=(1, 3))
    cells -= cells.mean(axis=(0, 1))
    across = cosine(cells[:, 1:], cells[:, :-1])
    down = cosine(cells[1:], cells[:-1])
    return None if across is None or down is None else (across + down) / 2


def to_pixels(picture: "Array") -> "Pixels":
    """An 8-bit image (height, width, 3) from values in [0, 1] (3, height, width), as stored."""
    import numpy as np

    if picture.dtype == np.uint8:
        return picture.transpose(1, 2, 0)
    clean = np.nan_to_num(picture.transpose(1, 2, 0), nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(np.rint(clean * 255.0), 0, 255).astype(np.uint8)
