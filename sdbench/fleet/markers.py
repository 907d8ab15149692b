"""What a worker process was measuring when it was killed; the next one on that machine reports it.

A file names the give while it runs. An orderly end removes it, whatever its reason (a lost
scheduler, Ctrl-C); after kill -9, a crash or the kernel's out-of-memory killer it is still there.
"""

import atexit
import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from sdbench import machine
from sdbench.files.access import make_folder, read_file, write_file
from sdbench.files.user_folders import state_folder

PROCESS = secrets.token_hex(8)
"""Names this worker process."""
# Until then the fleet has heard of it, or is not interested any more.
_FORGOTTEN_S = 7 * 24 * 3600.0
_MOST_BYTES = 10_000


class _Marker(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    pid: int
    created_s: float
    boot_id: str | None


@contextlib.contextmanager
def marked(token: str) -> Iterator[None]:
    """While entered, a file says that this process measures for this token."""
    path = _folder() / f"{PROCESS}.json"
    marker = _Marker(
        token=token,
        pid=os.getpid(),
        created_s=psutil.Process().create_time(),
        boot_id=machine.boot_id(),
    )

    def remove() -> None:
        with contextlib.suppress(OSError):
            path.unlink()

    with contextlib.suppress(OSError):  # without it a killed process counts as a lost machine
        make_folder(_folder(), 0o700)
        write_file(path, msgspec.json.encode(marker))
    atexit.register(remove)
    try:
        yield
    finally:
        remove()
        atexit.unregister(remove)


def killed_under() -> tuple[str, ...]:
    """Tokens that processes of this machine measured for when they were killed."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            marker = msgspec.json.decode(read_file(path, _MOST_BYTES), type=_Marker)
            if time.time() - path.stat().st_mtime > _FORGOTTEN_S:
                path.unlink()
                continue
        except (OSError, msgspec.MsgspecError):
            continue
        if not _is_alive(marker):
            found.append(marker.token)
    return tuple(found)


def _is_alive(marker: _Marker) -> bool:
    if marker.boot_id != machine.boot_id():
        return False
    try:
        return bool(psutil.Process(marker.pid).create_time() == marker.created_s)
    except psutil.Error:
        return False


def _folder() -> Path:
    return state_folder() / "fleet-running"
