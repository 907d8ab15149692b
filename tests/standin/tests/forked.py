"""Runs a function in a forked child that has the stand-in device installed.

The device and its faults belong to a whole process, and importing torch and diffusers takes seconds. A
fork has both imported already, so a child costs about as much as what it runs.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def load_device(package: Path) -> None:
    """Loads the device's library, and nothing else of the stand-in, into this process.

    torch asks once what accelerator there is, and diffusers makes it ask: so the library has to be here
    before diffusers, while which faults it has is each child's own affair.
    """
    spec = importlib.util.spec_from_file_location("standin_native", package / "native.py")
    assert spec is not None and spec.loader is not None
    native = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    native.load()


@dataclass(frozen=True)
class Child:
    """How a child ended."""

    result: Any
    error: str
    """The traceback's last line; empty if there was none."""
    signal: int
    """The signal that killed it, or 0."""
    stderr: str
    timed_out: bool


def run(
    work: Callable[[], Any], *, timeout_s: float = 60.0, install: bool = True, **environment: str
) -> Child:
    """``work()`` in a child with these variables set and the stand-in imported first."""
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as stderr:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.dup2(stderr.fileno(), 2)
            _child(work, writer, environment, install)
        os.close(writer)
        answer, timed_out = _read_all(reader, timeout_s)
        if timed_out:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        stderr.seek(0)
        text = stderr.read().decode(errors="replace")
    result, error = pickle.loads(answer) if answer and not timed_out else (None, "")
    return Child(
        result, error, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, text, timed_out
    )


def _child(
    work: Callable[[], Any], writer: int, environment: dict[str, str], install: bool
) -> None:
    sys.stderr = os.fdopen(2, "w", closefd=False)
    try:
        os.environ.update(environment)
        if install:
            import sdbench_standin  # noqa: F401
        answer: tuple[Any, str] = (work(), "")
    except BaseException as error:
        answer = (None, traceback.format_exception_only(error)[-1].strip())
    with os.fdopen(writer, "wb") as pipe:
        pickle.dump(answer, pipe)
    sys.stderr.flush()
    os._exit(0)


def _read_all(reader: int, timeout_s: float) -> tuple[bytes, bool]:
    """Everything until the child closes its end, and whether that took too long."""
    chunks: list[bytes] = []
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], timeout_s)[0]:
            chunk = pipe.read(1 << 16)
            if not chunk:
                return b"".join(chunks), False
            chunks.append(chunk)
    return b"", True
