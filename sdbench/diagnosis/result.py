"""What a diagnosis comes to, as it is printed and scripted against.

Times are seconds, memory is bytes, ratios are new / base: above 1 is slower, or more.
"""

from typing import Any, Literal

import msgspec

from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import Case, Correctness

Severity = Literal["info", "warning", "error"]
ClaimVerdict = Literal["confirmed", "refuted", "inconclusive", "not-applicable"]
Interval = tuple[float, float]

# Worst first.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is worth saying about a run, with its evidence and what fixes it.

    ``evidence`` names the arm where a run has several, and holds the numbers behind the sentence.
    """

    code: FindingCode
    severity: Severity
    case_ids: list[str]
    sentence: str
    evidence: dict[str, Any]
    remedy: str


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence of the documentation, tested on this machine.

    ``effect`` is in ``effect_unit``; ``sentence`` says what was measured, ``speaks_of`` which
    document and which torch releases the claim is about. ``editions`` are the editions of the page
    that say it (``2022``, ``2023``, ``today``; ``claims.EDITIONS`` has their dates), ``meaning`` is
    what exactly is tested.
    """

    id: str
    claim: str
    speaks_of: str
    verdict: ClaimVerdict
    sentence: str
    effect: float | None
    effect_unit: str
    ci95: Interval | None
    evidence: dict[str, Any]
    stack: str
    editions: list[str] = []
    meaning: str = ""


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Two editions of the documentation that contradict each other.

    ``agrees_with`` is the edition that this machine agrees with in direction; None: not decided.
    """

    about: str
    claims: list[str]
    agrees_with: str | None
    sentence: str
    stack: str


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """What one choice brings: time as chosen over time with the other value, all else alike."""

    setting: str
    chosen: str
    other: str
    other_case_id: str
    ratio: float | None
    ci95: Interval | None
    sentence: str


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Settings to use. ``seconds_per_picture`` is the steady time; memory is the measured peak."""

    case_id: str
    arm: str
    case: Case
    seconds_per_picture: float
    ci95: Interval | None
    peak_memory_bytes: int | None
    memory_limit_bytes: int | None
    correct: Correctness
    gains: list[Gain]
    notes: list[str]
    snippet: str
    elsewhere: dict[str, list[str]]


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """The best settings for one picture soon (latency) and many (throughput) at a resolution.

    A choice is None where nothing measured may be recommended; ``reason`` says why.
    """

    resolution: str
    latency: Choice | None
    throughput: Choice | None
    reason: str | None


class Tradeoff(msgspec.Struct, frozen=True, kw_only=True):
    """A case in the view of time against memory.

    ``efficient``: none other at its resolution is right, as fast and as small, and better in one.
    ``no_effect`` are its settings that did nothing.
    """

    case_id: str
    arm: str
    case: Case
    seconds_per_picture: float
    peak_memory_bytes: int | None
    correct: Correctness
    efficient: bool
    no_effect: list[str] = []


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """What to use, of what was measured.

    ``first_look``: too few processes for a verdict, which ``few_processes`` says in words; then
    nothing is recommended.
    """

    sentence: str
    first_look: bool
    goals: list[Goal]
    tradeoffs: list[Tradeoff]
    few_processes: str | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What ``sdbench diagnose --json`` prints.

    ``healthy``: no finding above ``info``, and nothing ``missing``, which are sentences about what
    the run has not shown: processes that did not end, pictures that were not checked.
    """

    run_id: str
    path: str
    device: str
    simulated: bool
    healthy: bool
    headline: str
    findings: list[Finding]
    claims: list[Claim]
    recommendation: Recommendation
    notes: list[str]
    missing: list[str] = []
    conflicts: list[Conflict] = []

    @property
    def exit_code(self) -> int:
        """1 where a finding is an error, or something is missing that health would need."""
        errors = any(entry.severity == "error" for entry in self.findings)
        return int(errors or bool(self.missing))
