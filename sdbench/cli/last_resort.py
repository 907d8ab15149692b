"""Reports an unexpected error: one line, an exit code, and a file with the traceback to attach."""

import os
import platform
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from sdbench import __version__

FAULT = 70
"""Exit code for a fault in sdbench itself: EX_SOFTWARE of sysexits.h, so that it is not confused
with 1, which is a result about a case."""
NO_MEMORY = 3
"""Exit code if memory ran out: this machine cannot do it as configured."""
_MOST_CHARACTERS = 200_000


def describe(error: BaseException, arguments: Sequence[str]) -> tuple[str, int]:
    """Save the traceback of an unexpected error; returns the line to print and the exit code."""
    no_memory = isinstance(error, MemoryError)
    what = "memory ran out" if no_memory else "an internal error of sdbench"
    words = f"{type(error).__name__}: {str(error)[:300]}".rstrip(": ")
    try:
        path = _save(error, arguments)
        where = f"the traceback is in {path}"
    except Exception as problem:  # a full disk, no memory: the line is printed anyway
        where = f"its traceback could not be saved ({type(problem).__name__})"
    report = "" if no_memory else "; please report it with that file attached"
    return f"{what} ({words}); {where}{report}", NO_MEMORY if no_memory else FAULT


def _save(error: BaseException, arguments: Sequence[str]) -> Path:
    """Write the traceback, without secrets and names, where only the user reads it."""
    from sdbench.files.user_folders import cache_folder
    from sdbench.privacy.redact_recorded import redacted_text

    lines = [
        f"sdbench {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"arguments: {' '.join(arguments)[:2000]!r}",
        "",
        "".join(traceback.format_exception(error))[-_MOST_CHARACTERS:],
    ]
    folder = cache_folder() / "errors"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.now(timezone.utc)
    path = folder / f"{now:%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="replace") as file:
        file.write(redacted_text("\n".join(lines)))
    return path
