"""The version sets that come with sdbench, and their locks: read from ``configs/stacks``."""

import functools
import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from sdbench.errors import MachineError, UsageError
from sdbench.files.toml import parse_toml
from sdbench.plan.read_config import configs_folder
from sdbench.words import did_you_mean

# What a worker imports: these decide speed and images, and a resume refuses when one of them has
# changed. All else in a lock is what they need.
REQUIRED = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "numpy",
)
# Platform to the words that uv knows it by: for a Python, and for a lock.
PLATFORMS = {
    "linux-x86_64": ("linux-x86_64-gnu", "x86_64-manylinux_2_28"),
    "macos-arm64": ("macos-aarch64-none", "aarch64-apple-darwin"),
}
_SYSTEMS = {"Darwin": "macos", "Linux": "linux"}


class ShippedStack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version set.

    Attributes:
        name: ``torch-1.13``.
        torch: the release of torch.
        python: the Python it is made for, such as ``3.10``.
        versions: the file in ``configs/constraints`` that the lock was made with.
        disk_bytes: what it takes, by platform.
    """

    name: str
    torch: str
    python: str
    versions: str
    disk_bytes: dict[str, float]


@dataclass(frozen=True)
class Lock:
    """The version of every package an environment may have, by normalised name."""

    path: Path
    sha256: str
    versions: Mapping[str, str]


@functools.cache
def shipped_stacks() -> dict[str, ShippedStack]:
    """Name to version set, oldest torch first."""
    document = parse_toml((_folder() / "stacks.toml").read_text(encoding="utf-8"))
    return {
        name: msgspec.convert({"name": name, **entry}, ShippedStack)
        for name, entry in document.items()
    }


def shipped_stack(name: str) -> ShippedStack:
    """The version set of that name.

    Raises:
        UsageError: there is none.
    """
    stacks = shipped_stacks()
    if name not in stacks:
        raise UsageError(
            f"no environment {name!r} comes with sdbench; {did_you_mean(name, stacks)}there are "
            f"{', '.join(stacks)}"
        ).then("sdbench stacks list")
    return stacks[name]


def this_platform() -> str:
    """``macos-arm64``, ``linux-x86_64``: what locks are made for.

    Raises:
        MachineError: there are none for this one.
    """
    found = f"{_SYSTEMS.get(platform.system(), platform.system())}-{platform.machine()}"
    if found not in PLATFORMS:
        raise MachineError(
            f"environments are made for {' and '.join(PLATFORMS)}, and this Python is {found}; "
            "install other versions into an environment of your own and name its path"
        )
    return found


def lock_path(stack: ShippedStack, on: str) -> Path:
    """The lock's file for a platform."""
    return _folder() / f"{stack.name}-{on}.txt"


def read_lock(path: Path) -> Lock:
    """A lock as ``uv pip compile`` writes it.

    Raises:
        MachineError: it is missing, or a line of it is no pinned version.
    """
    try:
        data = path.read_bytes()
        return Lock(path, hashlib.sha256(data).hexdigest(), parse_lock(data.decode()))
    except (OSError, ValueError) as error:
        raise MachineError(f"{path}: {error}; install sdbench again") from error


def parse_lock(text: str) -> dict[str, str]:
    """Versions by normalised name, of lines ``name==version`` with or without hashes.

    Raises:
        ValueError: a line is something else.
    """
    versions: dict[str, str] = {}
    for line in text.replace("\\\n", " ").splitlines():
        pinned = re.sub(r"\s--hash=\S+|(^|\s)#.*", "", line).strip()
        if not pinned:
            continue
        try:
            requirement = Requirement(pinned)
        except InvalidRequirement as error:
            raise ValueError(f"{pinned!r} is not name==version") from error
        specifiers = [*requirement.specifier]
        if len(specifiers) != 1 or specifiers[0].operator != "==":
            raise ValueError(f"{pinned!r} is not name==version")
        versions[canonicalize_name(requirement.name)] = specifiers[0].version
    return versions


def departures(lock: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Where installed packages are not what the lock says, in words; empty if nowhere.

    A lock may hold more than is installed: torch's builds for the CPU go by the same version
    (``2.13.0+cpu`` for ``2.13.0``) and do without the libraries of CUDA.
    """
    words = [
        f"{name} is {version} instead of {lock[name]}"
        if name in lock
        else f"{name} {version} is not in the lock file"
        for name, version in sorted(found.items())
        if name not in lock or Version(version).public != Version(lock[name]).public
    ]
    missing = [name for name in REQUIRED if canonicalize_name(name) not in found]
    return words + [f"{name} is not installed" for name in missing]


def decisive(packages: Mapping[str, str]) -> dict[str, str]:
    """Of versions by normalised name those that decide speed and images, as a run names them."""
    return {
        name: packages[canonicalize_name(name)]
        for name in REQUIRED
        if canonicalize_name(name) in packages
    }


def _folder() -> Path:
    return configs_folder() / "stacks"
