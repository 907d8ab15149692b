"""Limits of the device: measured once for each environment and environment, whatever
comes of it."""

from typing import Any

import pytest
from factories import make_config, make_run, play

from sdbench.process.executor import FakeExecutor, Report, Stop, Supervisor, Task
from sdbench.records import MatmulRate, Run
from sdbench.runner.matmul_rate import measure_ceilings


def measured(
    run: Run, known: list[MatmulRate] | None = None, **report: Any
) -> tuple[list[MatmulRate], list[Task]]:
    def script(task: Task, supervise: Supervisor) -> Report:
        return play(task, supervise, **report)

    executor = FakeExecutor(script)
    found = list(measure_ceilings(run, known or [], executor, lambda event, sample: None))
    return found, executor.tasks


def run_of(*arms: dict[str, Any], **fields: Any) -> Run:
    matrix = {"resolution": ["64x64"], "dtype": ["float32", "float16"]}
    return make_run(make_config(matrix=matrix, **({"arm": [*arms]} if arms else {})), **fields)


def test_one_process_measures_every_dtype_of_the_plan() -> None:
    found, (task,) = measured(run_of(device="mps", simulated=True))
    assert task.job == {"ceilings": ["float16", "float32"], "device": "mps"}
    assert {(entry.dtype, entry.flops_per_s) for entry in found} == {
        ("float16", 1e12),
        ("float32", 1e12),
    }
    assert all(entry.simulated and entry.device == "mps" for entry in found)


def test_arms_with_the_same_stack_and_environment_share_a_process() -> None:
    arms = (
        {"name": "on"},
        {"name": "off", "telemetry": False},
        {"name": "other", "env": {"NVIDIA_TF32_OVERRIDE": "0"}},
    )
    found, tasks = measured(run_of(*arms))
    assert len(tasks) == 2
    assert tasks[1].environment["NVIDIA_TF32_OVERRIDE"] == "0"
    assert sorted({entry.arm for entry in found}) == ["off", "on", "other"]
    assert len(found) == 6


def test_what_is_known_is_not_measured_again_even_if_it_failed() -> None:
    first, _ = measured(run_of(), exit_code=-6, events=[])
    assert [entry.reason for entry in first] == ["measuring it ended with status -6"] * 2
    assert measured(run_of(), first) == ([], [])


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (
            {"events": [{"event": "error", "type": "RuntimeError", "message": "no"}]},
            "measuring it failed: RuntimeError",
        ),
        (
            {"events": [], "exit_code": None, "stop": Stop("timeout", "no end after 60 s")},
            "no end after 60 s",
        ),
        (
            {"events": [{"event": "ceiling", "dtype": "float16", "reason": "not here"}]},
            "not here",
        ),
    ],
)
def test_what_was_not_measured_has_its_reason(report: dict[str, Any], reason: str) -> None:
    found, _ = measured(run_of(), **report)
    (half,) = [entry for entry in found if entry.dtype == "float16"]
    assert (half.flops_per_s, half.reason) == (None, reason)


def test_dtype_measured_before_the_process_died_is_kept() -> None:
    events = [{"event": "ceiling", "dtype": "float16", "flops_per_s": 3e12}]
    found, _ = measured(run_of(), events=events, exit_code=-11)
    assert {entry.dtype: entry.flops_per_s for entry in found} == {"float16": 3e12, "float32": None}
