"""A run's diagnosis: what is wrong, which documented claims hold here, what to use. Pure."""

from collections.abc import Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.iterations import work_words
from sdbench.correctness.equality import Equality
from sdbench.diagnosis.claims import conflicts_of, examine_claims
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.findings import find
from sdbench.diagnosis.proof import gaps_of
from sdbench.diagnosis.recommendation import recommend
from sdbench.diagnosis.result import SEVERITIES, Diagnosis, Finding, Recommendation
from sdbench.runs import LoadedRun
from sdbench.words import counted

_NAMED_FINDINGS = 3


def diagnose(
    loaded: LoadedRun, equalities: Sequence[Equality], rows: Sequence[CaseResult] | None = None
) -> Diagnosis:
    """All parts of the diagnosis in order; ``equalities`` are ``quality.equality``'s answers about
    the run.

    ``rows`` are ``rows_of(loaded)``, if the caller has them already.
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
        missing = missing or ["The diagnosis of a run in which nothing was measured."]
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
        work=work_words(loaded.run),
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
    """The first sentence: faults first, then missing evidence; healthy only if there is neither."""
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
    names = [_name_of(evidence, entry) for entry in faults[:_NAMED_FINDINGS]]
    more = len(faults) - len(names)
    return f"{words}: {', '.join(names)}{f' and {more} more' if more else ''}."


def _name_of(evidence: Evidence, finding: Finding) -> str:
    """``out of memory (1024x1024 and 2 more cases)``."""
    title = finding.title
    name = title if title[1:2].isupper() else f"{title[0].lower()}{title[1:]}"
    arm = finding.evidence.get("arm")
    rows = [
        row
        for row in evidence.rows
        if row.summary.case_id in finding.case_ids and arm in (None, row.arm.name)
    ]
    if not rows:
        return name
    more = len(finding.case_ids) - 1
    others = f" and {counted(more, 'more case')}" if more else ""
    return f"{name} ({rows[0].name}{others})"


def _proof_words(evidence: Evidence) -> str:
    """The evidence of health: all processes completed, and how the images compare with
    the CPU's."""
    done = _done(evidence)
    drift = sum(row.summary.correct == "drift" for row in done)
    words = "every process completed, and every image matches the CPU's"
    if drift:
        words = (
            "every process completed, and the images match the CPU's, slightly different in "
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
            f"{loaded.run.model.name} has random weights: its images are noise and are compared "
            "numerically with the CPU's; an overflow that real weights would cause cannot appear"
        )
    return notes
