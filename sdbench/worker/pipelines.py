"""Load the real diffusers pipeline and put it into the state a case asks for."""

import gc
import json
import os
import sys
from typing import Any, Optional

from .devices import Device

PIPELINE_CLASSES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "dpmsolver": "DPMSolverMultistepScheduler",
}


# Lazy modules: naming the classes is what really imports them.
STACK_CLASSES = {
    "diffusers": (
        *PIPELINE_CLASSES,
        *SCHEDULERS.values(),
        "AutoencoderKL",
        "UNet2DConditionModel",
    ),
    "transformers": ("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPTokenizer"),
}


class CaseImpossibleError(Exception):
    """This stack or device does not offer what the case asks for."""


def import_stack() -> "dict[str, str]":
    """Import torch and what the pipeline needs of diffusers and transformers; return versions.

    Python's garbage collector is off meanwhile and runs once at the end: nearly all that imports
    make stays, and looking through it again and again takes an eighth of the time
    (``tests/benchmarks/start_up.py``). Afterwards everything is as if it had been on. A forked
    worker finds everything imported; looking through it would copy each page that it shares.
    """
    collects = gc.isenabled()
    known = len(sys.modules)
    gc.disable()
    try:
        return _import_stack()
    finally:
        if collects:
            gc.enable()
            if len(sys.modules) > known:
                gc.collect()


def _import_stack() -> "dict[str, str]":
    import diffusers
    import torch
    import transformers

    for module in (diffusers, transformers):
        for name in STACK_CLASSES[module.__name__]:
            getattr(module, name)
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    versions = {
        "torch": str(torch.__version__),
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    for name in ("numpy", "tokenizers", "safetensors", "accelerate", "huggingface_hub"):
        module = sys.modules.get(name)  # imported by the above, or not used
        if module is not None:
            versions[name] = str(getattr(module, "__version__", "unknown"))
    return versions


def torch_dtype(name: str) -> Any:
    """The torch dtype of a case's ``dtype``."""
    import torch

    return {
        "float32": torch.float32,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
    }[name]


def load(job: "dict[str, Any]", device: Device) -> Any:
    """Load the pipeline and move it to the device.

    Safetensors only unless the job allows pickle, local files only, never remote code, and no
    safety checker: it returns black pictures, which would hide real faults.

    Raises:
        CaseImpossibleError: the model's pipeline class is none of ours.
    """
    import diffusers

    case, path = job["case"], job["model_path"]
    with open(os.path.join(path, "model_index.json"), encoding="utf-8") as file:
        class_name = json.load(file).get("_class_name")
    if class_name not in PIPELINE_CLASSES:
        raise CaseImpossibleError(f"{class_name} is none of {', '.join(PIPELINE_CLASSES)}")
    options: "dict[str, Any]" = {
        _dtype_option(diffusers.__version__): torch_dtype(case["dtype"]),
        # None means safetensors where there are some, else pickle; False would mean pickle only.
        "use_safetensors": None if job.get("allow_pickle") else True,
        "local_files_only": True,
    }
    if class_name == "StableDiffusionPipeline":
        options.update(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    variant = _stored_variant(path)
    if variant is not None:
        options["variant"] = variant
    pipeline = getattr(diffusers, class_name).from_pretrained(path, **options)
    pipeline.set_progress_bar_config(disable=True)
    scheduler = getattr(diffusers, SCHEDULERS[job["scheduler"]])
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    _place(pipeline, case["offload"], device)
    device.synchronize()
    return pipeline


def _dtype_option(version: str) -> str:
    """``dtype`` is what from_pretrained calls it from 0.42 on; 0.31 knows ``torch_dtype`` only."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return "dtype" if (major, minor) >= (0, 42) else "torch_dtype"


def _stored_variant(path: str) -> Optional[str]:
    """``fp16`` when the folder holds only half-precision files under that name."""
    unet = os.path.join(path, "unet")
    names = os.listdir(unet) if os.path.isdir(unet) else []
    plain = any(name.startswith("diffusion_pytorch_model.safetensors") for name in names)
    half = any(".fp16." in name for name in names)
    return "fp16" if half and not plain else None


def _place(pipeline: Any, offload: str, device: Device) -> None:
    if offload == "none":
        pipeline.to(device.kind)
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device.kind)
    else:
        pipeline.enable_sequential_cpu_offload(device=device.kind)


def apply_settings(pipeline: Any, case: "dict[str, Any]") -> None:
    """Switch the case's settings on.

    Raises:
        CaseImpossibleError: the stack has no such attention implementation.
    """
    if case["attention"] != "default":
        _set_attention(pipeline, case["attention"])
    if case["attention_slicing"]:
        pipeline.enable_attention_slicing()
    # Newer diffusers switch these on the VAE; the pipeline's own methods are older and deprecated.
    if case["vae_slicing"]:
        pipeline.vae.enable_slicing()
    if case["vae_tiling"]:
        pipeline.vae.enable_tiling()


def _set_attention(pipeline: Any, name: str) -> None:
    from diffusers.models import attention_processor
    from torch.nn import functional

    if name == "sdpa" and not hasattr(functional, "scaled_dot_product_attention"):
        raise CaseImpossibleError(
            "this torch has no scaled_dot_product_attention (it came with 2.0)"
        )
    processor = {"math": "AttnProcessor", "sdpa": "AttnProcessor2_0"}[name]
    pipeline.unet.set_attn_processor(getattr(attention_processor, processor)())
