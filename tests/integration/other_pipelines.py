"""Small folders of pipelines that no file of sdbench names, made of diffusers' own classes.

Text encoder, tokenizer and VAE are those of ``synthetic/tiny-pixart``; the denoiser is a tiny one
with random weights.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _parts(folder: Path) -> dict[str, Any]:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler
    from transformers import AutoTokenizer, T5EncoderModel

    return {
        "text_encoder": T5EncoderModel.from_pretrained(folder / "text_encoder"),
        "tokenizer": AutoTokenizer.from_pretrained(folder / "tokenizer"),
        "vae": AutoencoderKL.from_pretrained(folder / "vae"),
        "scheduler": FlowMatchEulerDiscreteScheduler(),
    }


def chroma(folder: Path) -> Any:
    """Chroma: FLUX without CLIP; its VAE has 16 channels, packed to 64."""
    from diffusers import AutoencoderKL, ChromaPipeline, ChromaTransformer2DModel

    parts = _parts(folder)
    config = {key: value for key, value in parts["vae"].config.items() if key[0] != "_"}
    parts["vae"] = AutoencoderKL.from_config(
        {**config, "latent_channels": 16, "shift_factor": 0.1159}
    )
    transformer = ChromaTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=parts["text_encoder"].config.d_model,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return ChromaPipeline(transformer=transformer, **parts)


def aura_flow(folder: Path) -> Any:
    """AuraFlow."""
    from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel

    parts = _parts(folder)
    transformer = AuraFlowTransformer2DModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=parts["text_encoder"].config.d_model,
        pos_embed_max_size=256,
    )
    return AuraFlowPipeline(transformer=transformer, **parts)


def cog_view(folder: Path) -> Any:
    """CogView3-Plus, with another scheduler and micro-conditions."""
    from diffusers import (
        CogVideoXDDIMScheduler,
        CogView3PlusPipeline,
        CogView3PlusTransformer2DModel,
    )

    parts = _parts(folder) | {"scheduler": CogVideoXDDIMScheduler()}
    transformer = CogView3PlusTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=parts["text_encoder"].config.d_model,
        condition_dim=8,
        time_embed_dim=16,
        pos_embed_max_size=128,
        sample_size=16,
    )
    return CogView3PlusPipeline(transformer=transformer, **parts)


def cog_view_4(folder: Path) -> Any:
    """CogView4, which pads a batch to its longest prompt and gives the denoiser no mask."""
    from diffusers import CogView4Pipeline, CogView4Transformer2DModel

    parts = _parts(folder)
    transformer = CogView4Transformer2DModel(
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        text_embed_dim=parts["text_encoder"].config.d_model,
        time_embed_dim=16,
        condition_dim=8,
        pos_embed_max_size=128,
        sample_size=16,
        rope_axes_dim=(16, 16),
    )
    return CogView4Pipeline(transformer=transformer, **parts)


def pixart_alpha(folder: Path) -> Any:
    """PixArt-alpha, with a scheduler that has a memory."""
    from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline, PixArtTransformer2DModel

    parts = _parts(folder) | {"scheduler": DPMSolverMultistepScheduler()}
    transformer = PixArtTransformer2DModel(
        sample_size=16,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=4,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=32,
        caption_channels=parts["text_encoder"].config.d_model,
        use_additional_conditions=False,
    )
    return PixArtAlphaPipeline(transformer=transformer, **parts)


PADS_WITHOUT_MASK = "cog-view-4"
OTHERS: dict[str, Callable[[Path], Any]] = {
    "chroma": chroma,
    "aura-flow": aura_flow,
    "cog-view": cog_view,
    PADS_WITHOUT_MASK: cog_view_4,
    "pixart-alpha": pixart_alpha,
}


def save(name: str, pixart: Path, target: Path) -> Path:
    """Write one of the folders; ``pixart`` is the folder of ``synthetic/tiny-pixart``."""
    import torch

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a class is called by its own library
        OTHERS[name](pixart).save_pretrained(target)
    return target
