"""Synthetic models of families whose denoiser is a transformer.

The small ones are for tests: a few megabytes, an image of 64x64 in a second. The others have the
published sizes.
"""

from sdbench.models.architecture import VAE, TextEncoder
from sdbench.models.token_tables import QWEN_VOCABULARY, T5_VOCABULARY
from sdbench.models.transformer_families import (
    flux,
    flux2_klein,
    flux2_transformer,
    flux2_vae,
    flux_transformer,
    part,
    pixart,
    qwen3,
    sd3,
    sd3_transformer,
    t5,
    z_image,
    z_image_transformer,
)

_T5_XXL = t5("t5-xxl", width=4096, inner=10_240, layers=24, heads=64)
_T5_TINY = t5("t5-tiny", width=64, inner=128, layers=2, heads=4, d_kv=16, vocab_size=T5_VOCABULARY)
_QWEN3_4B = qwen3("qwen3-4b", width=2560, inner=9728, layers=36, heads=32, shared=8)
# Flux 2 reads the hidden states of layer 27, so there must be more layers than that.
_QWEN3_TINY = qwen3(
    "qwen3-tiny",
    width=64,
    inner=96,
    layers=28,
    heads=4,
    shared=2,
    head_dim=16,
    vocab_size=QWEN_VOCABULARY,
)
_FULL_VAE = VAE((128, 256, 512, 512), latent_channels=16, quant_convs=False)
_TINY_VAE = VAE((32, 32, 64, 64), layers_per_block=1, latent_channels=16, quant_convs=False)
TRANSFORMER_MODELS = (
    sd3(
        "synthetic/tiny-sd3",
        transformer=sd3_transformer(
            "sd3-tiny",
            sample_size=16,
            pos_embed_max_size=16,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=64,
            pooled_projection_dim=64,
            out_channels=16,
        ),
        vae=_TINY_VAE,
        clips=(
            TextEncoder(32, 2, 2, vocabulary=514, projection=32),
            TextEncoder(32, 2, 2, vocabulary=514, activation="gelu", projection=32),
        ),
        t5=_T5_TINY,
        sha256="ee03a4877644ba7e5cedf243d27a534271f4f1270c3254f7628f995f654af247",
    ),
    flux(
        "synthetic/tiny-flux",
        transformer=flux_transformer(
            "flux-tiny",
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=64,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 6, 6],
        ),
        vae=_TINY_VAE,
        clip=TextEncoder(32, 2, 2, vocabulary=514),
        t5=_T5_TINY,
        sha256="ac1c7d164a3423f2f55a89882ca0311c38aea5fc776893d7f94149777e09c645",
    ),
    flux2_klein(
        "synthetic/tiny-flux2-klein",
        transformer=flux2_transformer(
            "flux2-klein-tiny",
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=3 * 64,
            axes_dims_rope=[4, 4, 4, 4],
        ),
        vae=flux2_vae("flux2-vae-tiny", [32, 32, 64, 64], 1),
        text=_QWEN3_TINY,
        sha256="a43a4600c95072165d372738c684ddc6854e522d2f9f3bac2baaccaeed6a66a3",
    ),
    z_image(
        "synthetic/tiny-z-image",
        transformer=z_image_transformer(
            "z-image-tiny",
            dim=64,
            n_layers=2,
            n_refiner_layers=1,
            n_heads=4,
            n_kv_heads=4,
            cap_feat_dim=64,
            axes_dims=[4, 6, 6],
        ),
        vae=_TINY_VAE,
        text=_QWEN3_TINY,
        sha256="51e0dd904f002d8081d11a341bee74e4939690dd3b3fcceb94e36eace1ebc152",
    ),
    pixart(
        "synthetic/tiny-pixart",
        transformer=part(
            "pixart-tiny",
            "PixArtTransformer2DModel",
            # The pipeline knows sizes of images for 32, 64, 128 and 256 only.
            sample_size=32,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            in_channels=4,
            out_channels=8,
            patch_size=2,
            attention_bias=True,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-06,
            interpolation_scale=1,
            use_additional_conditions=False,
            cross_attention_dim=64,
            caption_channels=64,
        ),
        vae=VAE((32, 32, 64, 64), layers_per_block=1),
        text=_T5_TINY,
        sha256="70de3eb787758602db66f11e0d8667cd91776fabb12f6516ae34d79a7074ea06",
    ),
    sd3(
        "synthetic/sd3",
        transformer=sd3_transformer(
            "sd3-medium",
            sample_size=128,
            pos_embed_max_size=192,
            num_layers=24,
            attention_head_dim=64,
            num_attention_heads=24,
            joint_attention_dim=4096,
            caption_projection_dim=1536,
            pooled_projection_dim=2048,
            out_channels=16,
        ),
        vae=_FULL_VAE,
        clips=(
            TextEncoder(768, 12, 12, projection=768),
            TextEncoder(1280, 32, 20, activation="gelu", projection=1280),
        ),
        t5=_T5_XXL,
        sha256="dbf2aa6edd7d31b24f0bb9ba6ce6aa9e9be535196569a9792a784c8783cff8c0",
    ),
    flux(
        "synthetic/flux",
        transformer=flux_transformer(
            "flux-schnell",
            num_layers=19,
            num_single_layers=38,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=4096,
            pooled_projection_dim=768,
            axes_dims_rope=[16, 56, 56],
        ),
        vae=_FULL_VAE,
        clip=TextEncoder(768, 12, 12),
        t5=_T5_XXL,
        sha256="3658ad206bb883ea2f16eb8361299b2d009c1583b191732b170e8ea133f16483",
    ),
    flux2_klein(
        "synthetic/flux2-klein",
        transformer=flux2_transformer(
            "flux2-klein-4b",
            num_layers=5,
            num_single_layers=20,
            attention_head_dim=128,
            num_attention_heads=24,
            joint_attention_dim=3 * 2560,
            axes_dims_rope=[32, 32, 32, 32],
        ),
        vae=flux2_vae("flux2-vae", [128, 256, 512, 512], 2),
        text=_QWEN3_4B,
        sha256="9539a30c77befddf24d19f83c00525f2e223ddd4d3493174fad74e3789f0c294",
    ),
    z_image(
        "synthetic/z-image",
        transformer=z_image_transformer(
            "z-image",
            dim=3840,
            n_layers=30,
            n_refiner_layers=2,
            n_heads=30,
            n_kv_heads=30,
            cap_feat_dim=2560,
            axes_dims=[32, 48, 48],
        ),
        vae=_FULL_VAE,
        text=_QWEN3_4B,
        sha256="e93aa1abbfdabc885c7cd6d4fde6598eb5ac29f7f831f5a506e0dcfa8aa9ca43",
    ),
)
