"""The last selftest of this machine and device, kept for the runs that are made later."""

import contextlib
from pathlib import Path

import msgspec

from sdbench.files.access import MIB, make_folder, read_file, write_file
from sdbench.files.user_folders import state_folder
from sdbench.machine import machine_id
from sdbench.records import DeviceKind, Selftest

_OFFERED = "offered"


def keep(selftest: Selftest) -> None:
    """Keep it for later runs.

    Raises:
        OSError: it cannot be written.
    """
    make_folder(_folder())
    write_file(_file(selftest.device), msgspec.json.encode(selftest))


def last_selftest(device: DeviceKind) -> Selftest | None:
    """What was found last on this machine; None where there was none or it cannot be read."""
    try:
        data = read_file(_file(device), MIB)
        found = msgspec.json.decode(data, type=Selftest)
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if found.machine_id == machine_id() else None


def offered_before() -> bool:
    """Whether a run has offered the selftest before; from now on one has."""
    mark = _folder() / _OFFERED
    if mark.exists():
        return True
    with contextlib.suppress(OSError):
        make_folder(_folder())
        write_file(mark, b"")
    return False


def _folder() -> Path:
    return state_folder() / "selftest"


def _file(device: DeviceKind) -> Path:
    return _folder() / f"{device}.json"
