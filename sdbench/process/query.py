"""A child that examines an interpreter: started by path, read to its end, never waited for long."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

from sdbench.process.doctor_events import DECODER, Done, Event, Failed
from sdbench.process.launch import EXAMINATION, signal_group, start_script
from sdbench.process.streams import Streams
from sdbench.words import signal_name

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
        self.hung = False
        self._failed: str | None = None
        self._finished = False
        self._closed = False
        events, events_end = os.pipe()
        said, said_end = os.pipe()
        self._streams = Streams(events, said, said, DECODER)
        try:
            self._process = start_script(
                [
                    *(interpreter, EXAMINATION, what),
                    *("--events", str(events_end)),
                    *("--limit", str(int(limit_s) + _GRACE_S)),
                    *arguments,
                ],
                environment,
                pass_fds=[events_end],
                stdout=said_end,
                stderr=said_end,
            )
        except BaseException:
            self._streams.close()
            raise
        finally:
            os.close(events_end)
            os.close(said_end)

    def events(self) -> Iterator[Event]:
        """What it says, as it comes, until it ends or has to be ended."""
        deadline = time.monotonic() + self._limit_s
        lines = self._streams.events
        try:
            while not self._streams.events_closed:
                left = deadline - time.monotonic()
                self.hung = left <= 0 or not self._streams.wait(min(self._silence_s, left))
                if lines.flooded:
                    self._failed = "it wrote an endless line"
                if self.hung or lines.flooded:
                    return
                while lines.pending:
                    event = lines.pending.popleft()
                    if isinstance(event, Done):
                        self._finished = True
                    elif isinstance(event, Failed):
                        self._failed = f"{event.type}: {event.message}"
                    yield event
        finally:
            self.close()

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
        return f"the process ended with exit status {code}{self._last_words()}"

    def _last_words(self) -> str:
        lines = self._streams.stderr.text().strip().splitlines()
        words = " / ".join(" ".join(line.split()) for line in lines[-2:])
        return f": {words[:500]}" if words else ""

    def close(self) -> None:
        """End it and whatever it has started."""
        if self._closed:
            return
        self._closed = True
        if self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                if self._streams.events_closed:
                    self._process.wait(_EXIT_S)  # it is ending by itself
            signal_group(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_S)
        self._streams.drain()  # the last words may come after the event pipe is closed
        self._streams.close()
