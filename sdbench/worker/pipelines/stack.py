"""Import torch, diffusers and transformers, and name what a case needs of them."""

import gc
import sys
from typing import Any

PIPELINE_CLASSES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
# Lazy modules: naming the classes is what really imports them. What other models need is imported
# when they are loaded.
STACK_CLASSES = {
    "diffusers": (
        *PIPELINE_CLASSES,
        "DDIMScheduler",
        "PNDMScheduler",
        "EulerDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "AutoencoderKL",
        "UNet2DConditionModel",
    ),
    "transformers": ("CLIPTextModel", "CLIPTextModelWithProjection", "CLIPTokenizer"),
}


class CaseImpossibleError(Exception):
    """This environment or device does not offer what the case asks for."""


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
