"""Switch a case's settings on in a loaded pipeline."""

from typing import Any

from .stack import CaseImpossibleError


def apply_settings(pipeline: Any, case: "dict[str, Any]") -> None:
    """Switch the case's settings on.

    Raises:
        CaseImpossibleError: the stack has no such attention implementation.
    """
    if case["attention"] != "default":
        _set_attention(pipeline, case["attention"])
    if case["attention_slicing"]:
        pipeline.enable_attention_slicing()
    # Newer diffusers switch these on the VAE; the pipeline's own methods are older and deprecated.
    if case["vae_slicing"]:
        pipeline.vae.enable_slicing()
    if case["vae_tiling"]:
        pipeline.vae.enable_tiling()


def _set_attention(pipeline: Any, name: str) -> None:
    from diffusers.models import attention_processor
    from torch.nn import functional

    if name == "sdpa" and not hasattr(functional, "scaled_dot_product_attention"):
        raise CaseImpossibleError(
            "this torch has no scaled_dot_product_attention (it came with 2.0)"
        )
    processor = {"math": "AttnProcessor", "sdpa": "AttnProcessor2_0"}[name]
    pipeline.unet.set_attn_processor(getattr(attention_processor, processor)())
