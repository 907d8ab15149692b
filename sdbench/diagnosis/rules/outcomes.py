"""Rules about processes that did not complete."""

from collections import Counter

from sdbench.analysis.case_result import CaseResult
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.next_commands import show_command
from sdbench.diagnosis.result import Severity
from sdbench.diagnosis.rules.deciding_setting import contrast_words, healthy_neighbours, use_words
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import Outcome, Replicate

_LESS_MEMORY = "Use a smaller resolution, float16 or one image at a time; close other programs."


def batch_crash(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """A process crashes with a batch and not with a loop.

    If no loop was measured, an abort is attributed to the batch and an exception is not: batches
    are known to cause aborts, and an exception states its own cause.
    """
    if not evidence.makes_several_at_once(row) or not _while_working(row):
        return None
    loop = evidence.neighbour(row, "batching", "loop")
    if loop is not None and loop.summary.outcome != "ok":
        return None  # whatever it is, it is not the batch
    looped = (
        "a loop was not measured" if loop is None else "the same images made in a loop are right"
    )
    return _ended(
        evidence,
        row,
        "batch-crash",
        ("crashed",) if loop is None else ("crashed", "failed"),
        f"; {looped}",
        'Make the images in a loop (batching = "loop").',
    )


def worker_crash(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """A process crashed or raised an error."""
    return _ended(evidence, row, "worker-crash", ("crashed", "failed"))


def timeout(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """A process exceeded its time limit."""
    remedy = (
        f"Look where it stood: {show_command(evidence, row)}. If it was only slow, allow more "
        "time: --set timeout_s=…"
    )
    return _ended(evidence, row, "timeout", ("timeout",), remedy=remedy)


def oom(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """A process ran out of memory."""
    return _ended(evidence, row, "oom", ("oom",), remedy=_LESS_MEMORY)


def memory_guard(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Stopped to protect the machine; with a memory ballast this may be the expected outcome."""
    severity: Severity = "info" if row.arm.hold_bytes else "error"
    return _ended(evidence, row, "memory-guard", ("guard",), remedy=_LESS_MEMORY, severity=severity)


def _ended(
    evidence: Evidence,
    row: CaseResult,
    code: FindingCode,
    outcomes: tuple[Outcome, ...],
    addition: str | None = None,
    remedy: str | None = None,
    severity: Severity = "error",
) -> Symptom | None:
    ended = [entry for entry in row.replicates if entry.outcome in outcomes]
    if not ended:
        return None
    first = ended[0]
    if addition is None:
        fine = healthy_neighbours(evidence, row, lambda other: other.summary.outcome == "ok")
        addition = contrast_words(fine, "it completes")
        remedy = use_words(fine) or remedy
    cause = first.cause
    known_remedy = None if cause is None else cause.remedy
    return Symptom(
        code,
        severity,
        row,
        f"{len(ended)} of {len(row.replicates)} processes {_how(first)}{addition}",
        " ".join(words for words in (remedy, known_remedy) if words)
        or f"See the end of its error output: {show_command(evidence, row)}",
        {
            "processes": len(row.replicates),
            "ended": dict(Counter(entry.outcome for entry in ended)),
            "signal": first.signal,
            "exception": first.exception_type,
            "cause": None if cause is None else cause.kind,
            "assertion": None if cause is None else cause.assertion,
            "last_phase": first.last_phase,
            "machine_restarted": any(entry.machine_restarted for entry in ended),
        },
    )


def _how(replicate: Replicate) -> str:
    """``crashed (SIGABRT) in pass 1: …``."""
    if replicate.machine_restarted:
        return "were running when the machine restarted"
    words = {
        "crashed": "crashed",
        "failed": "failed",
        "timeout": "exceeded its time limit",
        "oom": "ran out of memory",
        "guard": "were stopped to protect the machine",
    }[replicate.outcome]
    if replicate.signal:
        words += f" ({replicate.signal})"
    if replicate.last_phase:
        words += f" in {replicate.last_phase}"
    why = replicate.reason if replicate.cause is None else replicate.cause.sentence
    return f"{words}: {why.rstrip('.')}" if why else words


def _while_working(row: CaseResult) -> bool:
    """Whether it ended with the model loaded: before that a batch cannot be the cause."""
    phases = {entry.last_phase for entry in row.replicates if entry.outcome != "ok"}
    return not phases & {None, "import", "load"}
