"""A run's diagnosis: what is wrong, which documented claims hold here, what to use. Pure."""

from collections.abc import Sequence

from sdbench.comparison.sides import Row
from sdbench.insight.claims import examine_claims
from sdbench.insight.evidence import Evidence
from sdbench.insight.findings import find
from sdbench.insight.recommendation import recommend
from sdbench.insight.records import Diagnosis, Finding
from sdbench.quality.equality import Equality
from sdbench.store import LoadedRun
from sdbench.words import counted


def diagnose(
    loaded: LoadedRun, equalities: Sequence[Equality], rows: Sequence[Row] | None = None
) -> Diagnosis:
    """Everything in order; ``equalities`` are ``quality.equality``'s answers about the run.

    ``rows`` are ``rows_of(loaded)``, where somebody has them already.
    """
    evidence = Evidence.of(loaded, equalities, rows)
    findings = find(evidence)
    above_info = above(findings)
    return Diagnosis(
        run_id=loaded.run.run_id,
        path=str(loaded.path),
        device=loaded.run.device,
        simulated=loaded.run.simulated or any(entry.simulated for entry in loaded.replicates),
        healthy=not above_info,
        headline=_headline(evidence, above_info),
        findings=findings,
        claims=examine_claims(evidence),
        recommendation=recommend(evidence, findings),
        notes=_notes(loaded, evidence),
    )


def above(findings: Sequence[Finding]) -> list[Finding]:
    """Findings above ``info``."""
    return [entry for entry in findings if entry.severity != "info"]


def _headline(evidence: Evidence, found: Sequence[Finding]) -> str:
    if not evidence.measured:
        return "Nothing was measured, so there is nothing to say."
    if found:
        errors = sum(entry.severity == "error" for entry in found)
        counts = [
            counted(count, name)
            for count, name in ((errors, "error"), (len(found) - errors, "warning"))
            if count
        ]
        return f"Not healthy: {' and '.join(counts)}."
    unchecked = [row for row in evidence.measured if row.summary.correct == "unknown"]
    if len(unchecked) == len(evidence.measured):
        return "Healthy as far as was measured; the pictures were not checked against the CPU."
    if unchecked:
        count = f"{len(unchecked)} of {len(evidence.measured)}"
        return f"Healthy as far as was measured; the pictures of {count} cases were not checked."
    return "Healthy: everything ended well, and the pictures are right."


def _notes(loaded: LoadedRun, evidence: Evidence) -> list[str]:
    notes = [*loaded.warnings]
    missing = len(loaded.run.plan.slots) - len(loaded.replicates)
    if missing > 0:
        total = len(loaded.run.plan.slots)
        notes.append(
            f"{missing} of {total} processes have not been run: sdbench resume {loaded.path}"
        )
    if not loaded.run.model.trained:
        notes.append(
            f"{loaded.run.model.name} has random weights: overflow that real weights would cause "
            "does not show"
        )
    return notes
