"""Before a run: makes one small image on the device, compares it with the CPU's, and shows the
result at once.

A device that computes wrongly is detected now and not after an hour. The model is the trained one
that ships in the package, so the image is also read: does it show what was asked for? It costs
seconds, decides nothing and is recorded.
"""

from typing import Any

import msgspec

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.content import judge
from sdbench.correctness.parity import ParityResult
from sdbench.models.resolve import find_model
from sdbench.plan.config import Config
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.process.environment import worker_environment
from sdbench.process.executor import Executor, Supervisor, Task
from sdbench.process.picture_job import picture_job
from sdbench.records import Case, Compared, Gate, Preflight, Replicate, Run, Slot
from sdbench.runner.reference_maker import Group, ReferenceStore
from sdbench.runner.replicate import replicate_record
from sdbench.runs import RunFolder

_RESOLUTION = "128x128"
_LIMIT_S = 60.0  # ten seconds on a machine in order; starting a process there takes most of them


def check_config() -> Config:
    """The first image of the configuration that any CPU runs: its reference is packaged."""
    return msgspec.structs.replace(shipped_for_its_model("quick"), images=1)


def run_preflight(
    run: Run, folder: RunFolder, executor: Executor, supervise: Supervisor
) -> Preflight:
    """Make the image as the run's first process will, and look at it, whatever comes of it."""
    config = check_config()
    model = find_model(config.model).prepare()
    arm, first = run.plan.arms[0], run.plan.planned(run.plan.slots[0].case_id).case
    case = Case(resolution=_RESOLUTION, dtype=first.dtype)
    artifacts = Artifacts(folder.path)
    task = Task(
        replicate_id="quick-check",
        interpreter=run.stacks[arm.stack].interpreter,
        environment=worker_environment(arm.env),
        job=picture_job(config, model, run.device, case, allow_pickle=False)
        | {
            "passes": 1,
            "profile": False,
            "count_flops": False,
            "artifacts": str(folder.path.absolute()),
        },
        start=run.plan.start,
        timeout_s=_LIMIT_S,
        telemetry=False,
    )
    slot = Slot(index=0, block=0, case_id=case.case_id, arm=arm.name)
    report = executor.run(task, supervise)
    replicate = replicate_record(
        slot, 1, task, report, Gate(), cold_cache=False, simulated=run.simulated
    )
    shelf = ReferenceStore(config, model, run.stacks)
    yardstick = shelf.yardstick(Group(arm.stack, _RESOLUTION), case.dtype)
    compared = ParityResult(artifacts, trained=True).compare(replicate, case, yardstick)
    return _checked(run, case, config.prompts[0], replicate, compared, artifacts)


def _checked(
    run: Run,
    case: Case,
    prompt: str,
    replicate: Replicate,
    compared: Compared,
    artifacts: Artifacts,
) -> Preflight:
    found: dict[str, Any] = {"reason": replicate.reason or compared.reason}
    if compared.images:
        image = compared.images[0]
        pixels = artifacts.pixels(image.pixels_sha256)
        content = None if pixels is None else judge(pixels, prompt)
        found |= {
            "content": None if content is None else content.content,
            "content_reason": None if content is None else content.reason,
            "pixels_sha256": image.pixels_sha256,
            "reference_pixels_sha256": image.reference_pixels_sha256,
        }
    return Preflight(
        device=run.device,
        dtype=case.dtype,
        simulated=replicate.simulated,
        outcome=replicate.outcome,
        verdict=compared.verdict,
        margin=compared.margin,
        prompt=prompt,
        duration_s=replicate.wall_s,
        **found,
    )
