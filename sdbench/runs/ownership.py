"""Which runs this installation made: only those may decide what is executed here.

Results are made to be shared, so a run folder may come from anybody, and what its ``run.json`` says
is text: the interpreter, the variables of a variant, the preloads, the consent to pickle. Whenever
sdbench writes a ``run.json``, it notes the SHA-256 of that file in a folder of its own, which is
never part of a run. A run is this installation's own when its ``run.json`` is, byte for byte, one
that was noted. The id, which every shared run shows, proves nothing.
"""

import hashlib
import os
from pathlib import Path

from sdbench.files.access import flush_folder, flush_to_disk, make_folder, open_file, write_all
from sdbench.files.user_folders import state_folder

_NOTES = "own-runs"
_DIGITS = 64


def digest(run_file: bytes) -> str:
    """The SHA-256 of the bytes of a ``run.json``, in hexadecimal."""
    return hashlib.sha256(run_file).hexdigest()


def note_own(run_sha256: str, run_id: str) -> str | None:
    """Remember a ``run.json`` that is about to be written; returns why it could not be.

    It is noted before it is written, so that a crash between the two leaves no own run unknown.
    """
    # The first line break ends a line that a crash has torn.
    line = f"\n{run_sha256} {run_id}\n".encode()
    try:
        make_folder(state_folder(), 0o700)
        # A FIFO in its place is refused: to open one otherwise waits for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        fd = os.open(_notes(), flags, 0o600)
        try:
            # Most often one call: two runs that begin at once do not mix their lines.
            if os.write(fd, line) < len(line):
                write_all(fd, line)  # anew: half a line is nobody's
            flush_to_disk(fd)
        finally:
            os.close(fd)
        flush_folder(state_folder())
    except OSError as error:
        return f"{_notes()}: {error.strerror}"
    return None


def is_own(run_sha256: str | None) -> bool:
    """Whether this installation wrote the ``run.json`` that has this SHA-256."""
    if run_sha256 is None or len(run_sha256) != _DIGITS:
        return False
    try:
        with open_file(_notes()) as notes:
            return any(line.startswith(f"{run_sha256} ".encode()) for line in notes)
    except OSError:
        return False


def _notes() -> Path:
    return state_folder() / _NOTES
