"""Pictures as a page holds them: data URIs that together stay within a budget.

What is shown may be smaller than what was made; differences are computed from all pixels before
anything is made smaller.
"""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sdbench.quality.artifacts import Artifacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]
    """An 8-bit picture (height, width, 3)."""

# Tried in this order: the longest side in pixels, and WebP's quality.
_SIZES = ((512, 82), (384, 80), (256, 76), (192, 70), (128, 60))
# A picture so small is kept to the bit, as PNG, where that fits.
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
class Shown:
    """A picture as the page holds it; ``smaller`` says so where pixels were left out."""

    uri: str
    width: int
    height: int
    alt: str
    pixelated: bool
    smaller: str | None


@dataclass(frozen=True)
class DifferenceMap:
    """Largest difference of a pixel's three colours, amplified ``factor`` times.

    ``brightest`` levels of 255 and more have the brightest colour.
    """

    shown: Shown
    brightest: int
    largest: int
    differing: str

    @property
    def factor(self) -> int:
        """How many times a difference is amplified."""
        return _LEVELS // self.brightest


class Embedder:
    """Turns pixels into data URIs; every picture may take an even share of what is left."""

    def __init__(self, artifacts: Artifacts, budget_bytes: int, pictures: int) -> None:
        self._artifacts = artifacts
        self._left_bytes = budget_bytes
        self._left_pictures = max(1, pictures)
        self._known: dict[str, Shown | None] = {}
        self._last: dict[str, Pixels | None] = {}
        self.spent_bytes = 0
        self._dropped = 0
        self._shrunk = 0

    def pixels(self, digest: str | None) -> "Pixels | None":
        """A picture as it was made; the last two are kept at hand."""
        if digest is None:
            return None
        pixels = self._last.pop(digest) if digest in self._last else self._artifacts.pixels(digest)
        while len(self._last) > 1:
            self._last.pop(next(iter(self._last)))
        self._last[digest] = pixels
        return pixels

    def shown(self, digest: str | None, pixels: "Pixels | None", alt: str) -> Shown | None:
        """A picture for the page; the CPU's, shown beside several, is encoded once."""
        if digest is None or pixels is None:
            return None
        known = self._known.get(digest)
        if known is None or len(known.uri) > self._left_bytes:
            known = self._known[digest] = self._encoded(pixels, alt)
        else:
            self._spend(known)  # it stands in the page once more
        return known and replace(known, alt=alt)

    def difference(self, pixels: "Pixels", expected: "Pixels", about: str) -> DifferenceMap | None:
        """The map of two pictures of one size, from all of their pixels."""
        import numpy as np

        apart = np.abs(pixels.astype(np.int16) - expected.astype(np.int16)).max(axis=2)
        largest, share = int(apart.max()), float((apart > 0).mean())
        brightest = _brightest(apart)
        alt = (
            f"Difference map: {about}. {_percent(share)} of the pixels differ, "
            f"the largest difference is {largest} of 255 levels."
        )
        amplified = np.clip(apart * (_LEVELS // brightest), 0, _LEVELS - 1)
        shown = self._encoded(amplified.astype(np.uint8), alt)
        if shown is None:
            return None
        return DifferenceMap(shown, brightest, largest, _percent(share))

    def left_out(self) -> Iterator[str]:
        """What the budget cost."""
        if self._shrunk:
            yield (
                f"{self._shrunk} pictures are shown smaller than they were made, so that the page "
                "stays small; the files in the run's folder are whole."
            )
        if self._dropped:
            yield f"{self._dropped} pictures did not fit into the page."

    def _encoded(self, pixels: "Pixels", alt: str) -> Shown | None:
        share = self._left_bytes // max(1, self._left_pictures)
        side = max(pixels.shape[:2])
        ways = _ways(side)
        expected_bytes = 0.0
        for longest, quality in ways:
            is_last = (longest, quality) == ways[-1]
            if expected_bytes * longest**2 > 1.5 * share and not is_last:
                continue  # the one before was far too large
            uri, width, height = _data_uri(pixels, longest, quality)
            if len(uri) <= (self._left_bytes if is_last else share):
                return self._kept(uri, width, height, alt, side)
            expected_bytes = len(uri) / longest**2
        self._left_pictures -= 1
        self._dropped += 1
        return None

    def _kept(self, uri: str, width: int, height: int, alt: str, side: int) -> Shown:
        smaller = None
        if max(width, height) < side:
            self._shrunk += 1
            smaller = f"shown at {width}×{height}"
        shown = Shown(uri, width, height, alt, side <= _LOSSLESS_SIDE, smaller)
        self._spend(shown)
        return shown

    def _spend(self, shown: Shown) -> None:
        self._left_pictures -= 1
        self._left_bytes -= len(shown.uri)
        self.spent_bytes += len(shown.uri)


def _percent(share: float) -> str:
    """``0.016 %``, ``3.4 %``, ``100 %``."""
    percent = 100 * share
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"


def _brightest(apart: "Pixels") -> int:
    """The difference shown brightest: a power of two that nearly all pixels stay below."""
    import numpy as np

    usual = float(np.quantile(apart, 1 - _SATURATED_SHARE))
    return next((level for level in (4, 8, 16, 32, 64, 128) if usual <= level), _LEVELS)


def _ways(side: int) -> list[tuple[int, int]]:
    """Longest side and quality, the best first."""
    smaller = {min(longest, side): quality for longest, quality in _SIZES}
    return [*([(side, _LOSSLESS)] if side <= _LOSSLESS_SIDE else []), *smaller.items()]


def _data_uri(pixels: "Pixels", longest: int, quality: int) -> tuple[str, int, int]:
    """A picture, or a map (one channel), no longer than that; PNG where it is small anyway."""
    from PIL import Image

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
