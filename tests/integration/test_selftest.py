"""The selftest with real workers: all of it once, and with instruments broken on purpose.

A shared run does not do: its workers make pictures, while these take memory, burn a core and die.
"""

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import Sdbench

from sdbench import machine
from sdbench.machine import MemoryProbe, SystemMemory
from sdbench.machine.cpu import CpuTimes
from sdbench.process.environment import PRELOAD, worker_environment
from sdbench.process.executor import Report, Supervisor, Task
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import InstrumentLine
from sdbench.selftest.clocks import clock_lines
from sdbench.selftest.deaths import DEATHS, death_lines
from sdbench.selftest.memory_counters import host_lines
from sdbench.selftest.other_load import load_lines
from sdbench.selftest.pictures import PASSES
from sdbench.selftest.workers import Setup
from sdbench.stacks import resolve_stack

STANDIN = {
    "SDBENCH_WORKER_PRELOAD": "sdbench_standin",
    "PYTHONPATH": str(Path(__file__).parent.parent / "standin"),
}
needs_standin = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++"))
    or os.uname().sysname != "Linux"
    or not metadata.version("torch").startswith("2.13"),
    reason="the stand-in device needs Linux, torch 2.13 and a C++ compiler",
)

Look = Callable[[Setup], list[InstrumentLine]]


class LyingProbe(MemoryProbe):
    """This machine's counters, some of them changed on the way."""

    def __init__(self) -> None:
        self._real = machine.open_memory_probe()
        self.footprint_source = self._real.footprint_source
        self.footprint: Callable[[int], int] = lambda size: size
        self.available: Callable[[int], int] = lambda size: size
        self.times: Callable[[CpuTimes], CpuTimes] = lambda times: times

    def system(self) -> SystemMemory:
        real = self._real.system()
        available = real.available_bytes
        return dataclasses.replace(
            real, available_bytes=None if available is None else self.available(available)
        )

    def slow(self) -> Any:
        return self._real.slow()

    def footprint_bytes(self, pid: int) -> int | None:
        size = self._real.footprint_bytes(pid)
        return None if size is None else self.footprint(size)

    def children(self, pid: int) -> list[int]:
        return self._real.children(pid)

    def out_of_memory_kills(self) -> int | None:
        return self._real.out_of_memory_kills()

    def cpu(self, pid: int, children: Sequence[int]) -> CpuTimes | None:
        times = self._real.cpu(pid, children)
        return None if times is None else self.times(times)

    def close(self) -> None:
        self._real.close()


class LyingExecutor(ProcessExecutor):
    """Runs workers and changes what it reports of their end."""

    change: Callable[[Report], Report] = staticmethod(lambda report: report)

    def run(self, task: Task, supervise: Supervisor) -> Report:
        return self.change(super().run(task, supervise))


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """As the command makes it, with a probe and an executor that can be broken."""
    probe = LyingProbe()
    executor = LyingExecutor(probe)
    yield Setup(
        resolve_stack("current"),
        worker_environment({"PYTHONPATH": str(tmp_path)}),
        "cpu",
        executor,
        probe,
        machine.open_system(),
    )
    executor.close()


def passed(lines: Sequence[InstrumentLine]) -> set[str]:
    return {line.id for line in lines if line.status == "pass"}


def failed(lines: Sequence[InstrumentLine]) -> set[str]:
    return {line.id for line in lines if line.status == "fail"}


def with_preload(setup: Setup, folder: Path, source: str) -> Setup:
    """The same with a module imported first in every worker."""
    (folder / "broken_instrument.py").write_text(source)
    environment = {**setup.environment, PRELOAD: "broken_instrument"}
    return dataclasses.replace(setup, environment=environment)


FAST = """
import time
real, began = time.{clock}, time.{clock}()
time.{clock} = lambda: began + (real() - began) * 1.03
"""
STUCK_PEAK = """
from sdbench_worker.devices.cpu import CPU
CPU.peak_bytes = lambda self: (1_000_000_000, "rss")
"""
NO_OUT_OF_MEMORY = """
import sdbench_worker.job
sdbench_worker.job._kind_of = lambda error: "exception"
"""
SWALLOWED = """
import sdbench_worker.job
sdbench_worker.job._tell_error = lambda channel, error, phase: None
"""


@pytest.mark.long
def test_memory_counters_agree_and_each_that_lies_is_named(setup: Setup, tmp_path: Path) -> None:
    probe = setup.probe
    assert isinstance(probe, LyingProbe)
    assert failed(host_lines(setup)) == set()
    probe.footprint = lambda size: size // 1024
    lines = host_lines(setup)
    assert not {"memory-host-footprint", "memory-host-footprint-source"} & passed(lines)
    probe.footprint = lambda size: size
    probe.available = lambda size: 8_000_000_000
    # Unknown, if other programs took or gave back memory meanwhile; wrong figures never pass.
    assert "memory-host-free-source" not in passed(host_lines(setup))
    probe.available = lambda size: size
    stuck = with_preload(setup, tmp_path, STUCK_PEAK)
    assert failed(host_lines(stuck)) == {"memory-host-peak"}


@pytest.mark.parametrize("clock", ["perf_counter", "monotonic"])
def test_a_clock_of_a_worker_that_runs_3_percent_fast_is_named(
    setup: Setup, tmp_path: Path, clock: str
) -> None:
    lines = clock_lines(with_preload(setup, tmp_path, FAST.format(clock=clock)))
    name = clock.replace("_", "-")
    of_rates = {line for line in failed(lines) if line.startswith("clock-worker")}
    assert of_rates == {f"clock-worker-{name}-realtime", f"clock-worker-{name}-raw"}


def test_clocks_agree_and_one_of_the_parent_that_runs_fast_is_named(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert failed(clock_lines(setup)) == set()
    import time

    from sdbench.selftest import clocks

    class Fast:
        def __getattr__(self, name: str) -> Any:
            return getattr(time, name)

        def perf_counter(self) -> float:
            return 1.03 * time.perf_counter()

    monkeypatch.setattr(clocks, "time", Fast())
    assert failed(clock_lines(setup)) == {
        "clock-parent-perf-counter-realtime",
        "clock-parent-perf-counter-raw",
    }


def test_load_is_seen_and_a_counter_that_sees_half_of_it_is_named(setup: Setup) -> None:
    probe = setup.probe
    assert isinstance(probe, LyingProbe)
    assert failed(load_lines(setup)) == set()
    probe.times = lambda times: dataclasses.replace(times, own_s=times.own_s / 2)
    assert "load-child" in failed(load_lines(setup))
    probe.times = lambda times: dataclasses.replace(times, idle_s=times.total_s)
    assert {"load-others", "load-machine"} <= failed(load_lines(setup))


def no_aborts(report: Report) -> Report:
    return dataclasses.replace(report, exit_code=0 if report.exit_code == -6 else report.exit_code)


def no_kills(report: Report) -> Report:
    killed = report.exit_code == -signal.SIGKILL and report.stop is None
    return dataclasses.replace(report, exit_code=1) if killed else report


def no_timeouts(report: Report) -> Report:
    return dataclasses.replace(report, stop=None)


@pytest.mark.parametrize(
    ("change", "preload", "how"),
    [
        (no_aborts, None, "aborted"),
        (no_kills, None, "killed"),
        pytest.param(no_timeouts, None, "hung", marks=pytest.mark.long),
        (None, NO_OUT_OF_MEMORY, "out-of-memory"),
        (None, SWALLOWED, "raised"),
    ],
)
def test_a_watcher_that_does_not_see_a_death_is_named(
    setup: Setup,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Report], Report] | None,
    preload: str | None,
    how: str,
) -> None:
    death = next(death for death in DEATHS if death.how == how)
    monkeypatch.setattr("sdbench.selftest.deaths.DEATHS", (death,))
    assert failed(death_lines(setup)) == set()
    broken = setup if preload is None else with_preload(setup, tmp_path, preload)
    if change is not None:
        assert isinstance(setup.executor, LyingExecutor)
        setup.executor.change = change
    assert failed(death_lines(broken)) == {f"death-{how}"}


@pytest.mark.long
@needs_standin
def test_all_of_it_on_the_stand_in(sdbench: Sdbench) -> None:
    """Every line that a device without Metal can answer passes; the others say why not."""
    state = {"SDBENCH_STATE": str(sdbench.folder / "state")}
    code, document = sdbench.json("selftest", "--device", "mps", **STANDIN, **state)
    assert document["failed"] == []
    assert code == (1 if document["not_vouched_for"] else 0)  # other tests run meanwhile
    assert document["simulated"] and document["duration_s"] < 300
    lines = {line["id"]: line for line in document["lines"]}
    assert all(line["reason"] for line in lines.values() if line["status"] == "unknown")
    answered = {name for name, line in lines.items() if line["status"] == "pass"}
    assert {f"picture-{'right' if name == 'none' else name}" for name, _ in PASSES} <= answered
    assert {"memory-device-allocator", "memory-device-driver", "death-aborted"} <= answered
    assert not os.path.exists(sdbench.folder / "state" / "selftest"), "nothing simulated is kept"


@pytest.mark.long
def test_all_of_it_on_this_machine_and_a_run_that_keeps_it(sdbench: Sdbench) -> None:
    state = {"SDBENCH_STATE": str(sdbench.folder / "state")}
    code, document = sdbench.json("selftest", "--device", "cpu", **state)
    assert document["failed"] == []
    assert code == (1 if document["not_vouched_for"] else 0)
    assert document["duration_s"] < 300
    lines = {line["id"]: line for line in document["lines"]}
    prefixes = {line.split("-")[0] for line in lines}
    assert prefixes == {
        *("clock", "memory", "load", "death", "sync", "picture"),
        *("telemetry", "swap", "sleep"),
    }
    assert all(line["reason"] for line in lines.values() if line["status"] == "unknown")
    for name in ("right", "black", "noise", "operator", "first-pass", "batch-item", "decode"):
        assert lines[f"picture-{name}"]["status"] == "pass", lines[f"picture-{name}"]
    config = sdbench.config('[[case]]\nresolution = "64x64"\n')
    code, run = sdbench.json("run", config, **state)
    assert code == 0
    kept = json.loads((sdbench.folder / run["path"] / "run.json").read_text())["selftest"]
    assert kept["lines"] == document["lines"]
    assert os.listdir(sdbench.folder / "state" / "selftest")
