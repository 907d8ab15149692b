"""The small image before a run: compared, read, recorded, and never in the way."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from factories import make_config, make_model, make_run, make_stack, pass_event, play
from quality_factories import VERSIONS, keep

from sdbench.correctness.measures import to_pixels
from sdbench.correctness.references import Reference
from sdbench.models.builtin import BUILTIN
from sdbench.process.executor import FakeExecutor, Report, Stop, Supervisor, Task
from sdbench.records import Preflight, Run
from sdbench.runner.preflight import check_config, run_preflight
from sdbench.runner.reference_maker import Group, ReferenceStore
from sdbench.runs import RunFolder
from sdbench.runs.reading import load_run


def packaged() -> Reference:
    """The image that travels in the package, as the CPU made it."""
    config = check_config()
    model = make_model(config.model, sha256=BUILTIN[config.model].sha256)
    stacks = {"current": make_stack(**VERSIONS)}
    shelf = ReferenceStore(config, model, stacks, Path("/nowhere"))
    found = shelf.reference(Group("current", "128x128"), 0)
    assert found is not None
    return found


def a_run(**fields: Any) -> Run:
    config = make_config(device="mps", matrix={"resolution": ["64x64"], "dtype": ["float16"]})
    stacks = {"current": make_stack(**VERSIONS)}
    return make_run(config, device="mps", stacks=stacks, **fields)


def check(root: Path, picture: Any = None, **report: Any) -> tuple[Preflight, Task]:
    """The check's record when the device makes this image (values in [0, 1])."""
    reference, run = packaged(), a_run()
    folder = RunFolder.create(root, run)

    def script(task: Task, supervise: Supervisor) -> Report:
        if report:
            return play(task, supervise, events=[], **report)
        made = to_pixels(reference.picture).transpose(2, 0, 1) / 255 if picture is None else picture
        latents = reference.latents[max(reference.latents)]
        kept = keep(folder.path, made.astype(np.float32), latents)
        made_pass = pass_event() | {"images": [msgspec.to_builtins(kept)]}
        events = [made_pass, {"event": "done"}]
        return play(task, supervise, events=events)

    executor = FakeExecutor(script)
    found = run_preflight(run, folder, executor, lambda event, sample: None)
    folder.append(found)
    folder.close()
    (task,) = executor.tasks
    assert load_run(folder.path).checks == [found]
    return found, task


def test_a_right_picture_is_compared_and_read(tmp_path: Path) -> None:
    found, task = check(tmp_path)
    assert (found.outcome, found.verdict, found.content) == ("ok", "match", "right")
    assert (found.device, found.dtype, found.wrong) == ("mps", "float16", False)
    assert found.prompt in task.job["prompts"]
    assert task.job["images"] == 1 and task.job["passes"] == 1 and not task.job["profile"]
    assert task.job["case"]["dtype"] == "float16", "as the run's first process"
    assert task.timeout_s <= 60


def test_another_picture_is_wrong_and_read_to_be(tmp_path: Path) -> None:
    other = to_pixels(packaged().picture).transpose(2, 0, 1)[::-1] / 255  # red is blue
    found, _ = check(tmp_path, other)
    assert (found.verdict, found.content, found.wrong) == ("broken", "wrong", True)
    assert found.content_reason


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        ({"exit_code": -6}, "crashed"),
        ({"exit_code": None, "stop": Stop("timeout", "no end after 60 s")}, "timeout"),
    ],
)
def test_a_death_is_told_and_nothing_more(
    tmp_path: Path, report: dict[str, Any], outcome: str
) -> None:
    found, _ = check(tmp_path, **report)
    assert (found.outcome, found.verdict, found.content) == (outcome, "unknown", None)
    assert found.wrong and found.reason


def test_model_of_the_check_is_the_one_in_the_package() -> None:
    assert check_config().model in BUILTIN
