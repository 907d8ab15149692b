"""Settings that the user chose and that have no effect on this model."""

import json

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.no_effect import NO_EFFECT, chosen_without_effect, setting_words
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.result import Finding
from sdbench.words import counted


def no_effect_settings(evidence: Evidence) -> list[Finding]:
    """One finding for each setting, value and reason in a variant; severity info, because nothing
    is wrong.

    A setting whose effect was not recorded gives no finding.
    """
    groups: dict[tuple[str, str, str, str], list[CaseResult]] = {}
    for row in evidence.measured:
        case = row.summary.case
        chosen = chosen_without_effect(evidence.run, case, row.summary.no_effect)
        for axis, reason in chosen.items():
            in_toml = f"{axis} = {json.dumps(evidence.run.setting(case, axis))}"
            groups.setdefault((axis, in_toml, reason, row.arm.name), []).append(row)
    return [_finding(axis, toml, why, rows) for (axis, toml, why, _), rows in groups.items()]


def _finding(axis: str, in_toml: str, reason: str, rows: list[CaseResult]) -> Finding:
    value = rows[0].run.setting(rows[0].summary.case, axis)
    words = setting_words(axis, value)
    return Finding(
        code="no-effect-setting",
        severity="info",
        case_ids=[row.summary.case_id for row in rows],
        sentence=f"{words[0].upper()}{words[1:]} {NO_EFFECT}{rows[0].of_arm}: "
        f"{reason.rstrip('.')} ({counted(len(rows), 'case')}).",
        evidence={
            **({"arm": rows[0].arm.name} if rows[0].of_arm else {}),
            "setting": axis,
            "value": value,
            "reason": reason,
            "cases": {row.summary.case_id: {} for row in rows},
            "known_issues": [],
        },
        remedy=f"Remove {in_toml} from the configuration: it does not change the computation.",
    )
