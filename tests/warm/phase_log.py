"""Notes when the programs of tests start, which phase they are in, and when they end.

``make test-times`` names a file in ``SDBENCH_TEST_PHASES``; each line of it is a JSON list: the
monotonic time, the process, the word, and a detail. Nothing of the product knows of it: functions
are wrapped as their modules are imported.
"""

import atexit
import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from import_hook import Replacement, replace_after_import

VARIABLE = "SDBENCH_TEST_PHASES"


def note(word: str, detail: object = None, pid: int | None = None, t: float | None = None) -> None:
    """Append one line, if a file is named."""
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    entry = [
        time.monotonic() if t is None else t,
        os.getpid() if pid is None else pid,
        word,
        detail,
    ]
    with contextlib.suppress(OSError), open(path, "ab", buffering=0) as file:
        file.write(json.dumps(entry).encode() + b"\n")  # a test may limit the size of files


def watch() -> None:
    """Note this process's start, and what it does from here on."""
    note("start", " ".join(sys.orig_argv[1:])[:200])
    replace_after_import(_WRAPPED)
    if "-m" in sys.orig_argv[1:2]:
        atexit.register(note, "end")  # a worker ends without this; the warm server notes its end


def _timed(word: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **keywords: Any) -> Any:
            began = time.monotonic()
            try:
                return function(*arguments, **keywords)
            finally:
                note(word, time.monotonic() - began)

        return call

    return wrap


def _noted(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def call(self: Any, event: str, **fields: Any) -> Any:
        if event in ("hello", "phase", "done", "error"):
            note(event, fields.get("name"))
        return send(self, event, **fields)

    return call


_WRAPPED: tuple[Replacement, ...] = (
    ("sdbench_worker.channel", "Channel", "send", _noted),
    ("sdbench_worker.pipelines", None, "import_stack", _timed("import")),
    ("sdbench.models.synthetic", None, "_build", _timed("making a model")),
    ("sdbench_standin.native", None, "_build", _timed("compiling the stand-in")),
)
