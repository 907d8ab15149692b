"""A preload that makes the real pipeline die in the ways real ones do, chosen by image width.

``SDBENCH_TEST_FAULTS`` is a JSON object from width in pixels to the name of a fault below; the
fault strikes at the start of the pipeline call with that width, in a real worker, for real. With
``SDBENCH_TEST_FAULTS_RANK`` only the process of that rank is struck, where several make a pass.
"""

import ctypes
import functools
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import diffusers


def _abort() -> None:
    sys.stderr.write("MPSNDArray.mm:88: failed assertion `total bytes of NDArray > 2**32'\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGABRT)


def _segfault() -> None:
    ctypes.string_at(0)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise ValueError("a fault <b>with</b> \x1b[31mescapes\x1b[0m in its text")


def _hang_with_lock() -> None:
    ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the interpreter lock, CDLL would release it


def _ignore_sigterm_and_hang() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def _eat_memory() -> None:
    import torch

    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
    torch.ones(1 << 42)


def _grow() -> None:
    """Take memory as a batch that is too large does, and hold it.

    At most 0.7 GB a second: how far the guard lets it go must not depend on how fast memory is.
    """
    block = os.urandom(64 << 20)
    held: list[bytearray] = []
    while len(held) * len(block) < int(os.environ["SDBENCH_TEST_GROW_BYTES"]):
        held.append(bytearray(block))
        time.sleep(0.1)
    time.sleep(600)


def _hide_peaks() -> None:
    """As on a device whose allocator has no peak counter."""
    from sdbench_worker.devices.cpu import CPU  # type: ignore[import-not-found]  # as in a worker

    CPU.peak_bytes = lambda self: (None, "no peak counter in this test")


def _exit_silently() -> None:
    os._exit(0)


def _rubbish() -> None:
    fd = _events_fd()
    os.write(fd, b'\xff\xfe no json\n[1, 2]\n{"event": 3}\n')


def _close_pipe() -> None:
    os.close(_events_fd())
    time.sleep(600)


def _flood() -> None:
    fd = _events_fd()
    while True:
        os.write(fd, b"x" * 65536)


def _chatter() -> None:
    for _ in range(40):
        sys.stdout.write("blah " * 2000 + "\n")
    sys.stdout.write("the last words on stdout\n")


_ONLY_RANK = "SDBENCH_TEST_FAULTS_RANK"
_FAULTS: dict[str, Callable[[], None]] = {
    name.removeprefix("_").replace("_", "-"): function
    for name, function in list(globals().items())
    if name.startswith("_") and callable(function) and not name.startswith("__")
}


def _events_fd() -> int:
    """The event pipe, found as the worker's own channel object holds it."""
    from sdbench_worker.channel import Channel  # type: ignore[import-not-found]  # as in a worker

    channels = [thing for thing in gc.get_objects() if isinstance(thing, Channel)]
    fd: int = channels[-1]._fd
    return fd


def _is_struck() -> bool:
    only = os.environ.get(_ONLY_RANK)
    return only is None or os.environ.get("RANK") == only


def _install() -> None:
    by_width = json.loads(os.environ.get("SDBENCH_TEST_FAULTS", "{}"))
    pipeline = diffusers.StableDiffusionPipeline
    original = pipeline.__call__

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        fault = by_width.get(str(kwargs.get("width")))
        if fault is not None and _is_struck():
            _FAULTS[fault]()
        return original(self, *args, **kwargs)

    pipeline.__call__ = call


_install()
