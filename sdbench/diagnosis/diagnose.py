"""A run's diagnosis: what is wrong, which documented claims hold here, what to use. Pure."""

from collections.abc import Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.correctness.equality import Equality
from sdbench.diagnosis.claims import conflicts_of, examine_claims
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.findings import find
from sdbench.diagnosis.proof import gaps_of
from sdbench.diagnosis.recommendation import recommend
from sdbench.diagnosis.result import SEVERITIES, Diagnosis, Finding, Recommendation
from sdbench.runs import LoadedRun
from sdbench.words import counted


def diagnose(
    loaded: LoadedRun, equalities: Sequence[Equality], rows: Sequence[CaseResult] | None = None
) -> Diagnosis:
    """Everything in order; ``equalities`` are ``quality.equality``'s answers about the run.

    ``rows`` are ``rows_of(loaded)``, where somebody has them already.
    """
    evidence = Evidence.of(loaded, equalities, rows)
    gaps = gaps_of(loaded, evidence)
    faults = find(evidence)
    findings = sorted(
        [*(gap.finding for gap in gaps), *faults],
        key=lambda entry: SEVERITIES.index(entry.severity),
    )
    recommendation = recommend(evidence, findings)
    claims = examine_claims(evidence)
    missing = [gap.headline for gap in gaps]
    if not _done(evidence):
        missing = missing or ["Nothing was measured, so there is nothing to say."]
    return Diagnosis(
        run_id=loaded.run.run_id,
        path=str(loaded.path),
        device=loaded.run.device,
        simulated=loaded.run.simulated or any(entry.simulated for entry in loaded.replicates),
        healthy=not above(findings) and not missing,
        headline=_headline(evidence, above(faults), missing, recommendation),
        findings=findings,
        claims=claims,
        recommendation=recommendation,
        notes=_notes(loaded, evidence),
        missing=missing,
        conflicts=conflicts_of(claims, loaded.run.device),
    )


def above(findings: Sequence[Finding]) -> list[Finding]:
    """Findings above ``info``."""
    return [entry for entry in findings if entry.severity != "info"]


def _headline(
    evidence: Evidence,
    faults: Sequence[Finding],
    missing: Sequence[str],
    recommendation: Recommendation,
) -> str:
    """Faults first, then what is missing; only where there is neither, that it is healthy."""
    if not _done(evidence) and not faults:
        return " ".join(dict.fromkeys(["Nothing was measured.", *missing]))
    if faults or missing:
        return " ".join([*([_faults_words(evidence, faults)] if faults else []), *missing])
    few = recommendation.few_processes
    return f"Healthy: {_proof_words(evidence)}{f'; {few}' if few else ''}."


def _faults_words(evidence: Evidence, faults: Sequence[Finding]) -> str:
    errors = sum(entry.severity == "error" for entry in faults)
    counts = [
        counted(count, name)
        for count, name in ((errors, "error"), (len(faults) - errors, "warning"))
        if count
    ]
    words = f"Not healthy: {' and '.join(counts)}"
    ended = [row for row in evidence.measured if row.summary.outcome not in ("ok", "skipped")]
    if ended:
        words += f"; {len(ended)} of {counted(len(evidence.measured), 'case')} did not complete"
    return f"{words}."


def _proof_words(evidence: Evidence) -> str:
    """What was shown: that all completed, and how the pictures compare with the CPU's."""
    done = _done(evidence)
    drift = sum(row.summary.correct == "drift" for row in done)
    words = "every process completed, and every picture matches the CPU's"
    if drift:
        words = (
            "every process completed, and the pictures match the CPU's, slightly different in "
            f"{drift} of {counted(len(done), 'case')}"
        )
    skipped = sum(row.summary.outcome == "skipped" for row in evidence.rows)
    return words + (f"; {counted(skipped, 'case')} skipped" if skipped else "")


def _done(evidence: Evidence) -> list[CaseResult]:
    """Rows in which a process completed."""
    return [
        row for row in evidence.measured if any(entry.outcome == "ok" for entry in row.replicates)
    ]


def _notes(loaded: LoadedRun, evidence: Evidence) -> list[str]:
    notes = [*loaded.warnings]
    if not loaded.run.model.trained:
        notes.append(
            f"{loaded.run.model.name} has random weights: its pictures are noise, compared with "
            "the CPU's number by number; overflow that real weights would cause does not show"
        )
    return notes
