"""Two groups of cores measure one run at the same time, with real workers.

No shared run serves: a worker must be killed while another one works, and the run be stopped and
resumed.
"""

import csv
import io
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from conftest import Sdbench

from sdbench.devices.cores import parse_cpulist
from sdbench.runs import LoadedRun, load_run

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="two groups of cores need two cores, and a system that can pin processes to them",
)
HANGS = {
    "SDBENCH_WORKER_PRELOAD": "sdbench_test_faults",
    "SDBENCH_TEST_FAULTS": json.dumps({"104": "hang-with-lock"}),
}
CASES = '[[case]]\nresolution = "64x64"\n[[case]]\nresolution = "104x64"\n'
DEVICES = ("--devices", "cpu:0,cpu:1")


def _wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


def _folder(sdbench: Sdbench) -> Path:
    _wait_until(lambda: any(sdbench.folder.glob("results/*/records.jsonl")), "the first record")
    return next(sdbench.folder.glob("results/*/records.jsonl")).parent


def _at_work(folder: Path) -> list[str]:
    """The cases that are being measured."""
    return [entry.case_id for entry in load_run(folder).in_flight]


def _kill_workers(sdbench: Sdbench, cores: str) -> None:
    """With -9, all of the workers that have these cores."""
    for process in sdbench.processes():
        try:
            leads = os.getsid(process.pid) == process.pid
            if leads and os.sched_getaffinity(process.pid) == set(parse_cpulist(cores)):
                os.kill(process.pid, signal.SIGKILL)
        except (ProcessLookupError, psutil.Error):
            continue


def _places(loaded: LoadedRun) -> dict[int, set[str]]:
    """The devices of each block."""
    found: dict[int, set[str]] = {}
    for entry in loaded.attempts:
        assert entry.placement
        found.setdefault(entry.block, set()).add(entry.placement.device)
    return found


@pytest.mark.cold_parent
@pytest.mark.parametrize(
    ("stop", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGKILL, -9, marks=pytest.mark.long)],
    ids=["ctrl-c", "kill-9"],
)
def test_killed_stopped_and_resumed_each_block_stays_on_its_device(
    sdbench: Sdbench, stop: signal.Signals, code: int
) -> None:
    config = sdbench.config(CASES)
    more = ("--set", "replicates=3", "--set", "timeout_s=300", "--yes")
    parent = sdbench.start("run", config, *DEVICES, *more, **HANGS)
    folder = _folder(sdbench)
    both_hang = lambda: [name[:3] for name in _at_work(folder)] == ["104"] * 2  # noqa: E731
    _wait_until(both_hang, "two that hang")
    first, second = load_run(folder).run.devices
    assert not set(parse_cpulist(first.cores)) & set(parse_cpulist(second.cores))
    _kill_workers(sdbench, second.cores)
    _wait_until(
        lambda: any(one.outcome != "ok" for one in load_run(folder).attempts), "the killed one"
    )
    _wait_until(both_hang, "the next that hangs")
    (crashed,) = [one for one in load_run(folder).attempts if one.outcome != "ok"]
    assert (crashed.outcome, crashed.signal) == ("crashed", "SIGKILL")
    assert crashed.placement and crashed.placement.device == second.name

    parent.send_signal(stop)
    _, stderr = parent.communicate(timeout=120)
    assert parent.returncode == code, stderr
    assert "Traceback" not in stderr
    _wait_until(lambda: not sdbench.processes(), "the workers to end")

    code, document = sdbench.json("resume", folder, **(HANGS | {"SDBENCH_TEST_FAULTS": "{}"}))
    assert code == 1 and document["outcomes"] == {"ok": 1, "crashed": 1}
    loaded = load_run(folder)
    ids = [entry.replicate_id for entry in loaded.attempts]
    assert sorted(ids) == sorted(slot.replicate_id for slot in loaded.run.plan.slots)
    places = _places(loaded)
    assert sorted(places) == [0, 1, 2]
    assert all(len(devices) == 1 for devices in places.values())
    assert set.union(*places.values()) == {"cpu:0", "cpu:1"}
    cores = {device.name: device.cores for device in loaded.run.devices}
    for entry in loaded.attempts:
        assert entry.placement
        assert entry.placement.cores == cores[entry.placement.device], "as the worker says itself"
    _everything_marks_it(sdbench, folder)


def _everything_marks_it(sdbench: Sdbench, folder: Path) -> None:
    """The test between alone and beside others was too long for so short a run."""
    words = "measured while 1 other device worked: not shown to be undisturbed"
    for verb in (("show", folder), ("report", folder, "-f", "md", "-o", "-")):
        assert words in " ".join(sdbench(*verb).stdout.split()), verb
    assert words in " ".join(sdbench("show", folder, "64x64").stdout.split())
    rows = list(
        csv.DictReader(io.StringIO(sdbench("report", folder, "-f", "csv", "-o", "-").stdout))
    )
    assert {row["placed_on"] for row in rows} == {"cpu:0", "cpu:1"}
    assert all(row["several_devices"].startswith(words) for row in rows)
    code, alone = sdbench.json(
        *("run", sdbench.config('[[case]]\nresolution = "64x64"\n', "alone.toml")),
        *("--devices", "cpu:0", "--set", "replicates=3"),
    )
    assert code == 0
    code, compared = sdbench.json("compare", alone["path"], folder)
    (case,) = [one for one in compared["cases"] if one["case_id"].startswith("64x64")]
    assert "beside-others" in case["refused"]
    sealed = sdbench.folder / "run.zip"
    assert sdbench("bundle", folder, "--yes", "-o", sealed).returncode == 0
    verified = sdbench("verify", sealed)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.long
def test_one_device_is_compared_with_itself_beside_the_other(sdbench: Sdbench) -> None:
    cases = "warmup = [false, true]\nattention_slicing = [false, true]\n"
    matrix = f'[matrix]\nresolution = ["64x64"]\n{cases}'
    code, document = sdbench.json(
        *("run", sdbench.config(matrix), *DEVICES),
        *("--set", "replicates=4", "--set", "passes=3", "--set", "start=fork", "--yes"),
    )
    assert code == 0
    beside = document["beside"]
    assert len(beside["alone_s"]) == len(beside["beside_s"]) == 5
    low, high = beside["ratio_low"], beside["ratio_high"]
    assert low < beside["ratio"] < high
    shown = beside["verdict"] == "undisturbed"
    assert shown == (low > 1 / 1.03 and high < 1.03)
    marked = any("not shown to be undisturbed" in words for words in document["warnings"])
    assert marked == (beside["verdict"] == "not-shown")


def test_devices_that_are_not_here_are_refused_in_one_line(sdbench: Sdbench) -> None:
    for text, words in (
        ("cpu:0,cpu:2", "cpu:0,cpu:1"),
        ("cuda:0,cpu:1", "expected all, or devices of one kind"),
    ):
        done = sdbench("run", sdbench.config(CASES), "--devices", text)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1 and words in done.stderr
