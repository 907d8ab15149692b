"""From a stack's name to an interpreter and the versions installed there."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import msgspec

from sdbench.errors import MachineError, UsageError
from sdbench.schema import StackInfo

# What decides speed and pictures; a resume refuses when one of these has changed.
PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "accelerate",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "numpy",
)
_LIST_PACKAGES = """
import json, platform, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
found = {name: version(name) for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""
_LIMIT_S = 60.0


class _Listed(msgspec.Struct):
    """What the listing prints."""

    python: str
    packages: dict[str, str | None]


def resolve_stack(name: str) -> StackInfo:
    """``current`` (this environment), or the path of an interpreter or virtual environment.

    Raises:
        UsageError: there is no such stack.
        MachineError: it is there but lacks what a worker needs.
    """
    if name == "current":
        found = {package: _own_version(package) for package in PACKAGES}
        return _checked(name, sys.executable, platform.python_version(), found)
    interpreter = _interpreter(name)
    try:
        done = subprocess.run(
            [str(interpreter), "-I", "-c", _LIST_PACKAGES, *PACKAGES],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
        listed = msgspec.json.decode(done.stdout, type=_Listed)
    except (OSError, msgspec.MsgspecError, subprocess.SubprocessError) as error:
        raise MachineError(
            f"stack {name}: {interpreter} does not run as a Python: {error}"
        ) from error
    return _checked(name, str(interpreter), listed.python, listed.packages)


def find_interpreter(name: str) -> Path | None:
    """The Python that a path names: itself, or that of a virtual environment; None if neither."""
    path = Path(os.path.expanduser(name))
    # Not resolved: a virtual environment is found through the path its link stands at.
    for candidate in (path, path / "bin" / "python"):
        if candidate.is_file():
            return candidate.absolute()
    return None


def _interpreter(name: str) -> Path:
    found = find_interpreter(name)
    if found is None:
        raise UsageError(
            f"no stack {name!r}: expected 'current', or the path of a Python interpreter or of a "
            "virtual environment"
        )
    return found


def _own_version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _checked(name: str, interpreter: str, python: str, found: dict[str, str | None]) -> StackInfo:
    missing = [package for package in ("torch", "diffusers", "transformers") if not found[package]]
    if missing:
        raise MachineError(
            f"stack {name}: {', '.join(missing)} not installed in {interpreter}; "
            "install it there, for example with: uv pip install torch diffusers transformers"
        )
    packages = {package: version for package, version in found.items() if version is not None}
    return StackInfo(interpreter=interpreter, python=python, packages=packages)
