"""What a pipeline call makes on its way: text embeddings, latents after every step, the picture.

While the call runs everything is kept by reference, so nothing is copied and nothing waits for the
device; on its way to a file it becomes float32. A trace is a safetensors file with these tensors,
images first:

    text.<name>   what ``encode_prompt`` gave: prompt_embeds, negative_prompt_embeds, pooled ones
    latents       (images, kept, channels, height, width): the noise given, then after each step
    pictures      (images, 3, height, width), values in [0, 1]

``latents`` may leave steps out; the metadata's ``kept`` says which are there (0 is the noise).
"""

import hashlib
import json
import os
from typing import Any

from .atomic_write import keep_file

# A trace is a means, not a result: on long or large passes fewer images and steps are kept. Four
# pictures of 512x512 in 20 steps take 20 MB.
LIMIT_BYTES = 64 << 20
_MOST_STEPS = 50
_TEXT_NAMES = (
    "prompt_embeds",
    "negative_prompt_embeds",
    "pooled_prompt_embeds",
    "negative_pooled_prompt_embeds",
)


class Trace:
    """Records one call of a pipeline; a context manager around it."""

    def __init__(self, pipeline: Any, noise: Any) -> None:
        self._pipeline = pipeline
        self._text: "dict[str, Any]" = {}
        self._latents = [noise]

    def __enter__(self) -> "Trace":
        encode = self._pipeline.encode_prompt

        def recording(*args: Any, **kwargs: Any) -> Any:
            embeddings = encode(*args, **kwargs)
            self._text = {
                name: tensor for name, tensor in zip(_TEXT_NAMES, embeddings) if tensor is not None
            }
            return embeddings

        self._pipeline.encode_prompt = recording
        return self

    def __exit__(self, *_: Any) -> None:
        del self._pipeline.encode_prompt  # the instance's; the class has its own

    def step(self, latents: Any) -> None:
        """A denoising step has ended; the scheduler never writes into what it returned."""
        self._latents.append(latents)

    @property
    def latents(self) -> "list[Any]":
        """The noise given, then the latents after each step, as they are on the device."""
        return self._latents

    def tensors(
        self, pictures: Any, limit_bytes: int = LIMIT_BYTES
    ) -> "tuple[dict[str, Any], list[int]]":
        """All tensors in float32 on the CPU, and which latents were kept."""
        import torch

        kept = spread(len(self._latents), _MOST_STEPS)
        each = 4 * (len(kept) * self._latents[0][0].numel() + pictures[0].numel())
        each += 4 * sum(tensor[0].numel() for tensor in self._text.values())
        images = max(1, min(len(pictures), limit_bytes // each))
        found = {f"text.{name}": on_host(tensor)[:images] for name, tensor in self._text.items()}
        found["latents"] = torch.stack([on_host(self._latents[i])[:images] for i in kept], dim=1)
        found["pictures"] = on_host(pictures)[:images]
        return {name: tensor.contiguous() for name, tensor in found.items()}, kept


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
