"""A run outlives its terminal.

Real processes, since only these have real descriptors: what Python makes of a closed one at its
start, and what it does with a full one at its end, no stand-in shows. One small shape for all.
"""

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Sdbench

from sdbench.runs import list_runs, load_run

SHAPE = """
[matrix]
resolution = ["64x64"]
attention_slicing = [false, true]
"""
LITTLE = ("--set", "steps=1", "--set", "images=1", "--set", "passes=1")


def measured(folder: Path) -> None:
    """Everything was measured and the page is there."""
    (run,) = list_runs(folder / "results")
    assert [entry.outcome for entry in load_run(run).replicates] == ["ok", "ok"]
    assert "</html>" in (run / "report.html").read_text()


@pytest.mark.cold_parent
@pytest.mark.parametrize(
    "streams", [">&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | true"], ids=["closed", "full", "pipe"]
)
def test_a_run_without_streams_is_a_run(sdbench: Sdbench, streams: str) -> None:
    config = sdbench.config(SHAPE)
    command = f"{shlex.quote(sys.executable)} -m sdbench run {config.name} {shlex.join(LITTLE)}"
    done = subprocess.run(
        ["bash", "-c", f"{command} {streams}; exit ${{PIPESTATUS[0]}}"],
        cwd=sdbench.folder,
        env=sdbench.variables(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    measured(sdbench.folder)


@pytest.mark.cold_parent
def test_a_terminal_that_is_closed_ends_nothing_where_hangups_are_ignored(sdbench: Sdbench) -> None:
    config = sdbench.config(SHAPE)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sdbench", "run", str(config), *LITTLE],
        cwd=sdbench.folder,
        env=sdbench.variables(),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    os.close(theirs)
    deadline = time.monotonic() + 120
    while not list_runs(sdbench.folder / "results") and time.monotonic() < deadline:
        time.sleep(0.05)
        os.set_blocking(ours, False)
        try:
            os.read(ours, 65536)
        except BlockingIOError:
            continue
        except OSError:  # it has ended
            break
    os.close(ours)
    assert process.wait(timeout=300) == 0
    measured(sdbench.folder)
