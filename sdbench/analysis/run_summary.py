"""A run's records reduced to what people read and scripts consume: one row per case and variant."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sdbench.analysis.beside import beside_words
from sdbench.analysis.efficiency import CaseEfficiency, case_efficiency
from sdbench.analysis.iterations import iterations_per_second, steps_of
from sdbench.analysis.no_effect import settings_without_effect
from sdbench.analysis.predicted_peak import predicted_peak
from sdbench.analysis.predicted_time import ScoredTime, score_time
from sdbench.analysis.provenance import provenance
from sdbench.analysis.telemetry import (
    WAIT_WORDS,
    CaseTelemetry,
    StageName,
    case_telemetry,
    peak_stage,
)
from sdbench.records import (
    CORRECTNESS_SEVERITY,
    OUTCOME_SEVERITY,
    SCHEMA_VERSION,
    BesideOthers,
    Case,
    Compared,
    Content,
    Correctness,
    InterimAnalysis,
    Mode,
    Outcome,
    PassesStopped,
    Picture,
    PlannedCase,
    Replicate,
    RowKey,
    Run,
    by_row,
)
from sdbench.runs import LoadedRun
from sdbench.stats import Sustained, judge_sustained, log_t_interval, percentile
from sdbench.stats.nested import Dominant, nested_spread

# A process that wants every core is held up by about the share that others take. A tenth is as long
# as the least of the spikes that the statistics were tried with (10 to 60%), but of a whole process
# and not of one pass, which the median of its passes does not forgive.
_BUSY_SHARE = 0.10
# As long as so much of all cores is idle nobody waits for one: beside a GPU's work it may be busy.
_ROOM_SHARE = 0.25
_VIRTUAL = "the GPU belongs to a virtual machine: its times are not a Mac's and get no verdict"
_NOT_REACHED = "not reached yet: sdbench resume continues with it"
_LOST = "it began and never ended: sdbench resume continues with it"


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Steady seconds per pass: the median over processes of each one's median of passes 2 on.

    ``n`` counts processes; ``ci95`` is None below 3. Source: PROTOCOL 1, 4 and 9.
    """

    median: float | None
    ci95: tuple[float, float] | None
    n: int
    reason: str | None = None


class Disturbed(msgspec.Struct, frozen=True, kw_only=True):
    """A process that something else held up, and what it was."""

    replicate_id: str
    block: int
    reasons: list[str]


class CaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One case in one variant."""

    case_id: str
    arm: str
    case: Case
    outcome: Outcome
    reason: str | None
    latency_s: Latency
    first_pass_s: float | None
    prime_s: float | None
    load_s: float | None
    peak_memory_bytes: int | None
    peak_memory_source: str | None
    peak_memory_reason: str | None
    peak_stage: StageName | None
    peak_stage_source: str | None
    peak_stage_reason: str | None
    swap_delta_bytes: int | None
    telemetry: CaseTelemetry
    efficiency: CaseEfficiency
    correct: Correctness
    correct_reason: str | None
    correct_margin: float | None
    """Distance from the CPU's images over what rounding allows, the worst; up to 1 is a match."""
    content: Content | None
    content_reason: str | None
    replicates: int
    planned: int
    passes_made: list[int] = []
    """Measured passes of each process, in the order of the blocks."""
    passes_stopped: dict[PassesStopped, int] = {}
    """Why processes made no further pass, and how many of them."""
    p90_s: float | None = None
    """Nine of ten steady passes of all processes took no longer; None with fewer than 64."""
    sustained: list[Sustained] = []
    """Of each process, where passes were to go on for some minutes (``sustain_minutes``)."""
    spread_between_passes: float | None = None
    """By how much passes of one process differ, a standard deviation as a share: 0.02 is 2%."""
    spread_between_processes: float | None = None
    """By how much processes differ beyond what their passes explain, likewise."""
    spread_dominated_by: Dominant = "unknown"
    """Which of the two makes the figure uncertain."""
    spread_reason: str | None = None
    """Why that is unknown."""
    disturbed: list[Disturbed] = []
    """Processes whose times are not the case's own."""
    predicted_peak_bytes: int | None = None
    """Predicted before the run, loading included, of the memory that ``peak_bytes`` counts."""
    peak_bytes: int | None = None
    """Measured: the highest of the processes that completed, loading included."""
    prediction_error: float | None = None
    """Predicted over measured, minus 1."""
    prediction_reason: str | None = None
    """Why that is not known."""
    scored_time: ScoredTime | None = None
    """The predicted time of an image compared with the measured one, on real Macs only."""
    no_effect: dict[str, str] = {}
    """Settings that did nothing in this pipeline, and why; as far as it is on record."""
    steps: int | None = None
    """Denoising steps that are made for an image; None where it is not on record."""

    @property
    def key(self) -> RowKey:
        """What names it in its run."""
        return self.case_id, self.arm


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What ``sdbench run --json`` prints; ``schema`` is that of the records."""

    schema: int = SCHEMA_VERSION
    run_id: str
    path: str
    device: str
    simulated: bool
    complete: bool
    outcomes: dict[Outcome, int]
    cases: list[CaseSummary]
    images: int
    swapped_out_bytes: int | None = None
    """Written to swap by the whole machine while the run's processes ran; None if not told."""
    warnings: list[str] = []
    looks: list[InterimAnalysis] = []
    """Where the run goes on until it is decided."""
    records_left_out: int = 0
    """Records in the run's folder that are not of this run, and count for nothing."""
    mode: Mode = "text-to-image"
    strength: float | None = None
    """Of image-to-image: the share of the steps that is made."""
    sdbench_version: str = ""
    """Of the sdbench that measured."""
    machine: dict[str, Any] = {}
    versions: dict[str, dict[str, str]] = {}
    """Of each environment: its packages, and ``python``."""
    config: dict[str, Any] = {}
    beside: BesideOthers | msgspec.UnsetType = msgspec.UNSET
    """Of several devices at once: whether they disturb one another."""

    @property
    def exit_code(self) -> int:
        """0 when every case is ok or skipped, else 1."""
        return 0 if set(self.outcomes) <= {"ok", "skipped"} else 1


def summary_of(loaded: LoadedRun) -> RunSummary:
    """Reduce the last attempts of a run's replicates, and how they compare with the CPU."""
    run, replicates = loaded.run, loaded.replicates
    by_case: dict[str, list[Replicate]] = {}
    for replicate in replicates:
        by_case.setdefault(replicate.case_id, []).append(replicate)
    own, compared = by_row(replicates), by_row(loaded.compared)
    lost = {(entry.case_id, entry.arm) for entry in loaded.in_flight}
    rows = [
        _summarise_row(
            loaded,
            planned,
            arm.name,
            own.get(key := (planned.case_id, arm.name), []),
            by_case.get(planned.case_id, []),
            compared.get(key, []),
            lost=key in lost,
        )
        for planned in run.plan.cases
        for arm in run.plan.arms
    ]
    return RunSummary(
        run_id=run.run_id,
        path=str(loaded.path),
        device=run.device,
        simulated=run.simulated or any(entry.simulated for entry in replicates),
        complete=all(
            row.replicates >= row.planned
            or any(entry.machine_restarted for entry in own.get(row.key, []))
            for row in rows
        ),
        outcomes=dict(Counter(row.outcome for row in rows)),
        cases=rows,
        images=int(run.config["images"]),
        swapped_out_bytes=_swapped_out(replicates),
        warnings=[
            *loaded.warnings,
            *machine_warnings(replicates),
            *([] if (words := beside_words(run)) is None else [words]),
        ],
        looks=loaded.looks,
        records_left_out=loaded.left_out,
        mode="text-to-image" if run.image_to_image is None else "image-to-image",
        strength=None if run.image_to_image is None else float(run.config["strength"]),
        beside=msgspec.UNSET if run.beside is None else run.beside,
        **provenance(run),
    )


def per_picture(pass_s: float | None, images: int) -> float | None:
    """An image's share of a time of a pass, in seconds; None stays None."""
    return None if pass_s is None else pass_s / images


def device_facts(replicates: Sequence[Replicate]) -> dict[str, Any]:
    """What the workers told of the device, the first first: what one does not know another may."""
    # Equal tables of a run are held once (``runs/interning.py``).
    devices = {id(entry.device): entry.device for entry in replicates}
    return {
        name: fact
        for device in reversed(devices.values())
        for name, fact in device.get("facts", {}).items()
        if fact is not None
    }


def memory_limit_bytes(run: Run, replicates: Sequence[Replicate]) -> int | None:
    """What the device says it should hold at most, else the machine's memory."""
    recommended = device_facts(replicates).get("recommended_max_bytes")
    known = recommended if recommended is not None else run.machine.get("memory_bytes")
    return int(known) if isinstance(known, (int, float)) else None


def is_virtual(replicate: Replicate) -> bool:
    """Whether the GPU was a virtual machine's."""
    return bool(replicate.device.get("facts", {}).get("virtualised"))


def slowed_by_others(replicate: Replicate) -> bool:
    """Whether other programs slowed this process, or nobody knows because the instrument failed."""
    telemetry = replicate.telemetry
    if replicate.why_voided("load") is not None:
        return True
    if telemetry is None or telemetry.other_cpu_share is None or telemetry.idle_cpu_share is None:
        return False
    return telemetry.other_cpu_share > _BUSY_SHARE and telemetry.idle_cpu_share < _ROOM_SHARE


def disturbances(replicate: Replicate) -> list[str]:
    """What held this process up, in words; empty where nothing is known to have done so."""
    voided = (replicate.why_voided("load"), replicate.why_voided("sleep"))
    reasons = [why for why in voided if why is not None]
    telemetry = replicate.telemetry
    if telemetry is not None and telemetry.other_cpu_share and slowed_by_others(replicate):
        words = f"other programs took {telemetry.other_cpu_share:.0%} of all cores' time"
        if (telemetry.stolen_cpu_share or 0.0) > _BUSY_SHARE:
            words += f", {telemetry.stolen_cpu_share:.0%} of it on the host of this virtual machine"
        reasons.append(words)
    if replicate.slept:
        reasons.append("the machine slept meanwhile")
    return reasons


def _summarise_row(
    loaded: LoadedRun,
    planned: PlannedCase,
    arm: str,
    replicates: list[Replicate],
    of_all_arms: list[Replicate],
    compared: list[Compared],
    *,
    lost: bool,
) -> CaseSummary:
    case, latency = planned.case, _latency(replicates)
    worst = min(replicates, key=lambda entry: OUTCOME_SEVERITY.index(entry.outcome), default=None)
    peak = max(replicates, key=lambda entry: entry.peak_memory_bytes or -1, default=None)
    pictures = [
        picture
        for replicate in replicates
        for entry in replicate.of_kind("measured")
        for picture in entry.images
    ]
    correct, correct_reason = _correctness(pictures, compared)
    content, content_reason = _content(pictures)
    telemetry, stage = case_telemetry(replicates), peak_stage(replicates)
    predicted = predicted_peak(planned.memory, replicates)
    spread = nested_spread([steady_times_s(entry) for entry in replicates if not entry.slept])
    ordered = sorted(replicates, key=lambda entry: entry.block)
    return CaseSummary(
        case_id=case.case_id,
        arm=arm,
        case=case,
        outcome="skipped" if worst is None else worst.outcome,
        reason=worst.reason if worst else planned.skip_reason or (_LOST if lost else _NOT_REACHED),
        latency_s=latency,
        first_pass_s=_median(entry.first_pass_s for entry in replicates),
        prime_s=_median(one.duration_s for entry in replicates for one in entry.timed("prime")[:1]),
        load_s=_median(entry.load_s for entry in replicates),
        peak_memory_bytes=None if peak is None else peak.peak_memory_bytes,
        peak_memory_source=None if peak is None else peak.peak_memory_source,
        peak_memory_reason="not run" if peak is None else peak.peak_memory_reason,
        peak_stage=stage.stage,
        peak_stage_source=stage.source,
        peak_stage_reason=stage.reason,
        swap_delta_bytes=telemetry.swap_delta_bytes,
        telemetry=telemetry,
        efficiency=case_efficiency(
            case, arm, replicates, of_all_arms, loaded.ceilings, latency.median
        ),
        correct=correct,
        correct_reason=correct_reason,
        correct_margin=max(
            (record.margin for record in compared if record.margin is not None), default=None
        ),
        content=content,
        content_reason=content_reason,
        replicates=len(replicates),
        planned=loaded.run.plan.processes(case.case_id, arm),
        passes_made=[len(entry.of_kind("measured")) for entry in ordered],
        passes_stopped=dict(
            Counter(entry.passes_stopped for entry in replicates if entry.passes_stopped)
        ),
        p90_s=percentile([time for entry in replicates for time in steady_times_s(entry)], 90),
        sustained=[sustained_of(entry) for entry in ordered]
        if loaded.run.config.get("sustain_minutes")
        else [],
        spread_between_passes=spread.passes,
        spread_between_processes=spread.processes,
        spread_dominated_by=spread.dominated_by,
        spread_reason=spread.reason,
        disturbed=[
            Disturbed(replicate_id=entry.replicate_id, block=entry.block, reasons=reasons)
            for entry in ordered
            if (reasons := disturbances(entry))
        ],
        predicted_peak_bytes=predicted.predicted_bytes,
        peak_bytes=predicted.measured_bytes,
        prediction_error=predicted.error,
        prediction_reason=predicted.reason,
        scored_time=score_time(
            planned.time, loaded.run, latency.median, virtual=any(map(is_virtual, replicates))
        ),
        no_effect=settings_without_effect(ordered),
        steps=steps_of(loaded.run, case),
    )


def _latency(replicates: list[Replicate]) -> Latency:
    medians = [steady for entry in replicates if (steady := entry.steady_median_s) is not None]
    if not medians:
        measured = any(entry.of_kind("measured") for entry in replicates)
        voided = next((why for entry in replicates if (why := entry.why_voided("times"))), None)
        reason = "no process made a second pass" if measured else "no pass was made"
        return Latency(median=None, ci95=None, n=0, reason=voided or reason)
    return Latency(median=statistics.median(medians), ci95=log_t_interval(medians), n=len(medians))


def steady_times_s(replicate: Replicate) -> list[float]:
    """The times of a process's steady passes (2 on); none if it did not complete."""
    if replicate.outcome != "ok":
        return []
    return [entry.duration_s for entry in replicate.steady_passes]


def sustained_of(replicate: Replicate) -> Sustained:
    """How the speed of a process developed; nothing is said of one that did not last."""
    if replicate.outcome != "ok":
        return Sustained(reason=f"the process ended as {replicate.outcome}")
    if replicate.passes_stopped == "time-limit":
        return Sustained(reason="there was not enough time for the requested minutes")
    passes = replicate.steady_passes
    begins = [entry.begin_t for entry in passes if entry.begin_t is not None]
    if len(begins) < len(passes):
        return Sustained(reason="the start times of the passes were not recorded")
    return judge_sustained(begins, [entry.duration_s for entry in passes])


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _swapped_out(replicates: Sequence[Replicate]) -> int | None:
    """Sum over the processes; older records have only what their telemetry saw."""
    written = [
        entry.telemetry.swap_out_bytes
        if entry.swapped_out_bytes is None and entry.telemetry is not None
        else entry.swapped_out_bytes
        for entry in replicates
    ]
    known = [size for size in written if size is not None]
    return sum(known) if known else None


def machine_warnings(replicates: Sequence[Replicate]) -> list[str]:
    """What was not as it should be when processes began, and heat and load while they ran."""
    words = [_VIRTUAL] if any(is_virtual(entry) for entry in replicates) else []
    flags = Counter(flag for entry in replicates for flag in entry.gate.flags)
    of = f"of {len(replicates)} processes"
    words += [f"{count} {of} began with {WAIT_WORDS[flag]}" for flag, count in flags.items()]
    levels = [entry.telemetry.thermal_peak for entry in replicates if entry.telemetry is not None]
    heated = sum(level not in (None, "nominal", "moderate") for level in levels)
    if heated:
        words.append(f"in {heated} {of} the machine was slowed down by heat")
    warm = levels.count("moderate")
    if warm:
        words.append(f"in {warm} {of} the machine was warm, and its clocks may have been lower")
    busy = [
        entry.telemetry.other_cpu_share
        for entry in replicates
        if entry.telemetry and entry.telemetry.other_cpu_share and slowed_by_others(entry)
    ]
    if busy:
        words.append(
            f"in {len(busy)} {of} other programs used up to {max(busy):.0%} of the time of all "
            "cores during the passes"
        )
    return words


def _correctness(
    pictures: list[Picture], compared: list[Compared]
) -> tuple[Correctness, str | None]:
    """The worst of the processes; before the comparison only NaN and black images are known."""
    if compared:
        worst = min(compared, key=lambda record: CORRECTNESS_SEVERITY.index(record.verdict))
        alike = sum(record.verdict == worst.verdict for record in compared)
        where = "" if alike == len(compared) else f" (in {alike} of {len(compared)} processes)"
        return worst.verdict, None if worst.reason is None else f"{worst.reason}{where}"
    faults = Counter(fault for picture in pictures if (fault := picture.broken) is not None)
    if faults:
        words = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
        return "broken", f"of {len(pictures)} images: {words}"
    if not pictures:
        return "unknown", "no image was made"
    return "unknown", "not compared with the CPU"


def _content(pictures: list[Picture]) -> tuple[Content | None, str | None]:
    """Whether the images show what was asked for; one wrong image makes the case wrong."""
    wrong = [picture.content_reason for picture in pictures if picture.content == "wrong"]
    if wrong:
        return "wrong", f"{len(wrong)} of {len(pictures)} images, the first: {wrong[0]}"
    if pictures and all(picture.content == "right" for picture in pictures):
        return "right", None
    reasons = [picture.content_reason for picture in pictures if picture.content is None]
    if not pictures:
        return None, "no image was made"
    return None, reasons[0] or "only the images of builtin/shapes can be read"


def as_json(summary: RunSummary) -> dict[str, Any]:
    """The contract's document; ``latency_s`` and ``seconds_per_pass`` are a pass's."""
    document: dict[str, Any] = msgspec.to_builtins(summary)
    for case, row in zip(document["cases"], summary.cases, strict=True):
        seconds = per_picture(row.latency_s.median, summary.images)
        case["seconds_per_pass"] = row.latency_s.median
        case["seconds_per_picture"] = seconds
        case["iterations_per_second"] = iterations_per_second(row.steps, seconds)
    return document
