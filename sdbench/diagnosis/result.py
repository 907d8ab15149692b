"""The result of a diagnosis, as it is printed and used by scripts.

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
    """One finding about a run, with its evidence and its remedy.

    ``evidence`` names the variant where a run has several, and holds the numbers behind the
    sentence.
    """

    code: FindingCode
    severity: Severity
    case_ids: list[str]
    sentence: str
    evidence: dict[str, Any]
    remedy: str
    commands: list[str] = []
    """Commands that stand in ``remedy``, each whole, to be pasted."""

    @property
    def title(self) -> str:
        """What it is called; ``code`` is for scripts."""
        return FINDING_TITLES[self.code]


FINDING_TITLES: dict[FindingCode, str] = {
    "first-pass-drift": "The first pass differs from later ones",
    "batch-mismatch": "Wrong images in a batch",
    "batch-crash": "A batch crashes",
    "split-mismatch": "Wrong images from one of several processes",
    "nan-output": "Images hold NaN or infinity",
    "black-output": "Black images",
    "noise-output": "Noise instead of an image",
    "wrong-content": "Images do not show the prompt",
    "nondeterministic": "The same seed gives different images",
    "cpu-mismatch": "Images differ from the CPU's",
    "swap-bound": "Slowed down by swapping",
    "memory-growth": "Memory grows from pass to pass",
    "throttled": "Slowed down by heat or power saving",
    "not-steady": "The speed changes from pass to pass",
    "worker-crash": "Processes crash or fail",
    "timeout": "No end in time",
    "oom": "Out of memory",
    "memory-guard": "Stopped to protect the machine",
    "slow-first-pass": "Slow first pass",
    "slicing-hurts": "Attention slicing costs time",
    "slicing-helps": "Attention slicing saves time",
    "no-effect-setting": "A setting without effect",
    "cpu-fallback": "Operators run on the CPU instead",
    "known-issue": "Known issue or limit",
    "noisy-host": "Times scatter too much",
    "unfinished": "Not all is measured and checked",
}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim of the documentation, tested on this machine.

    ``effect`` is in ``effect_unit``; ``sentence`` says what was measured, ``speaks_of`` which
    document and which torch releases the claim covers. ``editions`` are the editions of the page
    that say it (``2022``, ``2023``, ``today``; ``claims.EDITIONS`` has their dates), ``meaning`` is
    what exactly is tested.
    """

    id: str
    title: str
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
    """The gain of one choice: time as chosen divided by time with the other value, everything else
    equal."""

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
    iterations_per_second: float | None = None


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """The best settings for one image soon (latency) and many (throughput) at a resolution.

    A choice is None if no measured case may be recommended; ``reason`` says why.
    """

    resolution: str
    latency: Choice | None
    throughput: Choice | None
    reason: str | None


class Tradeoff(msgspec.Struct, frozen=True, kw_only=True):
    """Time and memory of a case.

    ``efficient``: no other right case at its resolution is at least as fast and as small, and
    better in one of them. ``no_effect`` are its settings that did nothing.
    """

    case_id: str
    arm: str
    case: Case
    seconds_per_picture: float
    peak_memory_bytes: int | None
    correct: Correctness
    efficient: bool
    no_effect: list[str] = []
    iterations_per_second: float | None = None


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """The recommendation, based on the measured cases.

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
    the run has not shown: processes that did not end, images that were not checked.
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
    work: str = ""
    """``8 steps, ddim, 2 images per pass``: what times here are of."""

    @property
    def exit_code(self) -> int:
        """1 if a finding is an error, or if evidence that health requires is missing."""
        errors = any(entry.severity == "error" for entry in self.findings)
        return int(errors or bool(self.missing))
