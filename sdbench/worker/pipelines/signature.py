"""Defaults of a pipeline's ``__call__``, for classes of which sdbench knows nothing else."""

import inspect
from typing import Any, Optional

from .load import image_to_image_name
from .stack import CaseImpossibleError


def call_defaults(class_name: str) -> "dict[str, Any]":
    """``steps`` and ``guidance_scale`` where nothing is said; None where there is no number.

    ``image_to_image`` is the class that diffusers takes for image-to-image instead, or None.

    Raises:
        CaseImpossibleError: this diffusers has no such pipeline.
    """
    import diffusers

    pipeline = getattr(diffusers, class_name, None)
    if not (isinstance(pipeline, type) and issubclass(pipeline, diffusers.DiffusionPipeline)):
        raise CaseImpossibleError(f"diffusers {diffusers.__version__} has no {class_name}")
    parameters = inspect.signature(pipeline.__call__).parameters
    try:
        image_to_image: Optional[str] = image_to_image_name(class_name)
    except CaseImpossibleError:
        image_to_image = None
    return {
        "image_to_image": image_to_image,
        "steps": _number(parameters.get("num_inference_steps")),
        "guidance_scale": _number(parameters.get("guidance_scale")),
    }


def _number(parameter: Any) -> "Optional[float]":
    default = getattr(parameter, "default", None)
    is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
    return default if is_number else None
