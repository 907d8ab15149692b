"""Findings and claims in the words that screens share."""

from collections.abc import Iterator

from sdbench.diagnosis.result import ClaimVerdict, Finding

CLAIM_VERDICTS: dict[ClaimVerdict, str] = {
    "confirmed": "confirmed",
    "refuted": "refuted",
    "inconclusive": "cannot tell",
    "not-applicable": "not applicable",
}


def remedy_parts(finding: Finding) -> Iterator[tuple[str, str | None]]:
    """The sentences of a remedy, each with the command that it ends with, if it does."""
    rest = finding.remedy
    for command in finding.commands:
        before, _, rest = rest.partition(command)
        yield before.strip(), command
        rest = rest.lstrip(";. ")
        rest = f"{rest[:1].upper()}{rest[1:]}"
    if rest:
        yield rest, None
