"""Which versions work together. Sources: the macOS wheels, test runs, and declared metadata; see
each table."""

import re
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from sdbench.knowledge.version_ranges import release


class TorchNeeds(NamedTuple):
    """What a release of torch requires of the operating system."""

    since: str
    macos: str
    python_from: str
    python_to: str | None


# From a release on. macOS: the selector that MPSDevice's constructor asks MPSGraph for before it
# opens a device, read in the macOS arm64 wheels (to 2.4 LSTMWithSourceTensor of 12.3, from 2.5
# cumulativeSumWithTensor of 13.0, from 2.9 HermiteanToRealFFTWithTensor of 14.0). The deployment
# target is older, and 2.5's message still says 12.3. Python: for which there are macOS arm64
# wheels; for 2.6 to 2.9 from PyTorch's release compatibility matrix.
_TORCH = (
    TorchNeeds("1.13", "12.3", "3.8", "3.10"),
    TorchNeeds("2.0", "12.3", "3.8", "3.11"),
    TorchNeeds("2.2", "12.3", "3.8", "3.12"),
    TorchNeeds("2.5", "13.0", "3.9", "3.12"),
    TorchNeeds("2.6", "13.0", "3.9", "3.13"),
    TorchNeeds("2.9", "14.0", "3.10", "3.14"),
    TorchNeeds("2.15", "15.0", "3.11", None),
)


NEWEST_TORCH = Version("2.15")
"""The newest release that the tables of sdbench cover."""


class VersionRule(NamedTuple):
    """If the version of ``package`` is in ``version``, that of ``other`` must be in ``needs``."""

    package: str
    version: str
    other: str
    needs: str
    because: str
    fix: str | None = None
    """What to install instead; None stands for a complete set of versions that was
    tested together."""


# Executed, or read in the packages' own code and metadata: also where these declare nothing.
RULES = (
    VersionRule(
        "diffusers", ">=0.32", "torch", ">=2.1", "0.31 is the last that imports on torch 2.0"
    ),
    VersionRule("diffusers", ">=0.39", "torch", ">=2.6", "it says so itself"),
    VersionRule("diffusers", "<0.29", "huggingface-hub", "<0.26", "it imports cached_download"),
    VersionRule("diffusers", "<0.35.2", "transformers", "<5", "it imports FLAX_WEIGHTS_NAME"),
    VersionRule(
        "peft", ">=0.16,<0.18", "transformers", "<5", "it imports HybridCache", "peft>=0.18"
    ),
    VersionRule(
        "transformers", ">=4.48", "torch", ">=2.0", "with an older torch it works without torch"
    ),
    VersionRule(
        "transformers", ">=5", "torch", ">=2.4", "with an older torch it works without torch"
    ),
    VersionRule(
        "transformers", ">=5.23", "torch", ">=2.6", "with an older torch it works without torch"
    ),
    VersionRule("transformers", "<5", "huggingface-hub", "<1", "it refuses to be imported"),
    VersionRule("transformers", ">=5", "huggingface-hub", ">=1", "it refuses to be imported"),
    VersionRule(
        "transformers", ">=4.35,<4.40", "tokenizers", ">=0.14,<0.19", "it refuses to be imported"
    ),
    VersionRule(
        "transformers", ">=4.40,<4.45", "tokenizers", ">=0.19,<0.20", "it refuses to be imported"
    ),
    VersionRule(
        "transformers", ">=4.45,<4.47", "tokenizers", ">=0.20,<0.21", "it refuses to be imported"
    ),
    VersionRule(
        "transformers", ">=4.47,<4.56", "tokenizers", ">=0.21,<0.22", "it refuses to be imported"
    ),
    VersionRule(
        "transformers", ">=4.56,<5", "tokenizers", ">=0.22,<=0.23", "it refuses to be imported"
    ),
    VersionRule("transformers", ">=5", "tokenizers", ">=0.22", "it refuses to be imported"),
    VersionRule("diffusers", ">=0.42", "huggingface-hub", ">=1.32", "it refuses to be imported"),
    VersionRule("accelerate", ">=1.15", "torch", ">=2.0", "it says so itself"),
    VersionRule("torch", "<2.3", "numpy", "<2", "else torch says 'Numpy is not available'"),
)

# Without the first four no image is made; accelerate is for loading fast and for offload.
NEEDED = ("diffusers", "transformers", "safetensors", "numpy")
USEFUL = ("accelerate",)
STACK = ("torch", *NEEDED, *USEFUL, "tokenizers", "huggingface-hub")
EXTRAS = ("torchvision", "peft", "xformers", "bitsandbytes")
"""Optional packages that diffusers and transformers import if they are installed."""
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
"""What the newest diffusers and transformers require."""


def development(version: object) -> str | None:
    """The kind of build that a version names if it is not a release; None for a release.

    A number after ``+`` names the platform (``+cpu``, ``+cu126``, ``+rocm6.2``) or, with ``git``,
    the commit of a source build.
    """
    try:
        parsed = Version(str(version))
    except InvalidVersion:
        return None
    local = parsed.local or ""
    if "git" in local or (parsed.pre is not None and parsed.pre[0] == "a"):
        return "a build from source"
    if parsed.is_devrelease:
        # Nightlies are numbered by date; ``.dev0`` is what a checkout calls itself.
        dated = parsed.dev is not None and parsed.dev >= 20_000_000
        return "a nightly build" if dated else "a development version"
    if parsed.is_prerelease:
        return "a pre-release"
    if local and not _OFFICIAL_LOCAL.fullmatch(local):
        return "a third-party build"
    return None


_OFFICIAL_LOCAL = re.compile(
    r"cpu|cu[0-9]{2,3}|rocm[0-9.]+|xpu|(?:cpu|cu[0-9]{2,3})\.(?:cxx11\.abi|with\.pypi\.cudnn)"
)


def torchvision_for(torch: object) -> str | None:
    """The release of torchvision that is made for a release of torch: ``0.20`` for 2.5.

    None of a build that is no release and of a release that the tables do not cover.
    """
    parsed = release(torch)
    if parsed is None or development(torch) is not None or is_beyond_tables(torch):
        return None
    if (parsed.major, parsed.minor) == (1, 13):
        return "0.14"
    return f"0.{15 + parsed.minor}" if parsed.major == 2 else None


def within(version: object, specifier: str) -> bool | None:
    """Whether a version's release is in a range; None for text that is not a version."""
    parsed = release(version)
    return None if parsed is None else SpecifierSet(specifier).contains(parsed)


# Made from a state between two releases, so neither's row holds.
_UNTABLED = ("a nightly build", "a development version", "a build from source")


def torch_needs(torch: Any) -> TorchNeeds | None:
    """The system requirements of a torch release; None for one without mps and for text that is not
    a release."""
    parsed = release(torch)
    if parsed is None or development(torch) in _UNTABLED:
        return None
    fitting = [needs for needs in _TORCH if Version(needs.since) <= parsed]
    return fitting[-1] if fitting else None


def is_beyond_tables(torch: Any) -> bool:
    """Whether a torch is of a newer minor release than the tables cover."""
    parsed = release(torch)
    return parsed is not None and parsed.release[:2] > NEWEST_TORCH.release[:2]


def newest_needs() -> TorchNeeds:
    """The system requirements of the newest torch that is known, assumed of any newer one."""
    return _TORCH[-1]


def newest_torch_for(macos: Any) -> str:
    """What to ask an installer for on a macOS: ``torch<2.9``; ``torch`` where the newest runs.

    If this macOS is too old for all of them: the release that runs after the smallest update.
    """
    parsed = release(macos)
    if parsed is None:
        return "torch"
    oldest = Version(_TORCH[0].macos)
    beyond = [needs.since for needs in _TORCH if Version(needs.macos) > max(parsed, oldest)]
    return f"torch<{beyond[0]}" if beyond else "torch"


def stack_with(torch: str) -> list[str]:
    """A whole environment to ask an installer for, around ``torch<2.6`` or the like.

    The newest diffusers asks for torch 2.6 or later. Around an older one an installer left to
    itself picks a set that satisfies all metadata and still does not work, so the full tested set
    is named.
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
    """The releases that have wheels for a Python, as a specifier; None if there is no
    such release."""
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
