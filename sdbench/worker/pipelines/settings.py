"""Switch a case's settings on in a loaded pipeline, and say which of them change anything."""

from typing import Any, Optional

from ..devices import Device
from .attention import Upcast, set_attention, slice_attention
from .compiled import compile_denoiser, compile_seconds, effect_of_compiling
from .components import decoder_of, denoiser_of
from .effects import Effect, Effects, WatchedCall, effects_of_call
from .stack import CaseImpossibleError

_ON_CPU = "everything is on the CPU in any case"


class Applied:
    """The settings of a case in a pipeline; apply before the first call."""

    def __init__(self, pipeline: Any, job: "dict[str, Any]", device: Device) -> None:
        """Switch them on.

        Raises:
            CaseImpossibleError: the environment, or this pipeline, does not offer one of them.
        """
        self._job = job
        self._pipeline = pipeline
        self._effects = _placement_effects(pipeline, job["case"], device)
        self._effects.update(apply_settings(pipeline, job["case"]))
        if job["case"]["vae_slicing"] and not _is_batch(job):
            self._effects["vae_slicing"] = Effect(False, "a call decodes one image")
        self._compiles = job["case"]["compile"]
        if self._compiles:
            compile_denoiser(pipeline, device)
        self._upcast: Optional[Upcast] = None
        if job["case"]["attention_upcast"]:
            self._upcast = Upcast(denoiser_of(pipeline)[1])
        self.call = WatchedCall(pipeline)

    def record(self, profile: "Optional[dict[str, Any]]") -> "dict[str, Any]":
        """What each setting did, as an event has it.

        Args:
            profile: the record of the call that :attr:`call` watched; None: none was made.
        """
        found = self._effects
        if profile is not None:
            found = effects_of_call(found, self._job, self.call, profile)
        if self._compiles:
            found = dict(found, compile=effect_of_compiling())
        if self._upcast is not None:
            found = dict(found, attention_upcast=_effect_of_upcast(self._upcast))
        return {
            "effects": {name: effect._asdict() for name, effect in found.items()},
            "compile_s": compile_seconds() if self._compiles else None,
        }


def apply_settings(pipeline: Any, case: "dict[str, Any]") -> Effects:
    """Switch on what is the same on every device; what that does as far as it is known now.

    Raises:
        CaseImpossibleError: the environment, or this pipeline, does not offer one of them.
    """
    effects: Effects = {}
    if case["attention"] != "default":
        effects["attention"] = set_attention(denoiser_of(pipeline)[1], case["attention"])
    if case["attention_slicing"]:
        effects["attention_slicing"] = slice_attention(pipeline)
    # Newer diffusers switch these on the VAE; the pipeline's own methods are older and deprecated.
    if case["vae_slicing"]:
        effects["vae_slicing"] = _on_vae(pipeline, "slicing")
    if case["vae_tiling"]:
        effects["vae_tiling"] = _on_vae(pipeline, "tiling")
    return effects


def _on_vae(pipeline: Any, what: str) -> Effect:
    """Switch slicing or tiling on; the method is there in VAEs too that can do neither."""
    found = decoder_of(pipeline)
    if found is None or not hasattr(found[1], f"use_{what}"):
        name = type(pipeline).__name__ if found is None else type(found[1]).__name__
        raise CaseImpossibleError(f"a {name} has no {what} of its decode")
    getattr(found[1], f"enable_{what}")()
    if what == "slicing":
        return Effect(True)
    return Effect(None, "whether an image of this size is decoded in tiles was not observed")


def _placement_effects(pipeline: Any, case: "dict[str, Any]", device: Device) -> Effects:
    """Of what ``placement`` has done while loading."""
    effects: Effects = {}
    on_cpu = Effect(False, _ON_CPU) if device.kind == "cpu" else Effect(True)
    if case["offload"] != "none":
        effects["offload"] = on_cpu
    if case["vae_device"] == "cpu":
        effects["vae_device"] = on_cpu
    if case["text_encoder"] == "offloaded":
        effects["text_encoder"] = on_cpu
    if case["vae_dtype"] == "float32":
        effects["vae_dtype"] = _vae_dtype(pipeline, case)
    if case["quantization"] != "none":
        effects["quantization"] = Effect(True)  # loading has looked
    return effects


def _vae_dtype(pipeline: Any, case: "dict[str, Any]") -> Effect:
    found = decoder_of(pipeline)
    if case["dtype"] == "float32":
        return Effect(False, "the whole pipeline is float32")
    upcasts = found is not None and getattr(found[1].config, "force_upcast", False)
    if case["dtype"] == "float16" and upcasts and hasattr(pipeline, "upcast_vae"):
        return Effect(False, "this pipeline decodes in float32 by itself")
    return Effect(True)


def _is_batch(job: "dict[str, Any]") -> bool:
    return bool(job["case"]["batching"] == "batch" and job["images"] > 1)


def _effect_of_upcast(upcast: Upcast) -> Effect:
    if upcast.used:
        return Effect(True)
    return Effect(
        False, "the attention is computed in float32, or in a kernel's own type, in any case"
    )
