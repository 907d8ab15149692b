"""What a report says, as plain records: in words and numbers, whatever renders them.

Times are seconds, memory is bytes. Text of others (model names, reasons, prompts) is as it was
recorded; a renderer shows it through ``printable`` or escapes it.
"""

from typing import Literal

import msgspec

from sdbench.analysis.iterations import iterations_per_second
from sdbench.analysis.run_summary import CaseSummary, RunSummary
from sdbench.comparison import Comparison, History
from sdbench.diagnosis.result import Choice, Diagnosis, Finding
from sdbench.records import Outcome, PassesStopped

Interval = tuple[float, float]
Tone = Literal["good", "warning", "bad", "unknown"]
"""How something stands; every renderer adds a word or a shape, never colour alone."""


class Line(msgspec.Struct, frozen=True):
    """What, and what about it."""

    what: str
    about: str


class Mark(msgspec.Struct, frozen=True):
    """What must be seen before anything else, e.g. ``SIMULATED``."""

    word: str
    sentence: str


class SetupCheck(msgspec.Struct, frozen=True):
    """One thing about the set-up, from what the run recorded."""

    tone: Tone
    what: str
    found: str
    remedy: str | None = None


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What to use for one purpose at one resolution; ``choice`` is insight's own record.

    ``settings`` are its changed settings in words; ``best_gain`` says of what saves most time how
    much it does, None where nothing does.
    """

    purpose: Literal["one image", "many images"]
    settings: str
    choice: Choice
    best_gain: str | None


class Headline(msgspec.Struct, frozen=True, kw_only=True):
    """The first screen: right or wrong, how fast, what to use, what to fix.

    ``main`` is the choice for one image at 512x512, else at the largest size, ``main_cell`` the
    plainest case measured there where nothing may be recommended: what a person waits for.
    ``fastest`` is the recommended cell with the least seconds per image, None where nothing may be
    recommended; then ``quickest`` still says what was measured, right or not. ``subject`` is what
    every number depends on, ``answers`` are its largest figures, ``claims`` how many were tested.
    """

    tone: Tone
    machine: list[Line]
    setup_tone: Tone
    setup_sentence: str
    setup: list[SetupCheck]
    fastest: Advice | None
    quickest: "CaseView | None"
    advice: list[Advice]
    no_advice: list[str]
    main: Advice | None = None
    main_cell: "CaseView | None" = None
    subject: list[str] = []
    answers: list["Answer"] = []
    claims: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A figure of the first screen: what was measured for one image, or for many in a batch."""

    purpose: Literal["one image", "many images"]
    cell: "CaseView"


class SideAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison in words, for one of its new sides.

    ``change`` is what all its cases come to (``26 to 42% less time``), ``details`` how many.
    """

    base: str
    new: str
    tone: Tone
    change: str
    details: list[str]


class ProcessTimes(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a cell, in seconds per image; ``passes_s`` are its steady passes.

    ``label`` is what a person calls it (``run 2 of 3``); ``remarks`` what to keep in mind.
    """

    label: str
    block: int
    outcome: Outcome
    steady_s: float | None
    first_s: float | None
    passes_s: list[float]
    remarks: list[str]
    passes_stopped: PassesStopped | None = None


class CaseView(msgspec.Struct, frozen=True, kw_only=True):
    """One case in one variant, as a person reads it; ``summary`` is what the analysis says of it.

    ``name`` is how a person calls it, ``settings`` that without its size, ``no_effect`` which of
    these did nothing, ``steps`` how many are made for an image (None: not on record). Times are an
    image's; ``heat_level`` is 0 (the run's quickest) to 8 (its slowest), on a logarithmic scale.
    """

    summary: CaseSummary
    name: str
    settings: str
    outcome_words: str
    tone: Tone
    seconds_per_picture: float | None
    ci95: Interval | None
    heat_level: int | None
    first_s: float | None
    picture_words: str
    picture_reason: str | None
    recommended: bool
    processes: list[ProcessTimes]
    disturbed: list[str] = []
    memory_words: str = ""
    no_effect: str = ""
    steps: int | None = None

    @property
    def iterations_per_second(self) -> float | None:
        """Its steps over the seconds of an image."""
        return iterations_per_second(self.steps, self.seconds_per_picture)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a timeline: a phase, or a level of memory pressure; seconds from its start."""

    name: str
    begin_s: float
    end_s: float


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of one process and of the machine around it; ``chosen`` says why this one.

    Series are equally long and thinned out (extremes are kept); None is "not known then".
    """

    name: str
    chosen: str
    outcome_words: str
    t_s: list[float]
    footprint_bytes: list[int | None]
    available_bytes: list[int | None]
    swap_used_bytes: list[int | None]
    phases: list[Span]
    pressure: list[Span]
    limit_bytes: int | None
    sentence: str


class DivergenceCurve(msgspec.Struct, frozen=True, kw_only=True):
    """Distance of one image's latents from the CPU's, step by step, and what rounding allows."""

    name: str
    step: list[int]
    rel_l2: list[float | None]
    allowed_rel_l2: list[float | None]


class StageShare(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a profiled pass. ``flops_per_s`` where its operations were counted,
    ``share_of_ceiling`` what that is of the fastest this device was seen to multiply."""

    stage: str
    words: str
    calls: int
    seconds: float
    share: float
    peak_bytes: int | None
    flops_per_s: float | None = None
    share_of_ceiling: float | None = None


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """Where the profiled pass of a cell spent its time.

    ``flops_per_s`` and ``share_of_ceiling`` are of the steady passes; ``not_known`` says why they
    are None.
    """

    name: str
    total_s: float
    stages: list[StageShare]
    flops_per_s: float | None
    share_of_ceiling: float | None
    not_known: str | None


class EvidenceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A number behind a finding, in words; ``name`` is the case's where it is about one."""

    name: str
    words: str


class KnownLink(msgspec.Struct, frozen=True, kw_only=True):
    """Where a known issue can be read of."""

    title: str
    url: str


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """A finding with its evidence in words; ``finding`` is insight's own record."""

    finding: Finding
    tone: Tone
    names: list[str]
    evidence: list[EvidenceLine]
    links: list[KnownLink]


class Comparisons(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs are compared; ``refused`` says which could not be, and why."""

    shown: list[Comparison]
    refused: list[str]


class SustainedCurve(msgspec.Struct, frozen=True, kw_only=True):
    """The steady passes of a process that was to go on for some minutes.

    Times are seconds since the first of them began; ``temperature_c`` and ``power_w`` of the GPU
    are (time, value), empty where nothing tells them.
    """

    name: str
    sentence: str
    begin_s: list[float]
    pass_s: list[float]
    slows_after_s: float | None
    temperature_c: list[tuple[float, float]]
    power_w: list[tuple[float, float]]


BarState = Literal["ok", "bad", "lost", "images", "unknown"]
"""``lost``: given to a machine that vanished, or measured twice; ``images``: compared with the
CPU's."""


class LaneBar(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a machine had in hand; seconds since the first bar of the schedule began."""

    state: BarState
    words: str
    begin_s: float
    end_s: float


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, and what it had in hand, in order."""

    name: str
    bars: list[LaneBar]

    @property
    def busy_s(self) -> float:
        """Seconds in which it had something in hand."""
        total = until = 0.0
        for bar in self.bars:
            total += max(0.0, bar.end_s - max(bar.begin_s, until))
            until = max(until, bar.end_s)
        return total

    def count(self, state: BarState) -> int:
        """How many bars are so."""
        return sum(bar.state == state for bar in self.bars)


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when: a lane for each machine. ``sentence`` says whose clock it is."""

    began_utc: str
    lanes: list[Lane]
    took_s: float
    sentence: str


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one run has to say.

    ``missing`` says what is missing, or could not be read. ``timelines_left_out`` and the
    like are sentences; None where nothing was left out. ``spread`` says what makes times uncertain.
    """

    summary: RunSummary
    diagnosis: Diagnosis
    label: str | None
    created_utc: str
    marks: list[Mark]
    missing: list[str]
    notes: list[str]
    headline: Headline
    cells: list[CaseView]
    timelines: list[Timeline]
    timelines_left_out: str | None
    divergence: list[DivergenceCurve]
    divergence_left_out: str | None
    stages: list[StageRow]
    stages_left_out: str | None
    efficiency: str | None
    findings: list[FindingView]
    environment: list[Line]
    method: list[Line]
    spread: list[str] = []
    sustained: list[SustainedCurve] = []


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report: of one run, or of several with their comparison first.

    ``history`` is there from three runs of one machine on, ``schedules`` where several machines
    share a run or a fleet made the runs.
    """

    title: str
    runs: list[RunReport]
    comparisons: Comparisons
    history: History | None = None
    schedules: list[Schedule] = []

    @property
    def simulated(self) -> bool:
        """Whether anything in it is not real."""
        return any(run.summary.simulated for run in self.runs)
