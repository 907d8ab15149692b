"""One run, one folder; one line a record, on disk before the next process starts."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from sdbench.errors import StoreError, UsageError
from sdbench.schema import Record, Run
from sdbench.store.reading import RECORDS_FILE, RUN_FILE

LOCK_FILE = ".lock"
_ENCODER = msgspec.json.Encoder()


class RunFolder:
    """A run folder opened for writing; only one process at a time holds it."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock
        self._records: Any = None

    @classmethod
    def create(cls, root: Path, run: Run) -> "RunFolder":
        """Make the folder of a new run and write its ``run.json``.

        Raises:
            UsageError: the folder cannot be made there.
            StoreError: it was made but cannot be written.
        """
        path = root / run.run_id
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise UsageError(f"cannot make {path}: {error.strerror}") from error
        folder = cls(path, _lock(path))
        folder.write_run(run)
        _flush_folder(root)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run to go on with it; puts a torn last line aside.

        Raises:
            UsageError: another process has it open.
            StoreError: it cannot be written.
        """
        folder = cls(path, _lock(path))
        folder._put_torn_tail_aside()
        return folder

    def write_run(self, run: Run) -> None:
        """Write ``run.json`` as a whole or not at all."""
        text = msgspec.json.format(_ENCODER.encode(run), indent=1) + b"\n"
        with _explained(self.path / RUN_FILE):
            _write_atomically(self.path / RUN_FILE, text)

    def append(self, record: Record) -> None:
        """Append one record and return once it is on the disk itself.

        A write that fails half-way (a full disk) is taken back, so the file stays whole.

        Raises:
            StoreError: the disk is full or the folder cannot be written.
        """
        line = _ENCODER.encode(record) + b"\n"
        with _explained(self.path / RECORDS_FILE):
            if self._records is None:
                self._records = (self.path / RECORDS_FILE).open("ab", buffering=0)
                _flush_folder(self.path)
            size = os.fstat(self._records.fileno()).st_size
            try:
                _write_all(self._records.fileno(), line)
                _flush_to_disk(self._records.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._records.fileno(), size)
                raise

    def write_telemetry(self, name: str, lines: list[bytes]) -> str | None:
        """Write a replicate's timeline; returns why not, since the record itself must survive."""
        path = self.path / "telemetry" / f"{name}.jsonl"
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"".join(lines))
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return error.strerror or str(error)
        return None

    def close(self) -> None:
        """Close the file and let go of the folder."""
        if self._records is not None:
            self._records.close()
        self._lock.release()

    def _put_torn_tail_aside(self) -> None:
        path = self.path / RECORDS_FILE
        with _explained(path):
            data = path.read_bytes() if path.exists() else b""
            good = _whole_lines(data)
            if good == len(data):
                return
            number = sum(1 for _ in self.path.glob(f"{RECORDS_FILE}.torn-*"))
            _write_atomically(self.path / f"{RECORDS_FILE}.torn-{number}", data[good:])
            with open(path, "r+b") as file:
                file.truncate(good)
                _flush_to_disk(file.fileno())


def _lock(path: Path) -> FileLock:
    """Take the folder; the kernel lets go of it however this process ends."""
    lock = FileLock(str(path / LOCK_FILE))
    with _explained(path / LOCK_FILE):
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
            f"cannot write {path}: {error.strerror}; what was measured before is kept"
        ) from error


def _whole_lines(data: bytes) -> int:
    """Length of the part of the file that ends with its last whole, readable line."""
    end = data.rfind(b"\n") + 1
    start = data.rfind(b"\n", 0, max(0, end - 1)) + 1
    try:
        if end:
            json.loads(data[start:end])
    except ValueError:
        return start
    return end


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _write_atomically(path: Path, data: bytes) -> None:
    fd, scratch = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        os.fchmod(fd, 0o644)
        _write_all(fd, data)
        _flush_to_disk(fd)
        os.replace(scratch, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
    finally:
        os.close(fd)
    _flush_folder(path.parent)


def _flush_to_disk(fd: int) -> None:
    """fsync; on macOS that stops at the drive's cache, so F_FULLFSYNC is asked for there."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(fd, full)
            return
        except OSError:  # a network or FAT volume does not know it
            pass
    os.fsync(fd)


def _flush_folder(folder: Path) -> None:
    """Make a rename durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)
