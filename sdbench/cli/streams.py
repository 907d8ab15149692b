"""Standard streams that may become unusable: closed, full, without a reader or a terminal.

A measurement goes on without them. What cannot be shown is dropped; the records have it.
"""

import codecs
import contextlib
import io
import os
import sys
from typing import TextIO

_REPLACED = ("strict", "surrogateescape", "backslashreplace")
_IN_ASCII = {
    "–": "-",
    "−": "-",
    "─": "-",
    "━": "-",
    "×": "x",
    "·": "|",
    "…": "...",
    "→": "->",
    "“": "'",
    "”": "'",
    "±": "+/-",
    "●": "*",
    "★": "*",
    "█": "#",
    "░": ".",
    "°": "",
}
"""Characters of sdbench's own sentences and tables, and what stands for them where there is only
ASCII. None is a quotation mark or a backslash, so that JSON stays JSON."""
_ERRORS = "sdbench-ascii"


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of codecs: sdbench's own characters in ASCII, all others escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    words = (_IN_ASCII.get(one, one) for one in unknown)
    return "".join(words).encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(_ERRORS, _in_ascii)


class Lossy(io.TextIOBase):
    """A stream that drops what it cannot write and never raises for it."""

    def __init__(self, stream: TextIO | None) -> None:
        # While rich paints a bar, the stream in ``sys`` is one that prints through the console.
        self._stream: TextIO | None = getattr(stream, "rich_proxied_file", stream)
        self.lost: str | None = "closed" if stream is None else None
        """Why output was dropped; None while all of it was written."""

    def write(self, text: str, /) -> int:
        """Write it, or drop it."""
        if self._stream is not None:
            try:
                self._stream.write(text)
                self._stream.flush()
            except UnicodeEncodeError:  # a terminal that knows ASCII only
                return self.write(text.encode("ascii", _ERRORS).decode())
            except OSError as error:
                self.lost = error.strerror or str(error)
            except ValueError:  # it was closed by somebody in this process
                self.lost = "closed"
        return len(text)

    def flush(self) -> None:
        """Nothing: :meth:`write` has done it."""

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether it is (still) a terminal."""
        try:
            return self._stream is not None and self._stream.isatty()
        except ValueError:
            return False

    def fileno(self) -> int:
        """Of the stream beneath."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream beneath: rich asks whether it can draw lines."""
        return getattr(self._stream, "encoding", None) or "utf-8"


def print_error(text: str) -> None:
    """Print one line on standard error, if there is one."""
    Lossy(sys.stderr).write(f"{text}\n")


def reserve_descriptors() -> None:
    """Open /dev/null where a standard descriptor is closed.

    Else the next file opened would get its number, and whoever writes to "standard error" (a
    library in C, a child) would write into the records.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one


def escape_unknown_characters() -> None:
    r"""Let the standard streams show a character that their encoding does not have: sdbench's own
    in ASCII (``-``, ``x``), others as ``\u2603``. Python would raise UnicodeEncodeError.
    """
    # "surrogateescape" is Python's choice in the locale C; it raises as "strict" does.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _REPLACED:
            # A descriptor that was a file and now is a pipe has no position to be asked for.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors=_ERRORS)


def let_go() -> None:
    """Drop what is left in a buffer and cannot be written, before the interpreter ends.

    Otherwise the interpreter prints two lines about it and exits with 120.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
