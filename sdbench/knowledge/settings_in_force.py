"""Settings that the failed run already had and that no remedy therefore advises. Pure.

Each name below may stand in a remedy of ``failure_texts.toml`` as ``[unless NAME: ...]``. All
settings of a worker are known. A pasted log seldom states them; an unknown setting counts as not in
force.
"""

import re
from collections.abc import Mapping
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from sdbench.knowledge.version_ranges import Versions, release, within

DTYPES = ("float32", "float16", "bfloat16")
NAMES = frozenset(
    {
        *DTYPES,
        "half",  # float16 or bfloat16
        "one-at-a-time",  # images are made one by one
        "slicing",
        "no-slicing",
        "vae-slicing",
        "vae-tiling",
        "no-offload",
        "fallback",  # PYTORCH_ENABLE_MPS_FALLBACK
        "ddim",
        "mps",
        "cpu",
        "cuda",
    }
)


def of_job(job: Mapping[str, Any], environment: Mapping[str, str]) -> frozenset[str]:
    """The settings in force in a worker with this job and these environment variables."""
    case = job["case"]
    images = int(job.get("images", 1))
    so = {
        "one-at-a-time": images == 1 or case.get("batching", "loop") != "batch",
        "slicing": bool(case.get("attention_slicing")),
        "no-slicing": not case.get("attention_slicing"),
        "vae-slicing": bool(case.get("vae_slicing")),
        "vae-tiling": bool(case.get("vae_tiling")),
        "no-offload": case.get("offload", "none") == "none",
        "fallback": environment.get("PYTORCH_ENABLE_MPS_FALLBACK") == "1",
        "ddim": job.get("scheduler") == "ddim",
        str(job.get("device")): job.get("device") in NAMES,
    }
    return frozenset(name for name, holds in so.items() if holds)


def of_text(text: str) -> frozenset[str]:
    """The settings that a pasted text shows to be in force, from its commands and code, not from
    its advice."""
    return frozenset(name for name, pattern in _IN_TEXT.items() if pattern.search(text))


def dtype_in_text(text: str) -> str | None:
    """The data type that a text says the model was loaded in; None where it names none or two."""
    named = {match["dtype"] for match in _DTYPE.finditer(text)}
    named |= {dtype for dtype, pattern in _DTYPE_OPTIONS.items() if pattern.search(text)}
    return next(iter(named)) if len(named) == 1 else None


def holds(condition: str, versions: Versions) -> bool:
    """Whether a condition (a name, or a range such as ``torch>=2.1``) holds for these versions and
    settings."""
    package, specifier = _split(condition)
    if package is not None:
        return within(specifier, release(versions.torch if package == "torch" else versions.macos))
    if condition == "half":
        return versions.dtype in ("float16", "bfloat16")
    return condition in versions.in_force or condition == versions.dtype


def check_condition(condition: str) -> None:
    """Raise ValueError where a condition is neither a known name nor a range of versions."""
    package, specifier = _split(condition)
    if package is None and condition not in NAMES:
        raise ValueError(f"{condition}: not a known setting")
    try:
        SpecifierSet(specifier)
    except InvalidSpecifier as error:
        raise ValueError(str(error)) from None


def _split(condition: str) -> tuple[str | None, str]:
    """``torch>=2.1`` as its package and its range; None and nothing for a name."""
    match = re.fullmatch(r"(torch|macos)([<>=!~].*)", condition)
    return (match[1], match[2]) if match else (None, "")


_COMMAND = r"(?m)^[^\n]{0,200}(?:Launching Web UI with arguments:|main\.py|webui\.sh)[^\n]{0,400}"
_IN_TEXT = {
    "fallback": re.compile(
        r"(?m)(?:^|[;&\s])(?:export )?PYTORCH_ENABLE_MPS_FALLBACK=1"
        r"(?:\s*$|;|&&| +(?:python|\./|uv\b))"
        r"|environ\[[\"']PYTORCH_ENABLE_MPS_FALLBACK[\"']\] ?= ?[\"']1"
    ),
    "slicing": re.compile(r"(?m)^[ \t]{0,80}\w{1,40}\.enable_attention_slicing\("),
    "vae-slicing": re.compile(r"(?m)^[ \t]{0,80}\w{1,40}(?:\.vae)?\.enable_(?:vae_)?slicing\("),
    "vae-tiling": re.compile(r"(?m)^[ \t]{0,80}\w{1,40}(?:\.vae)?\.enable_(?:vae_)?tiling\("),
}
_DTYPE = re.compile(r"\b(?:torch_)?dtype ?= ?torch\.(?P<dtype>float32|float16|bfloat16)\b")
_DTYPE_OPTIONS = {
    "float32": re.compile(_COMMAND + r"(?:--no-half(?![\w-])|--force-fp32)"),
    "float16": re.compile(_COMMAND + r"--force-fp16"),
}
