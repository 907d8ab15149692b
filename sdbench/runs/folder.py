"""One run, one folder; one line a record, on disk before the next process starts."""

import contextlib
import errno
import itertools
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from sdbench.errors import SdbenchError, StoreError, UsageError
from sdbench.files.access import (
    DISK_FAULTS,
    MIB,
    flush_folder,
    flush_to_disk,
    make_folder,
    open_to_append,
    remove_scratch,
    write_all,
    write_inside,
)
from sdbench.records import Record, Run
from sdbench.runs.ownership import digest, note_own
from sdbench.runs.reading import (
    RECORDS_FILE,
    RUN_FILE,
    LoadedRun,
    load_run,
    read_run_file,
    refuse_newer,
)

LOCK_FILE = ".lock"
# Workers, the parent and reports write files into these, by path.
_WRITTEN_FOLDERS = ("images", "latents", "traces", "telemetry")
_ENCODER = msgspec.json.Encoder()
# No line is longer (``reading.py``).
_MOST_TORN_BYTES = 64 * MIB


class RunFolder:
    """A run folder opened for writing; only one process at a time holds it."""

    def __init__(self, before: LoadedRun, lock: FileLock) -> None:
        self.path = before.path
        self.before = before
        """The run as it was when the folder was opened."""
        self._lock = lock
        self._records: Any = None
        self._turn = threading.Lock()
        self.not_noted: str | None = None
        """Why the run could not be noted as this installation's own."""

    @classmethod
    def create(cls, root: Path, run: Run) -> "RunFolder":
        """Make the folder of a new run and write its ``run.json``.

        Raises:
            UsageError: the folder cannot be made there.
            StoreError: the disk is at fault; no folder is left.
        """
        path = root / run.run_id
        try:
            make_folder(root)
            os.mkdir(path)
        except OSError as error:
            raise not_writable(f"cannot make {path}", error) from error
        folder = None
        try:
            # Before run.json exists: a run that is found is in a folder that outlasts a power cut.
            flush_folder(root)
            folder = cls(LoadedRun(path, run, [], []), _lock(path))
            folder.write_run(run)
        except (OSError, StoreError) as error:
            _take_back(path, folder)
            raise StoreError(f"cannot start a run in {path}: {_reason(error)}") from error
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run to go on with it; puts a torn last line aside.

        Records and files of a killed process are flushed, because they count from now on. Files
        that it did not finish are removed.

        Raises:
            UsageError: another process has it open, or there is no run.
            StoreError: it cannot be read or written, a newer sdbench wrote it, or a folder that
                workers write into is a link.
        """
        _refuse_links(path)
        lock = _lock(path)
        try:
            before = load_run(path)
            refuse_newer(before)
            folder = cls(before, lock)
            folder._put_torn_tail_aside()
            folder._tidy()
        except BaseException:
            lock.release()
            raise
        return folder

    def write_run(self, run: Run) -> None:
        """Write ``run.json`` as a whole or not at all, and note that it is this installation's.

        Fields that we do not know stay in it.
        """
        with _explained(self.path / RUN_FILE):
            try:
                before = json.loads(read_run_file(self.path)[1])
            except UsageError:
                document = msgspec.Raw(_ENCODER.encode(run))
            else:
                document = _with_unknown(json.loads(_ENCODER.encode(run)), before)
            text = msgspec.json.format(_ENCODER.encode(document), indent=1) + b"\n"
            self.not_noted = note_own(digest(text), run.run_id)
            write_inside(self.path, RUN_FILE, data=text)

    def append(self, *records: Record) -> None:
        """Append records, under this run's id, and return once they are on the disk itself.

        A write that fails half-way (a full disk) is taken back, so the file stays whole. Threads
        take turns.

        Raises:
            StoreError: the disk is full, or the folder is gone or cannot be written.
        """
        run_id = self.before.run.run_id
        named = (msgspec.structs.replace(record, run_id=run_id) for record in records)
        lines = b"".join(_ENCODER.encode(record) + b"\n" for record in named)
        with self._turn, _explained(self.path / RECORDS_FILE):
            if self._records is None:
                self._records = open_to_append(self.path, RECORDS_FILE)
                flush_folder(self.path)
            fd = self._records.fileno()
            _require_in_place(fd, self.path / RECORDS_FILE)
            size = os.fstat(fd).st_size
            try:
                write_all(fd, lines)
                flush_to_disk(fd)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, size)
                raise

    def keep_files(self) -> str | None:
        """Make the names of files that workers wrote durable, before a record refers to them.

        Returns why that failed, since the record itself must survive.
        """
        try:
            for name in _WRITTEN_FOLDERS:
                flush_folder(self.path / name)
            flush_folder(self.path)
        except OSError as error:
            return error.strerror or str(error)
        return None

    def write_telemetry(self, name: str, lines: list[bytes]) -> str | None:
        """Write a replicate's timeline; returns why not, since the record itself must survive."""
        try:
            write_inside(self.path, "telemetry", f"{name}.jsonl", data=b"".join(lines))
        except OSError as error:
            return error.strerror or str(error)
        return None

    def close(self) -> None:
        """Close the file and let go of the folder."""
        if self._records is not None:
            self._records.close()
        self._lock.release()

    def _tidy(self) -> None:
        remove_scratch(self.path)
        for name in _WRITTEN_FOLDERS:
            remove_scratch(self.path, name)
        self.keep_files()

    def _put_torn_tail_aside(self) -> None:
        with _explained(self.path / RECORDS_FILE):
            if not os.path.lexists(self.path / RECORDS_FILE):
                return
            with open_to_append(self.path, RECORDS_FILE) as file:
                size = os.fstat(file.fileno()).st_size
                good = _whole_lines(file.fileno(), size)
                if good == size:
                    flush_to_disk(file.fileno())
                    return
                number = sum(1 for _ in self.path.glob(f"{RECORDS_FILE}.torn-*"))
                torn = os.pread(file.fileno(), size - good, good)
                write_inside(self.path, f"{RECORDS_FILE}.torn-{number}", data=torn)
                os.ftruncate(file.fileno(), good)
                flush_to_disk(file.fileno())


# Their keys are no fields but data, of which some decides what is executed.
_MAPS = ("stacks", "env", "environment", "config")


def _with_unknown(new: Any, before: Any) -> Any:
    """What is to be written, with what was there and has no name here: a newer sdbench's fields.

    Nothing is ever taken out of ``run.json``, and its lists only grow.
    """
    if isinstance(new, dict) and isinstance(before, dict):
        kept = {
            key: value if key in _MAPS else _with_unknown(value, before.get(key))
            for key, value in new.items()
        }
        return kept | {key: value for key, value in before.items() if key not in new}
    if isinstance(new, list) and isinstance(before, list):
        return [_with_unknown(value, there) for value, there in itertools.zip_longest(new, before)][
            : len(new)
        ]
    return new


def _refuse_links(path: Path) -> None:
    """Workers write by path into these, so they must be folders of the run.

    Raises:
        StoreError: one is a link.
    """
    for name in _WRITTEN_FOLDERS:
        if (path / name).is_symlink():
            raise StoreError(
                f"{path / name}: is a link, and results are not written through links: use the "
                "folder itself"
            )


def _require_in_place(fd: int, path: Path) -> None:
    """Whether what is written into is still where everybody looks for it.

    Raises:
        OSError: it was deleted or moved away.
    """
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        there = None
    if there is None or not os.path.samestat(there, os.fstat(fd)):
        raise OSError(errno.ENOENT, "it was deleted or moved during the run")


def _lock(path: Path) -> FileLock:
    """Take the folder; the kernel lets go of it however this process ends."""
    lock = FileLock(str(path / LOCK_FILE))
    with _explained(path / LOCK_FILE):
        open_to_append(path, LOCK_FILE).close()  # old releases of filelock empty what they open
        try:
            lock.acquire(timeout=0)
        except Timeout:  # an OSError too, so it must be caught first
            raise UsageError(f"{path}: another sdbench is working on this run") from None
    return lock


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror}; earlier measurements are kept"
        ) from error


def not_writable(what: str, error: OSError) -> SdbenchError:
    """The error for a path that the user gave: its exit code is 3 where the disk is at fault."""
    kind = StoreError if error.errno in DISK_FAULTS else UsageError
    return kind(f"{what}: {error.strerror}")


def _take_back(path: Path, folder: RunFolder | None) -> None:
    """Remove the folder of a run that could not be started, as far as possible."""
    if folder is not None:
        folder.close()
    with contextlib.suppress(OSError):
        for name in (LOCK_FILE, RUN_FILE):
            (path / name).unlink(missing_ok=True)
        path.rmdir()


def _reason(error: OSError | StoreError) -> str:
    """What the system said."""
    cause = error.__cause__ if isinstance(error, StoreError) else error
    return (isinstance(cause, OSError) and cause.strerror) or str(error)


def _whole_lines(fd: int, size: int) -> int:
    """Length of the part of the file that ends with its last whole, readable line."""
    begin = max(0, size - _MOST_TORN_BYTES)
    data = os.pread(fd, size - begin, begin)
    end = data.rfind(b"\n") + 1
    if begin and not end:
        raise OSError(errno.EFBIG, f"its last line is longer than {_MOST_TORN_BYTES:,} bytes")
    start = data.rfind(b"\n", 0, max(0, end - 1)) + 1
    try:
        if end:
            json.loads(data[start:end])
    except (ValueError, RecursionError):
        return begin + start
    return begin + end
