"""The schedulers of the ``scheduler`` axis, each made from the one that the model's folder has."""

from typing import Any

from .stack import CaseImpossibleError

_FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
# Name, class, and what is set beside the folder's own configuration.
SCHEDULERS: "dict[str, tuple[str, dict[str, Any]]]" = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpmsolver": ("DPMSolverMultistepScheduler", {}),
    "dpmsolver-karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "flow-dpmsolver": ("DPMSolverMultistepScheduler", _FLOW),
    "flow-unipc": ("UniPCMultistepScheduler", _FLOW),
}
OWN = "own"


def scheduler_named(name: str, own: Any) -> Any:
    """The scheduler of this name with the model's own configuration; ``own`` as it is.

    Raises:
        CaseImpossibleError: this diffusers has no such scheduler, or it does not take the model's
            configuration.
    """
    import diffusers

    if name == OWN:
        return own
    class_name, extra = SCHEDULERS[name]
    kind = getattr(diffusers, class_name, None)
    if kind is None:
        raise CaseImpossibleError(f"diffusers {diffusers.__version__} has no {class_name}")
    if extra is _FLOW and "shift" in own.config:
        # The same spacing of steps, under the name that these schedulers have for it.
        extra = dict(extra, flow_shift=own.config["shift"])
    try:
        return kind.from_config(own.config, **extra)
    except (TypeError, ValueError) as error:
        raise CaseImpossibleError(f"{class_name} does not fit this model: {error}") from error
