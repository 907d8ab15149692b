"""A child that examines an interpreter: started by path, read to its end, never waited for long."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import sdbench.worker
from sdbench.process.doctor_events import Done, Event, Failed, decode_event
from sdbench.words import signal_name

_SCRIPT = str(Path(sdbench.worker.__file__).absolute().with_name("examine.py"))
_READ_BYTES = 1 << 16
_TAIL_BYTES = 8192
# The longest honest line holds the declared needs of eight packages: about 20 kB.
_MOST_BYTES = 1 << 20
_EXIT_S = 2.0
# The child ends itself somewhat later than its parent would.
_GRACE_S = 5


class Child:
    """One examination in a process group of its own.

    ``silence_s`` ends it when it says nothing for so long.
    """

    def __init__(
        self,
        interpreter: str,
        what: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        silence_s: float,
        limit_s: float,
    ) -> None:
        self._silence_s = silence_s
        self._limit_s = limit_s
        self._tail = b""
        self.hung = False
        self._failed: str | None = None
        self._finished = False
        self._closed = False
        events, events_end = os.pipe()
        said, said_end = os.pipe()
        self._events_fd = events
        try:
            self._process = subprocess.Popen(
                [
                    *(interpreter, _SCRIPT, what),
                    *("--events", str(events_end)),
                    *("--parent", str(os.getpid())),
                    *("--limit", str(int(limit_s) + _GRACE_S)),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=said_end,
                stderr=said_end,
                env=dict(environment),
                pass_fds=[events_end],
                start_new_session=True,
            )
        except BaseException:
            os.close(events)
            os.close(said)
            raise
        finally:
            os.close(events_end)
            os.close(said_end)
        self._selector = selectors.DefaultSelector()
        for fd in (events, said):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ)

    def events(self) -> Iterator[Event]:
        """What it says, as it comes, until it ends or has to be ended."""
        deadline = time.monotonic() + self._limit_s
        buffer = b""
        try:
            while self._events_fd in self._selector.get_map():
                left = deadline - time.monotonic()
                data = self._read(min(self._silence_s, left)) if left > 0 else None
                if data is None:
                    self.hung = True
                    return
                *lines, buffer = (buffer + data).split(b"\n")
                if len(buffer) > _MOST_BYTES:
                    self._failed = "it wrote an endless line"
                    return
                for line in lines:
                    event = decode_event(line)
                    if event is not None:
                        self._note(event)
                        yield event
        finally:
            self.close()

    def _read(self, timeout_s: float) -> bytes | None:
        """Events that have come, empty for other news; None if there was none in time."""
        ready = self._selector.select(timeout_s)
        if not ready:
            return None
        events = b""
        for key, _ in ready:
            data = b""
            with contextlib.suppress(OSError):
                data = os.read(key.fd, _READ_BYTES)
            if not data:
                self._shut(key.fd)
            elif key.fd == self._events_fd:
                events += data
            else:
                self._tail = (self._tail + data)[-_TAIL_BYTES:]
        return events

    def _note(self, event: Event) -> None:
        if isinstance(event, Done):
            self._finished = True
        elif isinstance(event, Failed):
            self._failed = f"{event.type}: {event.message}"

    def ending(self) -> str | None:
        """How it ended, in words, if not well. Only after :meth:`events` is through."""
        if self._finished:
            return None
        if self._failed is not None:
            return " ".join(self._failed.split())
        if self.hung:
            return f"no answer within {self._silence_s:g} s{self._last_words()}"
        code = self._process.returncode
        if code is not None and code < 0:
            return f"the process died with {signal_name(-code)}{self._last_words()}"
        return f"the process ended with status {code}{self._last_words()}"

    def _last_words(self) -> str:
        lines = self._tail.decode("utf-8", "replace").strip().splitlines()
        words = " / ".join(" ".join(line.split()) for line in lines[-2:])
        return f": {words[:500]}" if words else ""

    def close(self) -> None:
        """End it and whatever it has started."""
        if self._closed:
            return
        self._closed = True
        if self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if not self.hung and self._events_fd not in self._selector.get_map():
                    self._process.wait(_EXIT_S)  # its pipe is closed: it is ending by itself
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_S)
        for key in list(self._selector.get_map().values()):
            if key.fd != self._events_fd:
                self._drain(key.fd)
            self._shut(key.fd)
        self._selector.close()

    def _drain(self, fd: int) -> None:
        """The last words, which may come after the event pipe is closed."""
        with contextlib.suppress(OSError):
            self._tail = (self._tail + os.read(fd, _READ_BYTES))[-_TAIL_BYTES:]

    def _shut(self, fd: int) -> None:
        self._selector.unregister(fd)
        os.close(fd)
