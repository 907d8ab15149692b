"""Which rows count, in which order, and which place each has. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sdbench.board.rows import Row

_Work = tuple[str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class Placed:
    """A row with its place among the ranked rows of the same work, 1 for the fastest.

    Equal times share a place. Of a row that is not ranked ``place`` is 0 and ``why`` a code.
    """

    row: Row
    place: int
    why: str | None


def in_order(rows: Iterable[Row]) -> list[Placed]:
    """Ranked rows first; what most machines measured comes first, and of the same work the fastest.

    The order does not depend on the order in which rows are given.
    """
    ranked: dict[_Work, list[Row]] = {}
    others: dict[_Work, list[tuple[Row, str]]] = {}
    machines: dict[_Work, set[str]] = {}
    for row in rows:
        work, why = row.work, row.why_not_ranked
        machines.setdefault(work, set()).add(row.submission.machine_id)
        if why is None:
            ranked.setdefault(work, []).append(row)
        else:
            others.setdefault(work, []).append((row, why))
    works = sorted(machines, key=lambda work: (-len(machines[work]), *map(_text, work)))
    return [
        *(one for work in works for one in _placed(ranked.get(work, []))),
        *(
            Placed(row, 0, why)
            for work in works
            for row, why in sorted(others.get(work, []), key=lambda one: _by_time(one[0]))
        ),
    ]


def _text(word: str | None) -> str:
    return word or ""


def _by_time(row: Row) -> tuple[float, str, str, str]:
    seconds = row.seconds_per_image
    known = float("inf") if seconds is None else seconds
    return known, row.submission.bundle_sha256 or "", row.case_id, row.arm


def _placed(rows: list[Row]) -> Iterator[Placed]:
    place, before = 0, None
    for position, row in enumerate(sorted(rows, key=_by_time), start=1):
        if row.seconds_per_image != before:
            place, before = position, row.seconds_per_image
        yield Placed(row, place, None)


def once_each(runs: Iterable[list[Row]]) -> tuple[list[Row], dict[str, str]]:
    """All rows, those of equal measurements of one machine once.

    Returns the rows, and the SHA-256 of each bundle that counts for nothing with that of the one
    that counts: the one with the fewest blockers, then the smaller SHA-256.
    """
    chosen: dict[tuple[str, str], list[Row]] = {}
    same_as: list[tuple[list[Row], tuple[str, str]]] = []
    for rows in runs:
        run = rows[0].submission
        key = run.machine_id, run.measured_sha256
        kept = chosen.setdefault(key, rows)
        if kept is rows:
            continue
        better = _precedence(rows) < _precedence(kept)
        if better:
            chosen[key] = rows
        same_as.append((kept if better else rows, key))
    return [row for rows in chosen.values() for row in rows], {
        _sha256(rows): _sha256(chosen[key]) for rows, key in same_as
    }


def _precedence(rows: list[Row]) -> tuple[int, str]:
    return len(rows[0].submission.blockers), _sha256(rows)


def _sha256(rows: list[Row]) -> str:
    return rows[0].submission.bundle_sha256 or ""
