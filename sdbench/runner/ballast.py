"""Memory held by a process of its own while a case runs (``[pressure]``).

It is allocated before the worker starts, supervised by the guard, and released as soon as the guard
acts, the worker has ended, or this process ends.
"""

import contextlib
import dataclasses
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from sdbench.machine import MemoryProbe
from sdbench.process.executor import Stop, Supervisor
from sdbench.process.sampler import MachineSampler
from sdbench.runner import ballast_process
from sdbench.words import gigabytes

_PROGRAM = str(Path(ballast_process.__file__).absolute())
_LOOK_EVERY_S = 0.05
# Seen: 0.4 GB per second on a small virtual machine.
_SLOWEST_BYTES_PER_S = 50e6
_START_S = 30.0
_READ_BYTES = 1 << 16


class Ballast(Protocol):
    """A memory ballast that can be allocated and released."""

    def take(self, supervise: Supervisor) -> Stop | None:
        """Allocate all of it; None on success, else the reason of the failure."""

    def release(self) -> None:
        """Release it at once; does nothing if none is held."""


class ProcessBallast:
    """Held by ``ballast_process.py``."""

    def __init__(self, hold_bytes: int, probe: MemoryProbe) -> None:
        self._hold_bytes = hold_bytes
        self._sampler = MachineSampler(probe)
        self._process: subprocess.Popen[bytes] | None = None

    def take(self, supervise: Supervisor) -> Stop | None:
        """Start the process and watch it grow; the supervisor may stop it."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", _PROGRAM, str(self._hold_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for this process alone
        )
        stop = self._watch(self._process, supervise)
        if stop is not None:
            self.release()
        return stop

    def release(self) -> None:
        """Kill the process: nothing else gives memory back as fast."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()

    def _watch(self, process: "subprocess.Popen[bytes]", supervise: Supervisor) -> Stop | None:
        assert process.stdout is not None
        fd = process.stdout.fileno()
        deadline = time.monotonic() + _START_S + self._hold_bytes / _SLOWEST_BYTES_PER_S
        held, rest, wanted = 0, b"", gigabytes(self._hold_bytes)
        while held < self._hold_bytes:
            sample = self._sampler.take()
            stop = supervise(None, sample)
            if stop is not None:
                words = f"{stop.reason}, when {gigabytes(held)} of {wanted} were held"
                return dataclasses.replace(stop, reason=words)
            if time.monotonic() > deadline:
                return Stop("ballast", f"{wanted} could not be held in time")
            if not select.select([fd], [], [], _LOOK_EVERY_S)[0]:
                continue
            data = os.read(fd, _READ_BYTES)
            if not data:
                code = process.wait()
                words = f"{wanted} could not be held (pressure.hold_bytes): "
                return Stop("ballast", f"{words}the ballast process ended with exit status {code}")
            *lines, rest = (rest + data).split(b"\n")
            held = int(lines[-1]) if lines else held
        return None
