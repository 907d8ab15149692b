"""What is installed in an interpreter, asked of that interpreter."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from sdbench.errors import MachineError

# An installation that was broken off leaves folders without a name; they are no packages.
_PROGRAM = """
import json, platform
from importlib import metadata
found = {}
for entry in metadata.distributions():
    name = entry.metadata["Name"]
    if name:
        found.setdefault(name, entry.version)
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""
_LIMIT_S = 60.0


class _Listed(msgspec.Struct):
    """What the program prints."""

    python: str
    packages: dict[str, str | None]


@dataclass(frozen=True)
class Installed:
    """The version of a Python, and of every package in it by normalised name."""

    python: str
    packages: dict[str, str]


def list_installed(interpreter: Path) -> Installed:
    """Ask an interpreter; imports none of its packages.

    Raises:
        MachineError: it does not run as a Python.
    """
    try:
        done = subprocess.run(
            [str(interpreter), "-I", "-c", _PROGRAM],
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
        listed = msgspec.json.decode(done.stdout, type=_Listed)
    except (OSError, msgspec.MsgspecError, subprocess.SubprocessError) as error:
        raise MachineError(f"{interpreter} does not run as a Python: {error}") from error
    packages: dict[str, str] = {
        canonicalize_name(name): version
        for name, version in sorted(listed.packages.items())
        if version is not None
    }
    return Installed(listed.python, packages)
