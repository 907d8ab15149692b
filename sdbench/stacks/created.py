"""What of a version set is on this machine: its folder, its info file, whether both still agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from sdbench.errors import MachineError
from sdbench.files.user_folders import cache_folder
from sdbench.stacks.catalogue import Lock, ShippedStack, lock_path, read_lock, this_platform
from sdbench.stacks.listing import Installed, list_installed

INFO = "sdbench-stack.json"
State = Literal["absent", "ready", "spoilt"]
_SHOWN_CHANGES = 3


class StackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The info file: what a created environment was when it had been made and checked."""

    name: str
    platform: str
    lock_sha256: str
    python: str
    packages: dict[str, str]
    created_utc: str


@dataclass(frozen=True)
class StackState:
    """A version set on this machine; ``reason`` says why it is spoilt."""

    stack: ShippedStack
    folder: Path
    state: State
    reason: str | None = None
    info: StackRecord | None = None


def stacks_folder() -> Path:
    """Where created environments lie."""
    return cache_folder().absolute() / "stacks"


def stack_folder(name: str) -> Path:
    """The environment of a version set, created or not."""
    return stacks_folder() / name


def interpreter_in(folder: Path) -> Path:
    """The Python of a virtual environment."""
    return folder / "bin" / "python"


def examine(stack: ShippedStack) -> StackState:
    """Look whether a version set is there and still what it was; changes nothing.

    Raises:
        MachineError: there is no lock for this platform.
    """
    on = this_platform()
    lock = read_lock(lock_path(stack, on))
    folder = stack_folder(stack.name)
    if not folder.is_dir():
        return StackState(stack, folder, "absent")
    info = read_info(folder)
    try:
        found = list_installed(interpreter_in(folder))
    except MachineError:
        found = None
    reason = why_spoilt(info, lock, on, found)
    return StackState(stack, folder, "ready" if reason is None else "spoilt", reason, info)


def read_info(folder: Path) -> StackRecord | None:
    """The info file of an environment; None if it has none that can be read."""
    try:
        return msgspec.json.decode((folder / INFO).read_bytes(), type=StackRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def write_info(folder: Path, info: StackRecord) -> None:
    """Write the info file: the last step of making an environment."""
    (folder / INFO).write_bytes(msgspec.json.format(msgspec.json.encode(info), indent=2))


def why_spoilt(
    info: StackRecord | None, lock: Lock, platform: str, found: Installed | None
) -> str | None:
    """Why an environment must be made anew, in words; None if it is still what it was."""
    if info is None:
        return f"its {INFO} is missing or unreadable"
    if info.platform != platform:
        return f"it was made for {info.platform}, and this is {platform}"
    if info.lock_sha256 != lock.sha256:
        return "it was made from another lock file"
    if found is None:
        return "its Python does not run"
    changed = changes(
        {"Python": info.python, **info.packages}, {"Python": found.python, **found.packages}
    )
    if not changed:
        return None
    more = f" and {len(changed) - _SHOWN_CHANGES} more" if len(changed) > _SHOWN_CHANGES else ""
    return ", ".join(changed[:_SHOWN_CHANGES]) + more


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """``torch was 2.12.0 and is 2.13.0`` for each name whose value differs."""
    return [
        f"{name} was {before.get(name, 'absent')} and is {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
