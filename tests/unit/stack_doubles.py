"""A uv and a Python that are small scripts: what they do and say is up to the test."""

import json
from collections.abc import Mapping
from pathlib import Path

from sdbench.stacks.catalogue import Lock, ShippedStack, lock_path, read_lock, shipped_stack

STACK = shipped_stack("torch-1.13")
PLATFORM = "linux-x86_64"


def lock_of(stack: ShippedStack = STACK) -> Lock:
    """A shipped lock of the platform that the tests pretend to be on."""
    return read_lock(lock_path(stack, PLATFORM))


def script(path: Path, body: str) -> Path:
    """A program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def telling_python(path: Path, packages: Mapping[str, str | None], python: str = "3.10.1") -> Path:
    """Something in a Python's place that lists these packages."""
    return script(path, f"echo '{json.dumps({'python': python, 'packages': packages})}'")


def fake_uv(
    folder: Path,
    *,
    packages: Mapping[str, str | None] | None = None,
    venv: str = "",
    install: str = "echo 'Downloading torch (1.0MiB)' >&2",
) -> Path:
    """A uv on a PATH of its own, whose environments list these packages (all of the lock).

    ``venv`` and ``install`` are run before the environment is made, and in place of the
    installation. What it is called with is written down, a line a call, into ``calls``.
    """
    python = telling_python(folder / "python", lock_of().versions if packages is None else packages)
    return script(
        folder / "bin" / "uv",
        f"""echo "$@" >> '{folder}/calls'
for last; do :; done
if [ "$1" = venv ]; then
  {venv or ":"}
  mkdir -p "$last/bin" && cp '{python}' "$last/bin/python"
else
  {install}
fi""",
    )
