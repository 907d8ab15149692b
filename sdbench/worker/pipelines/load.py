"""Load the real diffusers pipeline onto a device."""

import inspect
import json
import os
import re
from typing import Any, Optional

from ..devices import Device
from .calls import is_from_image
from .components import call_options, denoiser_of
from .loras import add_loras
from .placement import place
from .quantization import has_quantised, quantization_options
from .schedulers import scheduler_named
from .single_file import load_single_file
from .stack import PIPELINE_CLASSES, CaseImpossibleError, torch_dtype

_HALF = "fp16"
# The index of a variant, ``…safetensors.index.fp16.json``, begins like these.
_PLAIN_WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
)
_LIBRARIES = ("diffusers", "transformers")
# Given as None where the class can do without: a safety checker returns black images, which
# would hide real faults, and the other is made for it.
_NOT_LOADED = ("safety_checker", "feature_extractor")
# Parameters that only pipelines for something else have.
_OTHER_PURPOSES = {
    "strength": "an image to begin with",
    "image_guidance_scale": "an image to begin with",
    "mask_image": "a mask",
    "control_image": "a control image",
    "controlnet_conditioning_scale": "a control image",
    "num_frames": "a number of frames: it makes video",
    "frames": "a number of frames: it makes video",
    "video_length": "a number of frames: it makes video",
    "num_videos_per_prompt": "a number of frames: it makes video",
    "video": "a video",
}


def load(job: "dict[str, Any]", device: Device) -> Any:
    """Load the pipeline and move it to the device.

    Safetensors only unless the job allows pickle, local files only, never remote code, and no
    safety checker: it returns black images, which would hide real faults.

    Raises:
        CaseImpossibleError: this diffusers has no such pipeline, or it does not make an image of
            what the job has.
    """
    import diffusers

    case, path = job["case"], job["model_path"]
    with open(os.path.join(path, "model_index.json"), encoding="utf-8") as file:
        index = json.load(file)
    kind = _pipeline_class(index, job)
    options: "dict[str, Any]" = {
        _dtype_option(diffusers.__version__): torch_dtype(case["dtype"]),
        # None means safetensors where there are some, else pickle; False would mean pickle only.
        "use_safetensors": None if job.get("allow_pickle") else True,
        "local_files_only": True,
    }
    absent = _left_out(kind)
    _require_known_code(index, absent)
    if job.get("single_file"):
        pipeline = load_single_file(kind, index, job, dict(options, **absent))
        return _ready(pipeline, job, device)
    if kind.__name__ in PIPELINE_CLASSES:
        variant = _stored_variant(path)
        if variant is not None:
            options["variant"] = variant
        halves: "dict[str, Any]" = {}
    else:
        halves = _half_only(path, index, options)
    quantised = quantization_options(case["quantization"], index, torch_dtype(case["dtype"]))
    pipeline = kind.from_pretrained(path, **options, **absent, **halves, **quantised)
    if quantised and not has_quantised(denoiser_of(pipeline)[1]):
        raise CaseImpossibleError(f"{case['quantization']} has left the weights as they were")
    return _ready(pipeline, job, device)


def _ready(pipeline: Any, job: "dict[str, Any]", device: Device) -> Any:
    """The pipeline with its LoRAs and scheduler, on the device."""
    add_loras(pipeline, job.get("loras", []))
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = scheduler_named(job["scheduler"], pipeline.scheduler)
    place(pipeline, job["case"], device)
    device.synchronize()
    return pipeline


def _pipeline_class(index: "dict[str, Any]", job: "dict[str, Any]") -> Any:
    """The class that the folder names, or the one of its family that begins with an image.

    Raises:
        CaseImpossibleError: this diffusers has none, or it does not make an image of what the job
            has.
    """
    name = index.get("_class_name")
    if not is_from_image(job):
        since = job.get("pipeline_since")
        saved = f"the model was saved by {index.get('_diffusers_version')}"
        kind = _class_named(name, f"it came with {since}" if since else saved)
        reason = _other_purpose(kind)
        if reason is not None:
            raise CaseImpossibleError(f"{name} is not a text-to-image pipeline: it {reason}")
        return kind
    name = job["image_to_image"] or image_to_image_name(name)
    kind = _class_named(name, "a newer one may have it")
    parameters = call_options(kind)
    if "prompt" not in parameters or "image" not in parameters:
        raise CaseImpossibleError(f"{name} does not make an image of a text and an image")
    if "strength" not in parameters and job["strength"] != 1:
        raise CaseImpossibleError(f"{name} takes no strength; set strength = 1")
    return kind


def image_to_image_name(name: Any) -> str:
    """The class that diffusers itself takes for image-to-image with the networks of another.

    Raises:
        CaseImpossibleError: it has none.
    """
    try:
        from diffusers.pipelines import auto_pipeline
    except ImportError:
        raise CaseImpossibleError(
            "this diffusers has no list of image-to-image pipelines"
        ) from None
    for family, kind in auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.items():
        if kind.__name__ == name:
            found = auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING.get(family)
            if found is not None:
                return str(found.__name__)
    raise CaseImpossibleError(f"diffusers has no image-to-image pipeline for the model of a {name}")


def _class_named(name: Any, came: str) -> Any:
    """The pipeline class of that name; ``came`` says since when diffusers has it.

    Raises:
        CaseImpossibleError: this diffusers has none, or lacks what it needs.
    """
    import diffusers

    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    base = diffusers.DiffusionPipeline
    if inspect.isclass(kind) and hasattr(kind, "_backends"):  # a stand-in for what cannot work
        needed = ", ".join(kind._backends)
        raise CaseImpossibleError(f"{name} needs {needed}, and not all of them are installed")
    if not inspect.isclass(kind) or not issubclass(kind, base) or kind is base:
        raise CaseImpossibleError(f"diffusers {diffusers.__version__} has no {name}; {came}")
    return kind


def _other_purpose(kind: Any) -> Optional[str]:
    """Why a pipeline with this call is not measured; None where it makes an image of a text."""
    parameters, accepted = inspect.signature(kind.__call__).parameters, call_options(kind)
    missing = [name for name in ("prompt", "width", "height") if name not in accepted]
    if missing:
        return f"does not take {' and '.join(missing)}"
    for name, what in _OTHER_PURPOSES.items():
        if name in parameters:
            return f"takes {what}"
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name not in ("self", "prompt")
    ]
    return f"needs {' and '.join(needed)}" if needed else None


def _left_out(kind: Any) -> "dict[str, Any]":
    """Options that leave components out which the class can do without."""
    parameters = inspect.signature(kind.__init__).parameters
    optional = getattr(kind, "_optional_components", [])
    absent: "dict[str, Any]" = {
        name: None for name in _NOT_LOADED if name in parameters and name in optional
    }
    # SDXL and others have no safety checker, so their feature extractor serves something else.
    if "safety_checker" not in absent:
        return {}
    if "requires_safety_checker" in parameters:
        absent["requires_safety_checker"] = False
    return absent


def _require_known_code(index: "dict[str, Any]", absent: "dict[str, Any]") -> None:
    """Refuse a component whose code is not the installed diffusers' or transformers'.

    Raises:
        CaseImpossibleError: there is one.
    """
    for name, entry in index.items():
        named = isinstance(entry, list) and entry and entry[0] is not None
        if named and name not in absent and entry[0] not in _LIBRARIES:
            raise CaseImpossibleError(
                f"{name} is of a class in {entry[0]!r}: sdbench never runs a model's own code"
            )


def _half_only(path: str, index: "dict[str, Any]", options: "dict[str, Any]") -> "dict[str, Any]":
    """The components that are stored in half precision only, loaded.

    ``variant`` would have every component that is there in both forms loaded in half precision.
    """
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    loaded = {}
    for name, entry in index.items():
        folder = os.path.join(path, name)
        if isinstance(entry, list) and len(entry) == 2 and _has_half_only(folder):
            component = getattr(libraries[entry[0]], entry[1])
            loaded[name] = component.from_pretrained(folder, variant=_HALF, **options)
    return loaded


def _has_half_only(folder: str) -> bool:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    weights = [
        name
        for name in names
        if name.endswith((".safetensors", ".safetensors.index.json")) and not name.startswith(".")
    ]
    half = [name for name in weights if f".{_HALF}." in name or f".{_HALF}-" in name]
    return bool(half) and len(half) == len(weights)


def _dtype_option(version: str) -> str:
    """``dtype`` is what from_pretrained calls it from 0.42 on; 0.31 knows ``torch_dtype`` only."""
    release = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    return "dtype" if release >= (0, 42) else "torch_dtype"


def _stored_variant(path: str) -> Optional[str]:
    """``fp16`` when the folder holds only half-precision files under that name."""
    unet = os.path.join(path, "unet")
    names = os.listdir(unet) if os.path.isdir(unet) else []
    plain = any(name in _PLAIN_WEIGHTS for name in names)
    half = any(".fp16." in name for name in names)
    return "fp16" if half and not plain else None
