"""Evidence that a run lacks and that is required before it may be called healthy. Pure.

Health needs proof: every planned process ended, every image was compared with the CPU's, and other
programs did not use most of the machine. Each gap is a finding with its remedy.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.run_summary import slowed_by_others
from sdbench.correctness.floors import CANNOT_BE_CHECKED
from sdbench.correctness.padding import PADDED, PADDED_BEGINS
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.result import Finding, Severity
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import Compared, Replicate, Slot, Started
from sdbench.runs import LoadedRun
from sdbench.words import counted, shell

_NAMED_CASES = 3


@dataclass(frozen=True)
class Gap:
    """A piece of missing evidence: ``headline`` for the verdict, and the finding about it."""

    headline: str
    finding: Finding


def gaps_of(loaded: LoadedRun, evidence: Evidence) -> list[Gap]:
    """All missing evidence, the most important first; empty if health can be judged."""
    return [
        *_lost(loaded, evidence),
        *_not_run(loaded, evidence),
        *_not_decided(loaded),
        *_over_budget(evidence),
        *_not_checked(evidence),
        *_disturbed(evidence),
    ]


def _lost(loaded: LoadedRun, evidence: Evidence) -> Iterator[Gap]:
    """Processes that started and left no result."""
    yield from _unfinished(
        loaded,
        evidence,
        loaded.in_flight,
        "began and never ended",
        kind="lost",
        severity="error",
        question=" (the computer may have frozen or restarted)",
        reasons=(
            " Either the computer froze or restarted, or sdbench was killed, or the run is still "
            "in progress."
        ),
    )


def _not_run(loaded: LoadedRun, evidence: Evidence) -> Iterator[Gap]:
    """Planned processes not started; a case that took the machine down is not repeated."""
    begun = {entry.replicate_id for entry in loaded.replicates}
    begun |= {entry.replicate_id for entry in loaded.in_flight}
    dangerous = {
        (entry.case_id, entry.arm) for entry in loaded.replicates if entry.machine_restarted
    }
    slots = [
        slot
        for slot in loaded.run.plan.slots
        if slot.replicate_id not in begun and (slot.case_id, slot.arm) not in dangerous
    ]
    what = f"{'has' if len(slots) == 1 else 'have'} not been run"
    yield from _unfinished(loaded, evidence, slots, what, kind="not-run", severity="warning")


def _unfinished(
    loaded: LoadedRun,
    evidence: Evidence,
    processes: Sequence[Slot | Started],
    what: str,
    *,
    kind: str,
    severity: Severity,
    question: str = "",
    reasons: str = "",
) -> Iterator[Gap]:
    """The missing evidence of processes without a result; ``what`` says what happened to them."""
    if not processes:
        return
    words = f"{_processes(len(processes), loaded)} {what}"
    resume = shell("sdbench", "resume", loaded.path)
    rows = _rows_of(evidence, [(entry.case_id, entry.arm) for entry in processes])
    yield _gap(
        "unfinished",
        severity,
        f"Not finished: {words}{question}.",
        f"{words}: {_names(rows)}.{reasons}",
        rows,
        f"Continue with: {resume}",
        commands=[resume],
        kind=kind,
        processes=[entry.replicate_id for entry in processes],
    )


def _not_decided(loaded: LoadedRun) -> Iterator[Gap]:
    """A run that was to continue until every comparison is decided and was stopped earlier."""
    if not loaded.run.config.get("until_decided") or not loaded.replicates:
        return
    if loaded.looks and loaded.looks[-1].next_look is None:
        return
    resume = shell("sdbench", "resume", loaded.path)
    yield _gap(
        "unfinished",
        "warning",
        "Not finished: the run was to measure until every comparison is decided, and was stopped "
        "earlier.",
        "The run was to measure until every comparison is decided, and was stopped earlier.",
        [],
        f"Continue with: {resume}",
        commands=[resume],
        kind="not-decided",
    )


def _over_budget(evidence: Evidence) -> Iterator[Gap]:
    """Cases that were skipped because they would exceed the time limit of the run."""
    rows = [
        row
        for row in evidence.measured
        if any(
            entry.outcome == "skipped" and entry.projected_s is not None for entry in row.replicates
        )
    ]
    if not rows:
        return
    words = f"{len(rows)} of {len(evidence.rows)} cases would take longer than max_minutes allows"
    yield _gap(
        "unfinished",
        "warning",
        f"Not finished: {words}.",
        f"{words}, and were not measured: {_names(rows)}.",
        rows,
        "Allow more time: --set max_minutes=0; or measure a smaller resolution.",
        kind="not-judged",
    )


def _not_checked(evidence: Evidence) -> Iterator[Gap]:
    """Cases with an image that was not compared with a reference in any process."""
    rows = [row for row in evidence.measured if _has_unchecked(row)]
    if not rows:
        return
    seen = sum(any(entry.outcome == "ok" for entry in row.replicates) for row in evidence.measured)
    reported = [
        *dict.fromkeys(
            reason for row in rows for reason in (*_floors_too_high(row), *_of_padding(row))
        )
    ]
    reasons = dict.fromkeys(
        [
            *(
                row.summary.correct_reason
                for row in rows
                if row.summary.correct == "unknown" and row.summary.correct_reason
            ),
            *reported,
        ]
    )
    reference = evidence.run.config.get("reference")
    none_wanted = isinstance(reference, dict) and not reference.get("budget_s")
    why = f": {next(iter(reasons))}" if reasons else ""
    words = f"the images of {len(rows)} of {counted(seen, 'case')} were not compared with the CPU"
    remedy = (
        "Allow the CPU more time (--set reference.budget_s=…), or measure a smaller resolution."
    )
    if none_wanted:
        remedy = (
            "Measure again and allow the CPU time to make the reference images: --set "
            "reference.budget_s=600."
        )
    if all(any(_floors_too_high(row)) for row in rows):
        in_half = any(row.summary.case.dtype != "float32" for row in rows)
        remedy = (
            "More time does not help: this model amplifies rounding errors too much for a "
            f"comparison. Measure {'in float32' if in_half else 'another model'}."
        )
    elif all(any(_of_padding(row)) for row in rows):
        remedy = 'Use prompts of the same length, or make the images in a loop (batching = "loop").'
    yield _gap(
        "unfinished",
        "warning",
        f"Not checked: {words}.",
        f"Not checked: {words}: {_names(rows)}{why}.",
        rows,
        remedy,
        kind="not-checked",
    )


def _floors_too_high(row: CaseResult) -> Iterator[str]:
    """Why images of a case cannot be judged by their noise floor."""
    for record in row.compared:
        for image in record.images:
            if image.reason is not None and image.reason.startswith(CANNOT_BE_CHECKED):
                yield image.reason


def _of_padding(row: CaseResult) -> Iterator[str]:
    """Why images of a batch cannot be judged by images that are made one at a time."""
    for record in row.compared:
        for image in record.images:
            if image.reason is not None and image.reason.startswith(PADDED_BEGINS):
                yield PADDED


def _has_unchecked(row: CaseResult) -> bool:
    if row.summary.correct == "broken":
        return False  # that is said already, as an error
    records = {entry.replicate_id: entry for entry in row.compared}
    return any(
        entry.outcome == "ok" and not _checked(entry, records.get(entry.replicate_id))
        for entry in row.replicates
    )


def _checked(replicate: Replicate, record: Compared | None) -> bool:
    """Whether every image of a process's measured passes was compared, and could be."""
    if not any(entry.images for entry in replicate.of_kind("measured")):
        return True
    if record is None or record.verdict == "unknown":
        return False
    return all(image.verdict != "unknown" for image in record.images)


def _disturbed(evidence: Evidence) -> Iterator[Gap]:
    """Every process was slowed down by other programs, so no time is representative of this
    machine."""
    measured = evidence.measured
    done = [(row, one) for row in measured for one in row.replicates if one.outcome == "ok"]
    if not done or not all(slowed_by_others(entry) for _, entry in done):
        return
    most = max(
        entry.telemetry.other_cpu_share or 0.0 for _, entry in done if entry.telemetry is not None
    )
    words = (
        f"other programs used up to {most:.0%} of the time of all cores in each of "
        f"{counted(len(done), 'process', 'processes')}, so the times are not reliable"
    )
    rows = [*{row.key: row for row, _ in done}.values()]
    yield _gap(
        "noisy-host",
        "info",  # nothing is wrong with the machine, and its health is not known
        f"Disturbed: {words}.",
        f"{words[0].upper()}{words[1:]}.",
        rows,
        "Close other programs and measure again.",
        kind="disturbed",
        other_cpu_share=most,
    )


def _gap(
    code: FindingCode,
    severity: Severity,
    headline: str,
    sentence: str,
    rows: Sequence[CaseResult],
    remedy: str,
    *,
    commands: Sequence[str] = (),
    **evidence: Any,
) -> Gap:
    return Gap(
        headline,
        Finding(
            code=code,
            severity=severity,
            case_ids=[*dict.fromkeys(row.summary.case_id for row in rows)],
            sentence=sentence,
            evidence=evidence,
            remedy=remedy,
            commands=[*commands],
        ),
    )


def _rows_of(evidence: Evidence, keys: Sequence[tuple[str, str]]) -> list[CaseResult]:
    wanted = {*keys}
    return [row for row in evidence.rows if row.key in wanted]


def _processes(count: int, loaded: LoadedRun) -> str:
    return f"{count} of {counted(len(loaded.run.plan.slots), 'process', 'processes')}"


def _names(rows: Sequence[CaseResult]) -> str:
    """``192x192 batch, 192x192 sliced and 4 more cases``."""
    shown = ", ".join(row.name for row in rows[:_NAMED_CASES])
    more = len(rows) - _NAMED_CASES
    return f"{shown} and {counted(more, 'more case')}" if more > 0 else shown
