"""LoRA files: what the command line says of them, and whether they fit a model by their headers."""

import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.errors import ModelError, UsageError
from sdbench.models.folder_files import shown
from sdbench.models.weights import Tensor, WeightsError, read_header
from sdbench.words import shortened

_LARGEST_WEIGHT = 100.0
# In names of tensors, in diffusers' and in the original layouts.
_UNET_BLOCK = re.compile(r"(down|up|input|output)_blocks[._]\d|(mid|middle)_block[._]")
_TRANSFORMER_BLOCK = re.compile(
    r"(double|single|joint|transformer|single_transformer)_blocks[._]\d|(^|[._])layers[._]\d"
)
_TEXT_ENCODER = re.compile(r"^(lora_te\d?_|text_encoder)")
_CONTEXT_IN = re.compile(r"attn2[._]to_k[._](lora_A|lora_down|lora\.down)")
_LYCORIS = re.compile(r"\.(hada_|lokr_|oft_|boft_|glora|diff$)")
_FIT = "take a LoRA that was made for this model"


class Lora(NamedTuple):
    """A LoRA file that exists and can be read, with the weight that it is added with."""

    path: Path
    weight: float


class Denoiser(NamedTuple):
    """The network that a LoRA changes: its component, its class, its configuration."""

    component: str
    class_name: str
    config: Mapping[str, Any]


def read_lora(text: str, denoiser: Denoiser | None) -> Lora:
    """``FILE[:WEIGHT]``, checked as far as the file's header says; None fits any network.

    Raises:
        UsageError: there is no such file, or the weight is no number of a usual size.
        ModelError: it is no LoRA, or one for another architecture.
    """
    name, weight = _split(text)
    path = Path(os.path.expanduser(name))
    try:
        if not path.is_file():
            raise UsageError(f"--lora {shortened(text)}: no such file")
    except ValueError:  # with a NUL
        raise UsageError(f"--lora {shortened(text)}: no such file") from None
    label = f"LoRA {shown(path.name)}"
    if path.suffix.lower() not in (".safetensors", ".sft"):
        raise ModelError(
            f"{label}: expected a .safetensors file; sdbench reads LoRAs in no other format, since "
            "a pickle file can run code"
        )
    try:
        tensors = read_header(path)
    except WeightsError as error:
        raise ModelError(f"{label}: {error}; {error.remedy}") from None
    fault = _misfit(tensors, denoiser)
    if fault is not None:
        raise ModelError(f"{label}: {fault}")
    return Lora(path.absolute(), weight)


def _split(text: str) -> tuple[str, float]:
    """File and weight; a colon that no number follows is a part of the name."""
    name, colon, last = text.rpartition(":")
    try:
        weight = float(last) if colon else 1.0
    except ValueError:
        return text, 1.0
    if not colon:
        return text, weight
    if not math.isfinite(weight) or abs(weight) > _LARGEST_WEIGHT:
        raise UsageError(
            f"--lora {shortened(text)}: expected a weight from {-_LARGEST_WEIGHT:g} to "
            f"{_LARGEST_WEIGHT:g}, got {last}"
        )
    return name, weight


def _misfit(tensors: Mapping[str, Tensor], denoiser: Denoiser | None) -> str | None:
    """Why a file changes nothing or something else of this model; None where none is known."""
    lycoris = next((name for name in tensors if _LYCORIS.search(name)), None)
    if lycoris is not None:
        return (
            f"it is a LyCORIS file ({shown(lycoris)}), which diffusers does not load; convert it "
            "to a plain LoRA"
        )
    if not any("lora" in name for name in tensors):
        return f"it holds no LoRA, but {len(tensors)} other tensors; {_FIT}"
    changed = [name for name in tensors if not _TEXT_ENCODER.match(name)]
    of_unet = any(map(_UNET_BLOCK.search, changed))
    of_transformer = not of_unet and any(map(_TRANSFORMER_BLOCK.search, changed))
    if denoiser is None:
        return None
    if denoiser.component == "unet" and of_transformer:
        return f"it changes a transformer, and this model has a {denoiser.class_name}; {_FIT}"
    if denoiser.component == "transformer" and of_unet:
        return (
            "it changes a UNet (Stable Diffusion, SDXL), and this model has a "
            f"{denoiser.class_name}; {_FIT}"
        )
    return _other_context(tensors, denoiser)


def _other_context(tensors: Mapping[str, Tensor], denoiser: Denoiser) -> str | None:
    """Stable Diffusion 1.x, 2.x and SDXL differ in the width of the text that the UNet reads."""
    expected = denoiser.config.get("cross_attention_dim")
    if denoiser.component != "unet" or not isinstance(expected, int):
        return None
    widths = _widths(tensors)
    if not widths or expected in widths:
        return None
    return (
        f"it is for a UNet that reads text of width {min(widths)}, and this model's reads width "
        f"{expected} (768: Stable Diffusion 1.x, 1024: 2.x, 2048: SDXL); {_FIT}"
    )


def _widths(tensors: Mapping[str, Tensor]) -> set[int]:
    found: Iterable[Tensor] = (
        tensor for name, tensor in tensors.items() if _CONTEXT_IN.search(name)
    )
    return {tensor.shape[1] for tensor in found if len(tensor.shape) > 1}
