"""The highest memory of a process, stage by stage, before anything has run. Pure.

What is predicted is what a run measures: on cuda and mps the most that torch's allocator held, on
the CPU the most of the process that was resident. Weights come from the headers of the files,
activations from :mod:`sdbench.plan.activations`; the constants below are from real runs (see
``tests/benchmarks/memory_prediction.py``). Nothing was measured on mps: there the figures are those
of cuda with attention that is not fused, and more for the driver.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sdbench.models.family import family_of
from sdbench.models.networks import Network, networks_of
from sdbench.plan.activations import (
    decode_elements,
    denoiser_elements,
    encode_elements,
    text_elements,
)
from sdbench.plan.config import Config, work_of
from sdbench.records import (
    Case,
    DeviceKind,
    Dtype,
    MemoryStage,
    ModelInfo,
    Plan,
    PredictedMemory,
    PredictedStage,
)

BYTES: dict[Dtype, int] = {"float32": 4, "float16": 2, "bfloat16": 2}

# The interpreter with torch, diffusers and transformers: 380 to 440 MB on Linux; with CUDA's
# libraries and its context 1.0 GB.
PROCESS_BYTES: dict[DeviceKind, int] = {
    "cpu": 400_000_000,
    "cuda": 1_100_000_000,
    "mps": 600_000_000,
}
# Of the CPU's memory, malloc keeps some for itself: a share of the weights' size and of the
# activations that have been given back, and of small blocks up to some size for good. Seen with
# SD 1.5 at 256x256 to 768x768 and with small models, of which one takes 582 to 674 MB at 512x512.
_KEPT_OF_WEIGHTS = 0.05
_KEPT_OF_ACTIVATIONS = 0.17
_KEPT_OF_SMALL_BYTES = 75_000_000
# The caching allocators round large tensors up: 1.5% to 2.8% of SD 1.5 and SDXL on an H100, with
# cuBLAS's workspace. On mps the driver's heaps add to that; not measured.
_ROUNDED_UP: dict[DeviceKind, float] = {"cpu": 1.0, "cuda": 1.02, "mps": 1.1}
_WORKSPACE_BYTES: dict[DeviceKind, int] = {"cpu": 0, "cuda": 20_000_000, "mps": 100_000_000}
# With sequential and group offload one layer or block is on the device, and the next may be on its
# way.
_AT_ONCE = 2
_DEFAULT_TOKENS = 512
# Stands for a denoiser or an autoencoder that a pipeline must have and that cannot be told apart.
_UNKNOWN = Network("model", "", 0, 0)

# Bytes of a weight in a denoiser that is quantised, its scales included; layers that are left as
# they are come on top.
_QUANTIZED_BYTES = {
    "bitsandbytes-8bit": 1.05,
    "bitsandbytes-4bit": 0.6,
    "torchao-int8": 1.05,
    "quanto-int8": 1.05,
}
_LEFT_AS_THEY_ARE = 0.03

CPU_PROCESSES = 2
"""Processes of a split on a CPU, as ``worker/process_group.py`` has them."""


@dataclass(frozen=True)
class Target:
    """A model and the device it is to run on.

    ``guided_above`` is the guidance scale above which an image is computed twice in each step,
    ``tokens`` how many of a prompt each text encoder is given. ``fused_attention`` is False for a
    torch that has no scaled_dot_product_attention. ``joins_image``: an input image's tokens are
    given to the denoiser as well.
    """

    networks: tuple[Network, ...]
    device: DeviceKind
    pipeline_class: str
    guided_above: float | None
    tokens: dict[str, int]
    fused_attention: bool = True
    joins_image: bool = False

    @property
    def known(self) -> bool:
        """Whether anything is known of the model's size: of one that is not here it may not be."""
        return any(one.parameters for one in self.networks)

    @property
    def vae(self) -> Network | None:
        """The autoencoder, where the pipeline has one of that name."""
        return next((one for one in self.networks if one.name in ("vae", "vqvae")), None)


def target_of(model: ModelInfo, device: DeviceKind, *, fused_attention: bool = True) -> Target:
    """What has to be known of a model; its files' headers are read."""
    name, family = family_of(model.pipeline_class)
    return Target(
        networks=networks_of(model),
        device=device,
        pipeline_class=model.pipeline_class,
        # Of a class that no family names, guidance is assumed: that takes more.
        guided_above=family.guided_above if name is not None else 1.0,
        tokens=family.tokens,
        fused_attention=fused_attention,
        joins_image=family.joins_image,
    )


def predict_memory(config: Config, case: Case, target: Target) -> PredictedMemory:
    """The highest memory of a case in each stage: of its process, or of all that share the CPU."""
    working = _working_bytes(config, case, target)
    stages = [_stage(stage, case, target, working) for stage in working]
    if case.batching == "split" and target.device == "cpu":
        processes = min(CPU_PROCESSES, config.images)
        stages = [_made(one.stage, None, processes * one.process_bytes) for one in stages]
    return PredictedMemory(stages=stages, from_sizes=_from_sizes(case, target))


def with_memory(plan: Plan, config: Config, target: Target) -> Plan:
    """The plan with what a process of each of its cases is predicted to take.

    Of a model whose size is not known nothing is predicted.
    """
    if not target.known:
        return plan
    cases = [
        planned
        if planned.skip_reason is not None
        else msgspec.structs.replace(planned, memory=predict_memory(config, planned.case, target))
        for planned in plan.cases
    ]
    return msgspec.structs.replace(plan, cases=cases)


def weight_bytes(networks: Sequence[Network], case: Case) -> float:
    """Size of these networks' weights in memory."""
    return sum(_bytes_of(one, case) for one in networks)


def _bytes_of(network: Network, case: Case) -> float:
    width: float = BYTES[case.dtype]
    if network.name == "vae" and _setting(case, "vae_dtype", "same") == "float32":
        width = BYTES["float32"]
    quantized = _QUANTIZED_BYTES.get(_setting(case, "quantization", "none"))
    if network.denoises and quantized is not None:
        width = quantized + _LEFT_AS_THEY_ARE * width
    kept = network.float32_parameters if case.dtype == "float16" else 0
    return network.parameters * width + kept * (BYTES["float32"] - BYTES["float16"])


def _setting(case: Case, name: str, default: str) -> str:
    """A setting that not every release of sdbench has."""
    return str(getattr(case, name, default))


def decodes_in_float32(case: Case, target: Target) -> bool:
    """Whether the VAE is float32: asked for, or made so for the decode as that of SDXL is."""
    if _setting(case, "vae_dtype", "same") == "float32":
        return True
    forced = target.vae is not None and target.vae.config.get("force_upcast") is True
    return forced and "XL" in target.pipeline_class and case.dtype == "float16"


# --- stages -------------------------------------------------------------------------------------


def _stage(
    stage: MemoryStage, case: Case, target: Target, working: dict[MemoryStage, float]
) -> PredictedStage:
    device, base, used = target.device, PROCESS_BYTES[target.device], working[stage]
    weights = weight_bytes(target.networks, case)
    if device == "cpu":
        if stage == "load":
            return _made(stage, None, base + _load_peak(case, target))
        most = max(working.values())
        kept = min(most, _KEPT_OF_SMALL_BYTES)
        if stage != "vae_decode":  # which uses what was given back once more
            kept += _KEPT_OF_ACTIVATIONS * most
        return _made(stage, None, base + weights * (1 + _KEPT_OF_WEIGHTS) + kept + used)
    on_cpu = stage in ("vae_encode", "vae_decode") and _setting(case, "vae_device", "same") == "cpu"
    resident = _resident(stage, case, target)
    on_device = _WORKSPACE_BYTES[device] + _ROUNDED_UP[device] * resident
    # All weights pass through the machine's memory, and what is offloaded stays there.
    process = base + (weights if stage == "load" or resident < weights else 0)
    if stage == "load":
        process += _converted(case, target)
    if on_cpu:
        process += used
    else:
        on_device += used
    if device == "mps":  # one memory: what is on the device is the process's too
        process = max(process, base + on_device + weights - resident)
    return _made(stage, on_device, process)


def _made(stage: MemoryStage, device_bytes: float | None, process_bytes: float) -> PredictedStage:
    return PredictedStage(
        stage=stage,
        device_bytes=None if device_bytes is None else int(device_bytes),
        process_bytes=int(process_bytes),
    )


def _load_peak(case: Case, target: Target) -> float:
    """Networks are read one after the other, each from a file that is in memory meanwhile."""
    highest = loaded = 0.0
    for network in target.networks:
        loaded += weight_bytes([network], case)
        highest = max(highest, loaded + network.stored_bytes)
    return highest


def _converted(case: Case, target: Target) -> int:
    """Bytes of the largest file that is in memory together with its converted copy."""
    width = BYTES[case.dtype]
    sizes = (
        one.stored_bytes
        for one in target.networks
        if abs(one.stored_bytes - width * one.parameters) > one.stored_bytes / 4
    )
    return max(sizes, default=0)


def _resident(stage: MemoryStage, case: Case, target: Target) -> float:
    """Bytes of weights on the device in a stage."""
    networks = [*target.networks]
    if _setting(case, "vae_device", "same") == "cpu":
        networks = [one for one in networks if one is not target.vae]
    if case.offload == "none":
        encoded = stage in ("denoising", "vae_decode")  # they leave before the first step
        if encoded and _setting(case, "text_encoder", "resident") == "offloaded":
            networks = [one for one in networks if not one.encodes_text]
        return weight_bytes(networks, case)
    if stage == "load":
        return 0
    active = [one for one in _active(stage, target) if one in networks]
    return max((_offloaded(one, case) for one in active), default=0)


def _offloaded(network: Network, case: Case) -> float:
    """Bytes of a network on the device while it runs; what has no known shapes is there whole."""
    whole = _bytes_of(network, case)
    if case.offload == "sequential" and network.largest_layer:
        share = _AT_ONCE * network.largest_layer / network.parameters
    elif _setting(case, "offload", "none") == "group" and network.largest_block:
        together = network.outside_blocks + _AT_ONCE * network.largest_block
        share = together / network.parameters
    else:
        return whole
    return min(1.0, share) * whole


def _active(stage: MemoryStage, target: Target) -> list[Network]:
    """The networks that run in a stage; one that cannot be assigned counts in all of them."""
    found = {
        "text_encoder": [one for one in target.networks if one.encodes_text],
        "denoising": [one for one in target.networks if one.denoises],
    }.get(stage, [one for one in target.networks if one is target.vae])
    return found or [*target.networks]


# --- activations ----------------------------------------------------------------------------


def _working_bytes(config: Config, case: Case, target: Target) -> dict[MemoryStage, float]:
    """The memory needed in addition to the weights, in each stage."""
    width, batch = BYTES[case.dtype], _batch(config, case)
    decoded = _decoded(case, target)
    together = 1 if case.vae_slicing else batch
    decode_width = 4 if decodes_in_float32(case, target) else width
    extra = 0
    if decodes_in_float32(case, target) and target.vae is not None:
        extra = int(4 * target.vae.parameters - _bytes_of(target.vae, case))
    found: dict[MemoryStage, float] = {
        "load": 0.0,
        "text_encoder": width * _texts(config, case, target),
    }
    if config.mode == "image-to-image":  # pipelines encode one image after the other
        found["vae_encode"] = _encoded_bytes(case, target)
    return {
        **found,
        "denoising": width * _denoised(config, case, target),
        "vae_decode": decode_width * together * decoded + extra,
    }


def _batch(config: Config, case: Case) -> int:
    return config.images if case.batching == "batch" else 1


def _samples(config: Config, case: Case, target: Target) -> int:
    """Images of one denoiser call: twice as many where they are guided."""
    return _batch(config, case) * (2 if _guided(config, case, target) else 1)


def _guided(config: Config, case: Case, target: Target) -> bool:
    """Assumed where the configuration leaves it to the model and is not resolved for one."""
    if target.guided_above is None:
        return False
    try:
        return work_of(config, case).guidance_scale > target.guided_above
    except ValueError:
        return True


def _whole_scores(case: Case, target: Target) -> bool:
    """Whether attention holds all its scores: mps has no kernel that does not."""
    return case.attention == "math" or not target.fused_attention or target.device == "mps"


def _texts(config: Config, case: Case, target: Target) -> float:
    each = (
        text_elements(one, target.tokens.get(one.name, _DEFAULT_TOKENS)).total
        for one in target.networks
        if one.encodes_text
    )
    return _samples(config, case, target) * max(each, default=0.0)


def _denoised(config: Config, case: Case, target: Target) -> float:
    each = (
        denoiser_elements(
            *(one, target.vae, case.width, case.height, _samples(config, case, target)),
            sum(target.tokens.values()) or _DEFAULT_TOKENS,
            whole_scores=_whole_scores(case, target),
            sliced=case.attention_slicing,
            joined_images=int(target.joins_image and config.mode == "image-to-image"),
        ).total
        for one in _denoisers(target)
    )
    return max(each)


def _decoded(case: Case, target: Target) -> float:
    """Of one image."""
    return decode_elements(
        *(target.vae or _UNKNOWN, case.width, case.height),
        tiled=case.vae_tiling,
        whole_scores=_whole_scores(case, target),
    ).total


def _encoded_bytes(case: Case, target: Target) -> float:
    """Of one image; SDXL's VAE is made float32 for it, whatever the case's type."""
    elements = encode_elements(
        *(target.vae or _UNKNOWN, case.width, case.height),
        tiled=case.vae_tiling,
        whole_scores=_whole_scores(case, target),
    ).total
    forced = target.vae is not None and target.vae.config.get("force_upcast") is True
    forced = forced and "XL" in target.pipeline_class
    if not forced and _setting(case, "vae_dtype", "same") != "float32":
        return BYTES[case.dtype] * elements
    extra = 4 * target.vae.parameters - _bytes_of(target.vae, case) if target.vae else 0
    return BYTES["float32"] * elements + extra


def _denoisers(target: Target) -> Sequence[Network]:
    return [one for one in target.networks if one.denoises] or [_UNKNOWN]


def _from_sizes(case: Case, target: Target) -> list[str]:
    """The networks whose activations no shapes give."""
    whole = _whole_scores(case, target)
    known = {one.name: text_elements(one, 1).known for one in target.networks if one.encodes_text}
    for one in _denoisers(target):
        arguments = (one, target.vae, case.width, case.height, 1, 1)
        known[one.name] = denoiser_elements(*arguments, whole_scores=whole, sliced=False).known
    vae = target.vae or _UNKNOWN
    decoded = decode_elements(vae, case.width, case.height, tiled=False, whole_scores=whole)
    known[vae.name] = decoded.known
    return [name for name, shapes in known.items() if not shapes]
