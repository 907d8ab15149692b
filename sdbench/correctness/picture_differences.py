"""What a person would see between two images that should be the same: named, and how strong.

Each kind has a measure (:mod:`.picture_measures`) and a limit (:data:`.thresholds.VISIBLE`): below
``noticed`` nobody sees it, from ``plain`` on anybody does. Rounding may change an image too, so a
multiple of what rounding explains is always allowed.
"""

import functools
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sdbench.correctness import measures, picture_measures
from sdbench.correctness.picture_faults import is_noise
from sdbench.correctness.thresholds import (
    FLAT_DEVIATION,
    NEIGHBOURS_OF_A_PICTURE,
    NEIGHBOURS_OF_NOISE,
    SAME_PICTURE_CORRELATION,
    TILED_MULTIPLE,
    VISIBLE,
)
from sdbench.records import PictureDifference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pixels = NDArray[Any]

_CHANNELS = ("red", "green", "blue")
_OPPOSITES = ("cyan", "magenta", "yellow")
# A change explains a difference when what is left of it is at most so much.
_EXPLAINED = 0.5
_WELL = 0.3
# Every limit is above these: root mean square, and largest difference, in levels.
_INVISIBLE_ERROR, _INVISIBLE_LEVELS = 0.7, 5
_MOSTLY = 0.7
_FEWEST_SPECKS = 2
_WIDEST_BANDS = 0.25
_MOST_OF_A_PART = 0.75
_SHARE_EXPLAINED = 0.6
_SURELY_ALIKE = 0.95


def picture_differences(
    got: "Pixels",
    expected: "Pixels",
    rounding: float,
    *,
    tiled: bool = False,
    share: float = 1.0,
) -> list[PictureDifference]:
    """All that is to be seen, strongest first; empty where the two look the same.

    ``rounding`` is the root mean square in levels that rounding explains. ``tiled``: the VAE
    decoded in tiles, which changes tones and leaves seams by design, so these have to be gross.
    ``share`` scales all limits: with 0.5 a difference is reported from half of what is noticed.
    """
    key = (_named(got), _named(expected), rounding, tiled, share)
    found = _JUDGED.get(key)
    if found is None:
        if len(_JUDGED) >= _MOST_JUDGED:
            _JUDGED.clear()
        found = _JUDGED[key] = _differences(got, expected, rounding, tiled, share)
    return [*found]


# Passes and processes bring the same images, and an image's own rounding is asked for with each
# image of it that differs. What is found of two is small, so it is kept by what they hold.
_MOST_JUDGED = 4096
_JUDGED: dict[tuple[object, ...], list[PictureDifference]] = {}


def _named(pixels: "Pixels") -> tuple[object, ...]:
    """What names an image: two with the same name are the same."""
    import numpy as np

    data = np.ascontiguousarray(pixels)
    return data.shape, data.dtype.str, hashlib.blake2b(data.data, digest_size=16).digest()


def _differences(
    got: "Pixels", expected: "Pixels", rounding: float, tiled: bool, share: float
) -> list[PictureDifference]:
    import numpy as np

    if np.array_equal(got, expected):
        return []
    if got.shape != expected.shape:
        return [_difference("unlike", 255.0, "it has another size")]
    judge = _Judge(got, expected, rounding, share)
    if judge.hardly_differs:
        return []
    found = [*judge.whole()]
    if not found:
        found = [entry for entry in judge.parts() if not (tiled and _is_of_tiling(entry))]
    return sorted(found, key=lambda entry: -entry.strength / entry.noticed)


def _is_of_tiling(entry: PictureDifference) -> bool:
    """Whether decoding in tiles may have made it."""
    return entry.kind in _OF_TILING and entry.strength < TILED_MULTIPLE * entry.plain


_OF_TILING = frozenset(
    {
        *("brightness", "contrast", "colour-cast", "saturation", "tones", "part"),
        *("tiles", "bands", "blurred", "sharpened", "unlike"),
    }
)


class _Judge:
    """Holds two images and asks the measures."""

    def __init__(
        self, got: "Pixels", expected: "Pixels", rounding: float, share: float = 1.0
    ) -> None:
        self._got, self._expected, self._rounding = got, expected, rounding
        self._share = share
        self._levels = got.astype(float)
        self._raw = self._levels - expected
        self._error = picture_measures.root_mean_square(self._raw)

    @functools.cached_property
    def _alike(self) -> float | None:
        return measures.correlation(self._got, self._expected)

    @functools.cached_property
    def _tones(self) -> picture_measures.Tones:
        return picture_measures.tones(self._got, self._expected)

    @property
    def hardly_differs(self) -> bool:
        """Whether no measure can reach its limit, which saves the time to ask them."""
        most = float(abs(self._raw).max())
        return (
            self._error < self._share * _INVISIBLE_ERROR and most <= self._share * _INVISIBLE_LEVELS
        )

    def whole(self) -> "Iterator[PictureDifference]":
        """The one change that the whole image has gone through, if one explains it."""
        flat = 255 * FLAT_DEVIATION
        if picture_measures.channel_deviation(self._got) < flat:
            if picture_measures.channel_deviation(self._expected) >= 2 * flat:
                yield _difference("flat", 1.0, "it is flat, of one colour")
            return
        if _is_noise(self._got, self._expected, self._alike):
            yield _difference("noise", 1.0, "it is noise")
            return
        if self._error <= self._limit("shift-error"):
            return
        gap, usual = (picture_measures.level_gap(one) for one in (self._got, self._expected))
        if gap >= max(VISIBLE["posterised"].least_levels, 2 * usual):
            used = picture_measures.levels_used(self._got)
            words = f"only {used} levels of each colour are left, {gap:.0f} apart"
            yield _difference("posterised", gap, words)
            return
        for kind, words, picture in picture_measures.rearrangements(self._expected):
            if self._explains(picture_measures.root_mean_square(self._levels - picture), _WELL):
                yield _difference(kind, self._error, words)
                return
        moved = self._moved()
        if moved is not None:
            yield moved
            return
        if self._tones.alike > _SURELY_ALIKE:
            return
        for parts in (2, 3, 4, 8):
            found = picture_measures.exchanged_parts(self._got, self._expected, parts)
            if found is not None and found[0] and self._explains(found[1], _WELL):
                words = f"{found[0]} of {parts * parts} parts of it show content of another place"
                yield _difference("exchanged-parts", self._error, words)
                return

    def parts(self) -> "Iterator[PictureDifference]":
        """What is wrong in a part of it alone; else tones first, then what is left without them."""
        part = self._part(self._raw)
        if part is not None:
            yield part
            return
        tones = self._tones
        if max(self._alike or 0.0, tones.alike) < SAME_PICTURE_CORRELATION:
            yield _difference("another-picture", self._error, "it shows something else")
            return
        named = [entry for entry in self._of_tones(tones) if entry is not None]
        left = self._got - tones.fitted if named else self._raw
        local = [entry for entry in self._local(left) if entry is not None]
        yield from named
        yield from local
        if not named and not local:
            yield from _some(self._over("unlike", self._error, "it differs everywhere"))

    def _of_tones(self, tones: picture_measures.Tones) -> "Iterator[PictureDifference | None]":
        lighter = "lighter" if tones.brightness > 0 else "darker"
        levels = f"by {abs(tones.brightness):.0f} of 255 levels"
        yield self._over("brightness", abs(tones.brightness), f"it is {lighter} {levels}")
        if tones.contrast is not None:
            yield self._over("contrast", abs(1 - tones.contrast), _contrast_words(tones.contrast))
        if tones.saturation is not None and tones.contrast is not None:
            ratio = tones.saturation / max(0.05, abs(tones.contrast))
            words = "paler" if ratio < 1 else "stronger"
            yield self._over(
                "saturation", abs(1 - ratio), f"its colours are {words}: {ratio:.0%} of the range"
            )
        cast = (_CHANNELS if tones.cast > 0 else _OPPOSITES)[tones.cast_channel]
        yield self._over(
            "colour-cast",
            abs(tones.cast),
            f"it has a {cast} cast ({abs(tones.cast):.0f} of 255 levels)",
        )
        yield self._over(
            "tones",
            tones.curve,
            f"its tone curve is bent by {tones.curve:.0f} of 255 levels, as with a wrong gamma",
        )

    def _local(self, left: "Array") -> "Iterator[PictureDifference | None]":
        """What is wrong in places; the first that explains it stands for the rest."""
        for look in (self._bands, self._specks, self._tiles, self._pattern):
            found = look(left)
            if found is not None:
                yield found
                return
        error = picture_measures.root_mean_square(left)
        grain, alike = picture_measures.graininess(left)
        sharp = picture_measures.sharpness(self._got, self._expected)
        if abs(alike) < NEIGHBOURS_OF_NOISE and (sharp is None or sharp > 1):
            yield self._over("grain", grain, f"fine noise lies over it ({grain:.0f} levels)")
        if sharp is not None and error > self._limit("shift-error"):
            if sharp < 1:
                words = f"it is blurred: {sharp:.0%} of the steps between pixels"
                yield self._over("blurred", 1 - sharp, words)
            elif alike >= NEIGHBOURS_OF_NOISE:
                yield self._over("sharpened", sharp - 1, "it is sharper, with rings around edges")

    def _bands(self, left: "Array", widest: float = 1.0) -> PictureDifference | None:
        """Whole rows, or whole columns, are off alike; at most a share of them stands out."""
        found = []
        for axis, name in ((0, "horizontal"), (1, "vertical")):
            lines = picture_measures.stripes(left, axis)
            few = lines.lines <= widest * left.shape[axis]
            if few and lines.share >= VISIBLE["bands"].least_share:
                strength = max(lines.deviation, lines.peak / 4)
                entry = self._over("bands", strength, f"{name} bands lie over it")
                found += [] if entry is None else [(lines.share, entry)]
        return max(found, key=lambda one: one[0])[1] if found else None

    def _specks(self, left: "Array") -> PictureDifference | None:
        """Single pixels are off, and they explain what is to be seen."""
        found = picture_measures.specks(left, self._expected, VISIBLE["specks"].least_levels)
        number = int(found.sum())
        if number < _FEWEST_SPECKS:
            return None
        rest = picture_measures.root_mean_square(left * ~found[..., None])
        error = picture_measures.root_mean_square(left)
        if rest > max(self._limit("shift-error"), _MOSTLY * error):
            return None
        return self._over(
            "specks", number / found.size, f"{number} single pixels are wrong (specks)"
        )

    def _tiles(self, left: "Array") -> PictureDifference | None:
        """Seams in both directions."""
        step = min(picture_measures.seam(left, axis) for axis in (0, 1))
        return self._over("tiles", step, "it falls into tiles with seams between them")

    def _pattern(self, left: "Array") -> PictureDifference | None:
        """One wave across it."""
        wave = picture_measures.periodic_share(left)
        if wave < VISIBLE["pattern"].least_share:
            return None
        error = picture_measures.root_mean_square(left) * wave**0.5
        return self._over("pattern", error, "a regular pattern lies over it")

    def _part(self, left: "Array") -> PictureDifference | None:
        """Some blocks are wrong while others are right."""
        errors = picture_measures.block_errors(left)
        wrong = _wrong_blocks(errors, self._limit("part"))
        if wrong is None:
            return None
        if self._specks(left) is not None or self._bands(left, _WIDEST_BANDS) is not None:
            return None
        words = f"{_place(wrong)} is wrong ({wrong.mean():.0%} of the image)"
        return self._over("part", float(errors.max()), words)

    def _moved(self) -> PictureDifference | None:
        """The same image at another place."""
        slight, share = picture_measures.fraction_moved(self._got, self._expected)
        far = (slight.right**2 + slight.down**2) ** 0.5
        if share > _SHARE_EXPLAINED and far < 2:
            return self._over("shift", far, f"it is moved by {_way(slight)}")
        moved = picture_measures.moved(self._got, self._expected)
        if not self._explains(moved.left_over, _EXPLAINED):
            return None
        far = (moved.right**2 + moved.down**2) ** 0.5
        return self._over("shift", far, f"it is moved by {_way(moved)}")

    def _explains(self, left_over: float, share: float) -> bool:
        return left_over <= share * self._error

    def _limit(self, kind: str) -> float:
        """From where a kind is noticed, rounding allowed for."""
        limit = VISIBLE[kind]
        return self._share * max(limit.noticed, limit.of_rounding * self._rounding)

    def _over(self, kind: str, strength: float, words: str) -> PictureDifference | None:
        noticed = self._limit(kind)
        if strength < noticed:
            return None
        plain = VISIBLE[kind].plain * noticed / VISIBLE[kind].noticed
        return PictureDifference(
            kind=kind, strength=strength, noticed=noticed, plain=plain, words=words
        )


def _difference(kind: str, strength: float, words: str) -> PictureDifference:
    """One that is plain wherever it is found."""
    return PictureDifference(kind=kind, strength=strength, noticed=1.0, plain=1.0, words=words)


def _some(entry: PictureDifference | None) -> list[PictureDifference]:
    return [] if entry is None else [entry]


def _is_noise(got: "Pixels", expected: "Pixels", alike: float | None) -> bool:
    """Noise, of pixels or of cells, where the other image is none; ``alike``: as they are."""
    if alike is not None and alike >= SAME_PICTURE_CORRELATION:
        return False
    own, theirs = (picture_measures.pixel_correlation(picture) for picture in (got, expected))
    if own is not None and own < NEIGHBOURS_OF_NOISE:
        return theirs is None or theirs >= NEIGHBOURS_OF_A_PICTURE
    return is_noise(got) and not is_noise(expected)


def _contrast_words(contrast: float) -> str:
    if contrast < 1:
        return f"it is washed out: {max(0.0, contrast):.0%} of the contrast"
    return f"it has too much contrast: {contrast:.0%}"


def _way(moved: picture_measures.Moved) -> str:
    ways = (
        (moved.right, "right" if moved.right > 0 else "left"),
        (moved.down, "down" if moved.down > 0 else "up"),
    )
    words = [
        f"{abs(far):.2g} {'pixel' if abs(far) == 1 else 'pixels'} {way}"
        for far, way in ways
        if abs(far) >= 0.1
    ]
    return " and ".join(words) or "part of a pixel"


def _wrong_blocks(errors: "Array", least: float) -> "Array | None":
    """Which blocks are wrong, where most of the others are clearly right; else None."""
    import numpy as np

    worst = float(errors.max())
    wrong: Array = errors > max(least, worst / 4)
    if not wrong.any() or wrong.mean() > _MOST_OF_A_PART:
        return None
    right = float(np.quantile(errors[~wrong], 0.75))
    return wrong if right <= max(least / 4, worst / 16) else None


def _place(wrong: "Array") -> str:
    """Where the wrong blocks of a grid are, in words."""
    import numpy as np

    rows, columns = (np.flatnonzero(wrong.any(axis=axis)) for axis in (1, 0))
    height, width = wrong.shape
    vertical = _third(rows[0], rows[-1], height, ("upper", "lower"))
    horizontal = _third(columns[0], columns[-1], width, ("left", "right"))
    place = " ".join(word for word in (vertical, horizontal) if word)
    return f"the {place} part" if place else "a part"


def _third(first: int, last: int, number: int, words: tuple[str, str]) -> str:
    if last < number / 2:
        return words[0]
    return words[1] if first >= number / 2 else ""
