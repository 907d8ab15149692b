"""Which rows are compared with each other: of two runs, or of two values of an axis in one run."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sdbench.analysis.case_result import CaseResult, rows_of
from sdbench.errors import UsageError
from sdbench.records import AXES, Case, Run, spelling
from sdbench.runs import LoadedRun
from sdbench.words import did_you_mean

SideName = Literal["base", "new"]


@dataclass(frozen=True)
class Pair:
    """Two rows to compare; a side that is missing is None. ``key`` is the same on every machine."""

    key: tuple[str, ...]
    case: Case
    labels: tuple[str, str]
    arm: str | None
    base: CaseResult | None
    new: CaseResult | None
    interleaved: bool
    axis: str | None = None

    @property
    def rows(self) -> list[CaseResult]:
        """The sides there are."""
        return [row for row in (self.base, self.new) if row is not None]


def pairs_of_runs(base: LoadedRun, new: LoadedRun) -> list[Pair]:
    """The same case in the same variant of two runs; single variants belong together whatever their
    names.

    Raises:
        UsageError: the runs have no case in common.
    """
    single = len(base.run.plan.arms) == len(new.run.plan.arms) == 1

    def by_key(loaded: LoadedRun) -> dict[tuple[str, ...], CaseResult]:
        return {(row.summary.case_id,) if single else row.key: row for row in rows_of(loaded)}

    sides = by_key(base), by_key(new)
    if not sides[0].keys() & sides[1].keys():
        raise UsageError(
            f"{base.run.run_id} and {new.run.run_id} have no case"
            f"{'' if single else ' and variant'} in common"
        )
    pairs = []
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        rows = [side.get(key) for side in sides]
        known = next(row for row in rows if row is not None)
        arm = None if single else known.arm.name
        pairs.append(
            Pair(key, known.summary.case, ("base", "new"), arm, rows[0], rows[1], interleaved=False)
        )
    return pairs


def pairs_of_axis(loaded: LoadedRun, axis: str) -> list[Pair]:
    """Every value of an axis against its first, all other settings alike, in one interleaved run.

    Args:
        axis: a setting of a case, ``arm`` or ``stack``.

    Raises:
        UsageError: there is no such axis, or it has one value only.
    """
    value_of = _value_reader(loaded.run, axis)
    groups: dict[tuple[object, ...], dict[str, CaseResult]] = {}
    values: dict[str, None] = {}
    for row in rows_of(loaded):
        value = value_of(row)
        values[value] = None
        groups.setdefault(_rest(row, axis), {})[value] = row
    if len(values) < 2:
        only = next(iter(values), "none")
        raise UsageError(
            f"--by {axis}: {loaded.run.run_id} has only one value, {only}; expected two or more"
        )
    first, *others = values
    several_arms = axis in AXES and len(loaded.run.plan.arms) > 1
    return [
        Pair(
            key=(base.summary.case_id, *(base.arm.name for _ in range(several_arms)), other),
            case=base.summary.case,
            labels=(first, other),
            arm=base.arm.name if several_arms else None,
            base=base,
            new=group[other],
            interleaved=True,
            axis=axis,
        )
        for group in groups.values()
        if (base := group.get(first)) is not None
        for other in others
        if other in group
    ]


def without_partner(loaded: LoadedRun, axis: str, pairs: Iterable[Pair]) -> list[str]:
    """The case ids of a run for which ``pairs_of_axis`` found nothing to compare with."""
    paired = {row.summary.case_id for pair in pairs for row in pair.rows}
    return [entry.case_id for entry in loaded.run.plan.cases if entry.case_id not in paired]


def _value_reader(run: Run, axis: str) -> Callable[[CaseResult], str]:
    if axis in AXES:
        return lambda row: spelling(row.run.setting(row.summary.case, axis))
    if axis == "arm":
        return lambda row: row.arm.name
    if axis != "stack":
        raise UsageError(
            f"--by {axis}: {did_you_mean(axis, ['arm', 'stack', 'machine', *AXES])}expected one of "
            f"arm, stack, machine (of two runs), {', '.join(AXES)}"
        )
    labels = _stack_labels(run)
    return lambda row: labels[row.arm.name]


def _stack_labels(run: Run) -> Mapping[str, str]:
    """Variant to environment; a path is called like its variant, which is the same on every
    machine."""
    labels = {arm.name: arm.name if "/" in arm.stack else arm.stack for arm in run.plan.arms}
    if len(set(labels.values())) < len(labels):
        raise UsageError(
            f"--by stack: several variants of {run.run_id} have the same environment; compare them "
            "with --by arm"
        )
    return labels


def _rest(row: CaseResult, axis: str) -> tuple[object, ...]:
    """Everything about a row but its value on the axis."""
    if axis not in AXES:
        return (row.summary.case_id,)
    return (row.arm.name, *row.summary.case.without(axis))
