"""A real run that goes on until it is decided, one variant really slower."""

import pytest
from conftest import Sdbench

from sdbench.runs import load_run

PLAN = """
[matrix]
resolution = ["64x64"]
[[arm]]
name = "as-it-is"
[[arm]]
name = "slower"
env = { SDBENCH_WORKER_PRELOAD = "sdbench_test_slowdown", SDBENCH_TEST_SLOWDOWN = "8" }
[until_decided]
max_processes = 3
"""


@pytest.mark.long
def test_run_looks_after_three_processes_and_compare_judges_by_that_look(sdbench: Sdbench) -> None:
    plan = sdbench.config(PLAN)
    code, document = sdbench.json(
        *("run", plan, "--set", "start=fork", "--set", "passes=3"),
        *("--set", "steps=1", "--set", "images=1"),
    )
    assert code == 0
    assert document["complete"]
    for entry in load_run(sdbench.folder / document["path"]).replicates:
        assert entry.yardstick is not None and entry.yardstick.reason is None
        assert entry.yardstick.before_s and entry.yardstick.after_s
    (looked,) = document["looks"]
    assert (looked["blocks"], looked["by"], looked["next_look"]) == (3, "arm", None)
    (case,) = looked["cases"]
    assert (case["base"], case["new"]) == ("as-it-is", "slower")
    assert case["ratio"] > 1.5  # how sure that is depends on what else this machine does

    code, comparison = sdbench.json("compare", "latest")
    assert code == 0
    assert comparison["confidence"] == 0.99
    (compared,) = comparison["cases"]
    assert compared["ratio"] == case["ratio"]
    assert (compared["verdict"], compared["reason"]) == (case["verdict"], case["reason"])
    assert compared["n"] == [3, 3]
    differing = {entry["what"] for entry in comparison["differences"]}
    assert "variable SDBENCH_TEST_SLOWDOWN" in differing

    again = sdbench("resume", "latest")
    assert again.returncode == 0
    assert "6 of 6 processes are done, 0 remain." in again.stderr
    assert "look after 3 processes, by arm" in again.stderr
