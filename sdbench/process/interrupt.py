"""Ctrl-C stops in an orderly way: it sets a flag that is checked at suitable points; handlers are
restored afterwards."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptFlag:
    """While entered, the first signal sets ``requested``; a second raises KeyboardInterrupt.

    ``patient``: a second is no more than a first, for what takes a moment and must be whole. Off
    the main thread, where no signal arrives, nothing is changed.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.requested = False
        self._patient = patient
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "InterruptFlag":
        on_main_thread = threading.current_thread() is threading.main_thread()
        for number in _SIGNALS if on_main_thread else ():
            if signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup, or a shell's background job: meant to be ignored
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self._patient:
            raise KeyboardInterrupt
        self.requested = True
