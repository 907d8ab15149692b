"""Derives the findings of a run: every rule is applied to every case, and each cause gives one
finding. Pure.

Rules that explain the same symptom form one group, the most specific first; the first rule of a
group that holds for a case is used. The output of a process that died is not judged further.
Symptoms of the same code in one variant become one finding, and known issues that the set-up meets
are linked to it.
"""

from collections.abc import Iterable

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.cut_prompts import cut_sentences, measured_prompts, remarks_not_measured
from sdbench.analysis.no_effect import as_computed
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.next_commands import commands_in
from sdbench.diagnosis.result import SEVERITIES, Finding, Severity
from sdbench.diagnosis.rules import (
    machine,
    outcomes,
    picture_symptoms,
    pictures,
    repeatability,
    speed,
    spread,
)
from sdbench.diagnosis.rules.no_effect import no_effect_settings
from sdbench.diagnosis.rules.symptom import Rule, Symptom
from sdbench.knowledge.known_issues import (
    FindingCode,
    KnownIssue,
    load_known_issues,
    matching_issues,
)
from sdbench.records import RowKey
from sdbench.words import counted

# A row gets the first symptom that holds of each group. Of _WRONG it gets the most severe one
# (the first of these), because a symptom of severity "info" must not hide a fault.
_ENDS: tuple[Rule, ...] = (
    outcomes.oom,
    outcomes.memory_guard,
    outcomes.timeout,
    outcomes.batch_crash,
    outcomes.worker_crash,
)
_UNUSABLE: tuple[Rule, ...] = (pictures.nan_output, pictures.black_output)
_VARYING: tuple[Rule, ...] = (
    repeatability.nondeterministic,
    repeatability.first_pass_drift,
    repeatability.last_digits_vary,
)
_WRONG: tuple[Rule, ...] = (
    repeatability.batch_mismatch,
    repeatability.split_mismatch,
    pictures.noise_output,
    pictures.wrong_content,
    pictures.cpu_mismatch,
)
_ALONE: tuple[Rule, ...] = (
    machine.swap_bound,
    machine.memory_growth,
    machine.throttling,
    machine.cpu_fallback,
    speed.not_steady,
    speed.slow_first_pass,
    speed.slicing_hurts,
    speed.slicing_helps,
    spread.noisy_host,
)

PICTURE_CODES: tuple[FindingCode, ...] = (
    *("nan-output", "black-output", "batch-mismatch", "noise-output", "wrong-content"),
    *("split-mismatch", "cpu-mismatch", "nondeterministic", "first-pass-drift"),
)
# Within a severity: what explains most first.
_ORDER: tuple[FindingCode, ...] = (
    *("worker-crash", "batch-crash", "oom", "memory-guard", "timeout"),
    *PICTURE_CODES,
    *("swap-bound", "memory-growth", "throttled", "cpu-fallback", "not-steady"),
    *("slow-first-pass", "slicing-hurts", "slicing-helps", "no-effect-setting", "noisy-host"),
    "known-issue",
)


def find(evidence: Evidence) -> list[Finding]:
    """All findings of a run, worst first."""
    symptoms = [symptom for row in evidence.measured for symptom in _symptoms(evidence, row)]
    issues = {row.key: _issues(evidence, row) for row in evidence.measured}
    found = [_finding(evidence, group, issues) for group in _grouped(symptoms)]
    found += no_effect_settings(evidence)
    found += _unseen_issues(evidence, issues, symptoms)
    found += _unread_prompts(evidence)
    return sorted(
        found, key=lambda entry: (SEVERITIES.index(entry.severity), _ORDER.index(entry.code))
    )


def _symptoms(evidence: Evidence, row: CaseResult) -> list[Symptom]:
    ended = _first(_ENDS, evidence, row)
    found = [] if ended is None else [ended]
    unusable = _first(_UNUSABLE, evidence, row)
    if unusable is not None:
        found.append(unusable)
    elif ended is None:
        varying = _first(_VARYING, evidence, row)
        found += [] if varying is None else [varying]
        wrong = _gravest(_WRONG, evidence, row)
        if wrong is not None and not (_is_above_info(varying) and _is_told(evidence, row)):
            found.append(wrong)
    return found + [symptom for rule in _ALONE if (symptom := rule(evidence, row)) is not None]


def _is_above_info(symptom: Symptom | None) -> bool:
    return symptom is not None and symptom.severity != "info"


def _is_told(evidence: Evidence, row: CaseResult) -> bool:
    """Whether variation explains everything: apart from it at most the first pass is wrong."""
    return picture_symptoms.wrong_place(evidence, row).pattern in ("nowhere", "first-pass")


def _first(rules: Iterable[Rule], evidence: Evidence, row: CaseResult) -> Symptom | None:
    return next((symptom for rule in rules if (symptom := rule(evidence, row)) is not None), None)


def _gravest(rules: Iterable[Rule], evidence: Evidence, row: CaseResult) -> Symptom | None:
    symptoms = [symptom for rule in rules if (symptom := rule(evidence, row)) is not None]
    return min(symptoms, key=lambda entry: SEVERITIES.index(entry.severity), default=None)


def _grouped(symptoms: Iterable[Symptom]) -> list[list[Symptom]]:
    """Symptoms grouped by code, severity and variant, in order of first appearance."""
    groups: dict[tuple[FindingCode, Severity, str], list[Symptom]] = {}
    for symptom in symptoms:
        key = symptom.code, symptom.severity, symptom.row.arm.name
        groups.setdefault(key, []).append(symptom)
    return [*groups.values()]


def _finding(
    evidence: Evidence, group: list[Symptom], issues: dict[RowKey, list[KnownIssue]]
) -> Finding:
    first = group[0]
    causes = _likely_causes(group, issues)
    remedy = first.remedy
    if causes:
        remedy = f"{causes[0].advice(evidence.fact(first.row, 'macos'))} {remedy}"
    return Finding(
        code=first.code,
        severity=first.severity,
        case_ids=[symptom.row.summary.case_id for symptom in group],
        sentence=_sentence(group, causes),
        evidence={
            **({"arm": first.row.arm.name} if first.row.of_arm else {}),
            "cases": {symptom.row.summary.case_id: symptom.numbers for symptom in group},
            "known_issues": [_issue_numbers(issue) for issue in causes],
        },
        remedy=remedy,
        commands=commands_in(remedy, evidence, first.row),
    )


def _sentence(group: list[Symptom], causes: list[KnownIssue]) -> str:
    words = f"{group[0].row.name}: {group[0].words}"
    if len(group) > 1:
        words += f" (also {counted(len(group) - 1, 'more case')})"
    if causes:
        words += f". Likely cause, a known issue: {causes[0].title} ({causes[0].links[0]})"
    return words.rstrip(".") + "."


def _likely_causes(
    group: list[Symptom], issues: dict[RowKey, list[KnownIssue]]
) -> list[KnownIssue]:
    """Known issues that apply to these cases and cause this symptom; only for faults."""
    if group[0].severity == "info":
        return []
    found: dict[str, KnownIssue] = {}
    for symptom in group:
        for issue in issues[symptom.row.key]:
            if issue.shows_as(symptom.code, symptom.numbers.get("cause")):
                found.setdefault(issue.id, issue)
    rank = ("verified", "reported", "lead")
    return sorted(found.values(), key=lambda issue: rank.index(issue.confidence))


def _unseen_issues(
    evidence: Evidence, issues: dict[RowKey, list[KnownIssue]], symptoms: list[Symptom]
) -> list[Finding]:
    """Known issues that apply to the settings and did not occur in this run; severity info."""
    seen = {(entry.row.key, entry.code) for entry in symptoms if entry.severity != "info"}
    met: dict[str, tuple[KnownIssue, list[RowKey]]] = {}
    shown: set[str] = set()
    reported = (evidence.fact(row, "macos") for row in evidence.rows)
    macos = next((value for value in reported if value is not None), None)
    for key, entries in issues.items():
        for issue in entries:
            met.setdefault(issue.id, (issue, []))[1].append(key)
            if any((key, code) in seen for code in issue.symptoms):
                shown.add(issue.id)
    return [
        Finding(
            code="known-issue",
            severity="info",
            case_ids=[*dict.fromkeys(case_id for case_id, _ in keys)],
            sentence=f"A known issue of these versions and settings: {issue.title}. "
            "It did not occur in this run.",
            evidence={"known_issues": [_issue_numbers(issue)]},
            remedy=f"If it occurs: {issue.advice(macos)}",
        )
        for issue, keys in met.values()
        if issue.id not in shown
    ]


def _unread_prompts(evidence: Evidence) -> list[Finding]:
    """Prompts that were cut before the model read them: the images show only their beginning.

    Uses the measurement; the prediction if it could not be measured.
    """
    measured = measured_prompts(entry for row in evidence.measured for entry in row.replicates)
    remarks = [
        *cut_sentences(measured).values(),
        *remarks_not_measured(evidence.run.prompt_remarks, measured),
    ]
    return [
        Finding(
            code="known-issue",
            severity="info",
            case_ids=[*dict.fromkeys(row.summary.case_id for row in evidence.measured)],
            sentence=f"{remark[0].upper()}{remark[1:]}.",
            evidence={"known_issues": []},
            remedy="Shorten the prompt, or put what matters most at its beginning.",
        )
        for remark in remarks
    ]


def _issue_numbers(issue: KnownIssue) -> dict[str, object]:
    return {
        "id": issue.id,
        "title": issue.title,
        "links": list(issue.links),
        "confidence": issue.confidence,
        "fixed_in": issue.fixed_in,
    }


def _issues(evidence: Evidence, row: CaseResult) -> list[KnownIssue]:
    run, versions = evidence.run, evidence.versions(row)
    chip = run.machine.get("chip")
    return matching_issues(
        load_known_issues(),
        device=run.device,
        torch=versions.get("torch"),
        macos=evidence.fact(row, "macos"),
        chip=chip if isinstance(chip, str) else None,
        diffusers=versions.get("diffusers"),
        case=as_computed(row.summary.case, row.summary.no_effect),
        images=evidence.images,
        pipeline_class=run.model.pipeline_class,
    )
