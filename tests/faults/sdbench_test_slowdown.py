"""A preload that makes the real pipeline slower by a share, inside its text encoder, UNet and VAE.

``SDBENCH_TEST_SLOWDOWN`` is the factor: with 1.10 each call takes a tenth of its own time longer,
spent in a busy core as a slower kernel would spend it. A GPU is waited for before and after a call,
since there a call returns before its work is done. ``TEST_SLOWDOWN`` does the same without being
on record: a run does not say how fast another release is, either.
"""

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import diffusers
import torch
import transformers

_FACTOR = os.environ.get("SDBENCH_TEST_SLOWDOWN") or os.environ.get("TEST_SLOWDOWN") or "1"
_MORE = float(_FACTOR) - 1


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _slower(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def slowed(*args: Any, **kwargs: Any) -> Any:
        _wait_for_gpu()
        began = time.perf_counter()
        result = call(*args, **kwargs)
        _wait_for_gpu()
        ended = time.perf_counter()
        until = ended + _MORE * (ended - began)
        while time.perf_counter() < until:
            pass
        return result

    return slowed


if _MORE > 0:
    for _kind, _name in (
        (transformers.CLIPTextModel, "forward"),
        (diffusers.UNet2DConditionModel, "forward"),
        (diffusers.AutoencoderKL, "decode"),
    ):
        setattr(_kind, _name, _slower(getattr(_kind, _name)))
