"""The one-way pipe to the parent: one JSON document a line, never a NaN, each with its time."""

import json
import math
import os
import threading
import time
from typing import Any


class Channel:
    """Writes events, from any thread, to a file descriptor that no child of the worker inherits."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, event: str, **fields: Any) -> None:
        """Write one event. ``t`` is the system-wide monotonic clock in seconds.

        Raises:
            ValueError: a field holds a NaN or an infinity (use :func:`finite_or_none` first).
            BrokenPipeError: the parent is gone.
        """
        document = {"event": event, "t": time.monotonic(), **fields}
        text = json.dumps(document, allow_nan=False, ensure_ascii=False)
        # A file name that is no UTF-8 leaves lone surrogates in messages, which JSON cannot hold.
        data = text.encode("utf-8", "replace") + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._fd, data) :]


def finite_or_none(value: float) -> "float | None":
    """The value, or None when it is NaN or infinite (JSON has no word for those)."""
    return value if math.isfinite(value) else None
