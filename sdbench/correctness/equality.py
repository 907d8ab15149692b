"""Does one device agree with itself? Pass against pass, cell against cell, process against process.

Pure over records and the files that a run kept. Bits are looked at first: equal digests are equal
images. Where they differ, the distance of the final latents and that of the pixels are each held
against what rounding alone explains for the dtype, as the comparison with the CPU recorded it; and
what a person would see between the two is named. Latents alone do not tell: a fault in the decode
leaves them identical.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from sdbench.correctness import measures, picture_measures, thresholds
from sdbench.correctness import picture_faults as pictures
from sdbench.correctness.arithmetic import is_tf32
from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.padding import PADDED
from sdbench.correctness.picture_differences import picture_differences
from sdbench.records import (
    Case,
    Compared,
    Dtype,
    ImageCompared,
    Pass,
    Picture,
    PictureDifference,
    Replicate,
    Run,
    by_row,
)

EqualityKind = Literal["first-pass", "replicates", "warmup", "batching", "attention_slicing"]
EqualityVerdict = Literal["identical", "same", "different", "unknown"]

_NO_FLOOR = "differs, but how much rounding explains was not measured"
_OF_ROUNDING = "the CPU's own rounding in the same arithmetic changes this image by as much"
_NO_FILES = "differs, but its latents or its image were not kept"


class Equality(msgspec.Struct, frozen=True, kw_only=True):
    """One question of equality and its answer.

    ``first-pass``: measured pass 1 against each later one of its process; ``replicates``: the same
    pass in different processes; the other kinds are axes, and ``case_ids`` the case that has it on
    and the one that is alike but for that. ``identical`` is bit for bit, ``same`` within what is
    allowed. ``rel_l2`` is the largest distance of final latents over their norm,
    ``allowed_rel_l2`` what rounding explains times the usual multiple; the same of pixels under
    ``pixels_rel_l2`` and ``allowed_pixels_rel_l2``. ``images`` are those that differ in any bit, by
    number; ``same_picture`` says whether they all still show the same. ``differences`` are what a
    person would see of the worst pair. ``decode_only``: the latents of all that differ are
    identical, so it is the decode or what comes after it. ``different_images`` differ by more than
    is allowed. ``later``, of ``first-pass`` alone: how passes 2, 3 … of one process compare with
    each other; None where there are fewer than two.
    """

    kind: EqualityKind
    case_ids: list[str]
    arm: str
    dtype: Dtype
    verdict: EqualityVerdict
    pictures: int
    images: list[int] = []
    rel_l2: float | None = None
    allowed_rel_l2: float | None = None
    same_picture: bool | None = None
    reason: str | None = None
    pixels_rel_l2: float | None = None
    allowed_pixels_rel_l2: float | None = None
    differences: list[PictureDifference] = []
    decode_only: bool = False
    different_images: list[int] = []
    later: EqualityVerdict | None = None

    @property
    def is_plain(self) -> bool:
        """Whether anybody would see the difference."""
        return self.same_picture is False or any(entry.is_plain for entry in self.differences)


def check_equality(
    run: Run, replicates: Sequence[Replicate], compared: Sequence[Compared], artifacts: Artifacts
) -> list[Equality]:
    """All questions that a run's passes can answer, in the order of the plan.

    ``replicates`` are last attempts; ``compared`` tells what rounding explains, case by case.
    """
    judge = _Judge(artifacts, compared)
    rows = by_row(replicates)
    found = []
    for planned in run.plan.cases:
        for arm in run.plan.arms:
            own = rows.get((planned.case_id, arm.name), [])
            case = planned.case
            questions: list[tuple[EqualityKind, list[Case], Iterator[_Passes]]] = [
                ("first-pass", [case], _first_and_later(own)),
                ("replicates", [case], _across_processes(own)),
            ]
            for kind, plain in _plainer(case):
                others = rows.get((plain.case_id, arm.name), [])
                questions.append((kind, [case, plain], _across_cases(kind, own, others)))
            for kind, cases, passes in questions:
                known = list(passes)
                if not _have_pictures(known):
                    continue
                answer = judge.answer(kind, cases, arm.name, known)
                later = [*_among_later(own)] if kind == "first-pass" else []
                if _have_pictures(later):
                    verdict = judge.answer(kind, cases, arm.name, later).verdict
                    answer = msgspec.structs.replace(answer, later=verdict)
                found.append(answer)
    return found


class _Pair(msgspec.Struct, frozen=True):
    """An image made twice."""

    image: int
    one: Picture
    other: Picture


_Passes = tuple[Pass, Pass]
"""Two passes that make the same images."""


def _first_and_later(replicates: list[Replicate]) -> Iterator[_Passes]:
    for replicate in replicates:
        measured = replicate.of_kind("measured")
        for later in measured[1:]:
            if measured[0].index == 1:
                yield measured[0], later


def _among_later(replicates: list[Replicate]) -> Iterator[_Passes]:
    """Pass 2 against each pass after it, in each process."""
    for replicate in replicates:
        measured = replicate.of_kind("measured")
        for later in measured[2:]:
            yield measured[1], later


def _across_processes(replicates: list[Replicate]) -> Iterator[_Passes]:
    first: dict[int, Pass] = {}
    for replicate in replicates:
        for entry in replicate.of_kind("measured"):
            if entry.index in first:
                yield first[entry.index], entry
            else:
                first[entry.index] = entry


def _across_cases(
    kind: EqualityKind, replicates: list[Replicate], others: list[Replicate]
) -> Iterator[_Passes]:
    """Processes of the same block; warm-up is about the first pass, all else about the last."""
    which = 0 if kind == "warmup" else -1
    by_block = {other.block: other.of_kind("measured") for other in others}
    for replicate in replicates:
        measured, theirs = replicate.of_kind("measured"), by_block.get(replicate.block)
        if measured and theirs:
            yield measured[which], theirs[which]


def _pictures_of(passes: Iterable[_Passes]) -> int:
    """How many images there are to compare."""
    return sum(min(len(one.images), len(other.images)) for one, other in passes)


def _have_pictures(passes: Iterable[_Passes]) -> bool:
    return any(one.images and other.images for one, other in passes)


def _plainer(case: Case) -> Iterator[tuple[EqualityKind, Case]]:
    """The cases that are alike but for one setting that should leave the image alone."""
    if case.warmup:
        yield "warmup", msgspec.structs.replace(case, warmup=False)
    if case.batching != "loop":
        yield "batching", msgspec.structs.replace(case, batching="loop")
    if case.attention_slicing:
        yield "attention_slicing", msgspec.structs.replace(case, attention_slicing=False)


class _Found(msgspec.Struct, frozen=True):
    """How two images of a pair compare; infinite where one of them is not a number."""

    verdict: EqualityVerdict
    reason: str | None = None
    rel_l2: float | None = None
    pixels_rel_l2: float | None = None
    allowed_pixels_rel_l2: float | None = None
    same_picture: bool | None = None
    differences: list[PictureDifference] = []


class _Explained(msgspec.Struct):
    """What rounding explains in a case: relative L2 of latents, image, and decode alone."""

    latents: float | None = None
    picture: float | None = None
    decode: float | None = None


_WORST: tuple[EqualityVerdict, ...] = ("different", "unknown", "same", "identical")


class _Judge:
    """Answers questions; two images are compared once."""

    def __init__(self, artifacts: Artifacts, compared: Sequence[Compared]) -> None:
        self._artifacts = artifacts
        self._explained: dict[str, _Explained] = {}
        self._beside_cpu: dict[tuple[int, str, str], list[ImageCompared]] = {}
        self._padded: dict[str, set[int]] = {}
        for record in compared:
            self._padded.setdefault(record.case_id, set()).update(record.padded_images)
            known = self._explained.setdefault(record.case_id, _Explained())
            for image in record.images:
                key = image.image, image.pixels_sha256, image.latents_sha256
                self._beside_cpu.setdefault(key, []).append(image)
                if image.latents is not None:
                    known.latents = _larger(known.latents, image.latents.expected_rel_l2)
                if image.picture is not None:
                    known.picture = _larger(known.picture, image.picture.expected_rel_l2)
                known.decode = _larger(known.decode, image.decode_expected_rel_l2)
        self._pairs: dict[tuple[object, ...], _Found] = {}
        # Cases share their images, too: two files are opened and measured once.
        self._latents_apart = functools.cache(self._latents_apart_of)
        self._pixels_apart = functools.cache(self._pixels_apart_of)

    def answer(
        self, kind: EqualityKind, cases: list[Case], arm: str, passes: list[_Passes]
    ) -> Equality:
        """The worst of all images that were made twice."""
        differing = _unlike(passes)
        answer = Equality(
            kind=kind,
            case_ids=[case.case_id for case in cases],
            arm=arm,
            dtype=cases[0].dtype,
            verdict="identical",
            pictures=_pictures_of(passes),
            images=sorted({pair.image for pair in differing}),
        )
        if not differing:
            return answer
        explained = self._explains(cases)
        found = [self._compare(pair, cases, explained) for pair in differing]
        if kind == "batching":
            padded = self._padded.get(cases[0].case_id, set())
            found = [
                _of_padding(one) if pair.image in padded else one
                for pair, one in zip(differing, found, strict=True)
            ]
        worst = min(found, key=lambda one: (_WORST.index(one.verdict), -_apart(one)))
        seen = [one.same_picture for one in found]
        return msgspec.structs.replace(
            answer,
            verdict=worst.verdict,
            reason=worst.reason,
            rel_l2=_largest(one.rel_l2 for one in found),
            allowed_rel_l2=_allowed(explained.latents, cases[0].dtype),
            same_picture=False if False in seen else None if None in seen else True,
            pixels_rel_l2=_largest(one.pixels_rel_l2 for one in found),
            allowed_pixels_rel_l2=worst.allowed_pixels_rel_l2,
            differences=worst.differences,
            different_images=sorted(
                {
                    pair.image
                    for pair, one in zip(differing, found, strict=True)
                    if one.verdict == "different"
                }
            ),
            decode_only=all(
                pair.one.latents_sha256 == pair.other.latents_sha256 for pair in differing
            ),
        )

    def _explains(self, cases: list[Case]) -> _Explained:
        """The larger of the two cases'; nothing where a floor cannot be trusted."""
        found = _Explained()
        for case in cases:
            known = self._explained.get(case.case_id, _Explained())
            found.latents = _larger(found.latents, known.latents)
            found.picture = _larger(found.picture, known.picture)
            found.decode = _larger(found.decode, known.decode)
        bound = thresholds.HIGHEST_FLOOR[cases[0].dtype]
        too_high = [x for x in (found.latents, found.picture) if x is not None and not x <= bound]
        return _Explained() if too_high else found

    def _compare(self, pair: _Pair, cases: list[Case], explained: _Explained) -> _Found:
        one, other = pair.one, pair.other
        key = (
            *(one.latents_sha256, one.pixels_sha256, other.latents_sha256, other.pixels_sha256),
            *(case.case_id for case in cases),
        )
        if key not in self._pairs:
            self._pairs[key] = self._look(pair, cases, explained)
        return self._pairs[key]

    def _look(self, pair: _Pair, cases: list[Case], explained: _Explained) -> _Found:
        one, other = pair.one, pair.other
        lost = [
            bool(picture.latents_nonfinite_count or picture.nan_count or picture.inf_count)
            for picture in (one, other)
        ]
        seen = self._pixels(pair, cases, explained)
        latents_are_one = one.latents_sha256 == other.latents_sha256
        rel_l2 = (
            0.0
            if latents_are_one
            else self._latents_apart(one.latents_sha256, other.latents_sha256)
        )
        found = msgspec.structs.replace(seen, rel_l2=rel_l2)
        if lost[0] != lost[1]:
            return msgspec.structs.replace(
                found, verdict="different", rel_l2=None, reason="one of the two is not a number"
            )
        if not latents_are_one and self._is_of_rounding(pair):
            return msgspec.structs.replace(found, verdict="same", reason=_OF_ROUNDING)
        if found.verdict == "different":
            return found
        allowed = _allowed(explained.latents, cases[0].dtype)
        if not latents_are_one and allowed is not None and rel_l2 is not None and rel_l2 > allowed:
            return msgspec.structs.replace(found, verdict="different", reason=None)
        if found.verdict == "unknown" or found.pixels_rel_l2 == 0:
            return found
        if rel_l2 is None:
            return msgspec.structs.replace(found, verdict="unknown", reason=_NO_FILES)
        if allowed is None and not latents_are_one:
            return msgspec.structs.replace(found, verdict="unknown", reason=_NO_FLOOR)
        return found

    def _is_of_rounding(self, pair: _Pair) -> bool:
        """Whether both are no further from the CPU's than rounding alone takes this very image."""
        known = [
            self._beside_cpu.get((pair.image, one.pixels_sha256, one.latents_sha256), [])
            for one in (pair.one, pair.other)
        ]
        entries = [entry for found in known for entry in found]
        of_rounding = [entry for entry in entries if entry.is_of_rounding]
        # Whatever was made in TF32 is beyond float32's floor: there it is fine if nothing is seen.
        in_tf32 = any(is_tf32(entry.own_rounding) for entry in of_rounding)
        return (
            all(known)
            and bool(of_rounding)
            and all(
                entry.verdict == "match"
                or entry.is_of_rounding
                or (in_tf32 and entry.verdict == "drift" and not entry.differences)
                for entry in entries
            )
        )

    def _latents_apart_of(self, one: str, other: str) -> float | None:
        """Relative L2 distance; None where files are missing or numbers are not finite."""
        first, second = self._artifacts.latents(one), self._artifacts.latents(other)
        if first is None or second is None or first.shape != second.shape:
            return None
        return measures.relative_l2(second, first)

    def _pixels(self, pair: _Pair, cases: list[Case], explained: _Explained) -> _Found:
        """By the pixels alone. Images that are identical in all 8 bits are the same."""
        if pair.one.pixels_sha256 == pair.other.pixels_sha256:
            return _Found("same", pixels_rel_l2=0.0, same_picture=True)
        error = explained.picture
        if pair.one.latents_sha256 == pair.other.latents_sha256 and explained.decode is not None:
            error = explained.decode
        tiled = any(case.vae_tiling for case in cases) and len({c.vae_tiling for c in cases}) > 1
        return self._pixels_apart(
            pair.one.pixels_sha256, pair.other.pixels_sha256, error, cases[0].dtype, tiled
        )

    def _pixels_apart_of(
        self, one: str, other: str, error: float | None, dtype: Dtype, tiled: bool
    ) -> _Found:
        """``error`` is what rounding explains; ``tiled``: one of the two was decoded in tiles."""
        first, second = self._artifacts.pixels(one), self._artifacts.pixels(other)
        if first is None or second is None:
            return _Found("unknown", _NO_FILES)
        if first.shape != second.shape:
            return _Found("different", "the two are of different sizes", same_picture=False)
        size = picture_measures.root_mean_square(first)
        relative = thresholds.SOME_ROUNDING[dtype] if error is None else error
        level = 255 * thresholds.EIGHT_BIT_STEP / 2
        found = _Found(
            "same",
            pixels_rel_l2=measures.relative_l2(second, first),
            same_picture=pictures.same_picture(first, second),
            differences=picture_differences(first, second, relative * size + level, tiled=tiled),
        )
        if found.differences or found.same_picture is False:
            return msgspec.structs.replace(found, verdict="different")
        allowed = _allowed(error, dtype)
        if allowed is None:
            return msgspec.structs.replace(found, verdict="unknown", reason=_NO_FLOOR)
        allowed += level / max(size, level)
        found = msgspec.structs.replace(found, allowed_pixels_rel_l2=allowed)
        apart = found.pixels_rel_l2
        beyond = apart is None or apart > allowed
        return msgspec.structs.replace(found, verdict="different") if beyond else found


def _of_padding(found: _Found) -> _Found:
    """Of an image that depends on its neighbours in the batch a difference says nothing."""
    if found.verdict != "different":
        return found
    return _Found("unknown", PADDED, found.rel_l2, found.pixels_rel_l2)


def _unlike(passes: Iterable[_Passes]) -> list[_Pair]:
    """Images that differ in any bit. What processes repeat is there once: a run has many."""
    # Equal images of a run are held once (``runs/interning.py``), so most are known at once.
    seen: dict[tuple[int, int, int], _Pair] = {}
    for one, other in passes:
        if one.images == other.images:
            continue
        for image, (first, second) in enumerate(zip(one.images, other.images, strict=False)):
            if first is not second and (key := (image, id(first), id(second))) not in seen:
                seen[key] = _Pair(image, first, second)
    found: dict[tuple[object, ...], _Pair] = {}
    for pair in seen.values():
        names = _names(pair.one), _names(pair.other)
        if names[0] != names[1]:
            found.setdefault((pair.image, *names), pair)
    return [*found.values()]


def _names(picture: Picture) -> tuple[str, str]:
    """The hashes of an image's latents and pixels: equal for identical images only."""
    return picture.latents_sha256, picture.pixels_sha256


def _larger(one: float | None, other: float | None) -> float | None:
    return max((x for x in (one, other) if x is not None), default=None)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((x for x in values if x is not None), default=None)


def _allowed(expected: float | None, dtype: Dtype) -> float | None:
    """The largest relative distance that still counts as the same; never below the type's own."""
    if expected is None:
        return None
    return thresholds.MATCH_MULTIPLE * max(expected, thresholds.UNIT_ROUNDOFF[dtype])


def _apart(found: _Found) -> float:
    """How strong the difference is, to find the worst pair."""
    strongest = max((entry.strength / entry.noticed for entry in found.differences), default=0.0)
    return strongest + (found.pixels_rel_l2 or 0.0) + (found.rel_l2 or 0.0)
