"""Makes a real pipeline compute wrongly on purpose, a fault for each of its calls.

The selftest names this module in the preloads of one worker and this folder in its ``PYTHONPATH``.
Nothing else of sdbench knows it: it changes diffusers and torch from outside, as a broken device
would. ``SDBENCH_PLANTED_FAULTS`` lists the faults of the calls with commas; a call beyond the list,
and one called ``none``, is left alone.
"""

import functools
import os
from typing import Any, Callable, Dict

import diffusers
import torch


def _black(picture: Any) -> Any:
    return torch.full_like(picture, -1.0)


def _not_a_number(picture: Any) -> Any:
    return torch.full_like(picture, float("nan"))


def _noise(picture: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(picture.shape, generator=generator) * 2 - 1
    return noise.to(device=picture.device, dtype=picture.dtype)


def _washed_out(picture: Any) -> Any:
    return picture * 0.4 + 0.3


def _mirrored(picture: Any) -> Any:
    return picture.flip(-1)


def _second_item(picture: Any) -> Any:
    changed = picture.clone()
    changed[1:] = changed[1:].flip(-1)
    return changed


# What is done to the decoded picture, in [-1, 1].
_DECODES: "Dict[str, Callable[[Any], Any]]" = {
    "black": _black,
    "not-a-number": _not_a_number,
    "noise": _noise,
    "washed-out": _washed_out,
    "first-pass": _mirrored,
    "batch-item": _second_item,
    "decode": _mirrored,
}
_OPERATOR = "operator"
_OPERATOR_FACTOR = 1.01

_now = "none"
_calls = 0


def _install() -> None:
    names = os.environ.get("SDBENCH_PLANTED_FAULTS", "").split(",")
    pipeline, vae = diffusers.StableDiffusionPipeline, diffusers.AutoencoderKL
    call, decode, silu = pipeline.__call__, vae.decode, torch.nn.functional.silu

    @functools.wraps(call)
    def faulty_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        global _now, _calls
        _now = names[_calls] if _calls < len(names) else "none"
        _calls += 1
        try:
            return call(self, *args, **kwargs)
        finally:
            _now = "none"

    @functools.wraps(decode)
    def faulty_decode(self: Any, *args: Any, **kwargs: Any) -> Any:
        decoded = decode(self, *args, **kwargs)
        change = _DECODES.get(_now)
        if change is None:
            return decoded
        picture = change(decoded[0])
        return (picture,) if isinstance(decoded, tuple) else type(decoded)(sample=picture)

    @functools.wraps(silu)
    def faulty_silu(*args: Any, **kwargs: Any) -> Any:
        result = silu(*args, **kwargs)
        return result * _OPERATOR_FACTOR if _now == _OPERATOR else result

    pipeline.__call__ = faulty_call
    vae.decode = faulty_decode
    torch.nn.functional.silu = faulty_silu


_install()
