"""Prevent idle sleep on macOS during a run; the display may sleep."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

_CAFFEINATE = "/usr/bin/caffeinate"


@contextlib.contextmanager
def kept_awake() -> Iterator[None]:
    """``caffeinate -i -w PID``: ends by itself when this process does, however it ends."""
    if sys.platform != "darwin":
        yield
        return
    try:
        process = subprocess.Popen([_CAFFEINATE, "-i", "-w", str(os.getpid())])
    except OSError:  # without it a long run may sleep; that is detected and marked
        yield
        return
    try:
        yield
    finally:
        process.terminate()
        process.wait()
