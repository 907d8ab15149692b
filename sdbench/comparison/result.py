"""The result of a comparison, as it is printed and used by scripts.

Times are seconds, memory is bytes, ratios are new / base: above 1 is slower, or more. Intervals are
not adjusted for the number of cases; verdicts are.
"""

from typing import Literal

import msgspec

from sdbench.records import Case

Verdict = Literal["faster", "slower", "equivalent", "inconclusive", "incorrect"]
MachineKind = Literal["still", "unknown", "virtual", "fanless", "battery", "other-load"]
MemoryVerdict = Literal["less", "more", "equivalent", "inconclusive"]
Interval = tuple[float, float]


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference between the sides; None stands for "unknown" or "absent".

    ``side`` is the label of the new side concerned if there are several, else None.
    """

    what: str
    base: str | None
    new: str | None
    side: str | None = None

    @property
    def words(self) -> str:
        """The name of the difference, with the side if there are several."""
        return self.what if self.side is None else f"{self.what} [{self.side}]"


class SideInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The two sides. Over many machines the runs are in ``Comparison.machines``."""

    label: str
    run_id: str | None
    path: str | None
    work: str | None = None
    """``8 steps, ddim, 2 images per pass``: what a time of this side is of."""


class Both(msgspec.Struct, frozen=True, kw_only=True):
    """The label of each side."""

    base: str | None
    new: str | None


class FirstPass(msgspec.Struct, frozen=True, kw_only=True):
    """Measured pass 1, seconds; processes with cold caches on one side only are omitted."""

    base_s: float | None
    new_s: float | None
    ratio: float | None
    ci95: Interval | None
    verdict: Verdict
    reason: str | None


class PeakMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Peak memory, bytes."""

    base_bytes: float | None
    new_bytes: float | None
    ratio: float | None
    ci95: Interval | None
    verdict: MemoryVerdict
    reason: str | None


class OutlierProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process whose steady median is an outlier on its side. It still counts."""

    side: Literal["base", "new"]
    replicate_id: str
    median_s: float
    degree: str


class MachineResult(msgspec.Struct, frozen=True, kw_only=True):
    """One case on one of several machines."""

    machine_id: str
    chip: str | None
    ratio: float | None
    ci95: Interval | None
    verdict: Verdict
    reason: str | None
    counts: bool
    """Whether it is an observation of the verdict over all machines."""
    outlier: bool


class BetweenRuns(msgspec.Struct, frozen=True, kw_only=True):
    """How much two separate runs may differ although nothing changed; the interval includes it.

    ``log_sd`` is the standard deviation of the logarithm of one run's time. ``source`` says where
    it is from: ``runs`` earlier runs, the yardstick (fixed work that every process times), or the
    assumption for this kind of ``machine``. ``machine_ratio`` is the yardstick's new / base.
    """

    source: Literal["history", "yardstick", "prior"]
    log_sd: float
    machine_ratio: float | None
    runs: int
    machine: MachineKind


class CaseComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One case on both sides. ``reason`` is a fixed code, ``explanation`` the same in words.

    ``refused`` are the codes for which the two sides may not be compared at all: then ratios and
    intervals are None, regardless of the measurements.
    ``base_s`` and ``new_s`` are seconds per pass (median over processes of their steady medians);
    screens show them divided by ``images``. ``n`` counts the processes behind them. ``ci99``
    decides the verdict if a run could stop early.
    ``more_processes``: about how many more processes per side an inconclusive case needs. Over many
    machines ``n`` counts machines and ``more_machines`` is the number needed. ``drift`` is present
    if the sides are two separate runs, ``command`` if it would decide an inconclusive case.
    """

    case_id: str
    new_case_id: str
    arm: str | None
    case: Case
    base: str
    new: str
    base_s: float | None
    new_s: float | None
    images: int
    n: tuple[int, int]
    paired: bool
    ratio: float | None
    ci95: Interval | None
    ci99: Interval | None
    bootstrap_ci95: Interval | None
    p_value: float | None
    q_value: float | None
    verdict: Verdict
    reason: str | None
    explanation: str | None
    note: str | None
    more_processes: int | None
    more_machines: int | None = None
    outliers: list[OutlierProcess]
    first_pass: FirstPass
    peak_memory: PeakMemory
    correct: Both
    outcome: Both
    machines: list[MachineResult] = []
    expected: str | None = None
    regression: Literal["slower", "wrong", "ended-worse"] | None = None
    mended: bool = False
    refused: list[str] = []
    drift: BetweenRuns | None = None
    command: str | None = None


class MachineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that took part in a comparison over many."""

    machine_id: str
    chip: str | None
    system: str | None
    run_id: str
    path: str
    left_out: str | None = None


class GeometricMean(msgspec.Struct, frozen=True, kw_only=True):
    """The geometric mean of the ratios of ``n`` cases. It is information and does not affect any
    verdict."""

    ratio: float | None
    n: int


class ComparisonSummary(msgspec.Struct, frozen=True, kw_only=True):
    """All cases together."""

    verdicts: dict[Verdict, int]
    geometric_mean: GeometricMean
    sentence: str
    regressions: list[str]
    mended: list[str]
    notes: list[str]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What ``sdbench compare --json`` prints."""

    title: Literal["comparison", "system comparison"]
    by: str | None
    simulated: bool
    threshold: float
    confidence: float
    base: SideInfo
    new: list[SideInfo]
    differences: list[Difference]
    machines: list[MachineInfo]
    cases: list[CaseComparison]
    summary: ComparisonSummary
