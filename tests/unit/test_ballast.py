"""Memory held by a real process: taken under supervision, given back whatever happens."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from factories import FakeProbe

from sdbench.process.events import Event
from sdbench.process.executor import Stop
from sdbench.process.sampler import Sample
from sdbench.runner import ballast as ballast_module
from sdbench.runner import ballast_process
from sdbench.runner.ballast import ProcessBallast

PROGRAM = str(Path(ballast_process.__file__))
SIZE = 100_000_000


def keep_on(event: Event | None, sample: Sample | None) -> Stop | None:
    return None


def processes() -> list[psutil.Process]:
    """Ballast processes that we have started and that still run."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and PROGRAM in child.cmdline()
    ]


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited 30 s"
        time.sleep(0.02)


def test_memory_is_held_until_it_is_released() -> None:
    ballast = ProcessBallast(SIZE, FakeProbe())
    assert ballast.take(keep_on) is None
    (process,) = processes()
    assert process.memory_info().rss > SIZE
    ballast.release()
    assert processes() == []
    ballast.release()  # a second time does nothing


def test_whoever_supervises_can_stop_it_growing() -> None:
    seen: list[Sample | None] = []

    def guard(event: Event | None, sample: Sample | None) -> Stop | None:
        seen.append(sample)
        return Stop("guard", "swap grew by 9.0 GB") if len(seen) == 3 else None

    ballast = ProcessBallast(1 << 40, FakeProbe())
    stop = ballast.take(guard)
    assert stop is not None
    assert (stop.kind, processes()) == ("guard", [])
    assert stop.reason.startswith("swap grew by 9.0 GB, when ")
    assert stop.reason.endswith(" of 1099.5 GB were held")
    assert seen[0] is not None and seen[0].slow is not None, "the guard sees the pressure as well"


def test_memory_that_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "dies.py"
    program.write_text("import sys\nprint(5)\nsys.exit(3)\n")
    monkeypatch.setattr(ballast_module, "_PROGRAM", str(program))
    stop = ProcessBallast(SIZE, FakeProbe()).take(keep_on)
    assert stop == Stop(
        "ballast",
        "0.1 GB could not be held (pressure.hold_bytes): the ballast process ended with exit "
        "status 3",
    )


def test_held_memory_goes_with_the_process_that_asked_for_it() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", PROGRAM, str(SIZE)],
        stdin=reading,
        stdout=subprocess.PIPE,
    )
    os.close(reading)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == SIZE:
            break
    assert process.poll() is None
    os.close(writing)  # as the kernel does when its parent dies
    assert process.wait(timeout=30) == 0
    process.stdout.close()
