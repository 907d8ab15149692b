"""What the environment asks the stand-in to be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from .fault_spec import Fault, SettingError, parse_faults

ModuleNames: TypeAlias = Mapping[str, "list[str] | None"]
"""Public names by module; None where the release does not have the module."""

# Metal recommends two thirds of the memory on small Macs; this is a Mac with 16 GiB.
DEFAULT_RECOMMENDED_BYTES = (16 << 30) * 2 // 3


@cache
def api_by_release() -> Mapping[str, ModuleNames]:
    """The MPS API of each torch release, as found in the macOS wheels."""
    path = Path(__file__).parents[2] / "data" / "mps_api.json"
    api: Mapping[str, ModuleNames] = json.loads(path.read_text("utf-8"))["api"]
    return api


@dataclass(frozen=True)
class Settings:
    """Everything the stand-in reads from its environment, once, at import."""

    faults: tuple[Fault, ...]
    release: str | None
    """The torch release whose MPS API is shown; None shows the installed one's."""
    recommended_bytes: int
    high_watermark: float
    low_watermark: float
    fall_back_to_cpu: bool
    device_name: str


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises SettingError if a variable of the stand-in's own has a bad value.

    PYTORCH_* values are PyTorch's to judge: a bad watermark is reported by the allocator, when it is first
    used, as the real one does.
    """
    release = environment.get("SDBENCH_STANDIN_API") or None
    if release is not None and release not in api_by_release():
        raise SettingError(
            f"SDBENCH_STANDIN_API: unknown release {release!r}; allowed: {', '.join(api_by_release())}"
        )
    return Settings(
        faults=parse_faults(environment.get("SDBENCH_STANDIN_FAULT", "")),
        release=release,
        recommended_bytes=_recommended_bytes(environment.get("SDBENCH_STANDIN_MEMORY_BYTES")),
        high_watermark=_ratio(environment, "PYTORCH_MPS_HIGH_WATERMARK_RATIO", 1.7),
        low_watermark=_ratio(environment, "PYTORCH_MPS_LOW_WATERMARK_RATIO", 1.4),
        fall_back_to_cpu=environment.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1",
        device_name=environment.get("SDBENCH_STANDIN_NAME") or "Simulated MPS (stand-in)",
    )


def _recommended_bytes(text: str | None) -> int:
    if not text:
        return DEFAULT_RECOMMENDED_BYTES
    if not text.isdecimal() or int(text) == 0:
        raise SettingError(f"SDBENCH_STANDIN_MEMORY_BYTES: {text!r} must be a whole number above 0")
    return int(text)


def _ratio(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        return 0.0  # what PyTorch's strtod makes of it
