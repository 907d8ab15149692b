"""The crash report that macOS writes some seconds after a process has died."""

import re
import time
from collections.abc import Callable
from pathlib import Path

# ReportCrash needs a few seconds; a worker that dies says most of it on stderr anyway.
WAIT_S = 8.0
_POLL_S = 0.25
_LONGEST = 4 << 20


def reports_folder() -> Path:
    """Where macOS puts the reports of the user's processes."""
    return Path.home() / "Library" / "Logs" / "DiagnosticReports"


def wait_for_report(
    pid: int,
    died_after: float,
    folder: Path,
    *,
    wait_s: float = WAIT_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str | None:
    """The text of the report about a process, None if none comes in time.

    ``died_after`` is a wall-clock time in seconds before which no report of this death can have
    been written; an older report with the same process id is somebody else's.
    """
    deadline = clock() + wait_s
    while True:
        text = _find(pid, died_after, folder)
        if text is not None or clock() >= deadline:
            return text
        sleep(_POLL_S)


def _find(pid: int, died_after: float, folder: Path) -> str | None:
    about = re.compile(rf'"pid"\s*:\s*{pid}\b')
    try:
        recent = [path for path in folder.glob("*.ips") if path.stat().st_mtime >= died_after]
        for path in recent:
            text = path.read_text(encoding="utf-8", errors="replace")[:_LONGEST]
            # The body follows the header line; a file still being written has no end yet.
            if about.search(text) and text.rstrip().endswith("}"):
                return text
    except OSError:
        return None
    return None
