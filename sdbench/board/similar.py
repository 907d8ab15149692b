"""One's own run among verified runs of similar machines: chip, GPU cores and memory. Pure.

Every machine counts once for a case: with its rows of the same versions of torch and diffusers, or
where it has none with all of them, of which the median stands for it. Only ranked rows count.
"""

import itertools
import statistics
from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from sdbench.board.rows import Interval, MachineClass, Row, Submission

Work = tuple[str, str, str | None, str]
# A run with one of these says nothing about a real machine at its ordinary work.
_NOT_REAL = {
    "simulated": "it is simulated",
    "virtual": "it was made in a virtual machine",
    "virtual-unknown": "it is not known whether it was made in a virtual machine",
    "preload": "its workers imported other code before torch",
    "planted-fault": "faults were planted in its workers",
}


class FasterRun(msgspec.Struct, frozen=True, kw_only=True):
    """A similar machine's faster time of the same case; ``clearly``: the intervals are apart."""

    machine_id: str
    seconds_per_image: float
    ci95: Interval | None
    n: int
    torch: str
    diffusers: str
    system: str
    clearly: bool


class PlacedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case among similar machines.

    ``machines`` counts those that have it; ``percentile`` is the share of them that is slower, in
    percent, equal times by half. ``reason`` says why there is none.
    """

    case_id: str
    arm: str
    setting: str
    seconds_per_image: float | None
    ci95: Interval | None
    machines: int = 0
    slower: int = 0
    percentile: float | None = None
    median_s: float | None = None
    fastest_s: float | None = None
    faster: list[FasterRun] = []
    reason: str | None = None


class Placing(msgspec.Struct, frozen=True, kw_only=True):
    """A run among similar machines.

    ``reason`` says why nothing of it is placed. ``caveats`` are codes of what keeps the run itself
    from being published; its times may be due to that.
    """

    run_id: str
    machine: str
    similar_machines: int
    cases: list[PlacedCase] = []
    caveats: list[str] = []
    reason: str | None = None


def place(
    own: Sequence[Row], site: Iterable[Row], own_machine_ids: Collection[str] = ()
) -> Placing:
    """Place the rows of a run among those of a site.

    Args:
        own: the rows of one run, at least one.
        site: the rows of the site; those of the same run and machine do not count.
        own_machine_ids: ids under which the run's machine may be on the site.
    """
    run = own[0].submission
    similar = [
        row
        for row in similar_rows(site, run.machine_class)
        if not _is_own(row, run, own_machine_ids)
    ]
    machines, works = {row.submission.machine_id for row in similar}, by_work(similar)
    reason = _why_not_placed(run)
    if reason is None and not machines:
        reason = f"no verified run of a similar machine ({run.machine_class.words}) is on the board"
    return Placing(
        run_id=run.run_id,
        machine=run.machine_class.words,
        similar_machines=len(machines),
        cases=[] if reason is not None else [_placed(row, works.get(row.work, [])) for row in own],
        caveats=[*run.blockers],
        reason=reason,
    )


def similar_rows(site: Iterable[Row], machine: MachineClass) -> list[Row]:
    """The ranked rows of machines of a class; none where chip or memory is not known."""
    if not machine.known:
        return []
    alike: dict[int, bool] = {}  # by the identity of a submission, which many rows have in common
    found = []
    for row in site:
        run = row.submission
        if id(run) not in alike:
            alike[id(run)] = run.machine_class == machine
        if alike[id(run)] and row.ranked:
            found.append(row)
    return found


def by_work(rows: Iterable[Row]) -> dict[Work, list[Row]]:
    """Rows whose times may be compared, together."""
    found: dict[Work, list[Row]] = {}
    for row in rows:
        found.setdefault(row.work, []).append(row)
    return found


def by_machine(rows: Iterable[Row], torch: str, diffusers: str) -> list[Row]:
    """One row for each machine, of the versions if it has them; of several the median."""
    ordered = sorted(rows, key=lambda row: (row.submission.machine_id, seconds_of(row)))
    chosen = []
    for _, group in itertools.groupby(ordered, key=lambda row: row.submission.machine_id):
        every = list(group)
        same = [row for row in every if (row.torch, row.diffusers) == (torch, diffusers)] or every
        chosen.append(same[(len(same) - 1) // 2])
    return chosen


def _is_own(row: Row, run: Submission, own_machine_ids: Collection[str]) -> bool:
    other = row.submission
    same_run = (other.run_id, other.created_utc) == (run.run_id, run.created_utc)
    return same_run or other.machine_id in own_machine_ids


def _why_not_placed(run: Submission) -> str | None:
    codes = [
        *(["simulated"] if run.simulated else []),
        *(["virtual"] if run.virtual else []),
        *run.blockers,
    ]
    if run.virtual is None:
        codes.append("virtual-unknown")
    reason = next((_NOT_REAL[code] for code in codes if code in _NOT_REAL), None)
    if reason is not None:
        return f"the run is not compared with real machines: {reason}"
    if not run.machine_class.known:
        return "the chip or the memory of the run's machine is not recorded"
    return None


def _placed(row: Row, same: Sequence[Row]) -> PlacedCase:
    peers = by_machine(same, row.torch, row.diffusers)
    reason = _why_no_place(row)
    if reason is None and not peers:
        reason = "no similar machine has measured it"
    case = PlacedCase(
        case_id=row.case_id,
        arm=row.arm,
        setting=row.setting,
        seconds_per_image=row.seconds_per_image,
        ci95=row.ci95,
        machines=len(peers),
        reason=reason,
    )
    if reason is not None:
        return case
    own, times = seconds_of(row), [seconds_of(other) for other in peers]
    slower = sum(time > own for time in times)
    return msgspec.structs.replace(
        case,
        slower=slower,
        percentile=100 * (slower + times.count(own) / 2) / len(times),
        median_s=statistics.median(times),
        fastest_s=min(seconds_of(other) for other in same),
        faster=[*_faster(row, same)],
    )


def _why_no_place(row: Row) -> str | None:
    if row.outcome != "ok":
        return f"it did not complete: {row.outcome}"
    if row.seconds_per_image is None:
        return "it has no time"
    if row.image == "wrong":
        return "its images are wrong"
    return "its images were not checked" if row.image == "unknown" else None


def _faster(row: Row, same: Sequence[Row]) -> Iterator[FasterRun]:
    """The fastest row of each machine and versions that is faster, the fastest first."""
    seen: set[tuple[str, str, str, str]] = set()
    for other in sorted(same, key=seconds_of):
        run = other.submission
        what = (run.machine_id, other.torch, other.diffusers, run.system)
        if seconds_of(other) >= seconds_of(row) or what in seen:
            continue
        seen.add(what)
        yield FasterRun(
            machine_id=run.machine_id,
            seconds_per_image=seconds_of(other),
            ci95=other.ci95,
            n=other.n,
            torch=other.torch,
            diffusers=other.diffusers,
            system=run.system,
            clearly=row.ci95 is not None and other.ci95 is not None and other.ci95[1] < row.ci95[0],
        )


def seconds_of(row: Row) -> float:
    """Of a row that has a time; a ranked row does."""
    return float("inf") if row.seconds_per_image is None else row.seconds_per_image
