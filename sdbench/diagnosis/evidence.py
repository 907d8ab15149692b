"""A run indexed for the rules: its cases, the comparisons of their images with the CPU's, and pairs
that differ in one setting. Pure over records."""

import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sdbench.analysis.case_result import CaseResult, rows_of
from sdbench.analysis.estimates import PairEstimate, estimate_pair
from sdbench.analysis.pairs import Pair
from sdbench.analysis.run_summary import device_facts
from sdbench.correctness.equality import Equality, EqualityKind
from sdbench.correctness.wrong_places import Place, Spot, place_of
from sdbench.records import AXES, Arm, ImageCompared, Picture, Replicate, RowKey, Run, spelling
from sdbench.runs import LoadedRun


@dataclass(frozen=True)
class Evidence:
    """Everything that the rules evaluate."""

    run: Run
    rows: list[CaseResult]
    equalities: list[Equality]
    path: Path = Path()
    """The run's folder, as commands name it."""
    _examined: dict[tuple[RowKey, RowKey], PairEstimate] = field(default_factory=dict, init=False)
    _distinct_pictures: dict[RowKey, list[Picture]] = field(default_factory=dict, init=False)

    @classmethod
    def of(
        cls,
        loaded: LoadedRun,
        equalities: Sequence[Equality],
        rows: Sequence[CaseResult] | None = None,
    ) -> "Evidence":
        """Index a run; ``equalities`` are the answers of ``quality.equality``.

        ``rows`` are ``rows_of(loaded)``, if the caller has them already.
        """
        rows = rows_of(loaded) if rows is None else [*rows]
        return cls(loaded.run, rows, [*equalities], loaded.path)

    @functools.cached_property
    def _by_key(self) -> dict[RowKey, CaseResult]:
        return {row.key: row for row in self.rows}

    @property
    def images(self) -> int:
        """Images per pass."""
        return int(self.run.config["images"])

    @functools.cached_property
    def measured(self) -> list[CaseResult]:
        """Cases with at least one process."""
        return [row for row in self.rows if row.replicates]

    def neighbour(self, row: CaseResult, axis: str, value: object) -> CaseResult | None:
        """The case that differs in one axis only and has the given value there, if it
        was measured."""
        case = msgspec.structs.replace(row.summary.case, **{axis: value})
        return self.measured_in(row.arm, case.case_id)

    def measured_in(self, arm: Arm, case_id: str) -> CaseResult | None:
        """The result of a case in a variant, if it was measured."""
        found = self._by_key.get((case_id, arm.name))
        return found if found is not None and found.replicates else None

    def neighbours(self, row: CaseResult) -> Iterator[tuple[str, CaseResult]]:
        """Every measured row in the same variant that differs in exactly one setting, with its
        name.

        A setting that had no effect does not count as a difference.
        """
        case, arm = row.summary.case, row.arm.name
        found = [
            (place, axis, other)
            for axis in AXES
            for place, other in self._alike_but_for[axis, arm, case.without(axis)]
            if other.summary.case_id != row.summary.case_id and not row.computes_as(other, axis)
        ]
        yield from ((axis, other) for _, axis, other in sorted(found, key=lambda one: one[0]))

    @functools.cached_property
    def _alike_but_for(
        self,
    ) -> "defaultdict[tuple[str, str, tuple[object, ...]], list[tuple[int, CaseResult]]]":
        """Measured rows, with their places, by an axis, the variant, and all settings but that."""
        groups = defaultdict(list)
        for place, row in enumerate(self.measured):
            for axis in AXES:
                groups[axis, row.arm.name, row.summary.case.without(axis)].append((place, row))
        return groups

    def pairs(
        self, axis: str, base: object, new: object, arm: str | None = None
    ) -> list[PairEstimate]:
        """Pairs that differ in one axis only: ``base`` in one case, ``new`` in the other."""
        found = []
        for row in self.measured:
            if getattr(row.summary.case, axis) != new or arm not in (None, row.arm.name):
                continue
            other = self.neighbour(row, axis, base)
            if other is not None:
                found.append(self.examined(other, row, axis))
        return found

    def examined(self, base: CaseResult, new: CaseResult, axis: str) -> PairEstimate:
        """Compares two cases of the run that differ in one setting. Cached, because rules and
        claims need the same pairs."""
        key = base.key, new.key
        if key not in self._examined:
            self._examined[key] = estimate_pair(paired(base, new, axis))
        return self._examined[key]

    def equality(self, row: CaseResult, kind: EqualityKind) -> Equality | None:
        """The answer about a case; for an axis, about the case in which the setting is on."""
        return self._equalities_by_row.get((kind, *row.key))

    @functools.cached_property
    def _equalities_by_row(self) -> dict[tuple[EqualityKind, str, str], Equality]:
        """The first answer of each kind about a row."""
        return {
            (entry.kind, entry.case_ids[0], entry.arm): entry for entry in reversed(self.equalities)
        }

    def images_of(self, row: CaseResult) -> list[ImageCompared]:
        """A row's images compared with the CPU's, of all its processes."""
        return [image for record in row.compared for image in record.images]

    def place(self, row: CaseResult, is_wrong: Callable[[ImageCompared], bool]) -> Place:
        """Where a row's images are wrong in comparison with the CPU's, over all its processes."""
        return place_of(
            {
                Spot(process, number, entry.image): is_wrong(entry)
                for process, record in enumerate(row.compared)
                for entry in record.images
                if entry.verdict != "unknown"
                for number in entry.passes
            }
        )

    def pictures(self, row: CaseResult) -> Iterator[tuple[Replicate, int, int, Picture]]:
        """Process, pass, index and image of everything a row made in measured passes."""
        for replicate in row.replicates:
            for entry in replicate.of_kind("measured"):
                for image, picture in enumerate(entry.images):
                    yield replicate, entry.index, image, picture

    def distinct_pictures(self, row: CaseResult) -> list[Picture]:
        """The distinct images of a case: processes usually make identical ones."""
        key = row.key
        if key not in self._distinct_pictures:
            made = {id(picture): picture for *_, picture in self.pictures(row)}
            self._distinct_pictures[key] = [*made.values()]
        return self._distinct_pictures[key]

    def makes_several_at_once(self, row: CaseResult) -> bool:
        """Whether the case passes more than one image to a call of the denoiser."""
        return row.summary.case.batching == "batch" and self.images > 1

    def makes_several_together(self, row: CaseResult) -> bool:
        """Whether the case makes several images at the same time, in a batch or spread over several
        processes."""
        return row.summary.case.batching != "loop" and self.images > 1

    def versions(self, row: CaseResult) -> dict[str, str]:
        """Versions of the row's environment, as its workers reported them, else as the
        run planned."""
        for replicate in row.replicates:
            if replicate.versions:
                return replicate.versions
        return self.run.stacks[row.arm.stack].packages

    def fact(self, row: CaseResult, name: str) -> Any:
        """A fact that a worker reported about the device; None if no worker did."""
        return device_facts(row.replicates).get(name)


def paired(base: CaseResult, new: CaseResult, axis: str | None = None) -> Pair:
    """Two cases of one run, to be estimated block by block; they differ in ``axis`` only."""
    labels = [
        row.arm.name if axis is None else spelling(getattr(row.summary.case, axis))
        for row in (base, new)
    ]
    return Pair(
        key=(base.summary.case_id, new.summary.case_id),
        case=base.summary.case,
        labels=(labels[0], labels[1]),
        arm=base.arm.name,
        base=base,
        new=new,
        interleaved=True,
        axis=axis,
    )
