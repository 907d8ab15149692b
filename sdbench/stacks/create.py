"""Make an environment from its lock, check it, and only then give it its name; remove one.

Nothing half made is ever found: everything is done in a neighbouring folder, under a lock, and
renamed when the environment has proven itself. What a killed creation has left is cleared by the
next one.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from packaging.version import Version

from sdbench.errors import MachineError, UsageError
from sdbench.stacks.catalogue import (
    PLATFORMS,
    REQUIRED,
    Lock,
    ShippedStack,
    departures,
    lock_path,
    read_lock,
    this_platform,
)
from sdbench.stacks.created import (
    StackRecord,
    StackState,
    examine,
    interpreter_in,
    stack_folder,
    stacks_folder,
    write_info,
)
from sdbench.stacks.listing import list_installed
from sdbench.stacks.uv import Tell, UvError, find_uv, run_uv

TryOut = Callable[[Path], str]
"""Makes a small image with an interpreter and returns the version of torch that made it; raises
MachineError where that fails."""


@dataclass(frozen=True)
class Created:
    """What became of a creation; ``reason`` says why an environment was made anew."""

    found: StackState
    action: Literal["kept", "created", "rebuilt"]
    reason: str | None = None


def create(stack: ShippedStack, try_out: TryOut, tell: Tell) -> Created:
    """Make a version set's environment, unless it is there and still what it was.

    Raises:
        UsageError: no uv, no room on the disk, no network, or no Python that fits.
        MachineError: there is no lock for this platform, or what was made does not work.
    """
    with _locked(stack.name, tell):
        before = examine(stack)
        if before.state == "ready":
            return Created(before, "kept")
        if before.reason is not None:
            tell(f"making it again: {before.reason}")
        _make(stack, try_out, tell)
        action: Literal["created", "rebuilt"] = "created" if before.reason is None else "rebuilt"
        return Created(examine(stack), action, before.reason)


def remove(stack: ShippedStack, tell: Tell) -> bool:
    """Delete a version set's environment; False if there was none."""
    with _locked(stack.name, tell):
        there = stack_folder(stack.name).exists()
        _put_away(stack.name)
        return there


def _make(stack: ShippedStack, try_out: TryOut, tell: Tell) -> None:
    on = this_platform()
    lock = read_lock(lock_path(stack, on))
    uv = find_uv()
    _require_room(stack, on)
    scratch = _beside(stack.name, "new")
    try:
        _install(uv, stack, lock, on, scratch, tell)
        info = _proven(stack, lock, on, scratch, try_out, tell)
        write_info(scratch, info)
        _put_away(stack.name)
        scratch.rename(stack_folder(stack.name))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _install(uv: str, stack: ShippedStack, lock: Lock, on: str, scratch: Path, tell: Tell) -> None:
    """A new environment with what a worker imports, every version and file as in the lock."""
    python, interpreter = f"cpython-{stack.python}-{PLATFORMS[on][0]}", str(interpreter_in(scratch))
    tell(f"making an environment with Python {stack.python}")
    options = ["--no-project", "--relocatable", "--python", python]  # it is renamed afterwards
    try:
        run_uv(uv, ["venv", *options, str(scratch)], scratch.parent, tell)
    except UvError as error:
        raise UvError(
            f"environment {stack.name}: no environment with Python {stack.python} could be made: "
            f"{error}; uv downloads a Python if none is found, so without a network put "
            f"python{stack.python} on the PATH"
        ) from error
    tell(f"installing torch {stack.torch} and the rest")
    # The lock constrains: a build of torch for the CPU does not need the libraries of CUDA in it.
    options = ["--python", interpreter, "--only-binary", ":all:", "--constraint", str(lock.path)]
    try:
        run_uv(uv, ["pip", "install", *options, *REQUIRED], scratch.parent, tell)
    except UvError as error:
        raise UvError(
            f"environment {stack.name} could not be installed: {error}; the downloads are kept, so "
            "try again"
        ) from error


def _proven(
    stack: ShippedStack, lock: Lock, on: str, scratch: Path, try_out: TryOut, tell: Tell
) -> StackRecord:
    """The info file of an environment whose versions are the lock's and which makes an image."""
    interpreter = interpreter_in(scratch)
    installed = list_installed(interpreter)
    wrong = departures(lock.versions, installed.packages)
    if wrong:
        raise MachineError(
            f"environment {stack.name} differs from its lock file: {', '.join(wrong)}"
        )
    tell("making a small image with it")
    prove(stack, interpreter, try_out)
    return StackRecord(
        name=stack.name,
        platform=on,
        lock_sha256=lock.sha256,
        python=installed.python,
        packages=installed.packages,
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def prove(stack: ShippedStack, interpreter: Path, try_out: TryOut) -> None:
    """Make an image, and see that it was the environment's own torch that made it.

    Raises:
        MachineError: it does not work.
    """
    try:
        torch = try_out(interpreter)
    except MachineError as error:
        raise MachineError(f"environment {stack.name} makes no image here: {error}") from error
    if Version(torch).public != stack.torch:
        raise MachineError(
            f"environment {stack.name}: torch calls itself {torch} instead of {stack.torch}; is "
            "PYTHONPATH set?"
        )


def _require_room(stack: ShippedStack, on: str) -> None:
    needed, free = stack.disk_bytes[on], shutil.disk_usage(stacks_folder()).free
    if free < needed:
        raise UsageError(
            f"environment {stack.name} takes about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB "
            f"of disk are free in {stacks_folder()}; make room, or set SDBENCH_CACHE to another "
            "folder"
        )


@contextlib.contextmanager
def _locked(name: str, tell: Tell) -> Iterator[None]:
    """Alone with an environment; what an earlier process left half made is cleared first."""
    from filelock import FileLock, Timeout

    folder = stacks_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("waiting for another sdbench process that is working on it")
            lock.acquire()
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        for leftover in folder.glob(f".{name}.*-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _beside(name: str, what: str) -> Path:
    """A folder where an environment is made, or deleted, under a name that nobody looks up.

    It is this process's own: a uv whose sdbench was killed may go on for a while in another.
    """
    return stacks_folder() / f".{name}.{what}-{os.getpid()}"


def _put_away(name: str) -> None:
    """Take an environment's name away at once, then delete it, which takes a while."""
    old = _beside(name, "old")
    if stack_folder(name).exists():
        stack_folder(name).rename(old)
        shutil.rmtree(old, ignore_errors=True)
