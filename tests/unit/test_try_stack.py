"""One image that proves an environment: what its worker is asked for, and what comes of
its answer."""

from pathlib import Path

import pytest
from factories import make_report, play

from sdbench.errors import MachineError
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.runner.try_stack import picture_maker

pytestmark = pytest.mark.usefixtures("tiny")
PYTHON = Path("/opt/sd/bin/python")


def test_one_picture_is_asked_of_the_stacks_own_interpreter() -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        assert Path(task.job["artifacts"]).is_dir(), "the worker can write its image"
        return play(task, supervise)

    executor = FakeExecutor(script)
    assert picture_maker(executor)(PYTHON) == "2.0.0", "its torch's own word"
    (task,) = executor.tasks
    assert (task.interpreter, task.start, task.telemetry) == (str(PYTHON), "spawn", False)
    assert {name: task.job[name] for name in ("passes", "profile", "count_flops", "steps")} == {
        "passes": 1,
        "profile": False,
        "count_flops": False,
        "steps": 1,
    }
    assert not Path(task.job["artifacts"]).exists(), "nothing of it is left"


def test_no_picture_is_an_error_with_the_workers_reason() -> None:
    failed = {
        "event": "error",
        "type": "RuntimeError",
        "message": "operator is not there",
        "kind": "exception",
        "phase": "pass 1",
        "causes": [],
    }
    executor = FakeExecutor(lambda task, supervise: make_report([failed], exit_code=1))
    with pytest.raises(MachineError, match="operator is not there"):
        picture_maker(executor)(PYTHON)
