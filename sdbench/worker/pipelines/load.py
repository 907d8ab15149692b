"""Load the real diffusers pipeline onto a device."""

import json
import os
from typing import Any, Optional

from ..devices import Device
from .stack import PIPELINE_CLASSES, SCHEDULERS, CaseImpossibleError, torch_dtype


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
