"""One process of a case (a replicate): its passes, its telemetry and how it ended."""

import functools
import statistics
from typing import Any, Literal

import msgspec

from sdbench.records.compared import Content
from sdbench.records.failure import CrashReport, FailureCause, Outcome
from sdbench.records.instrument_lines import VoidedFigure
from sdbench.records.numbers import (
    Block,
    ByteChange,
    Bytes,
    Clock,
    Count,
    Flops,
    PassSeconds,
    Seconds,
    UnitSeconds,
)
from sdbench.records.planned import StartMethod
from sdbench.records.recorded import Recorded

PassKind = Literal["prime", "measured", "profile"]
PassesStopped = Literal[
    "asked", "start-up-equalled", "median-known", "most-passes", "pictures-vary", "time-limit"
]
"""Why a process made no further measured pass (``worker/pass_count.py``)."""
Pressure = Literal["normal", "warn", "critical"]
"""macOS: the kernel's own level. Linux: of stalls and what is left (``machine/linux_pressure``)."""
Thermal = Literal["nominal", "moderate", "heavy", "trapping", "sleeping"]
"""macOS's thermal pressure, best first; other systems' states are put on the same scale."""


class Picture(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One generated image, reduced to hashes and statistics over its finite values.

    ``content`` says whether it shows what its prompt asked for: None where that cannot be checked.
    """

    pixels_sha256: str
    latents_sha256: str
    nan_count: Count
    inf_count: Count
    latents_nonfinite_count: Count
    minimum: float | None
    maximum: float | None
    mean: float | None
    deviation: float | None
    black: bool
    flat: bool
    not_kept: str | None = None
    content: Content | None = None
    content_reason: str | None = None

    @property
    def broken(self) -> str | None:
        """Why this image is wrong whatever it should show, or None."""
        if self.nan_count or self.inf_count:
            return "not-a-number"
        return "black" if self.black else None


class Stage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stage of the profiling pass, the device synchronised at both ends.

    ``begin_t`` is the system-wide monotonic clock, which the timeline shares;
    ``footprint_peak_bytes`` is the process's highest sampled footprint meanwhile, None where no
    sample fell into the stage.
    """

    stage: str
    duration_s: Seconds
    peak_bytes: Bytes | None
    allocated_bytes: Bytes | None
    begin_t: Clock | None = None
    footprint_peak_bytes: Bytes | None = None


class PromptTokens(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A prompt (by its number from 0) as a text encoder is given it.

    ``tokens`` are all it has, with what the pipeline puts around it, ``read`` those within the
    limit.
    """

    prompt: Count
    encoder: str
    tokens: Count
    read: Count

    @property
    def cut(self) -> bool:
        """Whether the encoder is not given all of it."""
        return self.read < self.tokens


class Pass(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One pass: prompt to pixels on the host for all images (prime: one step at the same shape).

    ``trace_sha256`` names the file of what the profiling pass made on its way. ``footprint_bytes``
    is the process's, as it was last sampled when the pass was reported. ``begin_t`` is the
    system-wide monotonic clock. ``denoiser_calls`` and ``denoiser_samples`` (images, counted in
    each of these calls) are the work of the profiling pass's call: guidance doubles it. Of the
    same call are ``token_widths``, the widths of ``input_ids`` that each text encoder was given,
    and ``text_masked``, whether the denoiser was given a mask of the text. ``prompt_tokens`` are of
    all prompts of a measured pass that could be counted. ``process_peak_bytes`` are the peaks of
    the processes that made a pass together (``batching`` is ``split``), by rank; ``peak_bytes`` is
    then the busiest device's, and on a CPU, which the processes share, their sum.
    """

    kind: PassKind
    index: Count
    duration_s: PassSeconds
    images: list[Picture]
    peak_bytes: Bytes | None = None
    peak_source: str | None = None
    allocated_bytes: Bytes | None = None
    driver_bytes: Bytes | None = None
    recommended_max_bytes: Bytes | None = None
    stages: list[Stage] | None = None
    trace_sha256: str | None = None
    trace_missing: str | None = None
    footprint_bytes: Bytes | None = None
    begin_t: Clock | None = None
    denoiser_calls: Count | None = None
    denoiser_samples: Count | None = None
    token_widths: dict[str, list[Count]] | None = None
    text_masked: bool | None = None
    prompt_tokens: list[PromptTokens] | None = None
    process_peak_bytes: list[Bytes | None] | None = None


class CountedFlops(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Floating-point operations of products, convolutions and attention; a multiply-add counts two.

    The stages are of the call that the profiling pass makes (one image in a loop, all of them in
    a batch), ``measured_pass`` is all images. Counted by torch.utils.flop_counter from the shapes
    alone, on the meta device.
    """

    text_encoder: Flops
    vae_encode: Flops = 0
    denoising: Flops
    vae_decode: Flops
    measured_pass: Flops


class Effect(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Whether a setting changed what was computed; None: that is not known."""

    effective: bool | None
    reason: str | None = None


class Energy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the steady passes of a process took, from cumulative counters read at their edges.

    ``joules`` are by part of the machine (``gpu``; on a Mac also ``cpu``, ``dram``, ``ane``,
    ``gpu_sram``), between the beginning of the second pass and the end of the last one, over
    ``passes`` passes. ``idle_w`` is the power of parts that were seen idle. ``sampled_gpu_j`` is
    the GPU's part once more, from power samples. ``reason`` says why there are no figures.
    """

    window_s: Seconds | None = None
    passes: Count = 0
    joules: dict[str, float] = {}
    idle_w: dict[str, float] = {}
    sampled_gpu_j: float | None = None
    reason: str | None = None


class Yardstick(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Seconds that a fixed piece of work took in a process (``worker/yardstick.py``).

    ``before_s`` is read between measured pass 1 and the steady passes, ``after_s`` after the last
    of them; ``reason`` says why one is None. Only readings of one ``version`` may be compared.
    """

    version: Count
    before_s: UnitSeconds | None = None
    after_s: UnitSeconds | None = None
    reason: str | None = None


class TelemetrySummary(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The timeline of a replicate in a few numbers; ``unavailable`` says why one is None.

    Peaks of levels are the worst level seen. Readings of the GPU count while images are made.
    CPU shares are of all cores over the measured passes: other programs', nobody's, and of the
    former what the host of a virtual machine gave to others.
    """

    samples: Count
    period_s: Seconds
    cost_share: float
    peak_footprint_bytes: Bytes | None = None
    pass_peak_footprint_bytes: Bytes | None = None
    footprint_source: str | None = None
    swap_start_bytes: Bytes | None = None
    swap_delta_bytes: ByteChange | None = None
    swap_in_bytes: ByteChange | None = None
    swap_out_bytes: ByteChange | None = None
    min_available_bytes: Bytes | None = None
    slow_period_s: Seconds | None = None
    pressure_peak: Pressure | None = None
    thermal_peak: Thermal | None = None
    compressor_peak_bytes: Bytes | None = None
    least_free_percent: int | None = None
    gpu_power_mean_w: float | None = None
    gpu_power_peak_w: float | None = None
    gpu_temperature_peak_c: float | None = None
    gpu_memory_peak_bytes: Bytes | None = None
    gpu_throttled: list[str] = []
    other_cpu_share: float | None = None
    idle_cpu_share: float | None = None
    energy: Energy | None = None
    stolen_cpu_share: float | None = None
    unavailable: dict[str, str] = {}


GateFlag = Literal[
    "thermal",
    "pressure",
    "load",
    "battery",
    "on-battery",
    "low-power-mode",
    "background",
    "disk",
]
WaitReason = GateFlag | Literal["recovery"]
"""Why no process is started just now: a gate, or memory after the guard has acted."""


class Gate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the machine looked like just before a process started (PROTOCOL 16).

    ``flags`` is what was not as it should be even after ``waited_s``; ``unavailable`` says why a
    fact is None.
    """

    load_1min: float | None = None
    available_bytes: int | None = None
    swap_used_bytes: int | None = None
    free_disk_bytes: int | None = None
    pressure: str | None = None
    thermal: str | None = None
    power_source: str | None = None
    battery_percent: int | None = None
    low_power_mode: bool | None = None
    waited_s: Seconds = 0.0
    flags: list[GateFlag] = []
    unavailable: dict[str, str] = {}


class Placement(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The device that a process was pinned to, and the logical CPUs that it had, as the kernel
    lists them."""

    device: str
    cores: str


class Started(Recorded, frozen=True, kw_only=True, gc=False, tag="started"):
    """Written, durably, before a process starts: after a power cut it says what was running."""

    replicate_id: str
    case_id: str
    arm: str
    block: Block
    slot: Count
    attempt: Count
    started_utc: str
    boot_id: str | None


class Replicate(Recorded, frozen=True, kw_only=True, dict=True, gc=True, tag="replicate"):
    """One process, all that it reported and how it ended.

    ``passes_stopped`` is None where it ended before it had made all its passes, and in records of
    an older sdbench.
    ``effects`` are of those settings of the case that were examined, most of them in the profiling
    pass. ``compile_s`` is how long torch's compiler worked, nearly all of it in the first pass.
    ``flops`` are counted by the process that makes the profiling pass.
    ``pss_bytes`` and ``uss_bytes`` are its own share of memory as it reads them itself after its
    last pass (Linux). ``processes`` is how many processes made each pass together, this one
    included (``batching`` is ``split``); the shares of memory are then of all of them.
    ``swapped_out_bytes`` is what the whole machine wrote to swap from just
    before its start, ballast included, to its end. ``machine_id`` is the machine, where several
    machines of one kind share a run (``sdbench fleet``), or the device, where several devices of
    one host do (``run --devices``); ``placement`` is of the latter. ``voided`` is not recorded:
    when a run is read it says which figures are unknown because an instrument failed its selftest,
    and why.
    """

    replicate_id: str
    case_id: str
    arm: str
    block: Block
    slot: Count
    attempt: Count
    outcome: Outcome
    reason: str | None = None
    simulated: bool
    start: StartMethod
    cold_cache: bool = False
    slept: bool = False
    machine_restarted: bool = False
    started_utc: str
    ended_utc: str
    wall_s: Seconds
    last_phase: str | None = None
    signal: str | None = None
    exit_code: int | None = None
    exception_type: str | None = None
    exception_message: str | None = None
    cause: FailureCause | None = None
    crash_report: CrashReport | None = None
    fallback_operators: list[str] = msgspec.field(default_factory=list)
    projected_s: Seconds | None = None
    unreadable_lines: Count = 0
    import_s: Seconds | None = None
    load_s: Seconds | None = None
    load_peak_bytes: Bytes | None = None
    passes: list[Pass] = msgspec.field(default_factory=list)
    passes_stopped: PassesStopped | None = None
    yardstick: Yardstick | None = None
    effects: dict[str, Effect] = msgspec.field(default_factory=dict)
    compile_s: Seconds | None = None
    flops: CountedFlops | None = None
    flops_missing: str | None = None
    peak_memory_bytes: Bytes | None = None
    peak_memory_source: str | None = None
    peak_memory_reason: str | None = None
    pss_bytes: Bytes | None = None
    uss_bytes: Bytes | None = None
    processes: Count | None = None
    swapped_out_bytes: ByteChange | None = None
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    python: str | None = None
    device: dict[str, Any] = msgspec.field(default_factory=dict)
    gate: Gate = msgspec.field(default_factory=Gate)
    telemetry: TelemetrySummary | None = None
    telemetry_missing: str | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""
    machine_id: str | msgspec.UnsetType = msgspec.UNSET
    placement: Placement | msgspec.UnsetType = msgspec.UNSET
    voided: dict[str, str] | msgspec.UnsetType = msgspec.UNSET

    def of_kind(self, kind: PassKind) -> list[Pass]:
        """The passes of one kind, in order."""
        return self._by_kind.get(kind, [])

    def timed(self, kind: PassKind) -> list[Pass]:
        """The passes of one kind whose times are known, in order."""
        return self.of_kind(kind) if self.why_voided("times") is None else []

    def why_voided(self, figure: VoidedFigure) -> str | None:
        """Why a figure is unknown after a selftest; None where no instrument failed for it."""
        return None if isinstance(self.voided, msgspec.UnsetType) else self.voided.get(figure)

    @property
    def first_pass_s(self) -> float | None:
        """Seconds of measured pass 1."""
        firsts = (one.duration_s for one in self.timed("measured") if one.index == 1)
        return next(firsts, None)

    @property
    def steady_passes(self) -> list[Pass]:
        """The measured passes from the second on; none where their times are voided."""
        return [entry for entry in self.timed("measured") if entry.index > 1]

    @functools.cached_property
    def steady_median_s(self) -> float | None:
        """A process's statistic: the median of its steady passes (from the second on), if it
        completed."""
        if self.outcome != "ok":
            return None
        steady = [entry.duration_s for entry in self.steady_passes]
        return statistics.median(steady) if steady else None

    @functools.cached_property
    def _by_kind(self) -> dict[PassKind, list[Pass]]:
        found: dict[PassKind, list[Pass]] = {}
        for entry in self.passes:
            found.setdefault(entry.kind, []).append(entry)
        return found


class Withdrawn(Recorded, frozen=True, kw_only=True, gc=False, tag="withdrawn"):
    """A process that the user's own stop ended: neither lost nor a result."""

    replicate_id: str
    attempt: Count
    ended_utc: str
