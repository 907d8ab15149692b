"""Findings with their evidence in words, and where to read of the known issues behind them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sdbench.diagnosis.result import Finding, Severity
from sdbench.report.view.model import EvidenceLine, FindingView, KnownLink, Tone
from sdbench.words import seconds, size

_TONES: dict[Severity, Tone] = {"error": "bad", "warning": "warning", "info": "unknown"}
# Of a finding over many cases: the first few say it all.
_MAX_CASES = 6


def finding_stories(findings: Sequence[Finding], names: Mapping[str, str]) -> list[FindingView]:
    """In their own order, worst first; ``names`` are cases by id."""
    return [_story(finding, names) for finding in findings]


def _story(finding: Finding, names: Mapping[str, str]) -> FindingView:
    arm = f" [{finding.evidence['arm']}]" if "arm" in finding.evidence else ""
    return FindingView(
        finding=finding,
        tone=_TONES[finding.severity],
        names=[names.get(case_id, case_id) + arm for case_id in finding.case_ids],
        evidence=[*_evidence(finding.evidence, names)],
        links=[
            KnownLink(title=str(issue.get("title") or url), url=url)
            for issue in finding.evidence.get("known_issues", [])
            for url in issue.get("links", [])
        ],
    )


def _evidence(evidence: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[EvidenceLine]:
    cases: Mapping[str, Any] = evidence.get("cases", {})
    for case_id, numbers in [*cases.items()][:_MAX_CASES]:
        words = ", ".join(number_words(name, value) for name, value in numbers.items())
        if words:
            yield EvidenceLine(name=names.get(case_id, case_id), words=words)
    if len(cases) > _MAX_CASES:
        yield EvidenceLine(name="", words=f"and {len(cases) - _MAX_CASES} more cases")


def number_words(name: str, value: object) -> str:
    """``peak memory 3.4 GB`` of ``peak_memory_bytes``: the unit is in the name."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if name.endswith("_bytes"):
            return f"{_spaced(name.removesuffix('_bytes'))} {size(value)}"
        if name.endswith("_s"):
            return f"{_spaced(name.removesuffix('_s'))} {seconds(value)}"
    return f"{_spaced(name)} {_text(value)}"


def _text(value: object) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, Mapping):
        return "(" + ", ".join(number_words(str(name), one) for name, one in value.items()) + ")"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def _spaced(name: str) -> str:
    return name.replace("_", " ")
