"""The networks of builtin/shapes: their configuration, and the pipeline folder they are kept in.

The configuration files are written here and not by ``save_pretrained``: they hold only what both
old and new releases of diffusers and transformers read, and the names of the parameters are those
of the published Stable Diffusion checkpoints.
"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from sdbench.correctness.scene import OPENINGS, PALETTE, RELATION_WORDS, SHAPES
from sdbench.models.tokenizer import BEGIN, END, tokenizer_files

POSITIONS = 77
_WORDS = sorted(
    {
        *("a", "an", "the", "and", "on", "with", "background", *PALETTE, *SHAPES),
        *(word for opening in OPENINGS for word in opening.split()),
        *(word for ways in RELATION_WORDS.values() for words, _ in ways for word in words.split()),
    }
)

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    # Noisier than SD 1.5's: flat colours survive that one's last step, which tints what is made.
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "skip_prk_steps": True,
    "set_alpha_to_one": True,
    "steps_offset": 1,
    "clip_sample": False,
}
_CONTEXT = 192
UNET: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [96, 128, 160],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3,
    "up_block_types": ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": _CONTEXT,
    "attention_head_dim": 4,
    "norm_num_groups": 32,
}
VAE: dict[str, Any] = {
    "_class_name": "AutoencoderKL",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [32, 48, 64, 96],
    "layers_per_block": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 8,
    "sample_size": 128,
    "scaling_factor": 1.0,
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.31.0",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
_WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}


def learn_merges() -> list[tuple[str, str]]:
    """Byte-pair merges under which every word of the language is one token."""
    symbols = {word: [*word[:-1], f"{word[-1]}</w>"] for word in _WORDS}
    merges = []
    while True:
        pairs = Counter(pair for pieces in symbols.values() for pair in pairwise(pieces))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        symbols = {word: _merged(pieces, best) for word, pieces in symbols.items()}


def _merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for piece in pieces:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return out


TOKENIZER = tokenizer_files(merges=learn_merges())
_IDS: dict[str, int] = json.loads(TOKENIZER["vocab.json"])
TEXT: dict[str, Any] = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "vocab_size": len(_IDS),
    "hidden_size": _CONTEXT,
    "intermediate_size": 4 * _CONTEXT,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-05,
    "projection_dim": _CONTEXT,
    "bos_token_id": _IDS[BEGIN],
    "eos_token_id": _IDS[END],
    "pad_token_id": _IDS[END],
    "torch_dtype": "float16",
}


def tokenise(caption: str) -> list[int]:
    """What the shipped CLIPTokenizer makes of a caption of the language, faster."""
    words = caption.replace(",", " ,").split()
    ids = [_IDS[BEGIN], *(_IDS[f"{word}</w>"] for word in words)]
    return ids + [_IDS[END]] * (POSITIONS - len(ids))


def make_unet() -> UNet2DConditionModel:
    """A fresh UNet."""
    return UNet2DConditionModel.from_config(UNET)


def make_vae() -> AutoencoderKL:
    """A fresh VAE."""
    return AutoencoderKL.from_config(VAE)


def make_text_encoder() -> CLIPTextModel:
    """A fresh text encoder."""
    return CLIPTextModel(CLIPTextConfig(**TEXT)).float()


def make_scheduler() -> DDIMScheduler:
    """The noise schedule."""
    return DDIMScheduler.from_config(SCHEDULER)


def save_network(name: str, network: torch.nn.Module, folder: Path) -> None:
    """One network's weights in float16 under the published names."""
    state = {
        _published(name, key): value.detach().half().cpu().contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("position_ids")
    }
    path = folder / _WEIGHTS[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata={"format": "pt"})


def load_network(name: str, network: torch.nn.Module, folder: Path) -> None:
    """The reverse of :func:`save_network`."""
    stored = load_file(folder / _WEIGHTS[name])
    own = network.state_dict()
    network.load_state_dict(
        {key: stored.get(_published(name, key), value) for key, value in own.items()}
    )


def _published(network: str, key: str) -> str:
    """transformers 5 dropped the prefix that checkpoints have."""
    if network == "text_encoder" and not key.startswith("text_model."):
        return f"text_model.{key}"
    return key


def save_configs(folder: Path) -> None:
    """Everything of a pipeline folder but the weights."""
    documents = {
        "model_index.json": INDEX,
        "scheduler/scheduler_config.json": SCHEDULER,
        "unet/config.json": UNET,
        "vae/config.json": VAE,
        "text_encoder/config.json": TEXT,
    }
    files = {
        name: (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
        for name, document in documents.items()
    }
    files |= {f"tokenizer/{name}": data for name, data in TOKENIZER.items()}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
