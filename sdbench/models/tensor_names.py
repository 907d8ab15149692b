"""What weights are, from the names of their tensors."""

import re

from sdbench.models.weights import Tensor

# A tensor that every network of a class has.
LANDMARKS = {
    "UNet2DConditionModel": "conv_in.weight",
    "AutoencoderKL": "decoder.conv_in.weight",
    "CLIPTextModel": "embeddings.token_embedding.weight",
    "CLIPTextModelWithProjection": "embeddings.token_embedding.weight",
}
_CHECKPOINT_PARTS: dict[str, tuple[str, ...]] = {
    "UNet": ("model.diffusion_model.",),
    "VAE": ("first_stage_model.",),
    "text encoder": ("cond_stage_model.", "conditioner.", "text_encoders."),
}


def is_landmark(name: str, landmark: str) -> bool:
    """Whether a tensor is a landmark; text encoders name theirs with a prefix or without."""
    return name.removeprefix("text_model.") == landmark


def describe_tensors(tensors: dict[str, Tensor]) -> str:
    """What the tensors of a file are, from their names."""
    names = list(tensors)
    whole = {
        part
        for part, beginnings in _CHECKPOINT_PARTS.items()
        if any(name.startswith(beginnings) for name in names)
    }
    if len(whole) > 1:
        missing = [part for part in _CHECKPOINT_PARTS if part not in whole]
        without = f", without its {' and '.join(missing)}" if missing else ""
        return f"a whole checkpoint in the original layout{without}"
    if any(re.search(r"lora[_.]|\.alpha$", name) for name in names):
        return "a LoRA: a change of a model, not a model"
    if any("control_model" in name or "controlnet" in name for name in names):
        return "a ControlNet"
    if any("double_blocks" in name or "joint_blocks" in name for name in names):
        return "a transformer of another family (Flux, SD 3)"
    if len(names) <= 2 and any("emb_params" in name or "clip_" in name for name in names):
        return "a textual inversion: a word, not a model"
    for kind, landmark in LANDMARKS.items():
        if any(is_landmark(name, landmark) for name in names):
            return {"UNet2DConditionModel": "a UNet", "AutoencoderKL": "a VAE"}.get(
                kind, "a text encoder"
            )
    return f"a {next(iter(whole))}" if whole else f"unknown ({len(names)} tensors)"
