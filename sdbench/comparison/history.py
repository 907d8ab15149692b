"""One case over time on one machine: what each run measured, with which versions."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from sdbench.comparison.sides import Row, rows_of
from sdbench.errors import UsageError
from sdbench.schema import Case, Outcome
from sdbench.store import LoadedRun
from sdbench.summary import Latency


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run and arm. ``series`` tells what may stand on one scale: the same work and device."""

    created_utc: str
    run_id: str
    label: str | None
    arm: str
    simulated: bool
    series: str
    versions: dict[str, str]
    python: str
    system: str | None
    outcome: Outcome
    images: int
    latency_s: Latency


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A case over time, oldest first."""

    case_id: str
    case: Case
    machine_id: str
    runs: list[HistoryEntry]


def history_of(runs: Sequence[LoadedRun], machine_id: str, case: str | None = None) -> History:
    """What the runs of a machine say of one case; without one, of that in most runs.

    Args:
        case: a case id, or the beginning of one.

    Raises:
        UsageError: there is no such case, or several, or no run of this machine at all.
    """
    own = sorted(
        (run for run in runs if run.run.machine_id == machine_id),
        key=lambda run: run.run.created_utc,
    )
    if not own:
        raise UsageError("no runs of this machine here yet; make one with: sdbench run")
    case_id = _find_case(own, case)
    rows = [
        (loaded, row) for loaded in own for row in rows_of(loaded) if row.planned.case_id == case_id
    ]
    return History(
        case_id=case_id,
        case=rows[0][1].planned.case,
        machine_id=machine_id,
        runs=[_entry(loaded, row) for loaded, row in rows],
    )


def _find_case(runs: Sequence[LoadedRun], wanted: str | None) -> str:
    counts = Counter(planned.case_id for loaded in runs for planned in loaded.run.plan.cases)
    if wanted is None:
        return counts.most_common(1)[0][0]
    matches = [wanted] if wanted in counts else [name for name in counts if name.startswith(wanted)]
    if len(matches) != 1:
        found = "no case" if not matches else f"{len(matches)} cases"
        raise UsageError(f"{found} called {wanted!r}; there are {', '.join(sorted(counts))}")
    return matches[0]


def _entry(loaded: LoadedRun, row: Row) -> HistoryEntry:
    run = loaded.run
    stack = run.stacks[row.arm.stack]
    system = " ".join(
        str(run.machine[key]) for key in ("system", "release") if run.machine.get(key)
    )
    return HistoryEntry(
        created_utc=run.created_utc,
        run_id=run.run_id,
        label=run.label,
        arm=row.arm.name,
        simulated=run.simulated or any(entry.simulated for entry in row.replicates),
        series=f"{run.model.name}, {run.config['steps']} steps, on {run.device}",
        versions=stack.packages,
        python=stack.python,
        system=system or None,
        outcome=row.summary.outcome,
        images=row.images,
        latency_s=row.summary.latency_s,
    )
