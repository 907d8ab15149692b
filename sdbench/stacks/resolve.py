"""From an environment's name to an interpreter and the versions installed there."""

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import canonicalize_name

from sdbench.errors import MachineError, UsageError
from sdbench.records import StackInfo
from sdbench.stacks.catalogue import REQUIRED, decisive, shipped_stacks
from sdbench.stacks.created import examine, interpreter_in, stack_folder
from sdbench.stacks.listing import list_installed
from sdbench.words import did_you_mean


def resolve_stack(name: str) -> StackInfo:
    """``current`` (this environment), a created environment, or the path of another environment.

    Raises:
        UsageError: there is no such environment, or it has to be created first.
        MachineError: it is there but lacks what a worker needs.
    """
    if name == "current":
        return _checked(name, own_environment())
    if name in shipped_stacks():
        return _created(name)
    interpreter = _interpreter(name)
    try:
        listed = list_installed(interpreter)
    except MachineError as error:
        raise MachineError(f"environment {name}: {error}") from error
    return _checked(name, _described(str(interpreter), listed.python, listed.packages))


def own_environment() -> StackInfo:
    """The environment that sdbench runs in, whether or not a worker finds what it needs there."""
    return _described(sys.executable, platform.python_version(), _own_packages())


def find_interpreter(name: str) -> Path | None:
    """The Python of a created environment, or that a path names; None if there is neither.

    A path is an interpreter's or a virtual environment's.
    """
    if name in shipped_stacks():
        interpreter = interpreter_in(stack_folder(name))
        return interpreter if interpreter.is_file() else None
    path = Path(os.path.expanduser(name))
    # Not resolved: a virtual environment is found through the path its link stands at.
    for candidate in (path, interpreter_in(path)):
        if candidate.is_file():
            return candidate.absolute()
    return None


def _created(name: str) -> StackInfo:
    found = examine(shipped_stacks()[name])
    if found.info is None or found.state != "ready":
        problem = (
            "is not created yet" if found.state == "absent" else f"was changed: {found.reason}"
        )
        raise UsageError(
            f"environment {name} {problem}; make it with: sdbench stacks create {name}"
        )
    interpreter = str(interpreter_in(found.folder))
    return _checked(name, _described(interpreter, found.info.python, found.info.packages))


def _interpreter(name: str) -> Path:
    found = find_interpreter(name)
    if found is None:
        raise UsageError(
            f"no environment {name!r}: "
            f"{did_you_mean(name, ['current', *shipped_stacks()])}expected 'current', or one of "
            f"{', '.join(shipped_stacks())}, or the path of a Python interpreter or of a virtual "
            "environment"
        )
    return found


def _own_packages() -> dict[str, str]:
    from importlib import metadata

    found: dict[str, str] = {}
    for package in REQUIRED:
        try:
            version: str | None = metadata.version(package)
        except (metadata.PackageNotFoundError, KeyError):
            continue
        if version is not None:  # a half-removed package has none
            found[canonicalize_name(package)] = version
    return found


def _described(interpreter: str, python: str, found: Mapping[str, str]) -> StackInfo:
    return StackInfo(interpreter=interpreter, python=python, packages=decisive(found))


def _checked(name: str, info: StackInfo) -> StackInfo:
    missing = missing_packages(info)
    if missing:
        examine = "" if name == "current" else f" --python {shlex.quote(name)}"
        raise MachineError(
            f"environment {name}: {', '.join(missing)} not installed in {info.interpreter}; "
            f"sdbench doctor{examine} names the command that installs the missing packages; "
            "--stack PATH measures in another environment"
        )
    return info


def missing_packages(info: StackInfo) -> list[str]:
    """Which packages a worker needs and an environment does not have."""
    return [need for need in ("torch", "diffusers", "transformers") if need not in info.packages]
