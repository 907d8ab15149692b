"""``fleet.json``: what a fleet does, and finding, stopping and reading a fleet from outside."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
from filelock import FileLock, Timeout

from sdbench.errors import StoreError, UsageError
from sdbench.files.access import MIB, open_to_append, read_inside, write_inside
from sdbench.fleet.ledger import Ledger
from sdbench.fleet.ledger_file import read_events, replayed
from sdbench.fleet.messages import Plan
from sdbench.privacy.redact_recorded import hide_path, show_path
from sdbench.runs import list_fleets, not_writable
from sdbench.runs.ownership import digest, is_own, note_own
from sdbench.runs.reading import FLEET_FILE

Mode = Literal["split", "every"]
STOP_FILE = "stop"
_LOCK = ".fleet-lock"
_MOST_BYTES = 64 * MIB


class AtWorkError(UsageError):
    """Another process has the fleet open."""


class FleetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """``fleet.json``."""

    schema: int = 1
    fleet_id: str
    created_utc: str
    mode: Mode
    plan: Plan


def write_fleet(path: Path, fleet: FleetPlan) -> None:
    """Write ``fleet.json``, without the user's name and home folder, and note it as our own.

    Raises:
        OSError: it cannot be written.
    """
    text = msgspec.json.format(msgspec.json.encode(_translated(fleet, hide_path))) + b"\n"
    note_own(digest(text), fleet.fleet_id)
    write_inside(path, FLEET_FILE, data=text)


def require_own(path: Path) -> None:
    """Refuse a fleet that somebody else made: its configuration decides what machines execute.

    Raises:
        UsageError: this installation did not make it, or ``fleet.json`` was changed since.
    """
    if not is_own(digest(read_inside(path, FLEET_FILE, most_bytes=_MOST_BYTES))):
        raise UsageError(
            f"{path.name} was not made by this installation of sdbench, or its {FLEET_FILE} was "
            "changed since, so it may not decide what machines execute: start a new fleet"
        )


def _translated(fleet: FleetPlan, path: Callable[[str], str]) -> FleetPlan:
    """The fleet with each path of its configuration translated."""
    config = fleet.plan.config
    arms = tuple(
        msgspec.structs.replace(
            arm, stack=path(arm.stack), env={name: path(text) for name, text in arm.env.items()}
        )
        for arm in config.arm
    )
    config = msgspec.structs.replace(
        config,
        model=path(config.model),
        lora=tuple(map(path, config.lora)),
        parts=path(config.parts),
        arm=arms,
    )
    plan = msgspec.structs.replace(fleet.plan, config=config)
    return msgspec.structs.replace(fleet, plan=plan)


def read_fleet(path: Path) -> FleetPlan:
    """``fleet.json`` of a fleet folder.

    Raises:
        UsageError: there is no fleet.
        StoreError: it cannot be read.
    """
    file = path / FLEET_FILE
    try:
        data = read_inside(path, FLEET_FILE, most_bytes=_MOST_BYTES)
        return _translated(msgspec.json.decode(data, type=FleetPlan), show_path)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{path}: no fleet there (no {FLEET_FILE})") from None
    except OSError as error:
        raise StoreError(f"{file}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StoreError(f"{file}: not a fleet of this sdbench: {error}") from error


def read_state(path: Path) -> tuple[FleetPlan, Ledger]:
    """A fleet as it is now, without opening it: another process may be at work.

    Raises:
        UsageError, StoreError: as :func:`read_fleet`.
    """
    return read_fleet(path), replayed(path, read_events(path))


def ask_to_stop(path: Path) -> None:
    """Leave word that the fleet is to stop.

    Raises:
        UsageError: there is no fleet, or it cannot be written.
    """
    read_fleet(path)
    try:
        write_inside(path, STOP_FILE, data=b"")
    except OSError as error:
        raise not_writable(f"{path / STOP_FILE}", error) from error


def is_at_work(path: Path) -> bool:
    """Whether a process has the fleet open; nothing is written where it is not known."""
    if not os.path.lexists(path / _LOCK):
        return False
    try:
        lock_fleet(path).release()
    except AtWorkError:
        return True
    except (UsageError, StoreError):  # it may not be written, so not by such a process either
        return False
    return False


def find_fleet(root: Path, name: str) -> Path:
    """A fleet by its path, its id, the beginning of its id, or ``latest``.

    Raises:
        UsageError: none or several are meant.
    """
    if (Path(name) / FLEET_FILE).is_file():
        return Path(name)
    fleets = list_fleets(root)
    if name == "latest" and fleets:
        return fleets[-1]
    meant = [path for path in fleets if path.name.startswith(name)]
    if len(meant) != 1:
        found = "no fleet" if not meant else f"{len(meant)} fleets"
        raise UsageError(f"{name}: {found} of that name in {root}")
    return meant[0]


def lock_fleet(path: Path) -> FileLock:
    """Take a fleet folder; the kernel lets go of it however this process ends.

    Raises:
        AtWorkError: another process has it.
        UsageError, StoreError: it cannot be written.
    """
    lock = FileLock(str(path / _LOCK))
    try:
        open_to_append(path, _LOCK).close()
        lock.acquire(timeout=0)
    except Timeout:
        raise AtWorkError(f"{path}: another sdbench is working on this fleet") from None
    except OSError as error:
        raise not_writable(f"{path}", error) from error
    return lock
