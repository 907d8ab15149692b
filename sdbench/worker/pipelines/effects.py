"""Which settings of a case do anything in its pipeline: found out, never assumed."""

from typing import Any, Dict, NamedTuple, Optional

from .components import decoder_of, denoiser_of
from .hooks import Undo, before_call


class Effect(NamedTuple):
    """Whether a setting changes what is computed; None: that is not known."""

    effective: Optional[bool]
    reason: Optional[str] = None


Effects = Dict[str, Effect]


class WatchedCall:
    """What a pipeline call shows of its settings; a context manager around it.

    Attributes:
        decoder_calls: of the VAE's decoder: one for each tile or slice. None: it has none.
        takes_guidance: whether the denoiser is given the guidance scale as an input.
    """

    def __init__(self, pipeline: Any) -> None:
        found = decoder_of(pipeline)
        self._decoder = None if found is None else getattr(found[1], "decoder", None)
        self._denoiser = denoiser_of(pipeline)[1]
        self._undo: "list[Undo]" = []
        self.decoder_calls: Optional[int] = None if self._decoder is None else 0
        self.takes_guidance = False

    def __enter__(self) -> "WatchedCall":
        self._undo.append(before_call(self._denoiser, self._denoising))
        if self._decoder is not None:
            self._undo.append(before_call(self._decoder, self._decoding))
        return self

    def __exit__(self, *_: Any) -> None:
        while self._undo:
            self._undo.pop()()

    def _denoising(self, _inputs: Any, named: "dict[str, Any]") -> None:
        self.takes_guidance = self.takes_guidance or any(
            value is not None and ("guidance" in name or name == "timestep_cond")
            for name, value in named.items()
        )

    def _decoding(self, _inputs: Any, _named: "dict[str, Any]") -> None:
        self.decoder_calls = (self.decoder_calls or 0) + 1


def effects_of_call(
    effects: Effects, job: "dict[str, Any]", call: WatchedCall, profile: "dict[str, Any]"
) -> Effects:
    """The effects with those that only a call shows.

    Args:
        effects: what was known before it.
        job: the worker's.
        call: what was seen of it.
        profile: its record, with the work of the denoiser.
    """
    images = job["images"] if job["case"]["batching"] == "batch" else 1
    found = dict(effects, guidance_scale=_guidance(job["guidance_scale"], call, profile, images))
    if "vae_tiling" in effects and call.decoder_calls is not None:
        whole = images if job["case"]["vae_slicing"] else 1
        found["vae_tiling"] = (
            Effect(True)
            if call.decoder_calls > whole
            else Effect(False, "an image of this size is one tile")
        )
    return found


def _guidance(scale: float, call: WatchedCall, profile: "dict[str, Any]", images: int) -> Effect:
    steps = sum(stage["stage"] == "denoising_step" for stage in profile["stages"])
    samples = profile["denoiser_samples"]
    if call.takes_guidance:
        return Effect(True)
    if samples is None or not steps:
        return Effect(None, "the number of images per call of the denoiser was not observed")
    if samples >= 2 * steps * images:
        return Effect(True)
    if scale <= 1:
        return Effect(None, "this scale switches guidance off")
    return Effect(False, "the denoiser is called once per image without the scale: it is distilled")
