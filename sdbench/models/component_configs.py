"""Configuration files of components that several families have: CLIP, AutoencoderKL."""

from typing import Any

from sdbench.models.architecture import VAE, TextEncoder


def vae_config(vae: VAE, sample_size: int, scaling: float, **extra: Any) -> dict[str, Any]:
    levels = len(vae.widths)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": vae.latent_channels,
        "block_out_channels": list(vae.widths),
        "layers_per_block": vae.layers_per_block,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": 32,
        "sample_size": sample_size,
        "scaling_factor": scaling,
        **extra,
    }


def text_config(text: TextEncoder, begin: int, end: int) -> dict[str, Any]:
    projected = text.projection is not None
    return {
        "architectures": ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": text.vocabulary,
        "hidden_size": text.width,
        "intermediate_size": 4 * text.width,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "max_position_embeddings": text.positions,
        "hidden_act": text.activation,
        "layer_norm_eps": 1e-05,
        "projection_dim": text.projection or text.width,
        "bos_token_id": begin,
        "eos_token_id": end,
        "pad_token_id": end,
        "torch_dtype": "float16",
    }


# The byte-level vocabulary (sdbench.models.tokenizer) ends with these two.
BEGIN_ID, END_ID = 512, 513
