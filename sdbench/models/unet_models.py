"""Synthetic models of the families whose denoiser is a UNet: Stable Diffusion 1.x, XL, LCM."""

import dataclasses
from typing import Any

from sdbench.models.architecture import VAE, TextEncoder, UNet
from sdbench.models.component_configs import BEGIN_ID, END_ID, text_config, vae_config
from sdbench.models.synthetic_model import SyntheticModel
from sdbench.models.tokenizer import second_tokenizer_files, tokenizer_files

_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "clip_sample": False,
    "trained_betas": None,
}
_LCM_SCHEDULER = {
    "_class_name": "LCMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "original_inference_steps": 50,
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "timestep_scaling": 10.0,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
    "trained_betas": None,
}
_SDXL_SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
    # Euler never clips, but the published file says so all the same: DDIM, made from this
    # configuration, would clip its prediction to [-1, 1] and magnify every rounding.
    "clip_sample": False,
}


def _unet_config(unet: UNet, sample_size: int, heads: int | list[int]) -> dict[str, Any]:
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in unet.depths]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(unet.depths)]
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": list(unet.widths),
        "layers_per_block": unet.layers_per_block,
        "down_block_types": down,
        "up_block_types": up,
        "cross_attention_dim": unet.context,
        "attention_head_dim": heads,
    }
    if unet.guidance_embedding is not None:
        config["time_cond_proj_dim"] = unet.guidance_embedding
    if unet.added_embedding is not None:
        config |= {
            "transformer_layers_per_block": [max(1, depth) for depth in unet.depths],
            "use_linear_projection": unet.linear_projection,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": unet.added_embedding,
        }
    return config


def _sd1(
    name: str,
    *,
    unet: UNet,
    heads: int,
    vae: VAE,
    text: TextEncoder,
    sample_size: int,
    sha256: str,
) -> SyntheticModel:
    """A ``StableDiffusionPipeline`` laid out like SD 1.5."""
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.31.0",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return SyntheticModel(
        name=name,
        pipeline_class="StableDiffusionPipeline",
        networks={"unet": unet, "vae": vae, "text_encoder": text},
        tokenizers={"tokenizer": tokenizer_files},
        configs={
            "model_index.json": index,
            "scheduler/scheduler_config.json": _SCHEDULER,
            "unet/config.json": _unet_config(unet, sample_size, heads),
            "vae/config.json": vae_config(vae, 8 * sample_size, 0.18215),
            "text_encoder/config.json": text_config(text, BEGIN_ID, END_ID),
        },
        sha256=sha256,
    )


def _as_lcm(model: SyntheticModel) -> SyntheticModel:
    """A ``LatentConsistencyModelPipeline``: the same folder with another scheduler."""
    index = model.configs["model_index.json"] | {
        "_class_name": "LatentConsistencyModelPipeline",
        "scheduler": ["diffusers", "LCMScheduler"],
    }
    changed = {"model_index.json": index, "scheduler/scheduler_config.json": _LCM_SCHEDULER}
    return dataclasses.replace(
        model, pipeline_class=index["_class_name"], configs=model.configs | changed
    )


def _sdxl(
    name: str,
    *,
    unet: UNet,
    heads: list[int],
    vae: VAE,
    first: TextEncoder,
    second: TextEncoder,
    sample_size: int,
    sha256: str,
) -> SyntheticModel:
    """A ``StableDiffusionXLPipeline``."""
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": "0.31.0",
        "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return SyntheticModel(
        name=name,
        pipeline_class="StableDiffusionXLPipeline",
        networks={"unet": unet, "vae": vae, "text_encoder": first, "text_encoder_2": second},
        tokenizers={"tokenizer": tokenizer_files, "tokenizer_2": second_tokenizer_files},
        configs={
            "model_index.json": index,
            "scheduler/scheduler_config.json": _SDXL_SCHEDULER,
            "unet/config.json": _unet_config(unet, sample_size, heads),
            "vae/config.json": vae_config(vae, 8 * sample_size, 0.13025, force_upcast=True),
            "text_encoder/config.json": text_config(first, BEGIN_ID, END_ID),
            "text_encoder_2/config.json": text_config(second, BEGIN_ID, END_ID),
        },
        sha256=sha256,
    )


UNET_MODELS = (
    _sd1(
        "synthetic/tiny",
        unet=UNet((32, 64, 64), (1, 1, 0), 64, layers_per_block=1),
        heads=4,
        vae=VAE((32, 32, 64, 64), layers_per_block=1),
        text=TextEncoder(64, 2, 4, vocabulary=514),
        sample_size=16,
        sha256="178e1e83833bd0b3580f2a4bb425371daae33647facfd39d8ea50dc7410b3987",
    ),
    _sd1(
        "synthetic/sd15",
        unet=UNet((320, 640, 1280, 1280), (1, 1, 1, 0), 768),
        heads=8,
        vae=VAE((128, 256, 512, 512)),
        text=TextEncoder(768, 12, 12),
        sample_size=64,
        sha256="d37f9f707671f2abbfed811e9e642b442cdb56a85e30378b8fd07c1911f314fe",
    ),
    _sdxl(
        "synthetic/sdxl",
        unet=UNet((320, 640, 1280), (0, 2, 10), 2048, linear_projection=True, added_embedding=2816),
        heads=[5, 10, 20],
        vae=VAE((128, 256, 512, 512)),
        first=TextEncoder(768, 12, 12),
        second=TextEncoder(1280, 32, 20, activation="gelu", projection=1280),
        sample_size=128,
        sha256="32905a08e022d3bfce3503fdce4b84d9efe474d0f6e17ccc33bb01710eea0c4a",
    ),
    _as_lcm(
        _sd1(
            "synthetic/lcm",
            unet=UNet((320, 640, 1280, 1280), (1, 1, 1, 0), 768, guidance_embedding=256),
            heads=8,
            vae=VAE((128, 256, 512, 512)),
            text=TextEncoder(768, 12, 12),
            sample_size=96,
            sha256="3abbab7e8772305241a58a8fcd41fb15ca2ab08d6e4d7972a68408ae65250415",
        )
    ),
    _sdxl(
        "synthetic/tiny-sdxl",
        unet=UNet(
            (32, 64, 64),
            (0, 1, 2),
            context=64,
            layers_per_block=1,
            linear_projection=True,
            added_embedding=6 * 256 + 32,  # six numbers of the size, and the second encoder's
        ),
        heads=[2, 4, 4],
        vae=VAE((32, 32, 64, 64), layers_per_block=1),
        first=TextEncoder(32, 2, 2, vocabulary=514),
        second=TextEncoder(32, 2, 2, vocabulary=514, activation="gelu", projection=32),
        sample_size=16,
        sha256="53da25caa32275b98d18e994e04bea6c614ca0e0b42800f8674e1378eee15d35",
    ),
    _as_lcm(
        _sd1(
            "synthetic/tiny-lcm",
            unet=UNet((32, 64, 64), (1, 1, 0), 64, layers_per_block=1, guidance_embedding=256),
            heads=4,
            vae=VAE((32, 32, 64, 64), layers_per_block=1),
            text=TextEncoder(64, 2, 4, vocabulary=514),
            sample_size=16,
            sha256="a74f2e42b86b4928c594fda9e87e63e068913920687a7103078a3a59b4ed0a34",
        )
    ),
)
