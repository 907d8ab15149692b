"""The denoiser compiled by torch, and how long that took."""

import re
from typing import Any, Optional

from ..devices import Device
from .components import denoiser_of
from .effects import Effect
from .stack import CaseImpossibleError

# The first release whose compiler works for Metal without an environment variable.
_FIRST_ON_MPS = (2, 10)


def compile_denoiser(pipeline: Any, device: Device) -> None:
    """Replace the denoiser by a compiled one; the compiler runs in the first call.

    Raises:
        CaseImpossibleError: this torch has no compiler for the device.
    """
    import torch

    release = tuple(int(number) for number in re.findall(r"\d+", str(torch.__version__))[:2])
    if not hasattr(torch, "compile"):
        raise CaseImpossibleError("this torch has no torch.compile (it came with 2.0)")
    if device.kind == "mps" and release < _FIRST_ON_MPS:
        raise CaseImpossibleError("torch.compile works on mps from torch 2.10 on")
    name, denoiser = denoiser_of(pipeline)
    setattr(pipeline, name, torch.compile(denoiser))


def compile_seconds() -> Optional[float]:
    """How long torch's compiler has worked in this process; None where torch does not say."""
    try:
        from torch._dynamo.utils import calculate_time_spent

        return float(calculate_time_spent()["total_wall_time"])
    except (ImportError, KeyError):
        return None


def effect_of_compiling() -> Effect:
    """Whether anything was compiled; torch falls back to the plain network without an error."""
    try:
        from torch._dynamo.utils import counters

        graphs = counters["stats"]["unique_graphs"]
    except (ImportError, KeyError):
        return Effect(None, "this torch does not report what it has compiled")
    return Effect(True) if graphs else Effect(False, "torch.compile has compiled nothing")


def uncompiled(network: Any) -> Any:
    """The network itself, where it is a compiled one."""
    return getattr(network, "_orig_mod", network)
