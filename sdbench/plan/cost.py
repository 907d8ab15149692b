"""How long and how much disk: said before a run starts, from plain arithmetic.

A rough figure that is there beats a good one that needs a run. Once replicates end, the run loop
uses what it measured instead (:class:`Pace`).
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sdbench.plan.config import FEWEST_PASSES, MOST_PASSES, Config, steps_made, work_of
from sdbench.plan.predicted_memory import PROCESS_BYTES, predict_memory, target_of
from sdbench.records import (
    Case,
    ComponentInfo,
    DeviceKind,
    Dtype,
    ModelInfo,
    Plan,
    Replicate,
    Slot,
    StartMethod,
)

Rates = Mapping[Dtype, float]
"""Operations per second that a device is predicted to reach, by data type."""


@dataclass(frozen=True)
class Cost:
    """Floating-point work of a model: per latent pixel, per latent pixel squared (attention).

    Counted with torch's FlopCounterMode on the meta device for one sample, no guidance.
    """

    unet_linear: float
    unet_square: float
    decode: float


_COSTS = {
    # Three times the work counted: layers this small reach a third of the rates below.
    "synthetic/tiny": Cost(2.4e6, 1_200, 0.03e9),
    # From its times: 2.1 s at 128x128 and 4.1 s at 192x192 of one core, 20 steps with guidance.
    "builtin/shapes": Cost(7e6, 1_200, 0.03e9),
    "synthetic/sd15": Cost(168.6e6, 7_122, 0.615e9),
    "synthetic/sdxl": Cost(379.6e6, 2_017, 0.632e9),
}

# Parameters of the U-Nets counted above.
_COUNTED_PARAMETERS = {"synthetic/sd15": 859_520_964, "synthetic/sdxl": 2_567_463_684}
_FLOPS_OF_A_WEIGHT = 2
# No network is expected to run quicker than synthetic/tiny, whose layers do not reach the rates.
_LEAST_LINEAR, _LEAST_SQUARE = 2.4e6, 1_200
_SMALL_PARAMETERS = 20_000_000

# Sustained floating-point operations per second, and the least time of one UNet call (launches and
# Python). CPU: seen 80e9 on 2 cores at float32, SD 1.5, 512x512. MPS: published figures give
# 0.065 to 0.115e12 for each GPU core; 8 cores are the smallest Apple silicon has. CUDA: 48e12 on an
# H200 at 512x512, where launches still weigh.
_CPU_FLOPS_PER_CORE = 40e9
_MPS_FLOPS = 8 * 0.07e12
_CUDA_FLOPS = 30e12
CALL_FLOOR_S = {"cpu": 0.03, "mps": 0.06, "cuda": 0.03}
"""Least seconds of one call of the denoiser."""
_FLOAT32_SLOWDOWN = {"cpu": 1.0, "mps": 1.4, "cuda": 3.0}
_HALF_ON_CPU_SLOWDOWN = 40  # seen on torch 2.13

# Of a process: interpreter, torch and diffusers; reading weights, in bytes per second.
_IMPORT_S = 9.0
_FORK_S = 0.3
_LOAD_BYTES_PER_S = 0.5e9
# A noise floor: how many steps are computed; float64 against float32 (PROTOCOL 18: 34 s and 17 s).
_FLOOR_STEPS = 4
_FLOAT64_SLOWDOWN = 2
# Of a worker's limit: the rest is for counting operations, and for a machine that becomes slower.
_SHARE_OF_LIMIT = 0.75
_PICTURE_BYTES_PER_PIXEL = 3.2  # a noisy PNG barely compresses; plus final latents
# The profiling pass is kept in float32: the image, and the latents of every step.
_TRACE_BYTES_PER_PIXEL = 12
_STEP_BYTES_PER_PIXEL = 0.25


@dataclass(frozen=True)
class Estimate:
    """Of a whole run: seconds, peak memory of its largest case, and disk for results."""

    duration_s: float
    peak_memory_bytes: int
    disk_bytes: int


def estimate_run(
    config: Config,
    plan: Plan,
    model: ModelInfo,
    device: DeviceKind,
    cores: int,
    rates: Rates | None = None,
) -> Estimate:
    """The plan's cost before anything has run; memory is what the plan says of its cases."""
    cases = {planned.case_id: planned.case for planned in plan.cases}
    duration_s = sum(
        estimate_slot(config, cases[slot.case_id], model, device, cores, plan.start, rates)
        for slot in plan.slots
    )
    if plan.start == "fork":
        duration_s += _IMPORT_S * len(plan.arms)
    used = {slot.case_id for slot in plan.slots}
    peaks = [one.memory.worst.peak_bytes for one in plan.cases if one.memory is not None]
    kept_bytes = sum(_kept_bytes(config, cases[case_id]) for case_id in used)
    disk = int(kept_bytes * config.images * len(plan.arms))
    if config.max_minutes:
        duration_s = min(duration_s, 60 * config.max_minutes)
    return Estimate(duration_s, max(peaks, default=0), disk + 20_000 * len(plan.slots))


def _kept_bytes(config: Config, case: Case) -> float:
    """Bytes on disk of an image of a case, with what its profiling pass keeps."""
    steps = steps_made(config, case)
    each = _PICTURE_BYTES_PER_PIXEL + _TRACE_BYTES_PER_PIXEL + steps * _STEP_BYTES_PER_PIXEL
    return case.width * case.height * each


def estimate_slot(
    config: Config,
    case: Case,
    model: ModelInfo,
    device: DeviceKind,
    cores: int,
    start: StartMethod,
    rates: Rates | None = None,
) -> float:
    """Seconds of one process, from start to last line."""
    start_s, step_s, decode_s, pass_s = _times(config, case, model, device, cores, start, rates)
    prime_s = step_s + decode_s if case.warmup else 0.0
    profile_s = steps_made(config, case) * step_s + decode_s
    passes_s = _passes_of(config, pass_s, start_s) * pass_s
    return start_s + prime_s + passes_s + profile_s / config.fewest_processes


def estimate_passes(
    config: Config,
    case: Case,
    model: ModelInfo,
    device: DeviceKind,
    cores: int,
    start: StartMethod,
    rates: Rates | None = None,
) -> int:
    """Measured passes of one process; of ``auto`` at most so many, with time enough for three."""
    start_s, _, _, pass_s = _times(config, case, model, device, cores, start, rates)
    return _passes_of(config, pass_s, start_s)


def _times(
    config: Config,
    case: Case,
    model: ModelInfo,
    device: DeviceKind,
    cores: int,
    start: StartMethod,
    rates: Rates | None = None,
) -> tuple[float, float, float, float]:
    """Seconds of a process until its pipeline is loaded, of a step, a decode and a pass."""
    batch, calls = (config.images, 1) if case.batching == "batch" else (1, config.images)
    step_s, decode_s = _call_times(config, _cost(model), case, batch, device, cores, rates)
    start_s = _FORK_S if start == "fork" else _IMPORT_S
    if case.batching == "split":  # the other processes start when this one has imported all
        start_s += _IMPORT_S
    # How many GPUs share the images of a split is not looked at: the estimate is that of a loop.
    start_s += model.bytes_on_disk / _LOAD_BYTES_PER_S
    return start_s, step_s, decode_s, calls * (steps_made(config, case) * step_s + decode_s)


def _passes_of(config: Config, pass_s: float, start_s: float) -> int:
    """``auto``: the first, and steady ones until they have lasted as long as the start-up."""
    sustained = 1 + math.ceil(60 * config.sustain_minutes / pass_s) if pass_s else 1
    return max(sustained, _asked_or_auto(config, pass_s, start_s))


def _asked_or_auto(config: Config, pass_s: float, start_s: float) -> int:
    if config.passes != "auto":
        return config.passes
    return min(MOST_PASSES, max(FEWEST_PASSES, 1 + math.ceil(start_s / pass_s)))


def estimate_reference(
    config: Config,
    case: Case,
    model: ModelInfo,
    cores: int,
    *,
    images: int,
    dtypes: Sequence[Dtype],
    rounded: int = 0,
) -> Estimate:
    """Of computing the CPU's images of a resolution, and the noise floors of some dtypes.

    ``rounded`` images are made as a device rounds.
    """
    steps = steps_made(config, case)
    step_s, decode_s = _call_times(config, _cost(model), case, 1, "cpu", cores)
    load_s = 2 * model.bytes_on_disk / _LOAD_BYTES_PER_S  # stored in half precision, made float32
    # Each image is decoded once more, slightly changed, to see how much of that it shows.
    duration_s = _IMPORT_S + images * (steps * step_s + 2 * decode_s)
    peak_bytes = predict_memory(config, case, target_of(model, "cpu")).worst.peak_bytes
    for dtype in dtypes:
        floor_s = min(steps, _FLOOR_STEPS) * step_s + decode_s
        duration_s += load_s + floor_s * (_FLOAT64_SLOWDOWN if dtype == "float32" else 1)
    if images:
        duration_s += load_s
    if rounded:
        duration_s += load_s + rounded * (steps * step_s + decode_s)
    if "float32" in dtypes:
        peak_bytes = 2 * peak_bytes - PROCESS_BYTES["cpu"]
    return Estimate(duration_s, peak_bytes, 0)


def passes_within_s(
    timeout_s: float, own_s: float, remaining_s: float, budget_left_s: float | None
) -> float:
    """When a process that decides itself how many passes it makes has to be at its last ones.

    In seconds from its start: in time for its limit, and for the processes after it.

    Args:
        timeout_s: the worker's limit.
        own_s, remaining_s: what this process, and all that are left, are expected to take.
        budget_left_s: what is left of the run's budget; None: it has none.
    """
    within_s = _SHARE_OF_LIMIT * timeout_s
    if budget_left_s is None or remaining_s <= 0:
        return within_s
    return min(within_s, budget_left_s * own_s / remaining_s)


def timeout_for(config: Config, estimate_s: float) -> float:
    """``timeout_s`` of a worker: as configured, or five times the estimate and at least 300 s."""
    if config.timeout_s != "auto":
        return float(config.timeout_s)
    return max(300.0, 5 * estimate_s)


def _cost(model: ModelInfo) -> Cost:
    """Of a model that was not counted, by the parameters of its denoiser where they are known."""
    if model.name in _COSTS:
        return _COSTS[model.name]
    usual = "synthetic/sdxl" if "XL" in model.pipeline_class else "synthetic/sd15"
    cost, parameters = _COSTS[usual], _denoiser_parameters(model.components)
    if parameters is None:
        return cost
    name, count = parameters
    if name.startswith("transformer"):
        # Each weight is used once for each token, which is mostly 2x2 latent pixels.
        linear = max(_FLOPS_OF_A_WEIGHT * count / 4, _LEAST_LINEAR)
        return Cost(linear, _LEAST_SQUARE, _decode_of(cost, count))
    share = count / _COUNTED_PARAMETERS[usual]
    if share >= 1:
        return cost
    return Cost(
        max(share * cost.unet_linear, _LEAST_LINEAR),
        max(share * cost.unet_square, _LEAST_SQUARE),
        _decode_of(cost, count),
    )


def _decode_of(cost: Cost, parameters: int) -> float:
    """A small denoiser comes with a small VAE."""
    return cost.decode if parameters > _SMALL_PARAMETERS else _COSTS["synthetic/tiny"].decode


def _denoiser_parameters(components: Mapping[str, ComponentInfo]) -> tuple[str, int] | None:
    """Name and parameters of the largest denoiser; None where they are not recorded."""
    found = [
        (one.parameters, name)
        for name, one in components.items()
        if name.startswith(("unet", "transformer")) and one.parameters is not None
    ]
    if not found:
        return None
    count, name = max(found)
    return name, count


@dataclass(frozen=True)
class ImageWork:
    """Floating-point operations of one call of the denoiser, and of what codes the images."""

    step_flops: float
    coding_flops: float

    def image_flops(self, steps: int) -> float:
        """Of the whole call of a pipeline with so many steps; text encoders are left out."""
        return steps * self.step_flops + self.coding_flops


def work_flops(config: Config, case: Case, model: ModelInfo, batch: int = 1) -> ImageWork:
    """What a model computes for a batch of images, from its shapes or its size."""
    return _work(config, _cost(model), case, batch)


def _work(config: Config, cost: Cost, case: Case, batch: int) -> ImageWork:
    """The encoding of an input image is taken for another decode."""
    latent_pixels = case.width * case.height / 64
    samples = batch * (2 if work_of(config, case).guidance_scale > 1 else 1)
    codings = 1 if config.mode == "text-to-image" else 2
    each = cost.unet_linear * latent_pixels + cost.unet_square * latent_pixels**2
    return ImageWork(samples * each, codings * batch * cost.decode * latent_pixels)


def _call_times(
    config: Config,
    cost: Cost,
    case: Case,
    batch: int,
    device: DeviceKind,
    cores: int,
    rates: Rates | None = None,
) -> tuple[float, float]:
    """Seconds of one denoising step and of one decode, for a batch of images."""
    work = _work(config, cost, case, batch)
    rate = (rates or {}).get(case.dtype) or _usual_rate(case, device, cores)
    return max(CALL_FLOOR_S[device], work.step_flops / rate), work.coding_flops / rate


def _usual_rate(case: Case, device: DeviceKind, cores: int) -> float:
    """Operations per second of a device of which nothing more is known."""
    usual = {"cpu": _CPU_FLOPS_PER_CORE * cores, "mps": _MPS_FLOPS, "cuda": _CUDA_FLOPS}
    slowdown = _FLOAT32_SLOWDOWN[device] if case.dtype == "float32" else 1.0
    if device == "cpu" and case.dtype != "float32":
        slowdown = _HALF_ON_CPU_SLOWDOWN
    return usual[device] / slowdown


@dataclass
class Pace:
    """Time left, learnt as the run goes: measured slots where there are some, else the estimate."""

    estimates: dict[str, float]
    """Seconds of one process by case id, as estimated before the run."""
    cautious: Mapping[str, float] = field(default_factory=dict)
    """The same where no prediction is relied on; where it is longer, time limits follow it."""
    _own_s: dict[str, tuple[int, float]] = field(default_factory=dict)
    """A case's processes, and their seconds together without their imports."""
    _imports_s: list[float] = field(default_factory=list)
    """Of each process, sorted."""
    _all_own_s: float = 0.0
    _all_estimated_s: float = 0.0

    def note(self, replicate: Replicate) -> None:
        """Learn from a replicate that ended by itself.

        What only a case's first process does is left out, and what imports take is learnt from all
        processes: the first ones find cold caches.
        """
        if replicate.outcome != "ok":
            return
        once_s = sum(entry.duration_s for entry in replicate.of_kind("profile"))
        import_s = replicate.import_s or 0.0
        own_s = max(0.0, replicate.wall_s - import_s - once_s)
        count, together_s = self._own_s.get(replicate.case_id, (0, 0.0))
        self._own_s[replicate.case_id] = count + 1, together_s + own_s
        bisect.insort(self._imports_s, import_s)
        self._all_own_s += own_s
        self._all_estimated_s += self.estimates[replicate.case_id]

    def slot_s(self, case_id: str) -> float:
        """Seconds the next process of a case will take.

        A case not measured yet takes its estimate times how wrong the others' estimates were.
        """
        ended = len(self._imports_s)
        if not ended:
            return self.estimates[case_id]
        import_s = self._imports_s[ended // 2]
        if case_id in self._own_s:
            count, together_s = self._own_s[case_id]
            return import_s + together_s / count
        taken_s = self._all_own_s + ended * import_s
        factor = taken_s / self._all_estimated_s if self._all_estimated_s else 1.0
        return self.estimates[case_id] * factor

    def cautious_slot_s(self, case_id: str) -> float:
        """As :meth:`slot_s`, but never below an estimate: what a time limit is reckoned from."""
        estimate_s = self.estimates[case_id]
        return max(estimate_s, self.cautious.get(case_id, estimate_s), self.slot_s(case_id))

    def remaining_s(self, slots: Iterable[Slot]) -> float:
        """Seconds for these slots."""
        return sum(
            count * self.slot_s(case_id)
            for case_id, count in Counter(slot.case_id for slot in slots).items()
        )
