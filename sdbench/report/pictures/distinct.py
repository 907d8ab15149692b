"""The different images of a run, the worst first, known by the hash of their pixels."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sdbench.analysis.case_words import CORRECT_WORDS
from sdbench.records import (
    CORRECTNESS_SEVERITY,
    Compared,
    Correctness,
    ImageCompared,
    Picture,
    Replicate,
    RowKey,
)
from sdbench.runs import LoadedRun

GroupKey = tuple[str, int]
"""Resolution and number of the image: one prompt and seed at one size."""
Made = Mapping[GroupKey, Mapping[RowKey, int]]
"""How many images of a group every case and variant made."""


@dataclass
class FoundPicture:
    """One different image while the records are read; ``alike`` are others within rounding."""

    group: GroupKey
    pixels_sha256: str
    reference_sha256: str | None
    made_by: dict[RowKey, int] = field(default_factory=dict)
    passes: set[int] = field(default_factory=set)
    compared: list[ImageCompared] = field(default_factory=list)
    by_identity: dict[int, Picture] = field(default_factory=dict)
    """Equal images of a run are held once (``runs/interning.py``)."""
    alike: int = 0

    @property
    def pictures(self) -> Iterable[Picture]:
        """The different records of this image."""
        return self.by_identity.values()

    @property
    def likeness(self) -> tuple[float, float]:
        """How near it is to the CPU's: by its pixels (PSNR in dB), then by the margin."""
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
        """Beside the CPU; without that a broken or wrong image still is what it is."""
        if any(one.broken for one in self.pictures):
            return "broken"
        return self.worst.verdict if self.worst is not None else "unknown"

    @property
    def not_as_asked(self) -> str | None:
        """What is not as the prompt asked for, where that can be read."""
        for picture in self.pictures:
            if picture.content == "wrong":
                return picture.content_reason or "not as asked"
        return None

    @property
    def is_wrong(self) -> bool:
        """Broken, or of something else than asked, unless the CPU's image is so too."""
        like_cpu = self.verdict in ("match", "drift")
        return self.verdict == "broken" or (self.not_as_asked is not None and not like_cpu)

    @property
    def severity(self) -> int:
        """0 is the worst."""
        return 0 if self.is_wrong else CORRECTNESS_SEVERITY.index(self.verdict)


def different_pictures(
    loaded: LoadedRun,
) -> tuple[list[FoundPicture], Made]:
    """The different images, and how many of each group every case and variant made."""
    cases = {planned.case_id: planned.case for planned in loaded.run.plan.cases}
    compared = {entry.replicate_id: entry for entry in loaded.compared}
    found: dict[tuple[object, ...], FoundPicture] = {}
    made: dict[GroupKey, dict[RowKey, int]] = defaultdict(dict)
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
            one = found.get(key)
            if one is None:
                one = found[key] = FoundPicture(group, picture.pixels_sha256, reference)
            one.made_by[row] = one.made_by.get(row, 0) + 1
            one.passes.add(index)
            one.by_identity[id(picture)] = picture
            if record is not None:
                one.compared.append(record)
    return list(found.values()), made


def _pictures(replicate: Replicate) -> Iterator[tuple[int, int, Picture]]:
    """Pass, index and image; a prime pass makes another image by design."""
    for entry in replicate.passes:
        if entry.kind != "prime":
            for image, picture in enumerate(entry.images):
                yield entry.index, image, picture


def _beside_cpu(compared: Compared | None) -> dict[tuple[int, str, str], ImageCompared]:
    images = [] if compared is None else compared.images
    return {(one.image, one.pixels_sha256, one.latents_sha256): one for one in images}


def matches_as_one(found: Sequence[FoundPicture]) -> list[FoundPicture]:
    """Of the images that match one of the CPU's, the furthest stands for all."""
    matches: dict[tuple[object, ...], FoundPicture] = {}
    rest = []
    for one in sorted(found, key=lambda one: one.likeness):
        if one.verdict != "match":
            rest.append(one)
            continue
        first = matches.setdefault((one.group, one.reference_sha256), one)
        if first is not one:
            first.alike += 1
            first.passes |= one.passes
            for row, count in one.made_by.items():
                first.made_by[row] = first.made_by.get(row, 0) + count
    return [*rest, *matches.values()]


def by_group(found: Iterable[FoundPicture]) -> list[tuple[GroupKey, list[FoundPicture]]]:
    """Groups with their images, in both the worst first."""
    groups: dict[GroupKey, list[FoundPicture]] = {}
    for one in found:
        groups.setdefault(one.group, []).append(one)
    for entries in groups.values():
        entries.sort(key=lambda one: (one.severity, -len(one.made_by)))
    return sorted(groups.items(), key=lambda entry: (entry[1][0].severity, *_place(entry[0])))


def _place(group: GroupKey) -> tuple[int, str, int]:
    """Small images before large ones, in the order of their prompts."""
    resolution, image = group
    width, _, height = resolution.partition("x")
    return int(width) * int(height), resolution, image


def choose(found: Sequence[FoundPicture], most: int) -> tuple[list[FoundPicture], list[str]]:
    """The worst of every group, then the next worst, up to ``most``; what of the rest is said."""
    ranked = [
        (one.severity, rank, one)
        for _, entries in by_group(found)
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
    return chosen, [f"{len(rest)} more different images are not shown here: {counts}."]
