"""A case (one setting of every axis) and a variant (an environment to measure it in)."""

import functools
import hashlib
import json
from typing import Any, Literal, NamedTuple

import msgspec

from sdbench.records.numbers import Bytes, GuidanceScale, Resolution, Steps

Batching = Literal["loop", "batch", "split"]
Dtype = Literal["float32", "float16", "bfloat16"]
Attention = Literal[
    "default",
    "math",
    "sdpa",
    "native-flash",
    "native-efficient",
    "native-cudnn",
    "flash",
    "flash-3",
    "sage",
    "xformers",
    "flex",
]
Offload = Literal["none", "model", "sequential", "group"]
VaeDtype = Literal["same", "float32"]
VaeDevice = Literal["same", "cpu"]
TextEncoder = Literal["resident", "offloaded"]
Quantization = Literal[
    "none", "bitsandbytes-8bit", "bitsandbytes-4bit", "torchao-int8", "quanto-int8"
]
Mode = Literal["text-to-image", "image-to-image"]
Scheduler = Literal[
    "ddim",
    "pndm",
    "euler",
    "euler-ancestral",
    "dpmsolver",
    "dpmsolver-karras",
    "unipc",
    "heun",
    "lcm",
    "flow-euler",
    "flow-heun",
    "flow-dpmsolver",
    "flow-unipc",
    "own",
]
"""Schedulers of diffusers by our names (``worker/pipelines/schedulers.py``); ``own``: as the
model's folder has it."""
DeviceKind = Literal["mps", "cuda", "cpu"]


class Case(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One cell of the matrix: the settings that may differ within a run.

    The defaults here are part of the identity of a case (only what differs from them is hashed), so
    they never change, and an axis added later leaves old ids as they are. None is what the run as a
    whole has.
    """

    resolution: Resolution = "512x512"
    attention_slicing: bool = False
    warmup: bool = False
    batching: Batching = "loop"
    dtype: Dtype = "float32"
    vae_slicing: bool = False
    vae_tiling: bool = False
    attention: Attention = "default"
    offload: Offload = "none"
    scheduler: Scheduler | None = None
    steps: Steps | None = None
    guidance_scale: GuidanceScale | None = None
    vae_dtype: VaeDtype = "same"
    vae_device: VaeDevice = "same"
    attention_upcast: bool = False
    compile: bool = False
    quantization: Quantization = "none"
    text_encoder: TextEncoder = "resident"

    @property
    def width(self) -> int:
        """Width of the image in pixels."""
        return int(self.resolution.split("x")[0])

    @property
    def height(self) -> int:
        """Height of the image in pixels."""
        return int(self.resolution.split("x")[1])

    @property
    def case_id(self) -> str:
        """A readable slug and a short hash over the settings that are not default."""
        return _case_id(self)

    def words(self) -> list[str]:
        """Short words for the settings that are not default, resolution apart."""
        return [
            axis.slug.format(value)
            for name, axis in AXES.items()
            if axis.slug and (value := getattr(self, name)) != _CASE_DEFAULTS[name]
        ]

    def without(self, axis: str) -> tuple[object, ...]:
        """All settings but one: equal for cases that differ in that one at most."""
        return tuple(getattr(self, name) for name in AXES if name != axis)


class Axis(NamedTuple):
    """The facts about one setting of a case, in addition to its values and its default."""

    words: str
    """The setting at a value, for a person: a value that says nothing by itself has a name."""
    slug: str = ""
    """The word for a value that is not default, in the case's id too, so it never changes."""
    holds_memory: bool = True
    """Whether it changes how much memory a pass takes."""
    code: str = ""
    """The line that switches it on in diffusers, where that is the same for every value."""


AXES: dict[str, Axis] = {
    "resolution": Axis("{}"),
    "attention_slicing": Axis(
        "attention slicing {}", "sliced", code="pipe.enable_attention_slicing()"
    ),
    "warmup": Axis("warm-up {}", "primed", holds_memory=False),
    "batching": Axis("{}", "{}"),
    "dtype": Axis("{}", "{}"),
    "vae_slicing": Axis("VAE slicing {}", "vae-sliced", code="pipe.vae.enable_slicing()"),
    "vae_tiling": Axis("VAE tiling {}", "vae-tiled", code="pipe.vae.enable_tiling()"),
    "attention": Axis("attention {}", "attention-{}"),
    "offload": Axis("offload {}", "offload-{}"),
    "scheduler": Axis("scheduler {}", "{}", holds_memory=False),
    "steps": Axis("steps {}", "{}-steps", holds_memory=False),
    "guidance_scale": Axis("guidance {}", "guidance-{:g}"),
    "vae_dtype": Axis("VAE type {}", "vae-{}"),
    "vae_device": Axis("VAE device {}", "vae-on-{}"),
    "attention_upcast": Axis("attention upcast {}", "upcast"),
    "compile": Axis("compilation {}", "compiled"),
    "quantization": Axis("quantization {}", "{}"),
    "text_encoder": Axis("text encoder {}", "text-encoder-{}"),
}
"""Every setting of a case, in the order of its fields."""

_CASE_DEFAULTS: dict[str, Any] = msgspec.structs.asdict(Case())


def spelling(value: object) -> str:
    """A value of an axis as ``--only`` takes it: ``true``, ``512x512``."""
    return str(value).lower()


@functools.lru_cache(maxsize=1 << 17)
def _case_id(case: Case) -> str:
    """Rows are looked up by it many times."""
    changed = {
        name: value
        for name, value in msgspec.structs.asdict(case).items()
        if value != _CASE_DEFAULTS[name]
    }
    text = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    return "-".join([case.resolution, *case.words(), digest])


class Arm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One side of a comparison inside a run: an environment, environment variables, telemetry on or
    off.

    ``hold_bytes`` is how much memory a separate process holds meanwhile (``[pressure]``).
    """

    name: str = "current"
    stack: str = "current"
    env: dict[str, str] = {}
    telemetry: bool = True
    hold_bytes: Bytes = 0
