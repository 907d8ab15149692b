"""Real stacks: created from nothing with the real uv, measured in one run, compared, removed.

Downloads gigabytes the first time (uv keeps them); `make test-stacks` runs it. The tests follow on
each other, in the order they are written in.
"""

import json
import shutil
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Sdbench
from warm_servers import MARK

OLD, NEW = "torch-1.13", "torch-2.5"
DOWNLOAD_LIMIT_S = 1800
# Not 64x64: there torch 1.13's CPU gives NaN now and then (known issue baddbmm-nan-cpu).
PLAN = """
[[case]]
resolution = "128x128"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where stacks and runs are kept; gigabytes, so not left behind."""
    path = tmp_path_factory.mktemp("stacks")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def call(folder: Path) -> Sdbench:
    """The command line with a cache of its own."""
    environment = {"SDBENCH_CACHE": str(folder / "cache"), MARK: uuid.uuid4().hex}
    return Sdbench(folder, environment, cold=True)


def states(call: Sdbench) -> dict[str, str]:
    """What ``stacks list`` says of each stack."""
    code, document = call.json("stacks", "list")
    assert code == 0
    return {row["name"]: row["state"] for row in document["stacks"]}


def visible(folder: Path) -> list[str]:
    """What is in the stacks folder, the files that lock it aside."""
    return sorted(
        path.name for path in (folder / "cache" / "stacks").iterdir() if path.suffix != ".lock"
    )


def test_stack_has_to_be_created_first(call: Sdbench) -> None:
    done = call("run", "quick", "--stack", OLD)
    assert done.returncode == 2
    assert done.stderr == (
        f"sdbench: environment {OLD} is not created yet; make it with: sdbench stacks create "
        f"{OLD}\n"
    )


def test_interrupted_creation_leaves_nothing(call: Sdbench, folder: Path) -> None:
    process = call.start("stacks", "create", NEW)
    scratch = folder / "cache" / "stacks" / f".{NEW}.new-{process.pid}"
    deadline = time.monotonic() + 120
    while not (scratch / "bin" / "python").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"sdbench: interrupted; next: sdbench stacks create {NEW}"
    assert visible(folder) == []
    assert call.processes() == []


def test_created_stacks_are_their_locks(call: Sdbench, folder: Path) -> None:
    process = call.start("stacks", "create", OLD, NEW, "--json")
    told, said = process.communicate(timeout=DOWNLOAD_LIMIT_S)
    assert process.returncode == 0, said
    old, new = json.loads(told)["stacks"]
    assert [row["action"] for row in (old, new)] == ["created", "created"]
    assert (old["packages"]["torch"], new["packages"]["torch"]) == ("1.13.1", "2.5.1")
    for row in (old, new):
        del row["packages"]["torch"]
    assert old["packages"] == new["packages"]
    assert (old["python"].split(".")[:2], old["python"]) == (["3", "10"], new["python"])
    assert visible(folder) == [OLD, NEW]
    assert {states(call)[name] for name in (OLD, NEW)} == {"ready"}


def test_created_stacks_are_kept(call: Sdbench, folder: Path) -> None:
    before = (folder / "cache" / "stacks" / OLD).stat().st_ino
    code, document = call.json("stacks", "create", OLD)
    assert (code, document["stacks"][0]["action"]) == (0, "kept")
    assert (folder / "cache" / "stacks" / OLD).stat().st_ino == before


def test_created_stacks_pass_their_check(call: Sdbench) -> None:
    code, document = call.json("stacks", "check")
    assert (code, [row["works"] for row in document["stacks"]]) == (0, [True, True])


def test_stacks_are_interleaved_in_one_run_and_compared(call: Sdbench) -> None:
    plan = call.config(PLAN)
    sizes = ["--set", "passes=3", "--set", "replicates=3"]
    code, run = call.json("run", plan, "--stack", OLD, "--stack", NEW, *sizes)
    assert (code, run["outcomes"]) == (0, {"ok": 2})
    records = (call.folder / run["path"] / "records.jsonl").read_text().splitlines()
    measured = [entry for line in records if "passes" in (entry := json.loads(line))]
    order = [entry["arm"] for entry in measured]
    blocks = [{*order[at : at + 2]} for at in range(0, len(order), 2)]
    assert blocks == [{OLD, NEW}] * 3
    versions = {entry["arm"]: entry["versions"]["torch"].split("+")[0] for entry in measured}
    assert versions == {OLD: "1.13.1", NEW: "2.5.1"}

    code, compared = call.json("compare", run["path"], "--by", "stack")
    assert code == 0
    assert compared["differences"] == [{"what": "torch", "base": "1.13.1", "new": "2.5.1"}]
    (case,) = compared["cases"]
    assert (case["base"], case["new"], case["n"]) == (OLD, NEW, [3, 3])
    assert case["paired"]
    assert case["ci95"][0] < case["ratio"] < case["ci95"][1]
    assert case["verdict"] in ("faster", "slower", "equivalent", "inconclusive")


def test_changed_stack_is_not_measured_in(call: Sdbench, folder: Path) -> None:
    (site,) = (folder / "cache" / "stacks" / OLD / "lib").glob("python3.*/site-packages")
    (numpy,) = site.glob("numpy-*.dist-info")
    numpy.rename(site / "put-aside")
    try:
        done = call("run", "quick", "--stack", OLD)
        assert done.returncode == 2
        assert "was changed: numpy was 1.26.4 and is absent; make it with" in done.stderr
        assert call.json("stacks", "check", OLD)[0] == 1
    finally:
        (site / "put-aside").rename(numpy)
    assert states(call)[OLD] == "ready"


def test_removed_stacks_are_gone(call: Sdbench, folder: Path) -> None:
    code, document = call.json("stacks", "remove", OLD, NEW)
    assert (code, [row["removed"] for row in document["stacks"]]) == (0, [True, True])
    assert visible(folder) == []
    assert {states(call)[name] for name in (OLD, NEW)} == {"absent"}
