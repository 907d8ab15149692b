"""Images as a page holds them: data URIs that together stay within a budget.

What is shown may be smaller than what was made; differences are computed from all pixels before
anything is made smaller.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sdbench.correctness.artifact_files import Artifacts
from sdbench.words import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]
    """An 8-bit image (height, width, 3)."""

# Tried in this order: the longest side in pixels, and WebP's quality.
_SIZES = ((512, 82), (384, 80), (256, 76), (192, 70), (128, 60))
# An image so small is kept to the bit, as PNG, where that fits.
_LOSSLESS_SIDE = 192
_LOSSLESS = 100
# Inferno's colours (matplotlib, CC0): lightness grows evenly, for any kind of colour vision.
# report.css has the same ones in `.scale`.
_MAP_COLOURS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10))
_MAP_END = (252, 255, 164)
# Differences beyond the brightest colour: at most one pixel in a thousand.
_SATURATED_SHARE = 0.001
_LEVELS = 256


@dataclass(frozen=True)
class Drawing:
    """What is to be shown: an image (height, width, 3), or a map (height, width) to colour.

    ``digest`` names an image that stands in the page more than once, None any other.
    """

    pixels: "Pixels"
    alt: str
    digest: str | None = None

    @property
    def side(self) -> int:
        """The longer one in pixels."""
        return int(max(self.pixels.shape[:2]))


@dataclass(frozen=True)
class Shown:
    """An image as the page holds it; ``smaller`` says so where pixels were left out."""

    uri: str
    width: int
    height: int
    alt: str
    pixelated: bool
    smaller: str | None


@dataclass(frozen=True)
class Difference:
    """Largest difference of a pixel's three colours, amplified ``factor`` times.

    ``brightest`` levels of 255 and more have the brightest colour.
    """

    drawing: Drawing
    brightest: int
    largest: int
    differing: str

    @property
    def factor(self) -> int:
        """How many times a difference is amplified."""
        return _LEVELS // self.brightest


def difference_of(pixels: "Pixels", expected: "Pixels", about: str) -> Difference:
    """The map of two images of one size, from all of their pixels."""
    import numpy as np

    apart = np.abs(pixels.astype(np.int16) - expected.astype(np.int16)).max(axis=2)
    largest, differing = int(apart.max()), _percent(float((apart > 0).mean()))
    brightest = _brightest(apart)
    alt = (
        f"Difference map: {about}. {differing} of the pixels differ, "
        f"the largest difference is {largest} of 255 levels."
    )
    amplified = np.clip(apart * (_LEVELS // brightest), 0, _LEVELS - 1).astype(np.uint8)
    return Difference(Drawing(amplified, alt), brightest, largest, differing)


class Embedder:
    """Turns images that are shown next to each other into data URIs of one size.

    Every such set may take an even share of what is left of the budget.
    """

    def __init__(self, artifacts: Artifacts, budget_bytes: int, sets: int) -> None:
        self._artifacts = artifacts
        self._left_bytes = budget_bytes
        self._left_sets = sets
        self._rung = 0  # where the last set fitted; they are much alike within a run
        self._known: dict[tuple[str, int], Shown] = {}
        self._at_hand: dict[str, Pixels | None] = {}
        self.spent_bytes = 0
        self._dropped = 0
        self._shrunk = 0

    def pixels(self, digest: str | None) -> "Pixels | None":
        """An image as it was made; the last two are kept at hand."""
        if digest is None:
            return None
        known = digest in self._at_hand
        pixels = self._at_hand.pop(digest) if known else self._artifacts.pixels(digest)
        while len(self._at_hand) > 1:
            self._at_hand.pop(next(iter(self._at_hand)))
        self._at_hand[digest] = pixels
        return pixels

    def why_not(self, digest: str) -> str | None:
        """Why an image whose file is there is not shown."""
        return self._artifacts.why_not(digest)

    def embed(self, drawings: Sequence[Drawing]) -> list[Shown] | None:
        """The set as large as its share allows, None where it does not fit at all."""
        share = self._left_bytes // max(1, self._left_sets)
        self._left_sets -= 1
        for rung in range(max(0, self._rung - 1), len(_SIZES)):
            shown = [self._encoded(drawing, rung) for drawing in drawings]
            size_bytes = sum(len(one.uri) for one in shown)
            is_last = rung + 1 == len(_SIZES)
            if size_bytes <= (self._left_bytes if is_last else share):
                self._rung = rung
                self._left_bytes -= size_bytes
                self.spent_bytes += size_bytes
                self._shrunk += any(one.smaller is not None for one in shown)
                return shown
        self._dropped += 1
        return None

    def left_out(self) -> Iterator[str]:
        """What the budget cost."""
        if self._shrunk:
            shrunk = counted(self._shrunk, "image is", "images are")
            yield (
                f"{shrunk} shown smaller than made, to keep the page small; the files in the run's "
                "folder are complete."
            )
        if self._dropped:
            dropped = counted(self._dropped, "image is", "images are")
            yield f"{dropped} not shown for lack of space."

    def _encoded(self, drawing: Drawing, rung: int) -> Shown:
        key = None if drawing.digest is None else (drawing.digest, rung)
        if key in self._known:
            return replace(self._known[key], alt=drawing.alt)
        uri, width, height = _data_uri(drawing, *_way(rung, drawing.side))
        smaller = None if max(width, height) >= drawing.side else f"shown at {width}×{height}"
        pixelated = drawing.side <= _LOSSLESS_SIDE
        shown = Shown(uri, width, height, drawing.alt, pixelated, smaller)
        if key is not None:
            self._known[key] = shown
        return shown


def _percent(share: float) -> str:
    """``0.016 %``, ``3.4 %``, ``100 %``."""
    percent = 100 * share
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"


def _brightest(apart: "Pixels") -> int:
    """The difference shown brightest: a power of two that nearly all pixels stay below."""
    import numpy as np

    usual = float(np.quantile(apart, 1 - _SATURATED_SHARE))
    return next((level for level in (4, 8, 16, 32, 64, 128) if usual <= level), _LEVELS)


def _way(rung: int, side: int) -> tuple[int, int]:
    """Longest side and quality; small images are kept to the bit until the very last rung."""
    longest, quality = _SIZES[rung]
    if side <= min(longest, _LOSSLESS_SIDE) and rung + 1 < len(_SIZES):
        return side, _LOSSLESS
    return min(longest, side), quality


def _data_uri(drawing: Drawing, longest: int, quality: int) -> tuple[str, int, int]:
    """The drawing, no longer than that; PNG where that is small anyway."""
    from PIL import Image

    pixels = drawing.pixels
    is_map = pixels.ndim == 2
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if is_map:
        image = Image.fromarray(_largest_in_blocks(pixels, scale))
        image.putpalette(_palette())
    else:
        image = Image.fromarray(pixels)
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            image = image.resize(size, Image.Resampling.LANCZOS)
    data = io.BytesIO()
    if quality == _LOSSLESS or (is_map and _is_mostly_one_colour(pixels)):
        kind = "png"
        image.save(data, format="PNG", optimize=True)
    else:
        kind = "webp"
        image.convert("RGB").save(data, format="WEBP", quality=quality, method=4)
    text = base64.b64encode(data.getvalue()).decode()
    return f"data:image/{kind};base64,{text}", *image.size


def _is_mostly_one_colour(apart: "Pixels") -> bool:
    return float((apart == 0).mean()) > 0.9


def _largest_in_blocks(apart: "Pixels", scale: float) -> "Pixels":
    """A smaller map in which one pixel that differs is still seen."""
    import numpy as np

    if scale == 1.0:
        return apart
    block = int(np.ceil(1 / scale))
    rows, columns = (-(-length // block) for length in apart.shape)
    padded = np.zeros((rows * block, columns * block), np.uint8)
    padded[: apart.shape[0], : apart.shape[1]] = apart
    largest: Pixels = padded.reshape(rows, block, columns, block).max(axis=(1, 3))
    return np.ascontiguousarray(largest)


def _palette() -> bytes:
    import numpy as np

    colours = np.array([*_MAP_COLOURS, _MAP_END], np.float64)
    at, steps = np.linspace(0, 255, len(colours)), np.arange(256)
    channels = [np.rint(np.interp(steps, at, colours[:, channel])) for channel in range(3)]
    return bytes(np.stack(channels, axis=1).astype(np.uint8).tobytes())
