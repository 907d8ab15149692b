"""The history of one case on one machine: what each run measured, with which versions."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from sdbench.analysis.case_names import cases_called, names_of
from sdbench.analysis.case_result import CaseResult, rows_of
from sdbench.analysis.run_summary import Latency, summary_of
from sdbench.comparison.series import series_of
from sdbench.errors import UsageError
from sdbench.records import Case, Outcome
from sdbench.runs import LoadedRun
from sdbench.stats import DEFAULT_THRESHOLD, MIN_PROCESSES, RatioEstimate, drift_between, with_drift
from sdbench.words import shortened


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One run and variant.

    Runs of one ``series`` did the same work on the same device, so their times are comparable.
    ``conditions`` is equal if the software and everything else that sdbench knows of is equal too.
    """

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
    conditions: str = ""


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How much runs under the same conditions differ although nothing changed.

    ``log_sd`` is the standard deviation of the logarithm of a run's time. Two separate runs whose
    ratio is below ``least_ratio`` may be unchanged, even if their processes show no scatter.
    """

    conditions: str
    runs: int
    log_sd: float
    least_ratio: float


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A case over time, oldest first."""

    case_id: str
    case: Case
    machine_id: str
    runs: list[HistoryEntry]
    spreads: list[Spread] = []


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """The summary of a run for ``list`` and ``history``, derived from its records alone."""

    run_id: str
    created_utc: str
    label: str | None
    device: str
    simulated: bool
    model: str
    machine_id: str
    outcomes: dict[Outcome, int]
    processes: int
    complete: bool
    entries: list[tuple[Case, HistoryEntry]]
    """The results of every case in every variant."""


def past_of(loaded: LoadedRun) -> Past:
    """Reduce a run to its summary for lists of runs."""
    run, summary = loaded.run, summary_of(loaded)
    return Past(
        run_id=run.run_id,
        created_utc=run.created_utc,
        label=run.label,
        device=run.device,
        simulated=summary.simulated,
        model=run.model.name,
        machine_id=run.machine_id,
        outcomes=summary.outcomes,
        processes=len(loaded.replicates),
        complete=summary.complete,
        entries=[(row.summary.case, _entry(loaded, row)) for row in rows_of(loaded, summary)],
    )


def history_of(runs: Sequence[LoadedRun], machine_id: str, case: str | None = None) -> History:
    """As :func:`history_of_pasts`, for loaded runs."""
    return history_of_pasts([past_of(loaded) for loaded in runs], machine_id, case)


def history_of_pasts(runs: Sequence[Past], machine_id: str, case: str | None = None) -> History:
    """The results of one case in all runs of a machine; by default the case that most runs have.

    Args:
        case: its words, or an id, as for ``show``.

    Raises:
        UsageError: there is no such case, or several, or no run of this machine at all.
    """
    own = sorted(
        (run for run in runs if run.machine_id == machine_id),
        key=lambda run: run.created_utc,
    )
    if not own:
        raise UsageError("there are no runs of this machine here yet; make one with: sdbench run")
    case_id = _find_case(own, case)
    found = [(one, entry) for run in own for one, entry in run.entries if one.case_id == case_id]
    return History(
        case_id=case_id,
        case=found[0][0],
        machine_id=machine_id,
        runs=[entry for _, entry in found],
        spreads=_spreads(entry for _, entry in found),
    )


def times_by_run(entries: Iterable[HistoryEntry]) -> dict[str, list[float]]:
    """Seconds per pass by conditions, one figure per run (variants that are alike are
    one run's)."""
    logs: dict[str, dict[str, list[float]]] = {}
    for entry in entries:
        median = entry.latency_s.median
        if entry.conditions and median and entry.latency_s.n >= MIN_PROCESSES:
            runs = logs.setdefault(entry.conditions, {})
            runs.setdefault(entry.run_id, []).append(math.log(median))
    return {
        conditions: [math.exp(statistics.fmean(of_run)) for of_run in runs.values()]
        for conditions, runs in logs.items()
    }


def _spreads(entries: Iterable[HistoryEntry]) -> list[Spread]:
    spreads = []
    for conditions, times in times_by_run(entries).items():
        drift = drift_between([], [], [times], math.inf, same_software=True)
        if drift.source != "history":
            continue
        nothing = RatioEstimate(0.0, 0.0, math.inf, (len(times), len(times)), False)
        _, high = with_drift(nothing, drift).interval() or (1.0, math.inf)
        spreads.append(
            Spread(
                conditions=conditions,
                runs=drift.runs,
                log_sd=drift.log_sd,
                least_ratio=high * (1 + DEFAULT_THRESHOLD),
            )
        )
    return spreads


def _find_case(runs: Sequence[Past], wanted: str | None) -> str:
    counts: Counter[str] = Counter()
    cases: dict[str, Case] = {}
    for run in runs:
        counts.update(dict.fromkeys((case.case_id for case, _ in run.entries), 1))
        cases.update((case.case_id, case) for case, _ in run.entries)
    if wanted is None:
        return counts.most_common(1)[0][0]
    matches = cases_called(wanted, cases.values())
    if len(matches) != 1:
        found = "no case" if not matches else f"{len(matches)} cases"
        known = names_of(sorted(matches or cases.values(), key=lambda case: case.case_id))
        raise UsageError(f"{found} called {shortened(wanted)!r}; there are {known}")
    return matches[0].case_id


def _entry(loaded: LoadedRun, row: CaseResult) -> HistoryEntry:
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
        conditions=series_of(row),
    )
