"""Which content a file had when it was last read, so that what did not change is not read again.

Kept in the cache of this user and not in the site, which would publish paths. A file counts as
unchanged while size, times and inode are what they were; one that changed in the seconds before
it was read is read again.
"""

import hashlib
import os
import time
from pathlib import Path

import msgspec

from sdbench import __version__
from sdbench.board.inputs import Input
from sdbench.files.access import MIB, make_folder, read_file, write_inside
from sdbench.files.user_folders import cache_folder
from sdbench.runs.reading import RECORDS_FILE, RUN_FILE

_FOLDER = "boards"
_MOST_BYTES = 256 * MIB
_SETTLED_NS = 2_000_000_000
_OF_A_RUN = (RUN_FILE, RECORDS_FILE, "images", "telemetry")

State = tuple[tuple[int, ...], ...]


class Known(msgspec.Struct, frozen=True):
    """What a path held: the SHA-256 of the bundle that is there or that a run folder gives."""

    state: State
    sha256: str


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    sdbench_version: str
    files: dict[str, Known]


class FileIndex:
    """The index of one site. Where it cannot be read or kept, everything is read again."""

    def __init__(self, site: Path) -> None:
        digest = hashlib.sha256(os.path.abspath(site).encode(errors="surrogateescape"))
        self._name = f"{digest.hexdigest()[:16]}.json"
        self._before = _read(self._name)
        self._now: dict[str, Known] = {}

    def sha256(self, source: Input, state: State) -> str | None:
        """The content's digest if it is as it was; None if it must be read."""
        known = self._before.get(source.absolute)
        if known is None or known.state != state:
            return None
        self._now[source.absolute] = known
        return known.sha256

    def note(self, source: Input, state: State, sha256: str) -> None:
        """Remember what was read; ``state`` is from before it was read."""
        newest = max((time_ns for one in state for time_ns in one[1:3]), default=0)
        if newest < time.time_ns() - _SETTLED_NS:
            self._now[source.absolute] = Known(state, sha256)

    def keep(self) -> None:
        """Write it for the next time."""
        kept = _Kept(sdbench_version=__version__, files=self._now)
        folder = cache_folder() / _FOLDER
        try:
            make_folder(folder)
            write_inside(folder, self._name, data=msgspec.json.encode(kept), flushed=False)
        except OSError:
            return


def state_of(source: Input) -> State:
    """Sizes, times and inodes of what decides the content; empty where there is nothing."""
    names = [""] if source.kind == "bundle" else _OF_A_RUN
    found: list[tuple[int, ...]] = []
    for name in names:
        try:
            entry = os.stat(os.path.join(source.absolute, name) if name else source.absolute)
        except OSError:
            continue
        found.append((entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns, entry.st_ino))
    return tuple(found)


def _read(name: str) -> dict[str, Known]:
    try:
        kept = msgspec.json.decode(
            read_file(cache_folder() / _FOLDER / name, _MOST_BYTES), type=_Kept
        )
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return kept.files if kept.sdbench_version == __version__ else {}
