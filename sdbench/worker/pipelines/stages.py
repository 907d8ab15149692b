"""Times the stages of one call, synchronised at each end; counts the work of its denoiser."""

import time
from typing import Any, Callable, Optional

from ..devices import Device
from .components import decoder_of, denoiser_of
from .hooks import Undo, before_call, replace_method


class Stages:
    """The text encoders, every denoising step and the decode; a context manager around one call.

    With an input image the encoding of that image is a stage of its own, between text and steps.

    Attributes:
        ended: the stages so far.
        denoiser_calls: how often the denoiser was called.
        denoiser_samples: images in these calls, counted anew in each.
    """

    def __init__(self, pipeline: Any, device: Device) -> None:
        self._pipeline = pipeline
        self._device = device
        self._undo: "list[Undo]" = []
        self.ended: "list[dict[str, Any]]" = []
        self.denoiser_calls = 0
        self.denoiser_samples: Optional[int] = 0
        self._mark_s = 0.0
        self._mark_t = 0.0

    def __enter__(self) -> "Stages":
        _, denoiser = denoiser_of(self._pipeline)
        self._undo.append(before_call(denoiser, self._begin_denoising))
        found = decoder_of(self._pipeline)
        if found is not None and callable(getattr(found[1], "encode", None)):
            self._undo.append(replace_method(found[1], "encode", self._timed_encode))
        self._restart()
        return self

    def __exit__(self, *_: Any) -> None:
        while self._undo:
            self._undo.pop()()

    def _begin_denoising(self, inputs: Any, named: "dict[str, Any]") -> None:
        if not self.ended or self.ended[-1]["stage"] == "vae_encode":
            self.end("text_encoder" if not self.ended else "vae_encode")
        self.denoiser_calls += 1
        samples = _samples(inputs, named)
        if samples is None or self.denoiser_samples is None:
            self.denoiser_samples = None
        else:
            self.denoiser_samples += samples

    def _timed_encode(self, encode: "Callable[..., Any]") -> "Callable[..., Any]":
        def timed(*args: Any, **kwargs: Any) -> Any:
            if not self.ended:
                self.end("text_encoder")
            encoded = encode(*args, **kwargs)
            if not self.denoiser_calls:
                self.end("vae_encode")
            return encoded

        return timed

    def step(self) -> None:
        """A denoising step is over."""
        self.end("denoising_step")

    def finish(self) -> None:
        """The call is over: what came after the last step is the decode."""
        self.end("vae_decode")

    def _restart(self) -> None:
        self._device.synchronize()
        self._device.reset_peak()
        self._mark_t = time.monotonic()  # the clock that the parent's samples are on
        self._mark_s = time.perf_counter()

    def end(self, stage: str) -> None:
        """A stage is over; the next one begins."""
        self._device.synchronize()
        duration_s = time.perf_counter() - self._mark_s
        peak_bytes, _ = self._device.peak_bytes()
        memory = self._device.memory()
        last = self.ended[-1] if self.ended else None
        if last is not None and stage == "vae_encode" == last["stage"]:
            # Between the encode and the first step: noise is added to the encoded image.
            last["duration_s"] += duration_s
            peaks = (last["peak_bytes"], peak_bytes)
            last["peak_bytes"] = None if None in peaks else max(peaks)
            last["allocated_bytes"] = memory.allocated_bytes
        else:
            self.ended.append(
                {
                    "stage": stage,
                    "begin_t": self._mark_t,
                    "duration_s": duration_s,
                    "peak_bytes": peak_bytes,
                    "allocated_bytes": memory.allocated_bytes,
                }
            )
        self._restart()


def _samples(inputs: Any, named: "dict[str, Any]") -> "Optional[int]":
    """Images in a call of a denoiser: a batched tensor, or a list with a tensor for each."""
    first = inputs[0] if inputs else named.get("hidden_states", named.get("sample"))
    if isinstance(first, (list, tuple)):
        return len(first)
    shape = getattr(first, "shape", None)
    return None if not shape else int(shape[0])
