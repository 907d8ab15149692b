"""Which versions work together. Read in the macOS wheels, executed, or declared; see each table."""

from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version


class TorchNeeds(NamedTuple):
    """What a release of torch needs of the system."""

    since: str
    macos: str
    python_from: str
    python_to: str | None


# From a release on. macOS: the deployment target inside the macOS arm64 wheels. Python: for which
# there are macOS arm64 wheels; for 2.6 to 2.9 from PyTorch's release compatibility matrix.
_TORCH = (
    TorchNeeds("1.13", "12.3", "3.8", "3.10"),
    TorchNeeds("2.0", "12.3", "3.8", "3.11"),
    TorchNeeds("2.2", "12.3", "3.8", "3.12"),
    TorchNeeds("2.5", "12.3", "3.9", "3.12"),
    TorchNeeds("2.6", "13.0", "3.9", "3.13"),
    TorchNeeds("2.9", "14.0", "3.10", "3.14"),
    TorchNeeds("2.15", "15.0", "3.11", None),
)


class Rule(NamedTuple):
    """Where ``package`` is as ``version`` says, ``other`` must be as ``needs`` says."""

    package: str
    version: str
    other: str
    needs: str
    because: str


# Executed, or read in the packages' own code and metadata: also where these declare nothing.
RULES = (
    Rule("diffusers", ">=0.32", "torch", ">=2.1", "0.31 is the last that imports on torch 2.0"),
    Rule("diffusers", ">=0.39", "torch", ">=2.6", "it says so itself"),
    Rule("transformers", ">=4.48", "torch", ">=2.0", "with an older torch it works without torch"),
    Rule("transformers", ">=5", "torch", ">=2.4", "with an older torch it works without torch"),
    Rule("transformers", ">=5.23", "torch", ">=2.6", "with an older torch it works without torch"),
    Rule("transformers", "<5", "huggingface-hub", "<1", "it refuses to be imported"),
    Rule("transformers", ">=5", "huggingface-hub", ">=1", "it refuses to be imported"),
    Rule("transformers", ">=4.45,<4.47", "tokenizers", ">=0.20,<0.21", "it refuses to be imported"),
    Rule("transformers", ">=5", "tokenizers", ">=0.22", "it refuses to be imported"),
    Rule("diffusers", ">=0.42", "huggingface-hub", ">=1.32", "it refuses to be imported"),
    Rule("accelerate", ">=1.15", "torch", ">=2.0", "it says so itself"),
    Rule("torch", "<2.3", "numpy", "<2", "else torch says 'Numpy is not available'"),
)

# Without the first four no picture is made; accelerate is for loading fast and for offload.
NEEDED = ("diffusers", "transformers", "safetensors", "numpy")
USEFUL = ("accelerate",)
STACK = ("torch", *NEEDED, *USEFUL, "tokenizers", "huggingface-hub")
# What is asked for; the rest comes with it.
PIPELINE = ("diffusers", "transformers", "accelerate")
# What sdbench's worker needs, and so `sdbench run`.
MEASURABLE = ">=3.10"
# 2.2.2 is the last release with wheels for Intel Macs.
INTEL_TORCH = "torch<2.3"

# Sets that were run as a whole.
_OLD_SET = {
    "diffusers": "0.31.0",
    "transformers": "4.46.3",
    "tokenizers": "0.20.3",
    "huggingface-hub": "0.26.5",
    "accelerate": "1.2.1",
    "safetensors": "0.8.0",
    "numpy": "1.26.4",
}
_NEW_SET = {
    "diffusers": "0.42.1",
    "transformers": "5.23.0",
    "tokenizers": "0.23.3",
    "huggingface-hub": "2.4.0",
    "accelerate": "1.15.0",
    "safetensors": "0.8.0",
    "numpy": "2.4.6",
}
_NEW_SET_NEEDS_PYTHON = ">=3.11"
NEWEST_NEEDS_TORCH = ">=2.6"
"""What the newest diffusers and transformers ask for."""


def release(version: object) -> Version | None:
    """``2.13.0+cpu`` and ``2.14.0.dev20260901`` as 2.13.0 and 2.14.0; None for what is none."""
    try:
        return Version(Version(str(version)).base_version)
    except InvalidVersion:
        return None


def within(version: object, specifier: str) -> bool | None:
    """Whether a version's release is in a range; None for what is no version."""
    parsed = release(version)
    return None if parsed is None else SpecifierSet(specifier).contains(parsed)


def torch_needs(torch: Any) -> TorchNeeds | None:
    """What a release of torch needs, None for one without mps or what is no version."""
    parsed = release(torch)
    if parsed is None:
        return None
    fitting = [needs for needs in _TORCH if Version(needs.since) <= parsed]
    return fitting[-1] if fitting else None


def newest_torch_for(macos: Any) -> str:
    """What to ask an installer for on a macOS: ``torch<2.9``; ``torch`` where the newest runs.

    On a macOS that is too old for any of them: what runs once it has been updated a little.
    """
    parsed = release(macos)
    if parsed is None:
        return "torch"
    oldest = Version(_TORCH[0].macos)
    beyond = [needs.since for needs in _TORCH if Version(needs.macos) > max(parsed, oldest)]
    return f"torch<{beyond[0]}" if beyond else "torch"


def stack_with(torch: str) -> list[str]:
    """A whole stack to ask an installer for, around ``torch<2.6`` or the like.

    The newest diffusers asks for torch 2.6 or later. Around an older one an installer left to
    itself picks a set that is valid on paper and broken, so the set that was run is named in full.
    """
    if any(_allows(torch, needs) and within(needs.since, NEWEST_NEEDS_TORCH) for needs in _TORCH):
        return [torch, *PIPELINE]
    return [torch, *(f"{name}=={version}" for name, version in _OLD_SET.items())]


def made_for_both(torch: str, python: Any) -> bool:
    """Whether some release that ``torch<2.6`` or the like allows has wheels for a Python."""
    made_for = torch_for_python(python)
    if made_for is None:
        return False
    return any(_allows(torch, needs) and within(needs.since, made_for) for needs in _TORCH)


def _allows(torch: str, needs: TorchNeeds) -> bool:
    return Requirement(torch).specifier.contains(needs.since)


def torch_for_python(python: Any) -> str | None:
    """The releases that have wheels for a Python, as a specifier; None for what fits none."""
    parsed = release(python)
    if parsed is None:
        return None
    minor = Version(f"{parsed.major}.{parsed.minor}")
    fitting = [
        index
        for index, needs in enumerate(_TORCH)
        if Version(needs.python_from) <= minor
        and (needs.python_to is None or minor <= Version(needs.python_to))
    ]
    if not fitting:
        return None
    beyond = fitting[-1] + 1
    upper = f",<{_TORCH[beyond].since}" if beyond < len(_TORCH) else ""
    return f">={_TORCH[fitting[0]].since}{upper}"


def proven_set(torch: Any, python: Any) -> dict[str, str]:
    """Versions that were run together on such a torch and Python."""
    newer = within(torch, NEWEST_NEEDS_TORCH) and within(python, _NEW_SET_NEEDS_PYTHON)
    return _NEW_SET if newer else _OLD_SET
