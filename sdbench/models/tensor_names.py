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
_LORA = "a LoRA: a change of a model, not a model"
_EMBEDDING = "a textual inversion: a word, not a model"
# What is added to a model, and other networks than those above, by a name that each has.
_ADD_ONS = (
    ("a ControlNet", re.compile(r"control_model|controlnet")),
    ("an IP-Adapter: an addition to a model", re.compile(r"^(ip_adapter|image_proj)\.")),
    ("a motion module: an addition to a model that makes video", re.compile(r"motion_modules")),
)
_OTHER_NETWORKS = (
    ("a text encoder (T5)", re.compile(r"block\.\d+\.layer\.0\.SelfAttention")),
    (
        "a language model, as newer pipelines have for their text encoder",
        re.compile(r"(^|\.)layers\.\d+\.self_attn\.q_proj"),
    ),
    ("an image encoder", re.compile(r"^(vision_model|visual)\.")),
    ("an upscaler", re.compile(r"(?i)\.rdb\d?\.|\.RDB\d\.|^body\.\d+\.rdb\d")),
)


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
        return _LORA
    for kind, pattern in _ADD_ONS:
        if any(map(pattern.search, names)):
            return kind
    if any("double_blocks" in name or "joint_blocks" in name for name in names):
        return "a transformer of another family (Flux, SD 3)"
    if len(names) <= 2 and any("emb_params" in name or "clip_" in name for name in names):
        return _EMBEDDING
    for kind, landmark in LANDMARKS.items():
        if any(is_landmark(name, landmark) for name in names):
            return {"UNet2DConditionModel": "a UNet", "AutoencoderKL": "a VAE"}.get(
                kind, "a text encoder"
            )
    for kind, pattern in _OTHER_NETWORKS:
        if any(map(pattern.search, names)):
            return kind
    return f"a {next(iter(whole))}" if whole else f"unknown ({len(names)} tensors)"


def is_add_on(what: str) -> bool:
    """Whether :func:`describe_tensors`' words are of something that is added to a model."""
    return what in (_LORA, _EMBEDDING, *(kind for kind, _ in _ADD_ONS))


def how_to_use(what: str) -> str:
    """What to do with a file that is no whole model, by :func:`describe_tensors`' words."""
    if what.startswith(_LORA):
        return "add it to the model that it belongs to: --model MODEL --lora FILE"
    if is_add_on(what):
        return "sdbench does not measure it; give the model that it belongs to"
    return (
        "from_single_file needs a whole checkpoint (UNet, VAE and text encoder in one file): give "
        "the folder or the checkpoint that this file belongs to"
    )
