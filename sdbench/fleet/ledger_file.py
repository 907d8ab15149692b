"""The file of a ledger: read by anybody, written by the one client that works on a fleet."""

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from sdbench.errors import StoreError
from sdbench.files.access import (
    MIB,
    flush_folder,
    flush_to_disk,
    lines_of,
    open_inside,
    open_to_append,
    write_all,
)
from sdbench.fleet.ledger import Event, Ledger
from sdbench.runs.checks import NAME
from sdbench.words import shortened

LEDGER_FILE = "ledger.jsonl"
_MOST_LINE_BYTES = 64 * MIB
_MOST_BYTES = 256 * MIB


def replayed(folder: Path, events: Iterable[Event]) -> Ledger:
    """The state after the events of a fleet folder.

    Raises:
        StoreError: they do not fit together, so somebody else wrote them.
    """
    path = folder / LEDGER_FILE
    try:
        ledger = Ledger(events)
    except KeyError as error:
        raise StoreError(
            f"{path}: an event is about {shortened(str(error))}, which no event before it names"
        ) from None
    for group in ledger.groups.values():
        if not NAME.fullmatch(group.run_id):
            raise StoreError(f"{path}: {shortened(repr(group.run_id))} is not the id of a run")
    return ledger


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Event)


def read_events(folder: Path) -> list[Event]:
    """The events of a fleet folder, in order; a last line that a crash has torn is left out.

    Raises:
        StoreError: the file cannot be read, or a line before its last is no event.
    """
    path = folder / LEDGER_FILE
    events: list[Event] = []
    torn: str | None = None
    try:
        with open_inside(folder, LEDGER_FILE) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise StoreError(f"{path}: larger than the {_MOST_BYTES:,} bytes that are read")
            for number, line in enumerate(lines_of(file, _MOST_LINE_BYTES), start=1):
                if torn is not None:
                    raise StoreError(f"{path}: {torn}")
                try:
                    events.append(_DECODER.decode(line or b""))
                except (msgspec.MsgspecError, ValueError, RecursionError) as error:
                    torn = f"line {number}: not an event of a fleet: {error}"
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    return events


class LedgerFile:
    """A ledger and its file."""

    def __init__(self, folder: Path) -> None:
        """Open or make the file; the state is what its events say.

        Raises:
            StoreError: it cannot be read or written.
        """
        self._path = folder / LEDGER_FILE
        events = read_events(folder)
        self.state = replayed(folder, events)
        self._noted: list[bytes] = []
        try:
            self._file = open_to_append(folder, LEDGER_FILE)
            flush_folder(folder)
            self._cut_torn_line()
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error

    def note(self, events: Sequence[Event]) -> None:
        """Apply events; whoever acts on them calls :meth:`flush` first."""
        for event in events:
            self._noted.append(_ENCODER.encode(event) + b"\n")
            self.state.apply(event)

    def flush(self) -> None:
        """Write what was noted, and return once it is on the disk itself.

        Raises:
            StoreError: it could not be written; nothing may be done about what was noted.
        """
        if not self._noted:
            return
        fd = self._file.fileno()
        size = os.fstat(fd).st_size
        try:
            write_all(fd, b"".join(self._noted))
            flush_to_disk(fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, size)
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error
        self._noted.clear()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _cut_torn_line(self) -> None:
        """Remove what a crash left of a line that was never acted on."""
        fd = self._file.fileno()
        size = os.fstat(fd).st_size
        tail = os.pread(fd, min(size, _MOST_LINE_BYTES), max(0, size - _MOST_LINE_BYTES))
        if tail and not tail.endswith(b"\n"):
            os.ftruncate(fd, size - len(tail) + tail.rfind(b"\n") + 1)
            flush_to_disk(fd)
