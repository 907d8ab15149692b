"""Families whose denoiser is a transformer: what a pipeline folder of each holds.

One function puts each family's folder together. The published sizes and the small ones, which are
in :mod:`sdbench.models.transformer_models`, differ in numbers only.
"""

from dataclasses import dataclass
from typing import Any

from sdbench.models.architecture import VAE, Tabled, TextEncoder
from sdbench.models.component_configs import BEGIN_ID, END_ID, text_config, vae_config
from sdbench.models.synthetic_model import SyntheticModel
from sdbench.models.token_tables import QWEN_END_ID, qwen_tokenizer_files, t5_tokenizer_files
from sdbench.models.tokenizer import second_tokenizer_files, tokenizer_files

Config = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A network that is listed in the table of architectures, and its configuration file."""

    network: Tabled
    config: Config


def part(table: str, class_name: str, **config: Any) -> Part:
    """A network of diffusers."""
    return Part(Tabled(table), {"_class_name": class_name, **config})


def t5(table: str, *, width: int, inner: int, layers: int, heads: int, **config: int) -> Part:
    """The encoder of a T5 1.1."""
    return Part(
        Tabled(table),
        {
            "architectures": ["T5EncoderModel"],
            "model_type": "t5",
            "d_model": width,
            "d_ff": inner,
            "d_kv": 64,
            "num_layers": layers,
            "num_decoder_layers": layers,
            "num_heads": heads,
            "vocab_size": 32_128,
            "relative_attention_num_buckets": 32,
            "relative_attention_max_distance": 128,
            "dropout_rate": 0.1,
            "layer_norm_epsilon": 1e-06,
            "feed_forward_proj": "gated-gelu",
            "is_encoder_decoder": True,
            "tie_word_embeddings": False,
            "decoder_start_token_id": 0,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "torch_dtype": "float16",
            **config,
        },
    )


def qwen3(
    table: str, *, width: int, inner: int, layers: int, heads: int, shared: int, **config: int
) -> Part:
    """A Qwen3; ``shared`` is the number of heads of keys and values."""
    return Part(
        Tabled(table),
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": shared,
            "head_dim": 128,
            "vocab_size": 151_936,
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "max_position_embeddings": 40_960,
            "max_window_layers": layers,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1_000_000,
            "sliding_window": None,
            "use_sliding_window": False,
            "tie_word_embeddings": True,
            "use_cache": True,
            "bos_token_id": QWEN_END_ID,
            "eos_token_id": QWEN_END_ID,
            "torch_dtype": "float16",
            **config,
        },
    )


_NO_QUANT_CONVS = {
    "force_upcast": True,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
_EULER = "FlowMatchEulerDiscreteScheduler"


def _euler(**config: Any) -> Config:
    return {"_class_name": _EULER, "num_train_timesteps": 1000, **config}


def _index(class_name: str, components: dict[str, tuple[str, str]], **more: Any) -> Config:
    return {
        "_class_name": class_name,
        "_diffusers_version": "0.31.0",
        **{name: list(kind) for name, kind in components.items()},
        **more,
    }


def sd3(
    name: str,
    *,
    transformer: Part,
    vae: VAE,
    clips: tuple[TextEncoder, TextEncoder],
    t5: Part,
    sha256: str,
) -> SyntheticModel:
    """Stable Diffusion 3: the prompt goes to two CLIP encoders and a T5."""
    clip = ("transformers", "CLIPTextModelWithProjection")
    tokenizer = ("transformers", "CLIPTokenizer")
    return SyntheticModel(
        name=name,
        pipeline_class="StableDiffusion3Pipeline",
        networks={
            "transformer": transformer.network,
            "vae": vae,
            "text_encoder": clips[0],
            "text_encoder_2": clips[1],
            "text_encoder_3": t5.network,
        },
        tokenizers={
            "tokenizer": tokenizer_files,
            "tokenizer_2": second_tokenizer_files,
            "tokenizer_3": t5_tokenizer_files,
        },
        configs={
            "model_index.json": _index(
                "StableDiffusion3Pipeline",
                {
                    "scheduler": ("diffusers", _EULER),
                    "text_encoder": clip,
                    "text_encoder_2": clip,
                    "text_encoder_3": ("transformers", "T5EncoderModel"),
                    "tokenizer": tokenizer,
                    "tokenizer_2": tokenizer,
                    "tokenizer_3": ("transformers", "T5TokenizerFast"),
                    "transformer": ("diffusers", "SD3Transformer2DModel"),
                    "vae": ("diffusers", "AutoencoderKL"),
                },
            ),
            "scheduler/scheduler_config.json": _euler(shift=3.0),
            "transformer/config.json": transformer.config,
            "vae/config.json": vae_config(
                vae, 1024, 1.5305, shift_factor=0.0609, **_NO_QUANT_CONVS
            ),
            "text_encoder/config.json": text_config(clips[0], BEGIN_ID, END_ID),
            "text_encoder_2/config.json": text_config(clips[1], BEGIN_ID, END_ID),
            "text_encoder_3/config.json": t5.config,
        },
        sha256=sha256,
    )


def flux(
    name: str, *, transformer: Part, vae: VAE, clip: TextEncoder, t5: Part, sha256: str
) -> SyntheticModel:
    """FLUX.1: T5 reads the prompt, CLIP gives one vector of it."""
    return SyntheticModel(
        name=name,
        pipeline_class="FluxPipeline",
        networks={
            "transformer": transformer.network,
            "vae": vae,
            "text_encoder": clip,
            "text_encoder_2": t5.network,
        },
        tokenizers={"tokenizer": tokenizer_files, "tokenizer_2": t5_tokenizer_files},
        configs={
            "model_index.json": _index(
                "FluxPipeline",
                {
                    "scheduler": ("diffusers", _EULER),
                    "text_encoder": ("transformers", "CLIPTextModel"),
                    "text_encoder_2": ("transformers", "T5EncoderModel"),
                    "tokenizer": ("transformers", "CLIPTokenizer"),
                    "tokenizer_2": ("transformers", "T5TokenizerFast"),
                    "transformer": ("diffusers", "FluxTransformer2DModel"),
                    "vae": ("diffusers", "AutoencoderKL"),
                },
            ),
            "scheduler/scheduler_config.json": _euler(
                base_image_seq_len=256,
                base_shift=0.5,
                max_image_seq_len=4096,
                max_shift=1.15,
                shift=1.0,
                use_dynamic_shifting=False,
            ),
            "transformer/config.json": transformer.config,
            "vae/config.json": _flux_vae_config(vae),
            "text_encoder/config.json": text_config(clip, BEGIN_ID, END_ID),
            "text_encoder_2/config.json": t5.config,
        },
        sha256=sha256,
    )


def _flux_vae_config(vae: VAE) -> Config:
    """Flux's, which Z-Image has too."""
    return vae_config(vae, 1024, 0.3611, shift_factor=0.1159, **_NO_QUANT_CONVS)


def flux2_klein(
    name: str, *, transformer: Part, vae: Part, text: Part, sha256: str
) -> SyntheticModel:
    """FLUX.2 klein, distilled: Qwen3 reads the prompt in a chat template."""
    return SyntheticModel(
        name=name,
        pipeline_class="Flux2KleinPipeline",
        networks={
            "transformer": transformer.network,
            "vae": vae.network,
            "text_encoder": text.network,
        },
        tokenizers={"tokenizer": qwen_tokenizer_files},
        configs={
            "model_index.json": _index(
                "Flux2KleinPipeline",
                {
                    "scheduler": ("diffusers", _EULER),
                    "text_encoder": ("transformers", "Qwen3ForCausalLM"),
                    "tokenizer": ("transformers", "Qwen2TokenizerFast"),
                    "transformer": ("diffusers", "Flux2Transformer2DModel"),
                    "vae": ("diffusers", "AutoencoderKLFlux2"),
                },
                is_distilled=True,
            ),
            "scheduler/scheduler_config.json": _euler(
                base_image_seq_len=256,
                base_shift=0.5,
                max_image_seq_len=4096,
                max_shift=1.15,
                shift=3.0,
                time_shift_type="exponential",
                use_dynamic_shifting=True,
            ),
            "transformer/config.json": transformer.config,
            "vae/config.json": vae.config,
            "text_encoder/config.json": text.config,
        },
        sha256=sha256,
    )


def z_image(name: str, *, transformer: Part, vae: VAE, text: Part, sha256: str) -> SyntheticModel:
    """Z-Image: Qwen3 reads the prompt in a chat template."""
    return SyntheticModel(
        name=name,
        pipeline_class="ZImagePipeline",
        networks={"transformer": transformer.network, "vae": vae, "text_encoder": text.network},
        tokenizers={"tokenizer": qwen_tokenizer_files},
        configs={
            "model_index.json": _index(
                "ZImagePipeline",
                {
                    "scheduler": ("diffusers", _EULER),
                    "text_encoder": ("transformers", "Qwen3Model"),
                    "tokenizer": ("transformers", "Qwen2Tokenizer"),
                    "transformer": ("diffusers", "ZImageTransformer2DModel"),
                    "vae": ("diffusers", "AutoencoderKL"),
                },
            ),
            "scheduler/scheduler_config.json": _euler(shift=3.0, use_dynamic_shifting=False),
            "transformer/config.json": transformer.config,
            "vae/config.json": _flux_vae_config(vae),
            "text_encoder/config.json": text.config,
        },
        sha256=sha256,
    )


def pixart(name: str, *, transformer: Part, vae: VAE, text: Part, sha256: str) -> SyntheticModel:
    """PixArt-Sigma."""
    scheduler = "DPMSolverMultistepScheduler"
    return SyntheticModel(
        name=name,
        pipeline_class="PixArtSigmaPipeline",
        networks={"transformer": transformer.network, "vae": vae, "text_encoder": text.network},
        tokenizers={"tokenizer": t5_tokenizer_files},
        configs={
            "model_index.json": _index(
                "PixArtSigmaPipeline",
                {
                    "scheduler": ("diffusers", scheduler),
                    "text_encoder": ("transformers", "T5EncoderModel"),
                    "tokenizer": ("transformers", "T5TokenizerFast"),
                    "transformer": ("diffusers", "PixArtTransformer2DModel"),
                    "vae": ("diffusers", "AutoencoderKL"),
                },
            ),
            "scheduler/scheduler_config.json": {
                "_class_name": scheduler,
                "algorithm_type": "dpmsolver++",
                "beta_end": 0.02,
                "beta_schedule": "linear",
                "beta_start": 0.0001,
                "lower_order_final": True,
                "num_train_timesteps": 1000,
                "prediction_type": "epsilon",
                "solver_order": 2,
                "solver_type": "midpoint",
            },
            "transformer/config.json": transformer.config,
            "vae/config.json": vae_config(vae, 1024, 0.13025, force_upcast=True),
            "text_encoder/config.json": text.config,
        },
        sha256=sha256,
    )


def sd3_transformer(table: str, **sizes: int) -> Part:
    """Stable Diffusion 3's denoiser."""
    return part(table, "SD3Transformer2DModel", patch_size=2, in_channels=16, **sizes)


def flux_transformer(table: str, **sizes: Any) -> Part:
    """FLUX.1's denoiser, without the embedded guidance scale (schnell)."""
    fixed = {"patch_size": 1, "in_channels": 64, "guidance_embeds": False}
    return part(table, "FluxTransformer2DModel", **fixed, **sizes)


def flux2_transformer(table: str, **sizes: Any) -> Part:
    """FLUX.2's denoiser, without the embedded guidance scale."""
    fixed = {
        "patch_size": 1,
        "in_channels": 128,
        "out_channels": None,
        "mlp_ratio": 3.0,
        "timestep_guidance_channels": 256,
        "rope_theta": 2000,
        "eps": 1e-06,
        "guidance_embeds": False,
    }
    return part(table, "Flux2Transformer2DModel", **fixed, **sizes)


def flux2_vae(table: str, widths: list[int], layers: int) -> Part:
    """FLUX.2's VAE, whose latents are normalised by stored statistics."""
    return part(
        table,
        "AutoencoderKLFlux2",
        block_out_channels=widths,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        layers_per_block=layers,
        latent_channels=32,
        norm_num_groups=32,
        patch_size=[2, 2],
        batch_norm_eps=0.0001,
        batch_norm_momentum=0.1,
        sample_size=1024,
    )


def z_image_transformer(table: str, **sizes: Any) -> Part:
    """Z-Image's denoiser."""
    fixed = {
        "all_patch_size": [2],
        "all_f_patch_size": [1],
        "in_channels": 16,
        "qk_norm": True,
        "norm_eps": 1e-05,
        "rope_theta": 256.0,
        "t_scale": 1000.0,
        "axes_lens": [1536, 512, 512],
    }
    return part(table, "ZImageTransformer2DModel", **fixed, **sizes)
