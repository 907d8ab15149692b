"""Names in diffusers for the scripts and snippets made from a run. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from packaging.version import InvalidVersion, Version

from sdbench.errors import StoreError
from sdbench.models.family import family_of
from sdbench.records import AXES, Case, ModelInfo, Run, spelling

_FLOW = {"use_flow_sigmas": "True", "prediction_type": "'flow_prediction'"}
_FLOW_SHIFTED = _FLOW | {"flow_shift": "pipe.scheduler.config.shift"}
SCHEDULERS: dict[str, tuple[str, dict[str, str]]] = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpmsolver": ("DPMSolverMultistepScheduler", {}),
    "dpmsolver-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": "True"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "flow-dpmsolver": ("DPMSolverMultistepScheduler", _FLOW_SHIFTED),
    "flow-unipc": ("UniPCMultistepScheduler", _FLOW_SHIFTED),
}
"""Class and options of each scheduler, as ``worker/pipelines/schedulers.py`` makes it."""
_OWN = "own"
# A pipeline of diffusers by its name; the base class could be asked for code from the Hub.
_PIPELINE = re.compile(r"(?!Diffusion|Auto)[A-Z][A-Za-z0-9]{0,80}Pipeline")
_DIFFUSERS_CHOICE = "AutoPipelineForImage2Image"
_SIZE_OF_IMAGE = (
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
)
_NO_STRENGTH = ("Flux2KleinPipeline",)
_LATENTS_GIVEN = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
PROCESSORS = {"math": "AttnProcessor", "sdpa": "AttnProcessor2_0"}
BACKENDS = {
    "math": "_native_math",
    "sdpa": "native",
    "native-flash": "_native_flash",
    "native-efficient": "_native_efficient",
    "native-cudnn": "_native_cudnn",
    "flash": "flash",
    "flash-3": "_flash_3",
    "sage": "sage",
    "xformers": "xformers",
    "flex": "flex",
}
"""Implementations of attention, as ``worker/pipelines/attention.py`` names them to diffusers."""
OF_THE_WORK = ("scheduler", "steps", "guidance_scale")
"""Axes of which a case may leave the value to the run."""
# Settings of a case for which sdbench writes no code: diffusers has no line for them.
_NO_CODE = ("vae_dtype", "vae_device", "attention_upcast", "quantization", "text_encoder")


def scheduler_class(config: Mapping[str, Any]) -> str | None:
    """The scheduler of a run's configuration; None where the model's own is kept.

    Raises:
        StoreError: sdbench does not know this scheduler.
    """
    known = (*SCHEDULERS, _OWN)
    name = _known("config.scheduler", config.get("scheduler"), known)
    return None if name == _OWN else SCHEDULERS[name][0]


def scheduler_line(config: Mapping[str, Any], *, prefix: str = "") -> str:
    """The line that sets the scheduler of ``pipe``; empty where the model's own is kept.

    ``prefix`` is what the class is reached by, such as ``diffusers.``.
    """
    kind = scheduler_class(config)
    if kind is None:
        return ""
    _, options = SCHEDULERS[config["scheduler"]]
    arguments = ["pipe.scheduler.config", *(f"{key}={value}" for key, value in options.items())]
    return f"pipe.scheduler = {prefix}{kind}.from_config({', '.join(arguments)})"


def pipeline_class(run: Run) -> str:
    """The pipeline that a run loaded its model's networks into.

    Raises:
        StoreError: this is not the name of a diffusers pipeline.
    """
    key, name = "model.pipeline_class", run.model.pipeline_class
    if run.image_to_image is not None:
        if run.image_to_image.pipeline_class is None:
            return _DIFFUSERS_CHOICE
        key, name = "image_to_image.pipeline_class", run.image_to_image.pipeline_class
    if not _PIPELINE.fullmatch(name):
        raise StoreError(
            f"run.json: {key}: expected the name of a pipeline of diffusers, got {name!r:.60}"
        )
    return name


def takes_size(pipeline: str) -> bool:
    """Whether an image-to-image pipeline has to be given the size of its input image as well."""
    return pipeline not in (*_SIZE_OF_IMAGE, _DIFFUSERS_CHOICE)


def takes_strength(pipeline: str) -> bool:
    """Whether an image-to-image pipeline runs only the share of its steps that strength selects."""
    return pipeline not in _NO_STRENGTH


def is_given_latents(pipeline: str) -> bool:
    """Whether sdbench gives a pipeline its initial noise as latents."""
    return pipeline in _LATENTS_GIVEN


def switches(case: Case) -> list[str]:
    """The lines that switch slicing and tiling on, in ``pipe``."""
    return [axis.code for name, axis in AXES.items() if axis.code and getattr(case, name)]


def config_of_case(run: Run, case: Case) -> dict[str, Any]:
    """The run's configuration with the scheduler, steps and guidance scale of a case."""
    return {**run.config, **{axis: run.setting(case, axis) for axis in OF_THE_WORK}}


def without_code(case: Case) -> list[str]:
    """``vae_dtype = float32``: settings of a case that no line here switches on."""
    plain = Case()
    return [
        f"{axis} = {spelling(value)}"
        for axis in _NO_CODE
        if (value := getattr(case, axis)) != getattr(plain, axis)
    ]


def denoiser_name(model: ModelInfo) -> str:
    """What the pipeline calls the network of its steps."""
    known = family_of(model.pipeline_class)[1].denoiser
    return known or ("unet" if "unet" in model.components else "transformer")


def attention_lines(case: Case, denoiser: str, *, prefix: str = "") -> list[str]:
    """The lines that choose the implementation of attention, in ``pipe``.

    ``prefix`` is what a processor is reached by, if it does not have to be imported.
    """
    network = f"pipe.{denoiser}"
    if case.attention == "default":
        return []
    if denoiser == "unet" and case.attention == "xformers":
        return [f"{network}.enable_xformers_memory_efficient_attention()"]
    if denoiser == "unet" and case.attention in PROCESSORS:
        processor = PROCESSORS[case.attention]
        if prefix:
            return [f"{network}.set_attn_processor({prefix}{processor}())"]
        return [
            f"from diffusers.models.attention_processor import {processor}",
            f"{network}.set_attn_processor({processor}())",
        ]
    return [f'{network}.set_attention_backend("{BACKENDS[case.attention]}")']


def offload_line(case: Case, device: str, *, cuda: bool) -> str:
    """The line that moves networks to the device when they are needed.

    Args:
        case: of which ``offload`` is not ``none``.
        device: the device as an expression of Python.
        cuda: whether that is an NVIDIA GPU, which copies while it computes.
    """
    if case.offload != "group":
        return f"pipe.enable_{case.offload}_cpu_offload(device={device})"
    return (
        f"pipe.enable_group_offload(onload_device=torch.device({device}), "
        f'offload_type="block_level", num_blocks_per_group=1, use_stream={cuda})'
    )


def compile_lines(case: Case, denoiser: str) -> list[str]:
    """The line that compiles the denoiser, where the case wants it."""
    return [f"pipe.{denoiser} = torch.compile(pipe.{denoiser})"] if case.compile else []


def dtype_option(packages: Mapping[str, str]) -> str:
    """What ``from_pretrained`` calls it: ``dtype`` from diffusers 0.42 on, as in the worker."""
    try:
        newer = Version(packages.get("diffusers", "")) >= Version("0.42.dev0")
    except InvalidVersion:
        newer = False
    return "dtype" if newer else "torch_dtype"


def _known(key: str, value: Any, choices: Mapping[str, Any] | tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise StoreError(f"run.json: {key}: expected {' or '.join(choices)}, got {value!r:.60}")
    return value
