"""An interpreter that the user names may be no Python: what it prints is read within limits."""

import contextlib
import sys
import time
from pathlib import Path

import psutil
import pytest

from sdbench.errors import MachineError
from sdbench.stacks import listing


def test_packages_of_this_interpreter_are_listed() -> None:
    found = listing.list_installed(Path(sys.executable))
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert "pytest" in found.packages


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("yes", "it prints more than 4,194,304 bytes"),
        ("echo '[]'; exit 3", "it ended with exit status 3"),
        ("sleep 600 & echo $! > {pid}; echo '[]'", "it did not end within 1 s"),
        ("echo '[1'", "Expected `object`"),
    ],
)
def test_what_is_no_python_is_ended_with_all_it_started(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in program:
        monkeypatch.setattr(listing, "_LIMIT_S", 1.0)
    script, pid = tmp_path / "python", tmp_path / "pid"
    script.write_text(f"#!/bin/sh\n{program.format(pid=pid)}\n")
    script.chmod(0o755)
    with pytest.raises(MachineError, match="does not run as a Python") as caught:
        listing.list_installed(script)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    if pid.exists():
        with contextlib.suppress(psutil.NoSuchProcess):
            wait_until_ended(psutil.Process(int(pid.read_text())))


def wait_until_ended(process: psutil.Process) -> None:
    """Wait until it is gone, or dead with nobody who has asked how it ended."""
    deadline = time.monotonic() + 30
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "it was not ended"
        time.sleep(0.01)
