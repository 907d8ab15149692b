"""Takes turns with another process, pass by pass (``SDBENCH_WORKER_PRELOAD=turns``, lockstep.py).

Standard library only; nothing is asked of the worker but to wait before a pass and to say when it
has ended.
"""

import os
import socket
from typing import Any


class Turns:
    """The line to the process that gives out turns, which says who we are."""

    def __init__(self) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(os.environ["SDBENCH_TURNS"])
        self._line.sendall(os.environ["SDBENCH_TURNS_NAME"].encode())

    def wait(self) -> None:
        """Sleep until it is our turn."""
        if self._line.recv(1) != b"g":
            raise SystemExit("the process that gives out turns is gone")

    def end(self) -> None:
        """The pass is over and all that follows it is done."""
        self._line.sendall(b"e")


def take_turns_in_worker() -> None:
    """Make the worker's measured passes wait for their turn."""
    import sdbench_worker.passes  # type: ignore[import-not-found]

    passes = sdbench_worker.passes.Passes
    measured = passes.measured
    turns = Turns()

    def in_turn(self: Any, index: int) -> Any:
        turns.wait()
        record = measured(self, index)
        turns.end()
        return record

    passes.measured = in_turn


if "SDBENCH_TURNS" in os.environ and __name__ == "turns":
    import sys

    if "sdbench_worker" in sys.modules:
        take_turns_in_worker()
