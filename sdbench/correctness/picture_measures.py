"""Numbers about the difference of two images, each for one kind of fault; no judgement.

Images are 8-bit arrays (height, width, 3); everything is computed and returned in levels
(0 to 255), in pixels, or as a share, as the docstrings say. ``got`` is the image in question,
``expected`` the one it is compared with; both have the same shape.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdbench.correctness.measures import correlation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pixels = NDArray[Any]

CELL = 8
"""Pixels for one point of the latents, and the side of the smallest part that is looked at."""
_TRIMMED = 3.0  # robust deviations beyond which a pixel does not take part in a fit
_TONES = 16
_SQUARE = 4
_SAMPLED = 256  # a larger image is sampled to find a shift


def root_mean_square(array: "Array") -> float:
    """Root of the mean square; 0 for an empty array."""
    import numpy as np

    if not array.size:
        return 0.0
    squares = np.square(array, dtype=np.float64)
    return math.sqrt(float(np.add.reduce(squares, axis=None)) / array.size)


def channel_deviation(pixels: "Pixels") -> float:
    """The largest standard deviation of a channel in levels: 0 for one colour, whichever."""
    return float(pixels.std(axis=(0, 1)).max())


def is_of_one_colour(pixels: "Pixels") -> bool:
    """Whether no channel has more than two neighbouring levels."""
    return bool((pixels.max(axis=(0, 1)).astype(int) - pixels.min(axis=(0, 1)) <= 1).all())


def pixel_correlation(pixels: "Pixels") -> float | None:
    """How much a pixel is like the next one, between -1 and 1; None for one colour.

    White noise has 0; what a decoder or a camera makes is smooth on this scale.
    """
    import numpy as np

    centred = np.asarray(pixels, np.float64) - np.asarray(pixels, np.float64).mean(axis=(0, 1))
    power = float((centred**2).mean())
    if power < 1.0 or min(centred.shape[:2]) < 2:
        return None
    across = float((centred[:, 1:] * centred[:, :-1]).mean())
    down = float((centred[1:] * centred[:-1]).mean())
    return (across + down) / 2 / power


@dataclass(frozen=True)
class Tones:
    """A global change of tones, fitted by least squares without the pixels that do not follow.

    ``brightness`` and ``cast`` (the channel furthest from the mean of all) are mean differences in
    levels, ``contrast`` and ``saturation`` factors (None where the expected image has too little
    of it to tell), ``curve`` the largest bend of the tone curve in levels. ``fitted`` is the
    expected image with this change; ``alike`` the correlation of the two after it.
    """

    brightness: float
    contrast: float | None
    cast: float
    cast_channel: int
    saturation: float | None
    curve: float
    fitted: "Array"
    alike: float


def tones(got: "Pixels", expected: "Pixels") -> Tones:
    """How brightness, contrast and colour of the whole image have changed."""
    import numpy as np

    whole, whole_expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    one, other = _averaged(whole), _averaged(whole_expected)
    usual = _usual_pixels(one, other)
    light, expected_light = one.mean(axis=2), other.mean(axis=2)
    colour, expected_colour = one - light[..., None], other - expected_light[..., None]
    shifts = (one - other)[usual].mean(axis=0)
    contrast, offset = _line(expected_light[usual], light[usual])
    casts = (one - (1.0 if contrast is None else contrast) * other)[usual].mean(axis=0)
    casts -= casts.mean()
    saturation = _factor(expected_colour[usual], colour[usual])
    change = _fit_colours(one, other, usual)
    return Tones(
        brightness=float(shifts.mean()),
        contrast=contrast,
        cast=float(casts[np.abs(casts).argmax()]),
        cast_channel=int(np.abs(casts).argmax()),
        saturation=saturation,
        curve=_curve(expected_light[usual], light[usual], contrast, offset),
        fitted=_changed(whole_expected, change),
        alike=correlation(one, _changed(other, change)) or 0.0,
    )


def _usual_pixels(one: "Array", other: "Array") -> "Array":
    """Pixels that follow a common change of tones: not those of a hole, a band or a speck."""
    import numpy as np

    usual = np.ones(one.shape[:2], bool)
    for _ in range(3):
        if usual.sum() < usual.size // 2:
            break
        left = np.abs(one - _changed(other, _fit_colours(one, other, usual))).max(axis=2)
        deviation = 1.4826 * float(np.median(left[usual])) + 0.5
        usual = left <= _TRIMMED * deviation
    return usual if usual.sum() >= usual.size // 2 else np.ones(one.shape[:2], bool)


def _fit_colours(one: "Array", other: "Array", usual: "Array") -> "Array":
    """The linear change of the three channels (4 x 3, the last row added) from other to one."""
    import numpy as np

    flat = np.concatenate([other[usual], np.ones((int(usual.sum()), 1))], axis=1)
    change: Array = np.linalg.lstsq(flat.T @ flat, flat.T @ one[usual], rcond=1e-9)[0]
    return change


def _changed(pixels: "Array", change: "Array") -> "Array":
    import numpy as np

    changed: Array = np.clip(pixels @ change[:3] + change[3], 0, 255)
    return changed


def _averaged(pixels: "Array") -> "Array":
    """Means over squares of pixels, so that blur, noise and specks are no change of tones."""
    rows, columns = (side // _SQUARE for side in pixels.shape[:2])
    if min(rows, columns) < _SQUARE:
        return pixels
    inside = pixels[: rows * _SQUARE, : columns * _SQUARE]
    averaged: Array = inside.reshape(rows, _SQUARE, columns, _SQUARE, 3).mean(axis=(1, 3))
    return averaged


def _line(x: "Array", y: "Array") -> tuple[float | None, float]:
    """Slope and intercept of y over x; no slope where x hardly varies."""
    centred = x - x.mean()
    power = float((centred**2).mean())
    if power < 9.0:
        return None, float(y.mean() - x.mean())
    slope = float((centred * (y - y.mean())).mean()) / power
    return slope, float(y.mean() - slope * x.mean())


def _factor(x: "Array", y: "Array") -> float | None:
    """By how much the spread of colours around their mean is multiplied."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    power = float((x**2).mean())
    return None if power < 9.0 else float((x * y).mean()) / power


def _curve(x: "Array", y: "Array", slope: float | None, offset: float) -> float:
    """The largest bend of y over x away from their straight line, over the tones that are used."""
    import numpy as np

    if slope is None:
        return 0.0
    left = y - (slope * x + offset)
    tone = np.clip((x * _TONES / 256).astype(int), 0, _TONES - 1)
    counts = np.bincount(tone, minlength=_TONES)
    sums = np.bincount(tone, weights=left, minlength=_TONES)
    used = counts >= max(16, 0.02 * len(x))
    return float(np.abs(sums[used] / counts[used]).max()) if used.any() else 0.0


def block_errors(left: "Array") -> "Array":
    """Root mean square of a difference (levels) in each block of a grid of at most 8 x 8."""
    import numpy as np

    sums, counts = np.square(left, dtype=np.float64).sum(axis=2), np.array(left.shape[2])
    for axis, side in enumerate(left.shape[:2]):
        parts = max(1, min(8, side // CELL))
        # As even as possible, the larger ones first.
        sizes = np.array([side // parts + (part < side % parts) for part in range(parts)])
        sums = np.add.reduceat(sums, np.cumsum(sizes) - sizes, axis=axis)
        counts = np.multiply.outer(counts, sizes)
    errors: Array = np.sqrt(sums / counts)
    return errors


@dataclass(frozen=True)
class Stripes:
    """What whole rows (or columns) of a difference have in common, in levels.

    ``deviation`` is the root mean square of their means, ``peak`` the furthest of them from the
    median, ``share`` how much of the difference's power they explain, ``lines`` how many stand out.
    """

    deviation: float
    peak: float
    share: float
    lines: int


def stripes(left: "Array", axis: int) -> Stripes:
    """Horizontal stripes for axis 0, vertical ones for axis 1."""
    import numpy as np

    profile = left.mean(axis=1 - axis)  # lines x channels
    around = profile - np.median(profile, axis=0)
    power = float((left**2).mean())
    peaks = np.abs(around).max(axis=1)
    deviation = float(np.sqrt((around**2).mean()))
    return Stripes(
        deviation=deviation,
        peak=float(peaks.max()),
        share=0.0 if power == 0 else float((profile**2).mean()) / power,
        lines=int((peaks > peaks.max() / 2).sum()),
    )


def seam(left: "Array", axis: int) -> float:
    """The highest jump of a difference along a whole line between two rows (axis 0) or columns.

    In levels, beyond what is usual between two lines; 0 where no line stands out. A line counts
    with what 40% of it exceeds, which the edge of a shape does not reach.
    """
    import numpy as np

    jumps = np.abs(np.diff(left.mean(axis=2), axis=axis))
    lines = np.quantile(jumps, 0.6, axis=1 - axis)[2:-2]  # borders are padded by convolutions
    if lines.size < 2 * CELL:
        return 0.0
    usual = float(np.median(lines))
    spread = 1.4826 * float(np.median(np.abs(lines - usual)))
    highest = float(lines.max())
    few = np.mean(lines > (usual + highest) / 2) < 0.25
    return highest - usual if few and highest > usual + 8 * spread else 0.0


def graininess(left: "Array") -> tuple[float, float]:
    """Deviation of a difference from pixel to pixel in levels, and how alike neighbours are."""
    import numpy as np

    jumps = np.concatenate([np.diff(left, axis=axis).ravel() for axis in (0, 1)])
    alike = pixel_correlation(left)
    return root_mean_square(jumps) / np.sqrt(2), 1.0 if alike is None else alike


def specks(left: "Array", expected: "Pixels", least: float) -> "Array":
    """Which pixels are off by at least so many levels where nearly all around them is right.

    What the expected image itself does around a pixel is allowed: edges move a little.
    """
    import numpy as np

    off = np.abs(left).max(axis=2)
    found: Array = off > least + _local_range(expected)
    rows, columns = (side // CELL for side in off.shape)
    if not found.any() or min(rows, columns) == 0:
        return np.zeros_like(found)
    height, width = rows * CELL, columns * CELL
    found[height:], found[:, width:] = False, False

    def blocks(array: "Array") -> "Array":
        cut: Array = array[:height, :width].reshape(rows, CELL, columns, CELL).swapaxes(1, 2)
        return cut

    inside = blocks(found)
    alone = inside.mean(axis=(2, 3)) <= 0.4
    alone &= np.median(blocks(off).reshape(rows, columns, -1), axis=2) < least / 4
    inside[~alone] = False
    return found


def _local_range(pixels: "Pixels") -> "Array":
    """Largest minus smallest level among a pixel and its eight neighbours."""
    import numpy as np

    values = np.pad(pixels.astype(np.int16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = pixels.shape[:2]
    high = low = values[1:-1, 1:-1]
    for y in range(3):
        for x in range(3):
            part = values[y : y + height, x : x + width]
            high, low = np.maximum(high, part), np.minimum(low, part)
    found: Array = (high - low).max(axis=2)
    return found


def sharpness(got: "Array", expected: "Array") -> float | None:
    """Power of the steps from pixel to pixel, got over expected; None where there are none."""
    import numpy as np

    def steps(pixels: "Array") -> float:
        values = np.asarray(pixels, np.float64)
        return sum(float((np.diff(values, axis=axis) ** 2).mean()) for axis in (0, 1))

    power = steps(expected)
    return None if power < 4.0 else float(np.sqrt(steps(got) / power))


def levels_used(pixels: "Pixels") -> int:
    """The most different levels that a channel has."""
    import numpy as np

    return max(len(np.unique(pixels[..., channel])) for channel in range(3))


def level_gap(pixels: "Pixels") -> float:
    """How far neighbouring levels that are used are apart on the mean, in the densest channel."""
    import numpy as np

    gaps = []
    for channel in range(3):
        used = np.unique(pixels[..., channel]).astype(int)
        if len(used) > 1:
            gaps.append(float(used[-1] - used[0]) / (len(used) - 1))
    return min(gaps, default=0.0)


def periodic_share(left: "Array") -> float:
    """How much of a difference's power one wave across the image has, from 0 to 1."""
    import numpy as np

    field = left.mean(axis=2)
    power = np.abs(np.fft.rfft2(field - field.mean())) ** 2
    total = 2 * power.sum() - power[:, 0].sum() - power[:, -1].sum() * (1 - field.shape[1] % 2)
    if total <= 0:
        return 0.0
    low = max(2, min(field.shape) // 32)  # slow changes are no pattern
    power[:low, :low] = power[-low:, :low] = 0
    row, column = divmod(int(power.argmax()), power.shape[1])
    mirrored = 0 < column < power.shape[1] - 1 or (field.shape[1] % 2 and column > 0)
    return float(power[row, column] * (2 if mirrored else 1) / total)


@dataclass(frozen=True)
class Moved:
    """Where the image has to be moved for the two to agree, and how well they then do.

    ``right`` and ``down`` are pixels; ``left_over`` is the remaining root mean square in levels.
    """

    right: float
    down: float
    left_over: float


def moved(got: "Pixels", expected: "Pixels") -> Moved:
    """The whole shift, rolled around or not, that brings the two together best.

    Candidates are the highest peaks of their phase correlation (Kuglin and Hines 1975) and small
    shifts.
    """
    import numpy as np

    one, other = (np.asarray(pixels, np.float32).mean(axis=2) for pixels in (got, expected))
    height, width = one.shape
    candidates = {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    spectrum = np.fft.rfft2(one - one.mean()) * np.conj(np.fft.rfft2(other - other.mean()))
    for weighted in (spectrum, spectrum / (np.abs(spectrum) + 1e-9)):
        peaks = np.fft.irfft2(weighted, s=(height, width)).ravel()
        for place in np.argpartition(peaks, -3)[-3:]:
            y, x = divmod(int(place), width)
            candidates |= {(y - height * (2 * y > height), x - width * (2 * x > width))}
    step = max(1, min(height, width) // _SAMPLED)
    # Sums of whole levels are exact in whatever order they are added.
    grey, grey_expected = (pixels.sum(axis=2, dtype=np.float64) for pixels in (got, expected))
    twice = np.tile(grey_expected, (2, 2))
    tried = [
        (error, down, right, around)
        for down, right in sorted(candidates - {(0, 0)})
        for error, around in (
            (_error_of_overlap(grey, grey_expected, down, right, step), False),
            (_error_rolled(grey, twice, down, right, step), True),
        )
    ]
    _, down, right, around = min(tried)
    whole, whole_expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if around:
        twice = np.tile(whole_expected, (2, 2, 1))
        error = _error_rolled(whole, twice, down, right, 1)
    else:
        error = _error_of_overlap(whole, whole_expected, down, right, 1)
    return Moved(float(right), float(down), error)


def _error_rolled(one: "Array", twice: "Array", down: int, right: int, step: int) -> float:
    """What is left with the other one rolled around; ``twice`` is that one, two by two times."""
    height, width = one.shape[:2]
    top, left = -down % height, -right % width
    rolled = twice[top : top + height : step, left : left + width : step]
    return root_mean_square(one[::step, ::step] - rolled)


def _error_of_overlap(one: "Array", other: "Array", down: int, right: int, step: int) -> float:
    """What is left with the other one moved, of what both show; infinite where that is little."""
    height, width = one.shape[:2]
    if abs(down) > height // 3 or abs(right) > width // 3:
        return float("inf")
    rows = slice(max(0, down), height + min(0, down)), slice(max(0, -down), height - max(0, down))
    columns = (
        slice(max(0, right), width + min(0, right)),
        slice(max(0, -right), width - max(0, right)),
    )
    shown, moved_other = one[rows[0], columns[0]], other[rows[1], columns[1]]
    return root_mean_square(shown[::step, ::step] - moved_other[::step, ::step])


def fraction_moved(got: "Pixels", expected: "Pixels") -> tuple[Moved, float]:
    """A shift by less than two pixels or so, read off the slopes; and the share it explains.

    Least squares of the difference over the expected image's gradients (Lucas and Kanade 1981).
    """
    import numpy as np

    one, other = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    down, right = np.gradient(other, axis=0), np.gradient(other, axis=1)
    difference = (other - one)[1:-1, 1:-1].ravel()
    slopes = np.stack([down[1:-1, 1:-1].ravel(), right[1:-1, 1:-1].ravel()])
    power = float((difference**2).mean())
    found = np.linalg.lstsq(slopes @ slopes.T, slopes @ difference, rcond=1e-9)[0]
    left = difference - found @ slopes
    share = 0.0 if power == 0 else 1 - float((left**2).mean()) / power
    return Moved(float(found[1]), float(found[0]), root_mean_square(left)), share


def rearrangements(expected: "Pixels") -> "Iterator[tuple[str, str, Array]]":
    """Kind, words and image for each way in which whole channels or axes may be exchanged."""
    import numpy as np

    names = {
        (2, 1, 0): "red and blue are exchanged",
        (1, 0, 2): "red and green are exchanged",
        (0, 2, 1): "green and blue are exchanged",
        (1, 2, 0): "the colour channels are in the order green, blue, red",
        (2, 0, 1): "the colour channels are in the order blue, red, green",
    }
    for order, words in names.items():
        yield "channel-order", words, expected[..., list(order)]
    yield "inverted", "light and dark are inverted, as in a negative", 255 - expected
    yield "mirrored", "it is mirrored left to right", expected[:, ::-1]
    yield "mirrored", "it is upside down", expected[::-1]
    yield "mirrored", "it is turned by 180 degrees", expected[::-1, ::-1]
    if expected.shape[0] == expected.shape[1]:
        yield "mirrored", "its rows and columns are exchanged", expected.transpose(1, 0, 2)
        yield "mirrored", "it is turned by 90 degrees", np.rot90(expected)
        yield "mirrored", "it is turned by 90 degrees", np.rot90(expected, -1)


def exchanged_parts(got: "Pixels", expected: "Pixels", parts: int) -> tuple[int, float] | None:
    """How many of ``parts`` x ``parts`` parts show what belongs elsewhere, and the error left.

    None where the image cannot be divided so. The error is in levels, with every part compared
    with the one that it is most like.
    """
    import numpy as np

    height, width = (side // parts for side in got.shape[:2])
    if min(height, width) < CELL or got.shape[0] % parts or got.shape[1] % parts:
        return None

    def cut(pixels: "Pixels") -> "Array":
        values = np.asarray(pixels, np.float64)
        grid = values.reshape(parts, height, parts, width, 3).swapaxes(1, 2)
        return grid.reshape(parts * parts, -1)

    one, other = cut(got), cut(expected)
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    nearest = squares.argmin(axis=1)
    if len(set(nearest.tolist())) < 0.6 * len(nearest):
        return None  # a part that is like many others has not been exchanged with them
    error = float(np.sqrt(max(0.0, squares.min(axis=1).sum()) / one.size))
    return int((nearest != np.arange(parts * parts)).sum()), error
