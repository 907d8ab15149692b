"""What is installed in an interpreter, asked of that interpreter."""

import contextlib
import os
import signal
import subprocess
import threading
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
    described = entry.metadata
    names, versions = described.get_all("Name"), described.get_all("Version")
    if names and versions:
        found.setdefault(names[0], versions[0])
print(json.dumps({"python": platform.python_version(), "packages": found}))
"""
_LIMIT_S = 60.0
# A thousand packages are 30 kB.
_MOST_BYTES = 1 << 22


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
        listed = msgspec.json.decode(
            _answer([str(interpreter), "-I", "-c", _PROGRAM]), type=_Listed
        )
    except (OSError, msgspec.MsgspecError) as error:
        raise MachineError(f"{interpreter} does not run as a Python: {error}") from error
    packages: dict[str, str] = {
        canonicalize_name(name): version
        for name, version in sorted(listed.packages.items())
        if version is not None
    }
    return Installed(listed.python, packages)


def _answer(command: list[str]) -> bytes:
    """What a program prints before it ends; what it started, and left running, is ended with it.

    Raises:
        OSError: it cannot be started, fails, takes too long or prints too much.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout is not None
    ended_late = threading.Event()

    def end_late() -> None:
        ended_late.set()
        _end(process)

    timer = threading.Timer(_LIMIT_S, end_late)
    timer.start()
    try:
        with process.stdout as output:
            answer = output.read(_MOST_BYTES + 1)
        if len(answer) > _MOST_BYTES:
            raise OSError(f"it prints more than {_MOST_BYTES:,} bytes")
        status = process.wait()
    finally:
        timer.cancel()
        _end(process)
    if ended_late.is_set():
        raise OSError(f"it did not end within {_LIMIT_S:.0f} s")
    if status:
        raise OSError(f"it ended with exit status {status}")
    return answer


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
