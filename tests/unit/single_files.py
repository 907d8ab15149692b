"""Models in one file, made from folders: names and layouts of the original checkpoints.

The reverse of what diffusers does (``loaders/single_file_utils.py``), for the small models.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Arrays = dict[str, NDArray[Any]]
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
}
_SD3 = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj.": "x_embedder.proj.",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}


def weights(folder: Path, component: str) -> Arrays:
    """The tensors of a component of a folder."""
    (path,) = (folder / component).glob("*.safetensors")
    return dict(load_file(path))


def stable_diffusion(folder: Path, path: Path, leave_out: str = "") -> Path:
    """The whole checkpoint of a folder of Stable Diffusion 1.x, but for one component."""
    made: Arrays = {}
    for component, convert in {"unet": _unet, "vae": _vae, "text_encoder": _text}.items():
        if component != leave_out:
            made |= convert(weights(folder, component))
    return saved(path, made)


def saved(path: Path, tensors: Mapping[str, NDArray[Any]]) -> Path:
    """A safetensors file of these."""
    save_file({name: np.ascontiguousarray(one) for name, one in tensors.items()}, path)
    return path


def _text(tensors: Arrays) -> Arrays:
    return {f"cond_stage_model.transformer.{name}": one for name, one in tensors.items()}


def _unet(tensors: Arrays) -> Arrays:
    layers = len({name.split(".")[3] for name in tensors if "down_blocks.0.resnets" in name})
    return {
        f"model.diffusion_model.{_unet_name(name, tensors, layers)}": one
        for name, one in tensors.items()
    }


def _unet_name(name: str, tensors: Arrays, layers: int) -> str:
    for own, original in _UNET.items():
        if name.startswith(f"{own}."):
            return original + name[len(own) :]
    for own, original in _RESNET.items():
        if "resnets" in name:
            name = name.replace(f".{own}.", f".{original}.")
    mid = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
    for own, number_in_middle in mid.items():
        name = name.replace(f"mid_block.{own}.", f"middle_block.{number_in_middle}.")
    parts = name.split(".")
    if parts[0] not in ("down_blocks", "up_blocks"):
        return name
    block, kind, number, rest = int(parts[1]), parts[2], int(parts[3]), ".".join(parts[4:])
    at = {"resnets": "0", "attentions": "1"}.get(kind)
    if parts[0] == "down_blocks":
        if at is None:
            return f"input_blocks.{(layers + 1) * (block + 1)}.0.op.{parts[-1]}"
        return f"input_blocks.{(layers + 1) * block + number + 1}.{at}.{rest}"
    place = (layers + 1) * block + (number if at is not None else layers)
    if at is None:
        attends = any(one.startswith(f"up_blocks.{block}.attentions") for one in tensors)
        return f"output_blocks.{place}.{2 if attends else 1}.{rest}"
    return f"output_blocks.{place}.{at}.{rest}"


def _vae(tensors: Arrays) -> Arrays:
    levels = len({name.split(".")[2] for name in tensors if name.startswith("decoder.up_blocks")})
    made: Arrays = {}
    for name, one in tensors.items():
        original = name
        for own, other in _VAE.items():
            original = original.replace(f".{own}.", f".{other}.")
        original = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", original)
        original = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", original)
        up = re.search(r"up_blocks\.(\d+)\.", original)
        if up:
            original = original.replace(up[0], f"up.{levels - 1 - int(up[1])}.")
            original = original.replace("resnets.", "block.").replace("upsamplers.0", "upsample")
        attends = ".mid.attn_1." in original and one.ndim == 2
        made[f"first_stage_model.{original}"] = one[:, :, None, None] if attends else one
    return made


def sd3_denoiser(tensors: Arrays) -> Arrays:
    """The denoiser of Stable Diffusion 3 as it is published in one file."""
    made: Arrays = {}
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks"))
    for name, one in tensors.items():
        original = name
        for own, other in _SD3.items():
            original = original.replace(own, other)
        original = original.replace("transformer_blocks.", "joint_blocks.")
        if name.startswith("proj_out."):
            original = f"final_layer.linear.{name.rpartition('.')[2]}"
        swapped = name.startswith(("norm_out.", f"transformer_blocks.{last}.norm1_context."))
        made[original] = np.concatenate(np.split(one, 2)[::-1]) if swapped else one
    _fuse(made, ("attn.to_q", "attn.to_k", "attn.to_v"), "x_block.attn.qkv")
    _fuse(made, ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"), "context_block.attn.qkv")
    return {f"model.diffusion_model.{name}": one for name, one in made.items()}


def z_image_denoiser(tensors: Arrays) -> Arrays:
    """The denoiser of Z-Image as it is published in one file."""
    made: Arrays = {}
    for name, one in tensors.items():
        original = name.replace("all_final_layer.2-1.", "final_layer.")
        original = original.replace("all_x_embedder.2-1.", "x_embedder.")
        original = original.replace(".norm_k.", ".k_norm.").replace(".norm_q.", ".q_norm.")
        made[original.replace(".attention.to_out.0.", ".attention.out.")] = one
    _fuse(made, ("attention.to_q", "attention.to_k", "attention.to_v"), "attention.qkv")
    return made


def _fuse(tensors: Arrays, parts: tuple[str, str, str], name: str) -> None:
    """Three projections as one tensor."""
    for first in [one for one in tensors if f".{parts[0]}." in one]:
        fused = [tensors.pop(first.replace(parts[0], part)) for part in parts]
        tensors[first.replace(parts[0], name)] = np.concatenate(fused)


def without(folder: Path, parts: Path, *components: str) -> Path:
    """A folder of parts: links to all of a model's folder but the weights of some components."""
    parts.mkdir()
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        held = inside.parts[0] in components and path.suffix == ".safetensors"
        if path.is_file() and not held:
            (parts / inside).parent.mkdir(exist_ok=True)
            (parts / inside).symlink_to(path)
    return parts


def header_only(path: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "F16") -> Path:
    """A sparse file with these tensors, of any size."""
    at, header = 0, {}
    for name, shape in shapes.items():
        end = at + 2 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return path


Convert = Callable[[Arrays], Arrays]


def gguf_file(path: Path, tensors: Arrays, architecture: str) -> Path:
    """A GGUF file with the package's own writer: matrices as Q8_0, everything else as float32."""
    import gguf

    writer = gguf.GGUFWriter(str(path), architecture)
    q8 = gguf.GGMLQuantizationType.Q8_0
    for name, one in tensors.items():
        whole = one.astype(np.float32)
        if name.endswith(".weight") and one.ndim == 2 and not one.shape[1] % 32:
            writer.add_tensor(name, gguf.quants.quantize(whole, q8), raw_dtype=q8)
        else:
            writer.add_tensor(name, whole)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
