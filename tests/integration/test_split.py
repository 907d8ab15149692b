"""``batching = "split"`` for real: two processes on the CPU make the passes of a case together.

No other run has a case of several processes.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Sdbench

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.equality import check_equality
from sdbench.records import Replicate
from sdbench.runs import load_run


def _cases(width: int, *batchings: str, **settings: str) -> str:
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    return "".join(
        f'[[case]]\nresolution = "{width}x64"\nbatching = "{batching}"\n{lines}'
        for batching in batchings
    )


def _struck(faults: dict[str, str], rank: int = 1) -> dict[str, str]:
    return {
        "SDBENCH_WORKER_PRELOAD": "sdbench_test_faults",
        "SDBENCH_TEST_FAULTS": json.dumps(faults),
        "SDBENCH_TEST_FAULTS_RANK": str(rank),
    }


def _digests(replicate: Replicate) -> list[list[tuple[str, str]]]:
    return [
        [(one.latents_sha256, one.pixels_sha256) for one in entry.images]
        for entry in replicate.of_kind("measured")
    ]


def test_split_makes_the_images_of_a_loop_and_survives_a_killed_process(sdbench: Sdbench) -> None:
    config = sdbench.config(
        _cases(64, "loop", "batch") + _cases(64, "split", warmup="true") + _cases(72, "split")
    )
    options = ("--set", "images=3", "--set", "timeout_s=120")
    code, document = sdbench.json("run", config, *options, **_struck({"72": "kill"}))
    assert code == 1
    loaded = load_run(sdbench.folder / document["path"])
    by_case = {entry.case_id: entry for entry in loaded.replicates}
    loop, batch, split, killed = (by_case[planned.case_id] for planned in loaded.run.plan.cases)
    assert [entry.outcome for entry in (loop, batch, split)] == ["ok"] * 3, split.reason
    assert (loop.processes, split.processes) == (None, 2)
    assert [len(images) for images in _digests(split)] == [3, 3]
    assert _digests(split) == _digests(loop)
    for entry in split.of_kind("measured"):
        each = entry.process_peak_bytes
        assert each is not None and len(each) == 2
        assert entry.peak_bytes == sum(peak or 0 for peak in each)
        assert all(peak is not None and peak > 100e6 for peak in each)
    assert len(split.of_kind("prime")) == len(split.of_kind("profile")) == 1
    assert split.flops is not None and loop.flops is not None
    assert split.flops.measured_pass == loop.flops.measured_pass
    assert (killed.outcome, killed.signal) == ("crashed", "SIGKILL"), killed.reason
    assert "in pass 1 (process 2 of 2)" in (killed.reason or "")


# width of the image: (fault of process 2, expected outcome, words in the reason)
DEATHS = {
    "80": ("segfault", "crashed", "SIGSEGV in pass 1 (process 2 of 2)"),
    "88": ("raise", "failed", "ValueError in pass 1 (process 2 of 2): a fault"),
    "96": ("eat-memory", "oom", "pass 1 (process 2 of 2)"),
    "104": ("hang-with-lock", "timeout", "in pass 1"),
    "112": ("exit-silently", "failed", "ended in pass 1 (process 2 of 2) with exit status 1"),
    "120": ("close-pipe", "failed", "closed its event pipe"),
    "128": ("flood", "failed", "endless line"),
    "136": ("rubbish", "ok", ""),
    "144": ("ignore-sigterm-and-hang", "timeout", "in pass 1"),
    "152": ("chatter", "ok", ""),
}


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
def test_every_death_of_a_process_ends_all_of_them_and_says_which(
    sdbench: Sdbench, rank: int
) -> None:
    if rank == 0:  # process 1 dies as the worker of a loop does, and takes the other along
        deaths = {"88": ("kill", "crashed", "SIGKILL in pass 1"), "96": DEATHS["96"]}
        deaths["96"] = ("eat-memory", "oom", "in pass 1: ")
    else:
        deaths = DEATHS
    config = sdbench.config("".join(_cases(int(width), "split") for width in deaths))
    code, document = sdbench.json(
        *("run", config, "--set", "timeout_s=40"),
        **_struck({width: fault for width, (fault, _, _) in deaths.items()}, rank),
    )
    assert code == 1
    rows = {row["case"]["resolution"].split("x")[0]: row for row in document["cases"]}
    found = {width: (row["outcome"], row["reason"] or "") for width, row in rows.items()}
    for width, (_, outcome, words) in deaths.items():
        assert found[width][0] == outcome, found
        assert words in found[width][1], found


@pytest.mark.long
@pytest.mark.cold
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_signal_from_outside_to_one_process_ends_the_case(
    sdbench: Sdbench, number: signal.Signals
) -> None:
    # On a busy machine the imports of two processes take a minute.
    run, member = _in_mid_pass(sdbench, timeout_s=180 if number == signal.SIGSTOP else 600)
    os.kill(member.pid, number)
    run.communicate(timeout=300)
    (entry,) = load_run(_folder(sdbench)).replicates
    if number == signal.SIGSTOP:
        assert entry.outcome == "timeout", entry.reason
    else:
        assert (entry.outcome, entry.signal) == ("crashed", number.name), entry.reason
        assert "(process 2 of 2)" in (entry.reason or "")
        # Both processes were sampled: one alone takes half of that.
        assert entry.telemetry is not None
        assert (entry.telemetry.peak_footprint_bytes or 0) > 650e6


@pytest.mark.long
@pytest.mark.cold
@pytest.mark.parametrize("victim", ["sdbench", "worker"])
def test_no_process_outlives_the_one_that_started_it(sdbench: Sdbench, victim: str) -> None:
    run, member = _in_mid_pass(sdbench, timeout_s=600)
    worker = member.parent()
    assert worker is not None
    os.kill(run.pid if victim == "sdbench" else worker.pid, signal.SIGKILL)
    run.communicate(timeout=300)
    _until(lambda: not sdbench.processes(), "all processes to end")
    if victim == "worker":
        (entry,) = load_run(_folder(sdbench)).replicates
        assert (entry.outcome, entry.signal) == ("crashed", "SIGKILL"), entry.reason


@pytest.mark.long
def test_run_with_split_is_compared_shown_bundled_and_verified(sdbench: Sdbench) -> None:
    path = sdbench.config(_cases(64, "loop", "batch", "split"), references=True)
    options = ("--set", "images=4", "--set", "replicates=3", "--set", "timeout_s=200")
    code, document = sdbench.json("run", path, *options)
    assert code == 0, document
    loop, batch, split = document["cases"]
    assert [row["outcome"] for row in (loop, batch, split)] == ["ok"] * 3
    assert split["correct"] == loop["correct"] == "match"
    assert split["latency_s"]["n"] == 3
    loaded = load_run(sdbench.folder / document["path"])
    for entry in loaded.replicates:
        assert entry.processes == (2 if entry.case_id == split["case_id"] else None)
        assert entry.pss_bytes is not None
    images = Artifacts(sdbench.folder / document["path"])
    found = check_equality(loaded.run, loaded.replicates, loaded.compared, images)
    assert [
        (one.verdict, one.pictures)
        for one in found
        if one.kind == "batching" and one.case_ids[0] == split["case_id"]
    ] == [("identical", 3 * 4)]
    pairs = sdbench("compare", document["path"], "--by", "batching")
    assert "split" in pairs.stdout, pairs.stderr
    shown = sdbench("show", document["path"], split["case_id"])
    assert "2 processes made each pass, peaks" in shown.stdout
    repro = sdbench("repro", document["path"], split["case_id"])
    assert repro.returncode != 0 and "batching = split" in repro.stderr
    bundled = sdbench("bundle", document["path"], "--yes")
    assert bundled.returncode == 0, bundled.stderr
    (bundle,) = sdbench.folder.glob("*.sdbench.zip")
    verified = sdbench("verify", bundle)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _in_mid_pass(sdbench: Sdbench, timeout_s: int) -> "tuple[Any, psutil.Process]":
    """A run whose two processes are in a pass that takes minutes, and the second of them."""
    config = sdbench.config(_cases(2048, "split"))
    options = ("--set", f"timeout_s={timeout_s}", "--set", "steps=900", "--set", "start=spawn")
    run = sdbench.start("run", config, *options)

    def found() -> "psutil.Process | None":
        assert run.poll() is None, run.communicate()
        members = [one for one in sdbench.processes() if "--events" in _words(one)]
        members = [one for one in members if "--lifeline" not in _words(one)]
        # It computes when it has used the processor for longer than the imports take.
        return next((one for one in members if sum(one.cpu_times()[:2]) > 12), None)

    member: psutil.Process = _until(found, "the second process to compute")
    return run, member


def _words(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return list(process.cmdline())
    return []


def _folder(sdbench: Sdbench) -> Path:
    (records,) = (sdbench.folder / "results").glob("*/records.jsonl")
    return records.parent


def _until(condition: Callable[[], Any], what: str, limit_s: float = 240) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited {limit_s} s for {what}")
