"""The pictures of a run: each different one once, beside the CPU's, the wrong ones first.

A picture is known by the hash of its pixels, so the same one made by many settings is shown once
and says so. What is shown may be smaller than what was made, and is encoded to fit a budget;
differences are computed from all pixels before anything is made smaller.
"""

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from sdbench.quality.artifacts import Artifacts
from sdbench.quality.compare import FAULT_WORDS
from sdbench.report.story import RunStory, Tone
from sdbench.report.terminal import CORRECT_WORDS
from sdbench.report.units import printable
from sdbench.schema import (
    CORRECTNESS_SEVERITY,
    Compared,
    Correctness,
    ImageCompared,
    Picture,
    Replicate,
)
from sdbench.store import LoadedRun

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]
    """An 8-bit picture (height, width, 3)."""

PICTURES_BYTES = 1_600_000
"""What the pictures of a page may take, as they stand in it (base64); a page is to be < 3 MB."""
MOST_SHOWN = 24
"""Different pictures of one run; more than that nobody looks at."""

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
_TONES: dict[Correctness, Tone] = {
    "match": "good",
    "drift": "warning",
    "broken": "bad",
    "unknown": "unknown",
}


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


@dataclass(frozen=True)
class Entry:
    """One different picture: which settings made it, and how it stands beside the CPU's.

    Pictures that are the CPU's within rounding share an entry, which shows the furthest of them.

    ``device`` is None where its file is not there (``missing`` says why), ``reference`` where
    there is none to compare with, ``difference`` where the two are identical or of another size.
    """

    tone: Tone
    verdict: Correctness
    verdict_words: str
    how_many: str
    settings: list[str]
    measures: list[str]
    identical: bool
    device: Shown | None
    reference: Shown | None
    difference: DifferenceMap | None
    missing: str | None


@dataclass(frozen=True)
class Group:
    """All different pictures of one prompt and seed at one size."""

    title: str
    prompt: str
    entries: list[Entry]


@dataclass(frozen=True)
class Gallery:
    """What ``gallery.html`` shows; ``left_out`` says what did not fit."""

    device: str
    groups: list[Group]
    notes: list[str]
    left_out: list[str]
    size_bytes: int


@dataclass
class _Found:
    """One different picture while the records are read; ``alike`` are others within rounding."""

    group: tuple[str, int]
    pixels_sha256: str
    reference_sha256: str | None
    made_by: dict[tuple[str, str], int] = field(default_factory=dict)
    passes: set[int] = field(default_factory=set)
    compared: list[ImageCompared] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    alike: int = 0

    @property
    def likeness(self) -> tuple[float, float]:
        """How near it is to the CPU's: by its pixels (PSNR in dB), then by all that was compared."""
        known = [one.psnr_db for one in self.compared if one.psnr_db is not None]
        margins = [one.margin for one in self.compared if one.margin is not None]
        return min(known, default=float("inf")), -max(margins, default=0.0)

    @property
    def worst(self) -> ImageCompared | None:
        """The comparison that is worst for it."""
        return min(
            self.compared,
            key=lambda one: (CORRECTNESS_SEVERITY.index(one.verdict), -(one.margin or 0)),
            default=None,
        )

    @property
    def verdict(self) -> Correctness:
        """Beside the CPU; without that a broken or wrong picture still is what it is."""
        if any(one.broken for one in self.pictures):
            return "broken"
        return self.worst.verdict if self.worst is not None else "unknown"

    @property
    def wrong_content(self) -> str | None:
        """What is not as the prompt asked for, where that can be read."""
        for picture in self.pictures:
            if picture.content == "wrong":
                return picture.content_reason or "not as asked"
        return None

    @property
    def severity(self) -> int:
        """The worst is 0; what shows something else than asked is as bad as a broken one."""
        severity = CORRECTNESS_SEVERITY.index(self.verdict)
        return 0 if self.wrong_content is not None else severity


def gallery_of(
    loaded: LoadedRun,
    run: RunStory,
    budget_bytes: int = PICTURES_BYTES,
    most_shown: int = MOST_SHOWN,
) -> Gallery:
    """The different pictures of a run, encoded to fit ``budget_bytes`` of the page."""
    found, made = _different_pictures(loaded)
    chosen, left_out = _chosen(_matches_as_one(found), most_shown)
    # Of each the device's picture, the CPU's and a map.
    encoder = _Encoder(Artifacts(loaded.files), budget_bytes, 3 * len(chosen))
    writer = _Writer(loaded, run, made, encoder)
    groups = [
        Group(writer.title(group), writer.prompt(group), [writer.entry(one) for one in entries])
        for group, entries in _by_group(chosen)
    ]
    return Gallery(
        device=run.device,
        groups=groups,
        notes=[*_notes(loaded, run)],
        left_out=[*left_out, *encoder.left_out()],
        size_bytes=encoder.spent_bytes,
    )


# What there is.


def _different_pictures(
    loaded: LoadedRun,
) -> tuple[list[_Found], Mapping[tuple[str, int], Mapping[tuple[str, str], int]]]:
    """The different pictures, and how many of each group every case and arm made."""
    cases = {planned.case_id: planned.case for planned in loaded.run.plan.cases}
    compared = {entry.replicate_id: entry for entry in loaded.compared}
    found: dict[tuple[object, ...], _Found] = {}
    made: dict[tuple[str, int], dict[tuple[str, str], int]] = defaultdict(dict)
    for replicate in loaded.replicates:
        case = cases.get(replicate.case_id)
        if case is None:
            continue
        beside = _beside_cpu(compared.get(replicate.replicate_id))
        row = replicate.case_id, replicate.arm
        for index, image, picture in _pictures(replicate):
            group = case.resolution, image
            made[group][row] = made[group].get(row, 0) + 1
            record = beside.get((image, picture.pixels_sha256, picture.latents_sha256))
            reference = None if record is None else record.reference_pixels_sha256
            key = group, picture.pixels_sha256, reference
            one = found.setdefault(key, _Found(group, picture.pixels_sha256, reference))
            one.made_by[row] = one.made_by.get(row, 0) + 1
            one.passes.add(index)
            one.pictures.append(picture)
            if record is not None:
                one.compared.append(record)
    return list(found.values()), made


def _pictures(replicate: Replicate) -> Iterator[tuple[int, int, Picture]]:
    """Pass, image and picture; a prime pass makes another picture by design."""
    for entry in replicate.passes:
        if entry.kind != "prime":
            for image, picture in enumerate(entry.images):
                yield entry.index, image, picture


def _beside_cpu(compared: Compared | None) -> dict[tuple[int, str, str], ImageCompared]:
    images = [] if compared is None else compared.images
    return {(one.image, one.pixels_sha256, one.latents_sha256): one for one in images}


def _matches_as_one(found: Sequence[_Found]) -> list[_Found]:
    """Of the pictures that match one of the CPU's, the furthest stands for all."""
    matches: dict[tuple[object, ...], _Found] = {}
    rest = []
    for one in sorted(found, key=lambda one: one.likeness):
        if one.verdict != "match" or one.wrong_content is not None:
            rest.append(one)
            continue
        first = matches.setdefault((one.group, one.reference_sha256), one)
        if first is not one:
            first.alike += 1
            first.passes |= one.passes
            for row, count in one.made_by.items():
                first.made_by[row] = first.made_by.get(row, 0) + count
    return [*rest, *matches.values()]


def _by_group(found: Iterable[_Found]) -> list[tuple[tuple[str, int], list[_Found]]]:
    """Groups with their pictures, in both the worst first."""
    groups: dict[tuple[str, int], list[_Found]] = {}
    for one in found:
        groups.setdefault(one.group, []).append(one)
    for entries in groups.values():
        entries.sort(key=lambda one: (one.severity, -len(one.made_by)))
    return sorted(groups.items(), key=lambda entry: (entry[1][0].severity, *_place(entry[0])))


def _place(group: tuple[str, int]) -> tuple[int, str, int]:
    """Small pictures before large ones, in the order of their prompts."""
    resolution, image = group
    width, _, height = resolution.partition("x")
    return int(width) * int(height), resolution, image


def _chosen(found: Sequence[_Found], most: int) -> tuple[list[_Found], list[str]]:
    """The worst of every group, then the next worst, up to ``most``; what of the rest is said."""
    ranked = [
        (one.severity, rank, one)
        for _, entries in _by_group(found)
        for rank, one in enumerate(entries)
    ]
    ranked.sort(key=lambda entry: entry[:2])
    chosen = [one for _, _, one in ranked[:most]]
    rest = [one.verdict for _, _, one in ranked[most:]]
    if not rest:
        return chosen, []
    counts = ", ".join(
        f"{rest.count(verdict)} {CORRECT_WORDS[verdict]}"
        for verdict in CORRECTNESS_SEVERITY
        if verdict in rest
    )
    return chosen, [f"{len(rest)} more different pictures are not shown here: {counts}."]


def _notes(loaded: LoadedRun, run: RunStory) -> Iterator[str]:
    if not loaded.run.model.trained:
        yield (
            f"{run.model} has random weights, so its pictures are noise by design. Only how they "
            "differ from the CPU's tells something."
        )


# What is said of it.


@dataclass
class _Writer:
    loaded: LoadedRun
    run: RunStory
    made: Mapping[tuple[str, int], Mapping[tuple[str, str], int]]
    encoder: "_Encoder"

    def title(self, group: tuple[str, int]) -> str:
        resolution, image = group
        return f"{resolution.replace('x', '×')}, picture {image + 1}"

    def prompt(self, group: tuple[str, int]) -> str:
        prompts = self.loaded.run.config.get("prompts") or ["prompt not known"]
        return str(prompts[group[1] % len(prompts)])

    def entry(self, one: _Found) -> Entry:
        settings = self._settings(one)
        reason = "; ".join(_faults(one))
        words = CORRECT_WORDS[one.verdict] + (f": {reason}" if reason else "")
        if one.wrong_content is not None:
            words = f"not as asked: {one.wrong_content}; beside the CPU: {words}"
        about = f"{self.title(one.group)}, prompt “{printable(self.prompt(one.group))}”"
        made_with = f"{settings[0]}{' and others' if len(settings) > 1 else ''}"
        pixels = self.encoder.pixels(one.pixels_sha256)
        expected = self.encoder.pixels(one.reference_sha256)
        identical = one.pixels_sha256 == one.reference_sha256
        device = self.encoder.shown(
            one.pixels_sha256,
            pixels,
            f"Made on {self.run.device} ({made_with}): {about}. Verdict: {words}.",
        )
        reference = difference = None
        if not identical:
            alt = f"The CPU's picture in float32: {about}."
            reference = self.encoder.shown(one.reference_sha256, expected, alt)
            if pixels is not None and expected is not None and pixels.shape == expected.shape:
                difference = self.encoder.difference(pixels, expected, about)
        return Entry(
            tone="bad" if one.severity == 0 else _TONES[one.verdict],
            verdict=one.verdict,
            verdict_words=words,
            how_many=self._how_many(one),
            settings=settings,
            measures=[*_measures(one, identical)],
            identical=identical,
            device=device,
            reference=reference,
            difference=difference,
            missing=None if device is not None else self._missing(one, pixels),
        )

    def _settings(self, one: _Found) -> list[str]:
        """In the plan's order, each with how often it made this picture if it made others too."""
        names = {(cell.case_id, cell.arm): cell.settings for cell in self.run.cells}
        words = []
        for row, name in names.items():
            if row not in one.made_by:
                continue
            made, of = one.made_by[row], self.made[one.group][row]
            words.append(name if made == of else f"{name} ({made} of {of})")
        return words or ["settings not known"]

    def _how_many(self, one: _Found) -> str:
        rows = self.made[one.group]
        made, of = len(one.made_by), len(rows)
        what = "The same within rounding" if one.alike else "The same picture"
        if of == 1:
            words = "The only setting of this size"
        elif made == 1:
            words = f"Made by 1 of {of} settings"
        else:
            words = f"{what} in {'all' if made == of else f'{made} of'} {of} settings"
        if any(count < rows[row] for row, count in one.made_by.items()):
            passes = (str(number) if number else "profile" for number in sorted(one.passes))
            words += f", only in pass {', '.join(passes)}"
        if one.alike:
            words += f" ({one.alike + 1} different to the bit, the furthest is shown)"
        return words

    def _missing(self, one: _Found, pixels: "Pixels | None") -> str:
        if pixels is not None:
            return "not shown: it did not fit into the page"
        kept = next((picture.not_kept for picture in one.pictures if picture.not_kept), None)
        return kept or "its file is missing or cannot be read"


def _faults(one: _Found) -> Iterator[str]:
    worst = one.worst
    if worst is not None and worst.fault is not None:
        yield FAULT_WORDS[worst.fault]
    elif any(picture.broken for picture in one.pictures):
        broken = next(picture.broken for picture in one.pictures if picture.broken)
        yield FAULT_WORDS["black" if broken == "black" else "not-a-number"]


def _measures(one: _Found, identical: bool) -> Iterator[str]:
    worst = one.worst
    if identical:
        yield "identical to the CPU's picture, bit for bit"
    elif worst is not None and worst.ssim is not None:
        noise = "∞" if worst.psnr_db is None else f"{worst.psnr_db:.1f} dB"
        yield f"PSNR {noise}"
        yield f"SSIM {worst.ssim:.4f}"
    if not identical and worst is not None and worst.margin is not None:
        times = f"{worst.margin:,.0f}" if worst.margin >= 10 else f"{worst.margin:.2g}"
        yield f"{times}× what rounding allows"


# How it is put into the page.


class _Encoder:
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
        return shown and DifferenceMap(shown, brightest, largest, _percent(share))

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
