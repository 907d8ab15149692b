"""One image in one step with the smallest model: whether an environment works at all.

A real worker makes it, as in a run, so that whatever a worker imports is imported.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from sdbench.errors import MachineError
from sdbench.models.resolve import find_model
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.process.environment import worker_environment
from sdbench.process.executor import Executor, Task
from sdbench.process.picture_job import picture_job
from sdbench.records import Case, Gate, Slot
from sdbench.runner.replicate import replicate_record

_LIMIT_S = 600.0  # a first import of torch from a slow disk takes minutes


def picture_maker(executor: Executor) -> Callable[[Path], str]:
    """Makes the image with an interpreter, on the CPU; returns the version its torch gives.

    What is made raises MachineError where no image comes of it.
    """

    def make(interpreter: Path) -> str:
        config = msgspec.structs.replace(
            shipped_for_its_model("quick"), model="synthetic/tiny", steps=1, images=1
        )
        model, case = find_model(config.model).prepare(), Case(resolution="64x64")
        with tempfile.TemporaryDirectory() as artifacts:
            task = Task(
                replicate_id="try-stack",
                interpreter=str(interpreter),
                environment=worker_environment({}),
                job=picture_job(config, model, "cpu", case, allow_pickle=False)
                | {"passes": 1, "profile": False, "count_flops": False, "artifacts": artifacts},
                start="spawn",
                timeout_s=_LIMIT_S,
                telemetry=False,
            )
            report = executor.run(task, lambda event, sample: None)
        slot = Slot(index=0, block=0, case_id=case.case_id, arm="stack")
        made = replicate_record(slot, 1, task, report, Gate(), cold_cache=True)
        if made.outcome != "ok":
            raise MachineError(made.reason or made.outcome)
        return made.versions["torch"]

    return make
