"""An index of the runs in a results folder, kept in the cache folder, for ``list`` and ``history``.

An entry is derived data: it is used only while ``run.json`` and the records are unchanged (size,
times, inode), and only by this version of sdbench. An unreadable entry is made again.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from sdbench import __version__
from sdbench.comparison.history import Past, past_of
from sdbench.errors import SdbenchError
from sdbench.files.access import MIB, read_inside, remove_scratch, write_inside
from sdbench.files.user_folders import cache_folder
from sdbench.runs import LoadedRun, list_runs, load_run
from sdbench.runs.reading import RECORDS_FILE, RUN_FILE

_FORMAT = 2
_MOST_BYTES = 256 * MIB
# A file that was changed so lately may be changed again within one tick of its clock.
_SETTLED_S = 2.0
# No entry takes so long to write: the process that began it was killed.
_ABANDONED_S = 600.0

Stamp = list[tuple[int, int, int, int] | None]
"""Size, inode, and modification and change times in ns of both files; None for a missing file."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    sdbench: str
    path: str
    stamp: Stamp
    past: Past


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A run that could not be read, and why."""

    reason: str


def pasts_in(root: Path) -> Iterator[tuple[Path, Past | LeftOut]]:
    """Every run of a results folder, oldest first; a damaged run does not hide the others."""
    remove_scratch(cache_folder(), "runs", older_than_s=_ABANDONED_S)
    for path in list_runs(root):
        try:
            yield path, _past(path)
        except SdbenchError as error:
            yield path, LeftOut(reason=str(error))
        except Exception as error:  # whatever a damaged run does, the others are listed
            yield path, LeftOut(reason=f"{path}: {type(error).__name__}: {error}"[:400])


def pasts_beside(runs: Sequence[LoadedRun]) -> list[Past]:
    """The other runs in the results folders of some runs: their history."""
    own = {run.files.absolute() for run in runs}
    return [past for path, past in pasts_around(runs).items() if path not in own]


def pasts_around(runs: Sequence[LoadedRun]) -> dict[Path, Past]:
    """All runs in the results folders of some runs, these included, by absolute path."""
    roots = dict.fromkeys(run.files.absolute().parent for run in runs)
    return {
        path.absolute(): past
        for root in roots
        for path, past in pasts_in(root)
        if isinstance(past, Past)
    }


def _past(path: Path) -> Past:
    stamp = _stamp(path)
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32] + ".json"
    folder = cache_folder()
    with suppress(OSError, msgspec.MsgspecError, ValueError, RecursionError):
        data = read_inside(folder, "runs", name, most_bytes=_MOST_BYTES)
        kept = msgspec.json.decode(data, type=_Kept)
        wanted = (_FORMAT, __version__, str(path.absolute()), stamp)
        if (kept.format, kept.sdbench, kept.path, kept.stamp) == wanted:
            return kept.past
    past = past_of(load_run(path))
    if stamp == _stamp(path) and _is_settled(stamp):
        entry = _Kept(
            format=_FORMAT,
            sdbench=__version__,
            path=str(path.absolute()),
            stamp=stamp,
            past=past,
        )
        with suppress(OSError):  # a cache that cannot be written costs time and nothing else
            folder.mkdir(parents=True, exist_ok=True)
            data = msgspec.json.encode(entry)
            # To flush each takes longer than all else where there are thousands of runs.
            write_inside(folder, "runs", name, data=data, flushed=False)
    return past


def _stamp(path: Path) -> Stamp:
    return [_stamp_of(path / name) for name in (RUN_FILE, RECORDS_FILE)]


def _stamp_of(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _is_settled(stamp: Stamp) -> bool:
    latest = max((max(one[2], one[3]) for one in stamp if one is not None), default=0)
    return time.time_ns() - latest > _SETTLED_S * 1e9
