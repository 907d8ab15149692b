"""Does one device agree with itself? Pass against pass, cell against cell, process against process.

Pure over records and the latents a run kept. Bits are looked at first: equal digests are equal
pictures. Where they differ, the distance of the final latents is held against what rounding alone
explains for the dtype, as the comparison with the CPU recorded it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from sdbench.quality import measures, pictures, thresholds
from sdbench.quality.artifacts import Artifacts
from sdbench.schema import Case, Compared, Dtype, Pass, Picture, Replicate, Run

EqualityKind = Literal["first-pass", "replicates", "warmup", "batching", "attention_slicing"]
EqualityVerdict = Literal["identical", "same", "different", "unknown"]

_NO_FLOOR = "differs, but how much rounding explains was not measured"
_NO_FILES = "differs, but its latents were not kept"


class Equality(msgspec.Struct, frozen=True, kw_only=True):
    """One question of equality and its answer.

    ``first-pass``: measured pass 1 against each later one of its process; ``replicates``: the same
    pass in different processes; the other kinds are axes, and ``case_ids`` the case that has it on
    and the one that is alike but for that. ``identical`` is bit for bit, ``same`` within what is
    allowed. ``rel_l2`` is the largest distance of final latents over their norm,
    ``allowed_rel_l2`` what rounding explains times the usual multiple. ``images`` are those that
    differ in any bit, by number; ``same_picture`` says whether they all still show the same.
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


def check_equality(
    run: Run, replicates: Sequence[Replicate], compared: Sequence[Compared], artifacts: Artifacts
) -> list[Equality]:
    """All questions that a run's passes can answer, in the order of the plan.

    ``replicates`` are last attempts; ``compared`` tells what rounding explains, case by case.
    """
    judge = _Judge(artifacts, compared)
    rows: dict[tuple[str, str], list[Replicate]] = {}
    for replicate in replicates:
        rows.setdefault((replicate.case_id, replicate.arm), []).append(replicate)
    found = []
    for planned in run.plan.cases:
        for arm in run.plan.arms:
            own = rows.get((planned.case_id, arm.name), [])
            case = planned.case
            questions: list[tuple[EqualityKind, list[Case], Iterator[_Pair]]] = [
                ("first-pass", [case], _first_and_later(own)),
                ("replicates", [case], _across_processes(own)),
            ]
            for kind, plain in _plainer(case):
                others = rows.get((plain.case_id, arm.name), [])
                questions.append((kind, [case, plain], _across_cases(kind, own, others)))
            for kind, cases, pairs in questions:
                known = list(pairs)
                if known:
                    found.append(judge.answer(kind, cases, arm.name, known))
    return found


class _Pair(msgspec.Struct, frozen=True):
    """An image made twice."""

    image: int
    one: Picture
    other: Picture


def _first_and_later(replicates: list[Replicate]) -> Iterator[_Pair]:
    for replicate in replicates:
        measured = replicate.of_kind("measured")
        for later in measured[1:]:
            if measured[0].index == 1:
                yield from _pairs(measured[0], later)


def _across_processes(replicates: list[Replicate]) -> Iterator[_Pair]:
    first: dict[int, Pass] = {}
    for replicate in replicates:
        for entry in replicate.of_kind("measured"):
            if entry.index in first:
                yield from _pairs(first[entry.index], entry)
            else:
                first[entry.index] = entry


def _across_cases(
    kind: EqualityKind, replicates: list[Replicate], others: list[Replicate]
) -> Iterator[_Pair]:
    """Processes of the same block; warm-up is about the first pass, all else about the last."""
    which = 0 if kind == "warmup" else -1
    by_block = {other.block: other.of_kind("measured") for other in others}
    for replicate in replicates:
        measured, theirs = replicate.of_kind("measured"), by_block.get(replicate.block)
        if measured and theirs:
            yield from _pairs(measured[which], theirs[which])


def _pairs(one: Pass, other: Pass) -> Iterator[_Pair]:
    for image, (first, second) in enumerate(zip(one.images, other.images, strict=False)):
        yield _Pair(image, first, second)


def _plainer(case: Case) -> Iterator[tuple[EqualityKind, Case]]:
    """The cases that are alike but for one setting that should leave the picture alone."""
    if case.warmup:
        yield "warmup", msgspec.structs.replace(case, warmup=False)
    if case.batching == "batch":
        yield "batching", msgspec.structs.replace(case, batching="loop")
    if case.attention_slicing:
        yield "attention_slicing", msgspec.structs.replace(case, attention_slicing=False)


class _Judge:
    """Answers questions; two pictures are held against each other once."""

    def __init__(self, artifacts: Artifacts, compared: Sequence[Compared]) -> None:
        self._artifacts = artifacts
        self._explained: dict[str, float] = {}
        for record in compared:
            for image in record.images:
                expected = None if image.latents is None else image.latents.expected_rel_l2
                if expected is not None:
                    known = self._explained.get(record.case_id, 0.0)
                    self._explained[record.case_id] = max(known, expected)
        self._distances: dict[tuple[str, str], float | None] = {}

    def answer(
        self, kind: EqualityKind, cases: list[Case], arm: str, pairs: list[_Pair]
    ) -> Equality:
        """The worst of the pairs."""
        differing = [pair for pair in pairs if not _identical(pair)]
        found = Equality(
            kind=kind,
            case_ids=[case.case_id for case in cases],
            arm=arm,
            dtype=cases[0].dtype,
            verdict="identical",
            pictures=len(pairs),
            images=sorted({pair.image for pair in differing}),
        )
        if not differing:
            return found
        distances = [self._distance(pair) for pair in differing]
        known = [away for away in distances if away is not None and away != math.inf]
        allowed = self._allowed(cases)
        same = self._same_picture(differing)
        verdict, reason = _verdict(distances, allowed, same)
        return msgspec.structs.replace(
            found,
            verdict=verdict,
            reason=reason,
            rel_l2=max(known, default=None),
            allowed_rel_l2=allowed,
            same_picture=same,
        )

    def _allowed(self, cases: list[Case]) -> float | None:
        known = [self._explained[c.case_id] for c in cases if c.case_id in self._explained]
        return thresholds.MATCH_MULTIPLE * max(known) if known else None

    def _distance(self, pair: _Pair) -> float | None:
        """Infinite where exactly one of the two is not a number; None where files are missing."""
        one, other = pair.one, pair.other
        if bool(one.latents_nonfinite_count) != bool(other.latents_nonfinite_count):
            return math.inf
        key = one.latents_sha256, other.latents_sha256
        if key not in self._distances:
            first, second = (self._artifacts.latents(digest) for digest in key)
            if first is None or second is None or first.shape != second.shape:
                self._distances[key] = None
            else:
                self._distances[key] = measures.relative_l2(second, first)
        return self._distances[key]

    def _same_picture(self, pairs: list[_Pair]) -> bool | None:
        answers = []
        for pair in pairs:
            one = self._artifacts.pixels(pair.one.pixels_sha256)
            other = self._artifacts.pixels(pair.other.pixels_sha256)
            if one is None or other is None:
                return None
            answers.append(pictures.same_picture(one, other))
        return all(answers)


def _identical(pair: _Pair) -> bool:
    one, other = pair.one, pair.other
    return (one.latents_sha256, one.pixels_sha256) == (other.latents_sha256, other.pixels_sha256)


def _verdict(
    distances: list[float | None], allowed: float | None, same: bool | None
) -> tuple[EqualityVerdict, str | None]:
    if same is False:
        return "different", None
    if None in distances:
        return "unknown", _NO_FILES
    largest = max(distance for distance in distances if distance is not None)
    if largest == math.inf:
        return "different", "one of the two is not a number"
    if allowed is None:
        return "unknown", _NO_FLOOR
    return ("same" if largest <= allowed else "different"), None
