"""One run, one folder; one line a record, on disk before the next process starts."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from filelock import FileLock, Timeout

from sdbench.errors import StoreError, UsageError
from sdbench.schema import (
    Ceiling,
    Checked,
    Compared,
    Looked,
    Record,
    Replicate,
    Run,
    Started,
    Withdrawn,
)
from sdbench.store.ownership import digest, is_own, note_own
from sdbench.words import shortened

RUN_FILE, RECORDS_FILE, LOCK_FILE = "run.json", "records.jsonl", ".lock"
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Record)


@dataclass(frozen=True)
class LoadedRun:
    """A run as read: what could not be read is said in ``warnings``, never silently left out."""

    path: Path
    run: Run
    started: list[Started]
    attempts: list[Replicate]
    """Every replicate line, repeated attempts included, in order."""
    warnings: list[str] = field(default_factory=list)

    withdrawn: list[Withdrawn] = field(default_factory=list)
    comparisons: list[Compared] = field(default_factory=list)
    """Every comparison with the CPU, replaced ones included, in order."""
    checks: list[Checked] = field(default_factory=list)
    """The small pictures made before sittings."""
    ceilings: list[Ceiling] = field(default_factory=list)
    """What the device does at most, by arm and dtype."""
    looks: list[Looked] = field(default_factory=list)
    """Where the run goes on until it is decided."""
    folder: Path | None = None
    """Where its files are, where ``path`` is only what may be shown (``report --share``)."""
    recorded_ids: dict[str, str] = field(default_factory=dict)
    """Replicate ids as they were recorded, where a shared run calls them otherwise."""
    run_sha256: str | None = None
    """Of the ``run.json`` that ``run`` was read from; None where it was not read from one."""

    @property
    def own(self) -> bool:
        """Whether this installation made it: only then may it decide what is executed."""
        return is_own(self.run_sha256)

    @property
    def files(self) -> Path:
        """The folder to read pictures, latents and timelines from; nothing shows it."""
        return self.folder or self.path

    def timeline_path(self, replicate: Replicate) -> Path:
        """The file of a process's memory timeline, whether there is one or not."""
        recorded = self.recorded_ids.get(replicate.replicate_id, replicate.replicate_id)
        return self.files / "telemetry" / f"{recorded}.{replicate.attempt}.jsonl"

    @property
    def replicates(self) -> list[Replicate]:
        """The last attempt at each replicate, in the order first run."""
        return last_attempts(self.attempts)

    @property
    def compared(self) -> list[Compared]:
        """The last comparison of each replicate's last attempt."""
        last = {entry.replicate_id: entry.attempt for entry in self.replicates}
        return list(
            {
                entry.replicate_id: entry
                for entry in self.comparisons
                if last.get(entry.replicate_id) == entry.attempt
            }.values()
        )

    @property
    def in_flight(self) -> list[Started]:
        """Processes under which the run was killed: started last, and nothing said of them since.

        An earlier lost attempt that has been made good by a later one is history.
        """
        latest = {entry.replicate_id: entry for entry in self.started}
        ended = {(entry.replicate_id, entry.attempt) for entry in self.attempts}
        ended |= {(entry.replicate_id, entry.attempt) for entry in self.withdrawn}
        return [
            entry for entry in latest.values() if (entry.replicate_id, entry.attempt) not in ended
        ]


def last_attempts(attempts: Iterable[Replicate]) -> list[Replicate]:
    """Of each replicate the last attempt recorded, in the order first run."""
    return list({replicate.replicate_id: replicate for replicate in attempts}.values())


class RunFolder:
    """A run folder opened for writing; only one process at a time holds it."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock
        self._records: Any = None
        self.not_noted: str | None = None
        """Why the run could not be noted as this installation's own."""

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
        """Write ``run.json`` as a whole or not at all, and note that it is this installation's."""
        text = msgspec.json.format(_ENCODER.encode(run), indent=1) + b"\n"
        self.not_noted = note_own(digest(text), run.run_id)
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


def load_run(path: Path) -> LoadedRun:
    """Read a run folder, whatever state it was left in.

    Raises:
        UsageError: there is no run there.
        StoreError: ``run.json`` cannot be read.
    """
    file = path / RUN_FILE
    try:
        text = file.read_bytes()
        run = msgspec.json.decode(text, type=Run)
    except FileNotFoundError:
        raise UsageError(f"{path}: no run there (no {RUN_FILE})") from None
    except OSError as error:
        raise StoreError(f"{file}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreError(f"{file}: not a run of this or an older sdbench: {error}") from error
    loaded = LoadedRun(path, run, [], [], run_sha256=digest(text))
    for number, line in enumerate(_lines(path / RECORDS_FILE), start=1):
        try:
            record = _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            loaded.warnings.append(f"{RECORDS_FILE} line {number} is unreadable: {error}")
            continue
        if isinstance(record, Started):
            loaded.started.append(record)
        elif isinstance(record, Withdrawn):
            loaded.withdrawn.append(record)
        elif isinstance(record, Compared):
            loaded.comparisons.append(record)
        elif isinstance(record, Checked):
            loaded.checks.append(record)
        elif isinstance(record, Ceiling):
            loaded.ceilings.append(record)
        elif isinstance(record, Looked):
            loaded.looks.append(record)
        else:
            loaded.attempts.append(record)
    return loaded


def find_run(root: Path, name: str) -> Path:
    """The folder of a run given by path, by id, by the start of an id, or as ``latest``.

    Raises:
        UsageError: none or several match.
    """
    with contextlib.suppress(OSError, ValueError):  # too long for a path, or with a NUL
        if (Path(name) / RUN_FILE).is_file():
            return Path(name)
    runs = list_runs(root)
    if name == "latest" and runs:
        return runs[-1]
    matches = [path for path in runs if path.name == name] or [
        path for path in runs if path.name.startswith(name)
    ]
    if len(matches) == 1:
        return matches[0]
    found = "no run" if not matches else f"{len(matches)} runs"
    raise UsageError(f"{found} called {shortened(name)!r} in {root}; see sdbench list")


def list_runs(root: Path) -> list[Path]:
    """The run folders in a folder, oldest first (their names begin with the time)."""
    return sorted(path.parent for path in root.glob(f"*/{RUN_FILE}"))


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


def _lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


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
