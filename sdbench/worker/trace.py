"""What a pipeline call makes on its way: text embeddings, latents after every step, the image.

While the call runs everything is kept by reference, so nothing is copied and nothing waits for the
device; on its way to a file it becomes float32. A trace is a safetensors file with these tensors,
images first:

    text.<name>   what ``encode_prompt`` gave, by name where it is known, else by position
    latents       (images, kept, …): the noise given, then after each step, in the loop's own shape:
                  (channels, height, width) or packed (tokens, channels)
    images      (images, 3, height, width), values in [0, 1]

``latents`` may leave steps out; the metadata's ``kept`` says which are there (0 is the noise).
"""

import hashlib
import json
import os
from typing import Any

from .atomic_write import keep_file

# A trace is a means, not a result: on long or large passes fewer images and steps are kept. Four
# images of 512x512 in 20 steps take 20 MB.
LIMIT_BYTES = 64 << 20
_MOST_STEPS = 50
_NAMED = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
_TEXT_NAMES = (
    "prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "negative_pooled_prompt_embeds",
)


class Trace:
    """Records one call of a pipeline; a context manager around it."""

    def __init__(self, pipeline: Any, noise: Any = None) -> None:
        """``noise``: the initial noise, where it is known; else :meth:`begin` gives it later."""
        self._pipeline = pipeline
        self._text: "dict[str, Any]" = {}
        self._encoded = 0
        self._noise = noise
        self._steps: "list[Any]" = []

    def __enter__(self) -> "Trace":
        encode = getattr(self._pipeline, "encode_prompt", None)
        if encode is None:
            return self

        def recording(*args: Any, **kwargs: Any) -> Any:
            embeddings = encode(*args, **kwargs)
            self._text.update(_named(embeddings, self._pipeline, self._encoded))
            self._encoded += 1
            return embeddings

        self._pipeline.encode_prompt = recording
        return self

    def __exit__(self, *_: Any) -> None:
        vars(self._pipeline).pop("encode_prompt", None)  # the instance's; the class has its own

    def begin(self, noise: Any) -> None:
        """The latents that the first step was given, where they were not given to the call."""
        if self._noise is None:
            self._noise = noise

    def step(self, latents: Any) -> None:
        """A denoising step has ended; the scheduler never writes into what it returned."""
        self._steps.append(latents)

    @property
    def steps(self) -> int:
        """Steps that have ended."""
        return len(self._steps)

    @property
    def latents(self) -> "list[Any]":
        """The noise given, then the latents after each step, as they are on the device."""
        return [self._noise, *self._steps]

    def tensors(
        self, pictures: Any, limit_bytes: int = LIMIT_BYTES
    ) -> "tuple[dict[str, Any], list[int]]":
        """All tensors in float32 on the CPU, and which latents were kept."""
        import torch

        latents = self.latents
        text = {name: tensor for name, tensor in self._text.items() if _is_of(tensor, pictures)}
        kept = spread(len(latents), _MOST_STEPS)
        each = 4 * (len(kept) * latents[0][0].numel() + pictures[0].numel())
        each += 4 * sum(tensor[0].numel() for tensor in text.values())
        images = max(1, min(len(pictures), limit_bytes // each))
        found = {f"text.{name}": on_host(tensor)[:images] for name, tensor in text.items()}
        found["latents"] = torch.stack([on_host(latents[i])[:images] for i in kept], dim=1)
        found["pictures"] = on_host(pictures)[:images]
        return {name: tensor.contiguous() for name, tensor in found.items()}, kept


def _named(embeddings: Any, pipeline: Any, call: int) -> "dict[str, Any]":
    """What a call of ``encode_prompt`` gave, by name.

    The two oldest pipelines give four tensors in a known order. Of others the names say which call
    it was and at which position; a list holds a tensor for each prompt.
    """
    import torch

    if type(pipeline).__name__ in _NAMED:
        return {name: one for name, one in zip(_TEXT_NAMES, embeddings) if one is not None}
    found = {}
    given = embeddings if isinstance(embeddings, (list, tuple)) else [embeddings]
    if given and all(isinstance(one, torch.Tensor) for one in given) and isinstance(given, list):
        given = [given]
    for position, one in enumerate(given):
        if isinstance(one, (list, tuple)) and one:
            same = all(isinstance(part, torch.Tensor) for part in one)
            if same and len({part.shape for part in one}) == 1:
                found[f"{call}.{position}"] = torch.stack(list(one))
        elif isinstance(one, torch.Tensor):
            found[f"{call}.{position}"] = one
    return found


def _is_of(tensor: Any, pictures: Any) -> bool:
    """Whether a tensor holds something of each image: no mask, no table of positions."""
    is_one_each = tensor.dim() > 1 and len(tensor) == len(pictures)
    return bool(is_one_each and tensor.is_floating_point() and tensor.any())


def spread(count: int, most: int) -> "list[int]":
    """At most ``most`` of the numbers below ``count``: the first, the last, and evenly between."""
    if count <= most:
        return list(range(count))
    return [round(i * (count - 1) / (most - 1)) for i in range(most)]


def on_host(tensor: Any) -> Any:
    """The tensor on the CPU, and only then in float32: the device does nothing but hand it over."""
    return tensor.detach().cpu().float()


def save_trace(folder: str, tensors: "dict[str, Any]", kept: "list[int]") -> "dict[str, Any]":
    """Write a trace under its content's name into ``folder/traces``; a full disk is only noted."""
    data = serialised(tensors, {"kept": kept})
    name = hashlib.sha256(data).hexdigest()
    problem = keep_file(os.path.join(folder, "traces"), f"{name}.safetensors", lambda: data)
    return {"trace_sha256": None if problem else name, "trace_missing": problem}


def serialised(tensors: "dict[str, Any]", metadata: "dict[str, Any]") -> bytes:
    """The bytes of a safetensors file; every value of the metadata as JSON."""
    from safetensors.torch import save

    data: bytes = save(tensors, {name: json.dumps(value) for name, value in metadata.items()})
    return data
