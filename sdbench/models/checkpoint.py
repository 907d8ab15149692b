"""A model in one file: which one it is, from the names and shapes of its tensors.

Nothing is guessed: diffusers takes every file that it does not recognise for Stable Diffusion 1.5
(``infer_diffusers_model_type``); here it is an unknown type.
"""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.folder_fit import PURPOSES
from sdbench.models.gguf_header import GgufHeader
from sdbench.models.tensor_names import describe_tensors, how_to_use, is_add_on
from sdbench.models.weights import Tensor

Tensors = Mapping[str, Tensor]
_DENOISER = "model.diffusion_model."
# Where the other components begin in the layouts that diffusers reads (``single_file_utils.py``).
_OTHERS = {
    "vae": ("first_stage_model.", "vae."),
    "text_encoder": (
        "cond_stage_model.",
        "conditioner.embedders.0.",
        "text_encoders.clip_l.transformer.",
    ),
    "text_encoder_2": ("conditioner.embedders.1.", "text_encoders.clip_g.transformer."),
    "text_encoder_3": ("text_encoders.t5xxl.transformer.",),
}
_EVERY_OTHER = (
    *(prefix for prefixes in _OTHERS.values() for prefix in prefixes),
    *("conditioner.", "text_encoders.", "model_ema."),
)
# Tensors of weights that are quantised in a way of their own, which diffusers does not undo.
_QUANTISED = re.compile(
    r"(^|\.)(scaled_fp8|scale_weight|weight_scale|comfy_quant|qweight|wscales|absmax)$"
    r"|\.quant_state\."
)
# ``general.architecture`` as the usual converters write it, and the layouts that have it.
_ARCHITECTURES = {
    "flux": ("FLUX.1", "FLUX.2"),
    "flux2": ("FLUX.2",),
    "sd3": ("Stable Diffusion 3",),
    "lumina2": ("Z-Image",),
    "z_image": ("Z-Image",),
}
NOT_WHOLE = "not a whole model"
"""How the text begins of a file that is known to be something else than a model."""
_FAMILIES = "Stable Diffusion 1.x, SDXL, Stable Diffusion 3, FLUX.1, FLUX.2, Z-Image"


class UnknownTypeError(Exception):
    """A file is none of the models that are known; the text says what it is."""


@dataclass(frozen=True)
class Layout:
    """How the files of a family are recognised.

    ``read`` gives what the tensors of the denoiser say of its configuration. Where that agrees with
    the published model in ``fixed``, the rest of the configuration is the published one's.
    """

    title: str
    landmark: str
    published: str
    """The synthetic model with the configuration of the published one."""
    read: Callable[[Tensors], dict[str, Any]]
    fixed: tuple[str, ...]
    repository: str
    """Where on the Hub the parts are that such files do not hold."""
    revision: str | None = None
    """The commit there whose tokenizers are fetched; None: only a folder can give them."""
    alone: bool = False
    """Whether only the denoiser is read from such a file."""

    @property
    def component(self) -> str:
        """The denoiser's name in ``model_index.json``."""
        return "unet" if "unet/config.json" in SYNTHETIC[self.published].configs else "transformer"


@dataclass(frozen=True)
class Recognised:
    """What a file holds.

    ``read`` is what the shapes say of the denoiser's configuration; ``config`` is the whole
    configuration, None where it is not known. ``held`` has the tensors of each component.
    """

    layout: Layout
    read: dict[str, Any]
    config: dict[str, Any] | None
    held: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    """What the published scheduler's configuration has otherwise."""


def recognise(tensors: Tensors) -> Recognised:
    """Which model a file is.

    Raises:
        UnknownTypeError: unknown, or one that is no text-to-image model, in a few words.
    """
    quantised = next(filter(_QUANTISED.search, tensors), None)
    if quantised is not None:
        raise UnknownTypeError(
            "its weights are quantised in a format of another program, which diffusers does not "
            "read; take the file in float16, bfloat16 or plain FP8, or a GGUF file"
        )
    denoiser = _denoiser(tensors)
    for layout in _LAYOUTS:
        if layout.landmark in denoiser:
            try:
                return _recognised(layout, denoiser, tensors)
            except (ArithmeticError, LookupError, StopIteration, ValueError):
                break
    what = describe_tensors(dict(tensors))
    known = not what.startswith(("unknown", "a whole checkpoint", "a transformer of another"))
    raise UnknownTypeError(
        f"{NOT_WHOLE if known else 'unknown type'}: {what}; expected a whole checkpoint "
        f"or a denoiser in the original layout of {_FAMILIES}, or a folder as diffusers saves it"
        + (f"; {how_to_use(what)}" if is_add_on(what) else "")
    )


def recognise_gguf(header: GgufHeader) -> Recognised:
    """Which model a GGUF file is the denoiser of.

    Raises:
        UnknownTypeError: unknown, or one that diffusers does not read as GGUF.
    """
    architecture, expected = header.architecture, _ARCHITECTURES.get(header.architecture or "")
    if expected is None:
        raise UnknownTypeError(
            f"unknown type: a GGUF file of {architecture or 'no architecture'!r:.60}; expected the "
            f"denoiser of a model, one of {', '.join(_ARCHITECTURES)}"
        )
    found = recognise(header.tensors)
    if found.layout.title not in expected:
        raise UnknownTypeError(
            f"unknown type: a GGUF file that calls itself {architecture} and has the tensors of "
            f"{found.layout.title}"
        )
    return dataclasses.replace(
        found, held={found.layout.component: found.held[found.layout.component]}
    )


def _denoiser(tensors: Tensors) -> dict[str, Tensor]:
    """The denoiser's tensors, without the prefix that a whole checkpoint gives them."""
    own = {name[len(_DENOISER) :]: one for name, one in tensors.items() if _is_prefixed(name)}
    if own:
        return own
    return {name: one for name, one in tensors.items() if not name.startswith(_EVERY_OTHER)}


def _is_prefixed(name: str) -> bool:
    return name.startswith(_DENOISER)


def _recognised(layout: Layout, denoiser: dict[str, Tensor], tensors: Tensors) -> Recognised:
    read = layout.read(denoiser)
    published = SYNTHETIC[layout.published].configs[f"{layout.component}/config.json"]
    expected, inputs = published["in_channels"], read["in_channels"]
    if inputs != expected:
        purpose = PURPOSES.get(inputs) if layout.component == "unet" else None
        made_for = f": it is made for {purpose}" if purpose else ", so it begins with an image"
        raise UnknownTypeError(
            f"its denoiser takes {inputs} channels, and that of {layout.title} {expected}{made_for}"
        )
    if layout.component == "unet" and not any(map(_is_prefixed, tensors)):
        raise UnknownTypeError(
            "a UNet alone in the original layout, which diffusers does not read; take the whole "
            "checkpoint"
        )
    known = all(read.get(key) == published.get(key) for key in layout.fixed)
    if layout.component == "unet":
        known = known and _shapes(denoiser) == _published_shapes(layout)
    held = {layout.component: denoiser}
    if not layout.alone:
        for component, prefixes in _OTHERS.items():
            found = {name: one for name, one in tensors.items() if name.startswith(prefixes)}
            if found:
                held[component] = found
    scheduler: dict[str, Any] = {}
    if "v_pred" in tensors:
        scheduler = {"prediction_type": "v_prediction"}
        if "ztsnr" in tensors:
            scheduler["rescale_betas_zero_snr"] = True
    if layout.published == "synthetic/flux" and read["guidance_embeds"]:
        # As published with FLUX.1-dev; the synthetic model is schnell.
        scheduler = {"shift": 3.0, "use_dynamic_shifting": True}
    config = _whole(published, read) if known else None
    return Recognised(layout, read, config, held, scheduler)


def _whole(published: dict[str, Any], read: dict[str, Any]) -> dict[str, Any]:
    """The published configuration with what was read; the heads are as wide as the published."""
    config = published | read
    if "caption_projection_dim" in read:
        config["num_attention_heads"] = (
            read["caption_projection_dim"] // published["attention_head_dim"]
        )
    return config


def _shapes(tensors: Tensors) -> Counter[tuple[int, ...]]:
    return Counter(tensor.shape for tensor in tensors.values())


def _published_shapes(layout: Layout) -> Counter[tuple[int, ...]]:
    network = SYNTHETIC[layout.published].networks[layout.component]
    return Counter(shape for _, shape in network.parameters())


def _count(tensors: Iterable[str], blocks: str) -> int:
    """How many blocks of a list there are."""
    return len({name.split(".", 2)[1] for name in tensors if name.startswith(f"{blocks}.")})


def _of_unet(tensors: Tensors) -> dict[str, Any]:
    context = next(
        one.shape[1] for name, one in tensors.items() if name.endswith("attn2.to_k.weight")
    )
    return {
        "in_channels": tensors["input_blocks.0.0.weight"].shape[1],
        "cross_attention_dim": context,
    }


def _of_sd3(tensors: Tensors) -> dict[str, Any]:
    channels = tensors["x_embedder.proj.weight"].shape[1]
    caption, joint = tensors["context_embedder.weight"].shape
    dual = sorted({int(name.split(".")[1]) for name in tensors if ".x_block.attn2." in name})
    return {
        "in_channels": channels,
        "num_layers": _count(tensors, "joint_blocks"),
        "caption_projection_dim": caption,
        "joint_attention_dim": joint,
        "pooled_projection_dim": tensors["y_embedder.mlp.0.weight"].shape[1],
        "pos_embed_max_size": math.isqrt(tensors["pos_embed"].shape[1]),
        "qk_norm": "rms_norm" if any(".ln_q." in name for name in tensors) else None,
        "dual_attention_layers": dual,
    }


def _of_double_stream(tensors: Tensors) -> dict[str, Any]:
    """Of FLUX.1 and FLUX.2."""
    width, channels = tensors["img_in.weight"].shape
    head = tensors["double_blocks.0.img_attn.norm.query_norm.scale"].shape[0]
    return {
        "in_channels": channels,
        "num_layers": _count(tensors, "double_blocks"),
        "num_single_layers": _count(tensors, "single_blocks"),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": tensors["txt_in.weight"].shape[1],
        "guidance_embeds": any(name.startswith("guidance_in.") for name in tensors),
    }


def _of_flux(tensors: Tensors) -> dict[str, Any]:
    pooled = tensors["vector_in.in_layer.weight"].shape[1]
    return _of_double_stream(tensors) | {"pooled_projection_dim": pooled}


def _of_z_image(tensors: Tensors) -> dict[str, Any]:
    channels = tensors["final_layer.linear.weight"].shape[0] // 4  # patches of 2 by 2
    width = tensors["x_embedder.weight"].shape[0]
    head = tensors["layers.0.attention.q_norm.weight"].shape[0]
    return {
        "in_channels": channels,
        "dim": width,
        "n_layers": _count(tensors, "layers"),
        "n_refiner_layers": _count(tensors, "noise_refiner"),
        "n_heads": width // head,
        "n_kv_heads": width // head,
        "cap_feat_dim": tensors["cap_embedder.0.weight"].shape[0],
    }


# The first whose landmark is there: FLUX.2's tensors include the landmark of FLUX.1, SDXL's that of
# Stable Diffusion 1.x.
_LAYOUTS = (
    Layout(
        "FLUX.2",
        "single_stream_modulation.lin.weight",
        "synthetic/flux2-klein",
        _of_double_stream,
        ("attention_head_dim", "guidance_embeds"),
        "black-forest-labs/FLUX.2-klein-4B",
        alone=True,
    ),
    Layout(
        "FLUX.1",
        "double_blocks.0.img_attn.norm.key_norm.scale",
        "synthetic/flux",
        _of_flux,
        ("attention_head_dim",),
        "black-forest-labs/FLUX.1-schnell",
        alone=True,
    ),
    Layout(
        "Stable Diffusion 3",
        "joint_blocks.0.context_block.adaLN_modulation.1.bias",
        "synthetic/sd3",
        _of_sd3,
        ("joint_attention_dim", "pooled_projection_dim"),
        "stabilityai/stable-diffusion-3-medium-diffusers",
    ),
    Layout(
        "Z-Image",
        "layers.0.adaLN_modulation.0.weight",
        "synthetic/z-image",
        _of_z_image,
        ("dim", "n_heads", "cap_feat_dim"),
        "Tongyi-MAI/Z-Image-Turbo",
        alone=True,
    ),
    Layout(
        "SDXL",
        "label_emb.0.0.weight",
        "synthetic/sdxl",
        _of_unet,
        ("cross_attention_dim",),
        "stabilityai/stable-diffusion-xl-base-1.0",
        "462165984030d82259a11f4367a4eed129e94a7b",
    ),
    Layout(
        "Stable Diffusion 1.x",
        "input_blocks.0.0.weight",
        "synthetic/sd15",
        _of_unet,
        ("cross_attention_dim",),
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    ),
)
