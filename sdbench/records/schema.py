"""The records everything speaks, and the history of their schema.

History of ``SCHEMA_VERSION``, which ``run.json`` and every record carry (old ones load forever):

1   first version; later, without a new number because an old reader may leave them out: levels of
    pressure and heat, GPU readings, gate flags, stage times, ``machine_facts``,
    traces of the profiling pass, ``compared``, ``looked`` and ``ceiling`` records,
    ``flops`` of a replicate, ``footprint_bytes`` of a pass, ``prompt_remarks``, ``confidence``,
    ``generic``, ``since``, ``until`` and ``sources`` of a cause, ``differences``,
    ``decode_expected_rel_l2``, ``reason``, ``reference_content``, ``own_rounding`` and
    ``own_rounding_missing`` of a compared image, ``passes_stopped`` and ``yardstick`` of a
    replicate, ``energy`` and ``stolen_cpu_share`` of telemetry, ``begin_t`` of a pass

Times are seconds, memory is bytes, timestamps are UTC in ISO 8601. What could not be measured is
None, with a reason beside it. Decoding is strict about types and lenient about unknown fields, so
that a newer record still loads in an older sdbench as far as that one knows it.

Records hold no reference cycles, so the collector leaves them alone (``gc=False``): there may be
millions.
"""

import functools
import hashlib
import json
import statistics
from collections import Counter
from typing import Annotated, Any, Literal

import msgspec

SCHEMA_VERSION = 1

Outcome = Literal["ok", "failed", "oom", "crashed", "timeout", "guard", "skipped"]
Correctness = Literal["match", "drift", "broken", "unknown"]
Content = Literal["right", "wrong"]
Batching = Literal["loop", "batch"]
Dtype = Literal["float32", "float16", "bfloat16"]
Arithmetic = Literal["float16", "bfloat16", "tf32", "tf32-linear"]
"""How a device rounds more than float32; ``tf32-linear``: linear layers as well as convolutions."""
Attention = Literal["default", "math", "sdpa"]
Offload = Literal["none", "model", "sequential"]
DeviceKind = Literal["mps", "cuda", "cpu"]
Confidence = Literal["high", "medium", "low"]
StartMethod = Literal["spawn", "fork"]
PassKind = Literal["prime", "measured", "profile"]
PassesStopped = Literal[
    "asked", "start-up-equalled", "median-known", "most-passes", "pictures-vary", "time-limit"
]
"""Why a process made no further measured pass (``worker/pass_count.py``)."""
# A time that JSON can hold and a person can live through: no NaN, no infinity.
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
# A pass makes pictures, so it takes a microsecond at least; ratios and logarithms rely on it.
PassSeconds = Annotated[float, msgspec.Meta(ge=1e-6, le=1e9)]
# Of the yardstick's unit of work; ratios and logarithms rely on it.
UnitSeconds = Annotated[float, msgspec.Meta(ge=1e-9, le=1e6)]
Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
# Floating-point operations, a multiply-add counting two.
Flops = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
FlopsPerSecond = Annotated[float, msgspec.Meta(gt=0, le=1e18)]
# The system-wide monotonic clock in seconds, shared by parent and workers.
Clock = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
# Bytes gained or lost.
ByteChange = Annotated[int, msgspec.Meta(ge=-(1 << 60), le=1 << 60)]
# As configurations allow them (``plan/config.py``).
Block = Annotated[int, msgspec.Meta(ge=0, lt=10_000)]
Resolution = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}\Z")]
Pressure = Literal["normal", "warn", "critical"]
"""macOS: the kernel's own level. Linux: of stalls and what is left (``machine/linux_pressure``)."""
Thermal = Literal["nominal", "moderate", "heavy", "trapping", "sleeping"]
"""macOS's thermal pressure, best first; other systems' states are put on the same scale."""

# A case's outcome is its worst replicate's.
OUTCOME_SEVERITY: tuple[Outcome, ...] = (
    "crashed",
    "timeout",
    "guard",
    "oom",
    "failed",
    "skipped",
    "ok",
)

# Worst first; what is unknown hides nothing that is known.
CORRECTNESS_SEVERITY: tuple[Correctness, ...] = ("broken", "drift", "match", "unknown")


class Case(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One cell of the matrix: the settings that may differ within a run.

    The defaults here are part of the identity of a case (only what differs from them is hashed), so
    they never change, and an axis added later leaves old ids as they are.
    """

    resolution: Resolution = "512x512"
    attention_slicing: bool = False
    warmup: bool = False
    batching: Batching = "loop"
    dtype: Dtype = "float32"
    vae_slicing: bool = False
    vae_tiling: bool = False
    attention: Attention = "default"
    offload: Offload = "none"

    @property
    def width(self) -> int:
        """Width of the picture in pixels."""
        return int(self.resolution.split("x")[0])

    @property
    def height(self) -> int:
        """Height of the picture in pixels."""
        return int(self.resolution.split("x")[1])

    @property
    def case_id(self) -> str:
        """A readable slug and a short hash over the settings that are not default."""
        return _case_id(self)

    def words(self) -> list[str]:
        """Short words for the settings that are not default, resolution apart."""
        return [
            word
            for word, holds in (
                ("sliced", self.attention_slicing),
                ("primed", self.warmup),
                ("batch", self.batching == "batch"),
                (self.dtype, self.dtype != "float32"),
                ("vae-sliced", self.vae_slicing),
                ("vae-tiled", self.vae_tiling),
                (f"attention-{self.attention}", self.attention != "default"),
                (f"offload-{self.offload}", self.offload != "none"),
            )
            if holds
        ]


_CASE_DEFAULTS: dict[str, Any] = msgspec.structs.asdict(Case())


@functools.lru_cache(maxsize=1 << 17)
def _case_id(case: Case) -> str:
    """Rows are looked up by it many times."""
    changed = {
        name: value
        for name, value in msgspec.structs.asdict(case).items()
        if value != _CASE_DEFAULTS[name]
    }
    text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return "-".join([case.resolution, *case.words(), digest])


class Arm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One side of a comparison inside a run: a stack, an environment, telemetry on or off.

    ``hold_bytes`` is how much memory a separate process holds meanwhile (``[pressure]``).
    """

    name: str = "current"
    stack: str = "current"
    env: dict[str, str] = {}
    telemetry: bool = True
    hold_bytes: Bytes = 0


class PlannedCase(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A case of a plan; ``skip_reason`` says why it cannot run, ``merged`` what it stands for.

    ``flags`` are known issues and predicted overflows it meets on this stack, one sentence each.
    """

    case: Case
    skip_reason: str | None = None
    merged: list[str] = []
    flags: list[str] = []

    @property
    def case_id(self) -> str:
        """The case's id."""
        return self.case.case_id


class Slot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One process to run: a case in an arm in a block, at its place in the order."""

    index: Count
    block: Block
    case_id: str
    arm: str

    @property
    def replicate_id(self) -> str:
        """Unique within a run, and a safe file name."""
        return f"{self.case_id}.{self.arm}.{self.block}"


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a run does, in order."""

    cases: list[PlannedCase]
    arms: list[Arm]
    slots: list[Slot]
    start: StartMethod

    def planned(self, case_id: str) -> PlannedCase:
        """The case of that id.

        Raises:
            KeyError: the plan has no such case.
        """
        return self._by_id[case_id]

    def processes(self, case_id: str, arm: str) -> int:
        """How many processes of a case in an arm are planned."""
        return self._processes[case_id, arm]

    def arm(self, name: str) -> Arm:
        """The arm of that name.

        Raises:
            KeyError: the plan has no such arm.
        """
        return self._arms_by_name[name]

    # A plan may have 100,000 processes, and all of them are looked up.

    @functools.cached_property
    def _by_id(self) -> dict[str, PlannedCase]:
        return {planned.case_id: planned for planned in reversed(self.cases)}

    @functools.cached_property
    def _arms_by_name(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in reversed(self.arms)}

    @functools.cached_property
    def _processes(self) -> Counter[tuple[str, str]]:
        return Counter((slot.case_id, slot.arm) for slot in self.slots)


class Picture(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One generated picture, reduced to hashes and statistics over its finite values.

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
        """Why this picture is wrong whatever it should show, or None."""
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


class Pass(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One pass: prompt to pixels on the host for all images (prime: one step at the same shape).

    ``trace_sha256`` names the file of what the profiling pass made on its way. ``footprint_bytes``
    is the process's, as it was last sampled when the pass was told of. ``begin_t`` is the
    system-wide monotonic clock.
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


class CountedFlops(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Floating-point operations of products, convolutions and attention; a multiply-add counts two.

    The stages are of the call that the profiling pass makes (one picture in a loop, all of them in
    a batch), ``measured_pass`` is all pictures. Counted by torch.utils.flop_counter from the shapes
    alone, on the meta device.
    """

    text_encoder: Flops
    denoising: Flops
    vae_decode: Flops
    measured_pass: Flops


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

    Peaks of levels are the worst level seen. Readings of the GPU count while pictures are made.
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


class FailureCause(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a worker failed. ``kind`` is stable; numbers are None where the text does not give them.

    For ``mps-out-of-memory``: ``allocated_bytes`` is held by torch's allocator (tensors and its
    cache), ``other_bytes`` by Metal for the same process beside it (compiled graphs and their
    buffers), ``limit_bytes`` is the high watermark. ``assertion`` quotes the decisive words.
    ``generic``: the sentence says no more than the message; ``sources`` are public threads
    (owner/repository#number), ``since`` and ``until`` the releases between which it was seen.
    """

    kind: str
    sentence: str
    remedy: str
    asked_bytes: int | None = None
    allocated_bytes: int | None = None
    other_bytes: int | None = None
    limit_bytes: int | None = None
    pool: str | None = None
    operator: str | None = None
    assertion: str | None = None
    confidence: Confidence | None = None
    generic: bool = False
    since: str | None = None
    until: str | None = None
    sources: list[str] = []

    @property
    def out_of_memory(self) -> bool:
        """Whether the words say that memory ran out (a bare SIGKILL does not say)."""
        return self.kind in MEMORY_KINDS


MEMORY_KINDS = frozenset(
    {
        "mps-out-of-memory",
        "cuda-out-of-memory",
        "cpu-out-of-memory",
        "command-buffer-out-of-memory",
        "invalid-buffer-size",
    }
)


class Frame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call on the stack: the library's name and the function, None where not given."""

    image: str | None
    symbol: str | None


class CrashReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a process died, as macOS saw it; innermost call first.

    ``message`` holds what the dying libraries left: a failed assertion's text, an exception's name
    and reason. It can be given to ``read_failure`` as if it were stderr.
    """

    process: str | None = None
    os_version: str | None = None
    exception_type: str | None = None
    signal: str | None = None
    termination: str | None = None
    message: str | None = None
    queue: str | None = None
    frames: list[Frame] = []


class Recorded(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """What every line of ``records.jsonl`` has.

    ``run_id`` is in the file only: :meth:`~sdbench.runs.RunFolder.append` writes it, and whoever
    reads it takes only records that name the run they lie with, or, of an older sdbench, none.
    """

    schema: int = SCHEMA_VERSION
    run_id: str | msgspec.UnsetType = msgspec.UNSET


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
    """One process and all it told, whatever became of it.

    ``passes_stopped`` is None where it ended before it had made all its passes, and in records of
    an older sdbench.
    ``flops`` are counted by the process that makes the profiling pass.
    ``pss_bytes`` and ``uss_bytes`` are its own share of memory as it reads them itself after its
    last pass (Linux). ``swapped_out_bytes`` is what the whole machine wrote to swap from just
    before its start, ballast included, to its end.
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
    fallback_operators: list[str] = []
    projected_s: Seconds | None = None
    unreadable_lines: Count = 0
    import_s: Seconds | None = None
    load_s: Seconds | None = None
    passes: list[Pass] = []
    passes_stopped: PassesStopped | None = None
    yardstick: Yardstick | None = None
    flops: CountedFlops | None = None
    flops_missing: str | None = None
    peak_memory_bytes: Bytes | None = None
    peak_memory_source: str | None = None
    peak_memory_reason: str | None = None
    pss_bytes: Bytes | None = None
    uss_bytes: Bytes | None = None
    swapped_out_bytes: ByteChange | None = None
    versions: dict[str, str] = {}
    python: str | None = None
    device: dict[str, Any] = {}
    gate: Gate = msgspec.field(default_factory=Gate)
    telemetry: TelemetrySummary | None = None
    telemetry_missing: str | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""

    def of_kind(self, kind: PassKind) -> list[Pass]:
        """The passes of one kind, in order."""
        return self._by_kind.get(kind, [])

    @functools.cached_property
    def steady_median_s(self) -> float | None:
        """A process's statistic: the median of its steady passes (2 on), if it ended well."""
        if self.outcome != "ok":
            return None
        steady = [entry.duration_s for entry in self.of_kind("measured") if entry.index > 1]
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


PictureFault = Literal["not-a-number", "black", "saturated", "flat", "noise", "another-picture"]
TracedStage = Literal["text", "latents", "picture"]


class StageDifference(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far a stage's result is from the CPU's; None where numbers are not finite or not there.

    ``rel_l2`` is the distance over the reference's norm, ``expected_rel_l2`` what rounding alone
    explains (the noise floor), ``margin`` the distance over what is allowed: up to 1 it matches.
    """

    stage: TracedStage
    rel_l2: float | None
    max_abs: float | None
    cosine: float | None
    expected_rel_l2: float | None = None
    margin: float | None = None


class Divergence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Distance of the latents from the CPU's after each of some denoising steps (0: the noise)."""

    image: int
    step: list[int]
    rel_l2: list[float | None]
    allowed_rel_l2: list[float | None]


class PictureDifference(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing a person would see between two pictures that should be the same.

    ``strength`` is in the kind's own unit; a careful eye sees it from ``noticed`` on, anybody from
    ``plain`` on. ``words`` say what it is, with "it" for the picture.
    """

    kind: str
    strength: float
    noticed: float
    plain: float
    words: str

    @property
    def is_plain(self) -> bool:
        """Whether anybody sees it."""
        return self.strength >= self.plain


class OwnRounding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far rounding alone takes an image from float32 on the CPU, running freely as a device.

    It was made more than once; each number is the largest of them (``ssim`` the lowest).
    ``part_levels`` is the root mean square, in levels of 255, of the cell of 8x8 pixels that
    changed most, ``moved_share`` the share of the picture in which cells changed; ``content`` is
    what was read in each, ``pixels_sha256`` names them in the run's folder. ``arithmetic`` is what
    it was rounded as. ``beyond`` says in which measures the device's image is further off than this
    explains; none: it explains it.
    """

    arithmetic: Arithmetic | None = None

    latents_rel_l2: float | None
    picture_rel_l2: float | None
    ssim: float
    part_levels: float
    moved_share: float
    content: list[Content | None]
    pixels_sha256: list[str]
    beyond: list[str] = []

    @property
    def times(self) -> int:
        """How often it was made."""
        return len(self.content)


class ImageCompared(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One image of one or more passes that made it alike; pass 0 is the profiling pass.

    PSNR in dB (None: identical), SSIM and correlation are over 8-bit pictures;
    ``reference_pixels_sha256`` names the CPU's picture in the run's folder. ``differences`` are
    what a person would see between the two. ``decode_expected_rel_l2`` is what rounding explains
    of the picture where the latents are the same; ``reason`` says why nothing could be said.
    ``reference_content`` is whether the CPU's picture shows what was asked for. ``own_rounding`` is
    there where an image was beyond its floor in half precision, or visibly different where float32
    may have been TF32; ``own_rounding_missing`` says why it is not, or why the image was not made
    more often.
    """

    image: int
    passes: list[int]
    pixels_sha256: str
    latents_sha256: str
    verdict: Correctness
    margin: float | None = None
    fault: PictureFault | None = None
    latents: StageDifference | None = None
    picture: StageDifference | None = None
    psnr_db: float | None = None
    ssim: float | None = None
    correlation: float | None = None
    reference_pixels_sha256: str | None = None
    differences: list[PictureDifference] = []
    decode_expected_rel_l2: float | None = None
    reason: str | None = None
    reference_content: Content | None = None
    own_rounding: OwnRounding | None = None
    own_rounding_missing: str | None = None

    @property
    def is_of_rounding(self) -> bool:
        """Whether it is beyond the noise floor, and rounding alone changes this image as much."""
        rounding = self.own_rounding
        return self.verdict == "drift" and rounding is not None and not rounding.beyond

    @property
    def latents_are_right(self) -> bool | None:
        """Whether the final latents are the CPU's but for rounding; None where nobody can tell."""
        if self.latents is None or self.latents.margin is None:
            return None
        return self.latents.margin <= 1


class Compared(Recorded, frozen=True, kw_only=True, gc=False, tag="compared"):
    """A replicate's pictures beside the CPU's in float32; a later record replaces an earlier one.

    ``margin`` is the worst of its images and stages. ``stages`` and ``divergence`` come from the
    profiling pass, where the replicate made one. ``reference`` says where the reference is from.
    """

    replicate_id: str
    attempt: Count
    case_id: str
    arm: str
    dtype: Dtype
    simulated: bool
    verdict: Correctness
    reason: str | None = None
    margin: float | None = None
    reference: str | None = None
    images: list[ImageCompared] = []
    stages: list[StageDifference] = []
    divergence: list[Divergence] = []


class Checked(Recorded, frozen=True, kw_only=True, gc=False, tag="checked"):
    """One small picture of the trained built-in model, made on the device before a run.

    ``content`` says whether it shows what its prompt asked for, as far as it can be read.
    """

    device: DeviceKind
    dtype: Dtype
    simulated: bool
    outcome: Outcome
    verdict: Correctness
    reason: str | None = None
    margin: float | None = None
    prompt: str
    content: Literal["right", "wrong"] | None = None
    content_reason: str | None = None
    pixels_sha256: str | None = None
    reference_pixels_sha256: str | None = None
    duration_s: Seconds

    @property
    def wrong(self) -> bool:
        """Whether something is known to be wrong."""
        failed = self.outcome not in ("ok", "skipped")
        return failed or self.verdict == "broken" or self.content == "wrong"


class Ceiling(Recorded, frozen=True, kw_only=True, gc=False, tag="ceiling"):
    """The rate of large square matrix products on the device, measured before an arm's first case.

    None with the reason where it was not measured.
    """

    arm: str
    dtype: Dtype
    device: DeviceKind
    simulated: bool
    flops_per_s: FlopsPerSecond | None = None
    reason: str | None = None


class LookedCase(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One comparison at a look. ``open``: more processes could decide it."""

    case_id: str
    arm: str | None
    base: str
    new: str
    ratio: float | None
    verdict: Literal["faster", "slower", "equivalent", "inconclusive"]
    reason: str | None
    open: bool


class Looked(Recorded, frozen=True, kw_only=True, gc=False, tag="looked"):
    """A look at a run that goes on until it is decided, after so many blocks (PROTOCOL 12).

    ``next_look`` is after how many blocks there is another; None: it was the last.
    """

    blocks: Count
    by: str
    threshold: float
    cases: list[LookedCase]
    next_look: Count | None


Record = Started | Withdrawn | Replicate | Compared | Checked | Ceiling | Looked


class StackInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An interpreter and the versions installed there; what a resume must find unchanged."""

    interpreter: str
    python: str
    packages: dict[str, str]


class Sitting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One time somebody ran or resumed the run: the three clocks that tell sleep and restarts."""

    started_utc: str
    monotonic_s: float
    boot_id: str | None


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The model of a run; ``sha256`` covers its folder; ``trained``: pictures mean something."""

    name: str
    path: str
    sha256: str | None
    pipeline_class: str
    bytes_on_disk: Bytes
    trained: bool


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: all that holds for the run as a whole."""

    schema: int = SCHEMA_VERSION
    run_id: str
    label: str | None
    created_utc: str
    sdbench: str
    device: DeviceKind
    simulated: bool
    config: dict[str, Any]
    plan: Plan
    model: ModelInfo
    stacks: dict[str, StackInfo]
    machine: dict[str, Any]
    machine_facts: dict[str, Any] = {}
    machine_id: str
    environment: dict[str, str]
    preload: list[str]
    sittings: list[Sitting]
    prompt_remarks: list[str] = []
    """What was said of the prompts before the run, their text aside: what of them is not read."""

    def variables(self, arm: Arm) -> dict[str, str]:
        """The environment variables that an arm computed with; its own go first."""
        return {**self.environment, **arm.env}
