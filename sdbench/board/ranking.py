"""Which rows count, in which order, and which place each has. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sdbench.board.rows import Row


@dataclass(frozen=True, slots=True)
class Placed:
    """A row with its place among the ranked rows of the same work, 1 for the fastest.

    Equal times share a place. 0 is a row that is not ranked.
    """

    row: Row
    place: int


def in_order(rows: Iterable[Row]) -> list[Placed]:
    """Ranked rows first; what most machines measured comes first, and of the same work the fastest.

    The order does not depend on the order in which rows are given.
    """
    every = list(rows)
    machines: dict[tuple[str | None, ...], set[str]] = {}
    for row in every:
        machines.setdefault(row.work, set()).add(row.submission.machine_id)
    ordered = sorted(
        every,
        key=lambda row: (
            not row.ranked,
            -len(machines[row.work]),
            *(word or "" for word in row.work),
            float("inf") if row.seconds_per_image is None else row.seconds_per_image,
            row.submission.bundle_sha256 or "",
            row.case_id,
            row.arm,
        ),
    )
    return _placed(ordered)


def _placed(ordered: Sequence[Row]) -> list[Placed]:
    placed: list[Placed] = []
    position, before = 0, None
    for row in ordered:
        if not row.ranked:
            placed.append(Placed(row, 0))
            continue
        position = position + 1 if before is not None and before.work == row.work else 1
        shared = (
            position > 1
            and before is not None
            and before.seconds_per_image == row.seconds_per_image
        )
        placed.append(Placed(row, placed[-1].place if shared else position))
        before = row
    return placed
