"""Which device is measured: asked of the interpreter, with a stand-in for the process."""

from collections.abc import Callable
from typing import Any

import pytest
from factories import make_report

from sdbench.errors import MachineError
from sdbench.process.environment import preload_modules, worker_environment
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.process.find_device import FoundDevice, find_device

PRELOADED = {"SDBENCH_WORKER_PRELOAD": "stand_in"}


def answering(*events: dict[str, Any], **report: Any) -> FakeExecutor:
    script: Callable[[Task, Supervisor], Report] = lambda task, supervise: make_report(  # noqa: E731
        list(events), **report
    )
    return FakeExecutor(script)


def device(kind: str, available: bool = True, **fields: Any) -> dict[str, Any]:
    return {"event": "device", "kind": kind, "available": available, **fields}


def test_cpu_is_taken_at_its_word_and_starts_nothing() -> None:
    executor = answering()
    assert find_device("cpu", "python", {}, executor) == FoundDevice("cpu")
    assert executor.tasks == []


def test_best_device_that_works_is_taken() -> None:
    executor = answering(
        device("mps", available=False, reason="not built"),
        device("cuda", facts={"name": "GPU"}, recommended_max_bytes=5),
    )
    found = find_device("auto", "python", PRELOADED, executor)
    assert (found.kind, found.facts, found.memory_bytes) == ("cuda", {"name": "GPU"}, 5)
    assert executor.tasks[0].job["devices"] == ["mps", "cuda", "cpu"]


def test_device_asked_for_is_the_only_one_tried() -> None:
    executor = answering(device("mps"))
    find_device("mps", "python", PRELOADED, executor)
    assert executor.tasks[0].job["devices"] == ["mps"]


def test_stand_in_device_is_simulated() -> None:
    executor = answering(device("mps", simulated=True))
    assert find_device("mps", "python", PRELOADED, executor).simulated


def test_device_that_does_not_work_says_why() -> None:
    executor = answering(device("mps", available=False, reason="torch was not built with MPS"))
    with pytest.raises(MachineError, match="device mps: torch was not built with MPS"):
        find_device("mps", "python", PRELOADED, executor)


def test_probe_that_raises_says_what() -> None:
    error = {"type": "ModuleNotFoundError", "message": "No module named 'stand_in'"}
    executor = answering({"event": "error", **error}, exit_code=1)
    with pytest.raises(MachineError, match="No module named 'stand_in'"):
        find_device("auto", "python", PRELOADED, executor)


def test_probe_that_dies_says_its_last_words() -> None:
    executor = answering(exit_code=-6, stderr_tail="one\ntwo\nassertion failed\n")
    with pytest.raises(MachineError, match="ended with exit status -6: two / assertion failed"):
        find_device("auto", "python", PRELOADED, executor)


def test_worker_gets_the_users_environment_with_the_arms_on_top() -> None:
    base = {"PATH": "/bin", "HF_HUB_OFFLINE": "0", "PYTORCH_X": "1"}
    environment = worker_environment({"PYTORCH_X": "2"}, base)
    assert environment["PATH"] == "/bin"
    assert environment["PYTORCH_X"] == "2"
    assert environment["HF_HUB_OFFLINE"] == "0"  # the user's word counts
    assert worker_environment({}, {})["HF_HUB_OFFLINE"] == "1"


def test_preload_is_a_list_of_names() -> None:
    assert preload_modules({"SDBENCH_WORKER_PRELOAD": " a, b.c ,,"}) == ["a", "b.c"]
    assert preload_modules({}) == []


def test_stack_that_cannot_be_imported_says_why_and_what_helps() -> None:
    error = {
        "type": "RuntimeError",
        "message": "Failed to import diffusers",
        "phase": "import",
        "causes": ["ModuleNotFoundError: No module named 'diffusers'"],
    }
    executor = answering({"event": "error", "kind": "exception", **error}, exit_code=1)
    with pytest.raises(MachineError) as raised:
        find_device("auto", "/opt/sd/bin/python", PRELOADED, executor)
    words = str(raised.value)
    assert "ModuleNotFoundError: No module named 'diffusers'." in words
    assert "sdbench doctor --python /opt/sd/bin/python" in words
    assert "device auto" not in words, "no device is at fault"
