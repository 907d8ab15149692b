"""A case (one setting of every axis) and an arm (an environment to measure it in)."""

import functools
import hashlib
import json
from typing import Any, Literal

import msgspec

from sdbench.records.numbers import (
    Bytes,
    Resolution,
)

Batching = Literal["loop", "batch"]
Dtype = Literal["float32", "float16", "bfloat16"]
Attention = Literal["default", "math", "sdpa"]
Offload = Literal["none", "model", "sequential"]
DeviceKind = Literal["mps", "cuda", "cpu"]


class Case(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One cell of the matrix: the settings that may differ within a run.

    The defaults here are part of the identity of a case (only what differs from them is hashed), so
    they never change, and an axis added later leaves old ids as they are.
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

    @property
    def width(self) -> int:
        """Width of the picture in pixels."""
        return int(self.resolution.split("x")[0])

    @property
    def height(self) -> int:
        """Height of the picture in pixels."""
        return int(self.resolution.split("x")[1])

    @property
    def case_id(self) -> str:
        """A readable slug and a short hash over the settings that are not default."""
        return _case_id(self)

    def words(self) -> list[str]:
        """Short words for the settings that are not default, resolution apart."""
        return [
            word
            for word, holds in (
                ("sliced", self.attention_slicing),
                ("primed", self.warmup),
                ("batch", self.batching == "batch"),
                (self.dtype, self.dtype != "float32"),
                ("vae-sliced", self.vae_slicing),
                ("vae-tiled", self.vae_tiling),
                (f"attention-{self.attention}", self.attention != "default"),
                (f"offload-{self.offload}", self.offload != "none"),
            )
            if holds
        ]


_CASE_DEFAULTS: dict[str, Any] = msgspec.structs.asdict(Case())


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
    """One side of a comparison inside a run: a stack, an environment, telemetry on or off.

    ``hold_bytes`` is how much memory a separate process holds meanwhile (``[pressure]``).
    """

    name: str = "current"
    stack: str = "current"
    env: dict[str, str] = {}
    telemetry: bool = True
    hold_bytes: Bytes = 0
