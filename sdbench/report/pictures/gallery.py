"""The images of a run: each different one once, next to the CPU's, the wrong ones first.

An image is known by the hash of its pixels, so the same one made by many settings is shown once
and says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdbench.analysis.case_words import CORRECT_WORDS
from sdbench.correctness.artifact_files import Artifacts, most_pixels
from sdbench.correctness.verdict_words import FAULT_WORDS
from sdbench.records import Correctness
from sdbench.report.pictures.data_uris import Difference, Drawing, Embedder, Shown, difference_of
from sdbench.report.pictures.distinct import (
    FoundPicture,
    GroupKey,
    Made,
    by_group,
    choose,
    different_pictures,
    matches_as_one,
)
from sdbench.report.view import RunReport, Tone
from sdbench.report.view.correctness_words import margin_words, pass_words
from sdbench.runs import LoadedRun
from sdbench.words import printable

if TYPE_CHECKING:
    from sdbench.report.pictures.data_uris import Pixels

PICTURES_BYTES = 1_600_000
"""What the images of a page may take, as they stand in it (base64); a page is to be < 3 MB."""
_THUMBNAIL_BYTES = 60_000
MOST_SHOWN = 24
"""Different images of one run; more than that nobody looks at."""

_TONES: dict[Correctness, Tone] = {
    "match": "good",
    "drift": "warning",
    "broken": "bad",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class Entry:
    """One different image: which settings made it, and how it compares with the CPU's.

    Images that are the CPU's within rounding share an entry, which shows the furthest of them.

    ``device`` is None where its file is missing (``missing`` says why), ``reference`` where
    there is none to compare with, ``difference`` and its ``map`` where the two are identical or of
    another size.
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
    difference: Difference | None
    map: Shown | None
    missing: str | None


@dataclass(frozen=True)
class Group:
    """All different images of one prompt and seed at one size."""

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


def gallery_of(
    loaded: LoadedRun,
    run: RunReport,
    budget_bytes: int = PICTURES_BYTES,
    most_shown: int = MOST_SHOWN,
) -> Gallery:
    """The different images of a run, encoded to fit ``budget_bytes`` of the page."""
    found, made = different_pictures(loaded)
    chosen, left_out = choose(matches_as_one(found), most_shown)
    embedder = Embedder(
        Artifacts(loaded.files, most_pixels(loaded.run.plan)), budget_bytes, len(chosen)
    )
    writer = _Writer(loaded, run, made, embedder)
    groups = [
        Group(writer.title(group), writer.prompt(group), [writer.entry(one) for one in entries])
        for group, entries in by_group(chosen)
    ]
    return Gallery(
        device=loaded.run.device,
        groups=groups,
        notes=[*_notes(loaded)],
        left_out=[*left_out, *embedder.left_out()],
        size_bytes=embedder.spent_bytes,
    )


def thumbnail_of(
    loaded: LoadedRun, run: RunReport, budget_bytes: int = _THUMBNAIL_BYTES
) -> Entry | None:
    """The run's worst image, small, with the CPU's; None where no file of one is there."""
    gallery = gallery_of(loaded, run, budget_bytes, most_shown=1)
    entries = [entry for group in gallery.groups for entry in group.entries]
    return next((entry for entry in entries if entry.device is not None), None)


def _notes(loaded: LoadedRun) -> Iterator[str]:
    if not loaded.run.model.trained:
        yield (
            f"{loaded.run.model.name} has random weights, so its images are noise by design. Only "
            "their differences from the CPU's images are meaningful."
        )


@dataclass(frozen=True)
class _Writer:
    """Says of every image what is to be said."""

    loaded: LoadedRun
    run: RunReport
    made: Made
    embedder: Embedder

    def title(self, group: GroupKey) -> str:
        resolution, image = group
        return f"{resolution.replace('x', '×')}, image {image + 1}"

    def prompt(self, group: GroupKey) -> str:
        prompts = self.loaded.run.config.get("prompts") or ["prompt not known"]
        return str(prompts[group[1] % len(prompts)])

    def entry(self, one: FoundPicture) -> Entry:
        settings = self._settings(one)
        reason = "; ".join(_faults(one))
        words = CORRECT_WORDS[one.verdict] + (f": {reason}" if reason else "")
        if one.not_as_asked is not None and one.is_wrong:
            words = f"not as asked: {one.not_as_asked}; compared with the CPU: {words}"
        elif one.not_as_asked is not None:
            words += (
                f", and, like the CPU's, not as asked: {one.not_as_asked}; the cause is the model"
            )
        about = f"{self.title(one.group)}, prompt “{printable(self.prompt(one.group))}”"
        made_with = f"{settings[0]}{' and others' if len(settings) > 1 else ''}"
        pixels = self.embedder.pixels(one.pixels_sha256)
        expected = self.embedder.pixels(one.reference_sha256)
        identical = one.pixels_sha256 == one.reference_sha256
        drawings, difference = [], None
        if pixels is not None:
            alt = f"Made on {self.loaded.run.device} ({made_with}): {about}. Verdict: {words}."
            drawings.append(Drawing(pixels, alt))
        if pixels is not None and expected is not None and not identical:
            alt = f"The CPU's image in float32: {about}."
            drawings.append(Drawing(expected, alt, one.reference_sha256))
            if pixels.shape == expected.shape:
                difference = difference_of(pixels, expected, about)
                drawings.append(difference.drawing)
        shown = self.embedder.embed(drawings) if drawings else None
        device, reference, difference_map, *_ = [*(shown or []), None, None, None]
        return Entry(
            tone="bad" if one.is_wrong else _TONES[one.verdict],
            verdict=one.verdict,
            verdict_words=words,
            how_many=self._how_many(one),
            settings=settings,
            measures=[*_measures(one, identical)],
            identical=identical,
            device=device,
            reference=reference,
            difference=difference,
            map=difference_map,
            missing=None if device is not None else self._missing(one, pixels),
        )

    def _settings(self, one: FoundPicture) -> list[str]:
        """In the plan's order, each with how often it made this image if it made others too."""
        names = {cell.summary.key: cell.settings for cell in self.run.cells}
        words = []
        for row, name in names.items():
            if row not in one.made_by:
                continue
            made, of = one.made_by[row], self.made[one.group][row]
            words.append(name if made == of else f"{name} ({made} of {of})")
        return words or ["settings not known"]

    def _how_many(self, one: FoundPicture) -> str:
        rows = self.made[one.group]
        made, of = len(one.made_by), len(rows)
        what = "The same within rounding" if one.alike else "The same image"
        if of == 1:
            words = "The only setting of this size"
        elif made == 1:
            words = f"Made by 1 of {of} settings"
        else:
            words = f"{what} in {'all' if made == of else f'{made} of'} {of} settings"
        if any(count < rows[row] for row, count in one.made_by.items()):
            words += f", only in pass {pass_words(one.passes)}"
        if one.alike:
            words += f" ({one.alike + 1} with different bits, the most distant is shown)"
        return words

    def _missing(self, one: FoundPicture, pixels: "Pixels | None") -> str:
        if pixels is not None:
            return "not shown: it did not fit into the page"
        kept = next((picture.not_kept for picture in one.pictures if picture.not_kept), None)
        return (
            kept
            or self.embedder.why_not(one.pixels_sha256)
            or "its file is missing or cannot be read"
        )


def _faults(one: FoundPicture) -> Iterator[str]:
    worst = one.worst
    if worst is not None and worst.fault is not None:
        yield FAULT_WORDS[worst.fault]
    elif any(picture.broken for picture in one.pictures):
        broken = next(picture.broken for picture in one.pictures if picture.broken)
        yield FAULT_WORDS["black" if broken == "black" else "not-a-number"]


def _measures(one: FoundPicture, identical: bool) -> Iterator[str]:
    worst = one.worst
    if identical:
        yield "bit-identical to the CPU's image"
    elif worst is not None and worst.ssim is not None:
        noise = "∞" if worst.psnr_db is None else f"{worst.psnr_db:.1f} dB"
        yield f"PSNR {noise}"
        yield f"SSIM {worst.ssim:.4f}"
    if worst is not None and worst.margin is not None and not (identical and worst.margin <= 1):
        yield f"at the end {margin_words(worst.margin)}"
