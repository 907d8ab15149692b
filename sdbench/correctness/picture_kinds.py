"""What is wrong with an image, as far as the image alone tells, without a reference.

For somebody who holds a bad image and nothing else. A kind is named only where ordinary
photographs and drawings do not have it; how sure that is, is said. Black, flat and white noise
are certain; seams, bands and specks are likely; paleness may be the image's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sdbench.correctness import measures, picture_measures
from sdbench.correctness.thresholds import NEIGHBOURS_OF_NOISE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pixels = NDArray[Any]

_BLACK_LEVELS = 4
_FLAT_LEVELS = 6
_NOISE_DEVIATION = 8.0
"""With less contrast from pixel to pixel it is grain at most."""
_COLOURFUL = 0.3
_BLOBS_ALIKE = 0.15
_EVEN = 0.5
_SEAM_LEVELS = 6.0
_SEAM_TIMES = 2.5
_SEAM_SHARE = 0.5
_SEAM_REACH = 8
_BAND_LEVELS = 1.5
_BAND_ALIKE = 0.8
_FEWEST_BAND_EDGES = 6
_SPECK_LEVELS = 60
_CALM_LEVELS = 30
_FEWEST_SPECKS = 3
_FEWEST_LEVELS = 16
_MOST_SPECKS = 0.02
_PALE_RANGE = 100
_PALE_DARKEST = 55
_PALE_LIGHTEST = 235
_SMALLEST = 32


Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True)
class PictureKind:
    """One kind of fault, in a sentence, and how sure it is."""

    kind: str
    sentence: str
    confidence: Confidence


def kinds_of(pixels: "Pixels") -> list[PictureKind]:
    """The kinds of fault seen in an 8-bit image (height, width, 3), the surest first.

    Empty where nothing is found, which does not mean that the image is right.
    """
    whole = next(_whole(pixels), None)
    if whole is not None:
        return [whole]
    if min(pixels.shape[:2]) < _SMALLEST:
        return []
    order: tuple[Confidence, ...] = ("high", "medium", "low")
    return sorted(_in_places(pixels), key=lambda found: order.index(found.confidence))


def _whole(pixels: "Pixels") -> Iterator[PictureKind]:
    """Faults that leave no visible content."""
    import numpy as np

    if int(pixels.max()) <= _BLACK_LEVELS:
        yield PictureKind(
            "black", "The image is black: not a number (NaN) is stored as black.", "high"
        )
        return
    low, high = np.percentile(pixels, [0.5, 99.5], axis=(0, 1))
    if float((high - low).max()) <= _FLAT_LEVELS:
        colour = ", ".join(f"{value:.0f}" for value in pixels.mean(axis=(0, 1)))
        yield PictureKind("flat", f"The image is flat, of one colour (RGB {colour}).", "high")
        return
    yield from _noise(pixels)
    yield from _saturated(pixels)


def _noise(pixels: "Pixels") -> Iterator[PictureKind]:
    alike = picture_measures.pixel_correlation(pixels)
    if alike is None:
        return
    deviation = picture_measures.channel_deviation(pixels)
    if alike < NEIGHBOURS_OF_NOISE and deviation >= _NOISE_DEVIATION and _is_even(pixels):
        sure: Confidence = "high" if abs(alike) < NEIGHBOURS_OF_NOISE / 2 else "medium"
        yield PictureKind("noise", "The image is noise: no pixel follows from the next.", sure)
        return
    light, colour = _light_and_colour(pixels)
    colour_alike = picture_measures.pixel_correlation(colour)
    strong = picture_measures.root_mean_square(colour) >= _NOISE_DEVIATION
    if colour_alike is not None and colour_alike < NEIGHBOURS_OF_NOISE and strong:
        yield PictureKind(
            "colour-noise", "Colour noise lies over the image: its colours are random.", "high"
        )
        return
    blobs = measures.neighbour_correlation(pixels)
    colourful = float(colour.std()) > _COLOURFUL * float(light.std())
    if blobs is not None and blobs < _BLOBS_ALIKE and colourful and _is_even(pixels):
        yield PictureKind(
            "noise",
            "The image is blobs of colour, as when noise is decoded that was not denoised.",
            "medium",
        )


def _saturated(pixels: "Pixels") -> Iterator[PictureKind]:
    """Nothing but the ends of the scale, in many colours: a drawing in ink has two."""
    import numpy as np

    if float(((pixels <= 2) | (pixels >= 253)).mean()) < 0.97:
        return
    corners = (pixels >= 128) @ np.array([1, 2, 4])
    shares = np.bincount(corners.ravel(), minlength=8) / corners.size
    if int((shares >= 0.02).sum()) >= 5 and (shares[1:7] > 0.02).sum() >= 3:
        words = "The image is saturated: every colour is at an end of the scale."
        yield PictureKind("saturated", words, "medium")


def _in_places(pixels: "Pixels") -> Iterator[PictureKind]:
    """What lies over an image."""
    drawn = (
        picture_measures.levels_used(pixels) < _FEWEST_LEVELS
    )  # a chessboard has seams by design
    down, across = ([] if drawn else _seams(pixels, axis) for axis in (0, 1))
    sides = pixels.shape[:2]
    if down and across and _on_a_grid(down, sides[0]) and _on_a_grid(across, sides[1]):
        yield PictureKind(
            "tiles",
            "The image falls into tiles: seams run across it in both directions, at "
            f"{_places(down)} from the top and {_places(across)} from the left.",
            "medium",
        )
    else:
        for axis, name in ((0, "Horizontal"), (1, "Vertical")):
            if _has_bands(pixels, axis):
                yield PictureKind("bands", f"{name} bands lie over the image.", "medium")
    specks = lone_specks(pixels)
    if specks:
        yield PictureKind("specks", f"{specks} single pixels stand out (specks).", "medium")
    step = _step_of_levels(pixels)
    if step is not None:
        words = f"The image is posterised: its colours are {step} levels apart."
        yield PictureKind("posterised", words, "medium")
    yield from _washed_out(pixels)


def _washed_out(pixels: "Pixels") -> Iterator[PictureKind]:
    import numpy as np

    darkest, lightest = np.percentile(pixels.mean(axis=2), [1, 99])
    pale = lightest - darkest < _PALE_RANGE and darkest > _PALE_DARKEST
    if pale and lightest < _PALE_LIGHTEST:
        yield PictureKind(
            "washed-out",
            f"The image may be washed out: it uses the levels {darkest:.0f} to {lightest:.0f} of "
            "0 to 255 only. It may also be meant so.",
            "low",
        )


def _light_and_colour(pixels: "Pixels") -> "tuple[Array, Array]":
    import numpy as np

    values = np.asarray(pixels, np.float64)
    light = values.mean(axis=2)
    return light, values - light[..., None]


def _is_even(pixels: "Pixels") -> bool:
    """Whether all parts of it have about the same contrast, as noise has and scenes have not."""
    import numpy as np

    parts = min(4, min(pixels.shape[:2]) // 8)
    if parts < 2:
        return True
    deviations = [
        float(part.std())
        for strip in np.array_split(pixels, parts, axis=0)
        for part in np.array_split(strip, parts, axis=1)
    ]
    return min(deviations) >= _EVEN * max(deviations)


def _seams(pixels: "Pixels", axis: int) -> list[int]:
    """Lines along which most pixels jump, while they hardly do on either side of it."""
    import numpy as np

    jumps = np.abs(np.diff(np.asarray(pixels, np.float64), axis=axis)).mean(axis=2)
    lines = np.quantile(jumps, 1 - _SEAM_SHARE, axis=1 - axis)
    found = []
    for place in range(_SEAM_REACH, len(lines) - _SEAM_REACH):
        around = np.concatenate(
            [lines[place - _SEAM_REACH : place], lines[place + 1 : place + 1 + _SEAM_REACH]]
        )
        if lines[place] > max(_SEAM_LEVELS, _SEAM_TIMES * float(around.max())):
            found.append(place + 1)
    return found


def _on_a_grid(places: list[int], side: int) -> bool:
    """Whether the seams divide the side evenly, or into parts of a multiple of 8 pixels."""
    evenly = any(
        all((place * parts) % side == 0 for place in places) for parts in (2, 3, 4, 5, 6, 8)
    )
    return evenly or all(place % picture_measures.CELL == 0 for place in places)


def _places(places: list[int]) -> str:
    shown = ", ".join(str(place) for place in places[:4])
    return f"{shown}{', …' if len(places) > 4 else ''} pixels"


def _has_bands(pixels: "Pixels", axis: int) -> bool:
    """Whether whole lines are lighter or darker together, in every quarter of their length."""
    import numpy as np

    quick = _high_passed(pixels.mean(axis=2), axis)
    # The median: an edge of the scene crosses a line somewhere, a band lies along all of it.
    quarters = [np.median(part, axis=1 - axis) for part in np.array_split(quick, 4, axis=1 - axis)]
    strengths = [picture_measures.root_mean_square(part) for part in quarters]
    if min(strengths) < _BAND_LEVELS:
        return False
    whole = np.mean(quarters, axis=0)
    strong = whole[np.abs(whole) > picture_measures.root_mean_square(whole) / 2]
    if np.count_nonzero(np.diff(np.sign(strong))) < _FEWEST_BAND_EDGES:
        return False  # one step, as the horizon is
    alike = [
        measures.cosine(one, other)
        for index, one in enumerate(quarters)
        for other in quarters[index + 1 :]
    ]
    return min(value or 0.0 for value in alike) >= _BAND_ALIKE


def _high_passed(light: "Array", axis: int) -> "Array":
    """Without slow changes along the axis; the ends, where frames and borders are, are left out."""
    import numpy as np

    around = np.apply_along_axis(np.convolve, axis, light, np.ones(9) / 9, "same")
    rest: Array = np.moveaxis(light - around, axis, 0)[8:-8]
    return np.moveaxis(rest, 0, axis)


def lone_specks(pixels: "Pixels") -> int:
    """Pixels far from all of their eight neighbours, which are like each other."""
    import numpy as np

    values = pixels.astype(np.int16)
    around = np.stack(
        [
            values[1 + y : values.shape[0] - 1 + y, 1 + x : values.shape[1] - 1 + x]
            for y in (-1, 0, 1)
            for x in (-1, 0, 1)
            if (y, x) != (0, 0)
        ]
    )
    inside = values[1:-1, 1:-1]
    high, low = around.max(axis=0), around.min(axis=0)
    off = np.maximum(inside - high, low - inside).max(axis=2)
    calm = (high - low).max(axis=2) < _CALM_LEVELS
    found = int(((off > _SPECK_LEVELS) & calm).sum())
    return found if _FEWEST_SPECKS <= found <= _MOST_SPECKS * off.size else 0


def _step_of_levels(pixels: "Pixels") -> int | None:
    """The distance of the levels where all are evenly spaced with many left out; None otherwise."""
    import numpy as np

    steps = set()
    for channel in range(3):
        levels = np.unique(pixels[..., channel])
        if len(levels) < 4:
            return None
        steps |= set(np.diff(levels.astype(int)).tolist())
    step = min(steps)
    return step if step >= 6 and all(size % step == 0 for size in steps) else None
