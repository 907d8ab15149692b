"""Real workers and real memory: the guard acts, the machine stays usable, the next case runs."""

import contextlib
import json
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Sdbench

from sdbench.machine import open_memory_probe
from sdbench.records import Replicate
from sdbench.runs import load_run

# Other programs come and go meanwhile, and a sample comes a little late.
_TOLERANCE_BYTES = 1_000_000_000


def _available_bytes() -> int:
    probe = open_memory_probe()
    available = probe.system().available_bytes
    probe.close()
    assert available is not None
    return available


@dataclass(frozen=True)
class Limits:
    """What is available now, and a floor set from it, so that they fit any machine."""

    available: int
    allowed: int
    """A small case takes a quarter of it; the floor leaves no more."""

    @property
    def floor(self) -> int:
        return self.available - self.allowed

    @property
    def too_much(self) -> int:
        """What a greedy case goes for; it would not harm this machine if it got it."""
        return 2 * self.allowed


@pytest.fixture
def limits() -> Limits:
    available = _available_bytes()
    if available < 7e9:
        pytest.skip("needs 7 GB of available memory")
    return Limits(available, min(available // 3, 2_400_000_000))


def _replicates(sdbench: Sdbench, document: dict[str, Any]) -> dict[str, Replicate]:
    loaded = load_run(sdbench.folder / document["path"])
    return {f"{entry.case_id.split('x')[0]} {entry.arm}": entry for entry in loaded.replicates}


@pytest.mark.alone
def test_case_that_would_take_all_memory_is_stopped_and_the_next_one_runs(
    sdbench: Sdbench, limits: Limits
) -> None:
    config = sdbench.config('[[case]]\nresolution = "72x64"\n[[case]]\nresolution = "64x64"\n')
    code, document = sdbench.json(
        *("run", config, "--set", f"guard.min_available_bytes={limits.floor}"),
        SDBENCH_WORKER_PRELOAD="sdbench_test_faults",
        SDBENCH_TEST_FAULTS=json.dumps({"72": "grow"}),
        SDBENCH_TEST_GROW_BYTES=str(limits.too_much),
    )
    assert code == 1
    assert document["outcomes"] == {"guard": 1, "ok": 1}
    stopped = _replicates(sdbench, document)["72 current"]
    assert stopped.last_phase == "pass 1"
    assert "guard.min_available_bytes" in (stopped.reason or "")
    assert stopped.telemetry is not None
    least = stopped.telemetry.min_available_bytes
    assert least is not None and limits.floor - _TOLERANCE_BYTES < least < limits.floor
    assert "stopped to protect your machine" in sdbench("show", "latest").stdout


@pytest.mark.alone
def test_ballast_that_would_take_all_memory_is_stopped_and_the_next_arm_runs(
    sdbench: Sdbench, limits: Limits
) -> None:
    code, document = sdbench.json(
        *("run", sdbench.config('[[case]]\nresolution = "64x64"\n'), "--yes"),
        *("--set", f"guard.min_available_bytes={limits.floor}"),
        *("--set", f"pressure.hold_bytes=[{limits.too_much}, 0]"),
    )
    assert code == 1
    held, plain = document["cases"]
    assert (held["arm"].split("+")[0], held["outcome"]) == ("current", "guard")
    assert (plain["arm"], plain["outcome"]) == ("current", "ok")
    assert f"of {limits.too_much / 1e9:.1f} GB were held" in held["reason"]
    assert not sdbench.processes()


@pytest.mark.alone
def test_ballast_with_a_large_batch_on_top_is_stopped_and_let_go_of(
    sdbench: Sdbench, limits: Limits
) -> None:
    """It would fit without the ballast, so the guard looks at both together.

    It asks for more than that, because other programs may free memory meanwhile.
    """
    code, document = sdbench.json(
        *("run", sdbench.config('[[case]]\nresolution = "72x64"\n'), "--yes"),
        *("--set", f"guard.min_available_bytes={limits.floor}"),
        *("--set", f"pressure.hold_bytes=[{limits.allowed // 2}]"),
        SDBENCH_WORKER_PRELOAD="sdbench_test_faults",
        SDBENCH_TEST_FAULTS=json.dumps({"72": "grow"}),
        SDBENCH_TEST_GROW_BYTES=str(limits.too_much),
    )
    (row,) = document["cases"]
    assert (code, row["outcome"]) == (1, "guard")
    (stopped,) = _replicates(sdbench, document).values()
    assert stopped.last_phase == "pass 1", "the ballast itself was allowed"
    assert _available_bytes() > limits.floor, "both have let go of their memory"


def test_memory_is_held_while_a_worker_runs_and_no_longer(sdbench: Sdbench) -> None:
    # (On a busy machine half a GB was seen to take longer than the 40 s that it is given.)
    hold = 100_000_000
    config = sdbench.config('[[case]]\nresolution = "64x64"\n')
    parent = sdbench.start(
        *("run", config, "--yes", "--set", "start=spawn"),
        *("--set", f"pressure.hold_bytes=[0, {hold}]"),
    )
    _wait_for(lambda: _ballasts(sdbench), parent)
    _wait_for(lambda: _running(sdbench, "--events"), parent)
    (ballast,) = _ballasts(sdbench)
    assert ballast.memory_info().rss > hold
    stdout, stderr = parent.communicate(timeout=300)
    assert parent.returncode == 0, stderr
    assert "current+hold-0.1GB" in stdout
    assert not sdbench.processes()


@pytest.mark.cold_parent
def test_held_memory_goes_when_the_run_is_killed(sdbench: Sdbench) -> None:
    parent = sdbench.start(
        *("run", sdbench.config('[[case]]\nresolution = "64x64"\n'), "--yes"),
        *("--set", "pressure.hold_bytes=[300e6]"),
    )
    _wait_for(lambda: _ballasts(sdbench), parent)
    parent.kill()
    parent.communicate()
    _wait_for(lambda: not sdbench.processes())


def _ballasts(sdbench: Sdbench) -> list[psutil.Process]:
    return _running(sdbench, "ballast_process")


def _running(sdbench: Sdbench, word: str) -> list[psutil.Process]:
    """What this test started and has the word in its command line."""
    found = []
    for process in sdbench.processes():
        with contextlib.suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found


def test_memory_is_not_held_without_a_question(sdbench: Sdbench) -> None:
    config = sdbench.config('[pressure]\nhold_bytes = [1e9]\n[[case]]\nresolution = "64x64"\n')
    done = sdbench("run", config)
    assert done.returncode == 2
    assert "holds up to 1.0 GB of memory" in done.stderr and "--yes" in done.stderr


# --- a recorded machine ---------------------------------------------------------------------------


@pytest.fixture
def hot_mac(tmp_path: Path) -> dict[str, str]:
    """Variables that make everything asked of the machine come from a recording of a hot Mac."""
    folder = tmp_path / "hot-mac"
    folder.mkdir()
    commands = [
        {
            "argv": ["notifyutil", "-g", "com.apple.system.thermalpressurelevel"],
            "stdout": "com.apple.system.thermalpressurelevel 2\n",
        }
    ]
    facts = {
        "system": "Darwin",
        "machine": "arm64",
        "mac_ver": "14.5",
        "sysctl": {
            "machdep.cpu.brand_string": "Apple M2 Max",
            "hw.memsize": 34359738368,
            "hw.physicalcpu": 12,
            "hw.logicalcpu": 12,
            "kern.memorystatus_vm_pressure_level": 1,
        },
    }
    (folder / "commands.json").write_text(json.dumps(commands))
    (folder / "facts.json").write_text(json.dumps(facts))
    return {"SDBENCH_MACHINE_RECORDING": str(folder)}


def test_run_on_a_recorded_machine_says_simulated_everywhere(
    sdbench: Sdbench, hot_mac: dict[str, str]
) -> None:
    config = sdbench.config('[[case]]\nresolution = "64x64"\n')
    done = sdbench("run", config, **hot_mac)
    assert done.returncode == 0
    assert "SIMULATED" in done.stdout and "SIMULATED" in done.stderr
    assert "Apple M2 Max" in done.stderr
    (folder,) = (sdbench.folder / "results").glob("*-*")
    loaded = load_run(folder)
    assert loaded.run.simulated and loaded.run.machine["chip"] == "Apple M2 Max"
    assert loaded.run.machine_facts["thermal"] == "heavy"
    (record,) = loaded.replicates
    assert record.simulated
    assert (record.gate.thermal, record.gate.flags) == ("heavy", ["thermal"])
    assert "began with a hot machine" in done.stdout


def test_no_memory_is_held_where_the_guard_sees_a_recording(
    sdbench: Sdbench, hot_mac: dict[str, str]
) -> None:
    config = sdbench.config('[pressure]\nhold_bytes = [1e9]\n[[case]]\nresolution = "64x64"\n')
    done = sdbench("run", config, "--yes", **hot_mac)
    assert done.returncode == 2
    assert "unset it, or remove [pressure]" in done.stderr


def test_wait_is_shown_and_ctrl_c_ends_it(sdbench: Sdbench, hot_mac: dict[str, str]) -> None:
    config = sdbench.config('[[case]]\nresolution = "64x64"\n')
    parent = sdbench.start(
        *("run", config, "--set", 'gate.wait_for=["thermal"]', "--set", "gate.max_wait_s=600"),
        **hot_mac,
    )
    assert parent.stderr is not None
    for line in parent.stderr:
        if "waiting" in line:
            break
    assert "waiting because of a hot machine, 10 min at most" in line
    parent.send_signal(signal.SIGINT)
    _, rest = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert "resume" in rest
    (folder,) = (sdbench.folder / "results").glob("*-*")
    assert load_run(folder).started == []


def test_after_the_longest_wait_the_case_runs_and_is_flagged(
    sdbench: Sdbench, hot_mac: dict[str, str]
) -> None:
    code, document = sdbench.json(
        *("run", sdbench.config('[[case]]\nresolution = "64x64"\n')),
        *("--set", 'gate.wait_for=["thermal"]', "--set", "gate.max_wait_s=2"),
        **hot_mac,
    )
    assert (code, document["simulated"]) == (0, True)
    (record,) = _replicates(sdbench, document).values()
    assert record.gate.flags == ["thermal"] and record.gate.waited_s >= 2


def _wait_for(condition: Any, parent: Any = None, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {limit_s} s"
        assert parent is None or parent.poll() is None, parent.communicate()
        time.sleep(0.1)
