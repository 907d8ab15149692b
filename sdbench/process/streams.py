"""What comes out of a worker: event lines, and the tails of its standard streams."""

import os
import selectors
from collections import deque
from typing import Generic, TypeVar

import msgspec

E = TypeVar("E")
TAIL_BYTES = 64 * 1024
# The longest honest event describes a batch of 64 images: about 40 kB.
MAX_LINE_BYTES = 1 << 20
_READ_BYTES = 1 << 16
# A pipe holds at most 1 MiB; whoever writes more after the worker's end is not the worker.
_DRAIN_READS = 32


class Tail:
    """The last 64 KiB of a stream, and no more memory than that however much comes."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Add what was read."""
        self._pieces.append(data)
        self._size += len(data)
        while self._size - len(self._pieces[0]) >= TAIL_BYTES:
            self._size -= len(self._pieces.popleft())

    def text(self) -> str:
        """The tail, decoded leniently."""
        return b"".join(self._pieces)[-TAIL_BYTES:].decode("utf-8", errors="replace")


class EventLines(Generic[E]):
    """Splits the event pipe into documents; what is no event is counted, never fatal."""

    def __init__(self, decoder: msgspec.json.Decoder[E]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()
        self.unreadable = 0
        self.flooded = False
        self.pending: deque[E] = deque()

    def feed(self, data: bytes) -> None:
        """Add what was read; whole events go to ``pending``."""
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        for line in lines:
            self._decode(bytes(line))
        if len(self._buffer) > MAX_LINE_BYTES:
            self.flooded = True
            self._buffer.clear()

    def _decode(self, line: bytes) -> None:
        try:
            self.pending.append(self._decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.unreadable += 1


class Streams(Generic[E]):
    """The three pipes of a worker behind one selector.

    Where both standard streams are one pipe, ``stderr`` has the tail of both.
    """

    def __init__(
        self, events_fd: int, stdout_fd: int, stderr_fd: int, decoder: msgspec.json.Decoder[E]
    ) -> None:
        self.events = EventLines(decoder)
        self.stdout, self.stderr = Tail(), Tail()
        self.events_closed = False
        self._selector = selectors.DefaultSelector()
        self._open: dict[int, EventLines[E] | Tail] = {
            events_fd: self.events,
            stdout_fd: self.stdout,
            stderr_fd: self.stderr,
        }
        self._events_fd = events_fd
        for fd in self._open:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ)

    def watch(self, fd: int) -> None:
        """Wake up for this descriptor as well; it is read by somebody else."""
        self._selector.register(fd, selectors.EVENT_READ)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something comes or the time is over; read what is there, False if nothing."""
        ready = self._selector.select(max(0.0, timeout_s))
        for key, _ in ready:
            if key.fd in self._open:
                self._read(key.fd)
        return bool(ready)

    def drain(self) -> None:
        """Read what is left without waiting: a grandchild may hold a pipe open indefinitely."""
        for fd in list(self._open):
            for _ in range(_DRAIN_READS):
                if fd not in self._open or not self._read(fd):
                    break

    def close(self) -> None:
        """Close all pipes."""
        for fd in list(self._open):
            self._shut(fd)
        self._selector.close()

    def _read(self, fd: int) -> bool:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._shut(fd)
            return False
        self._open[fd].feed(data)
        return True

    def _shut(self, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)
        del self._open[fd]
        if fd == self._events_fd:
            self.events_closed = True
