"""Right images must pass, and each of eight faults planted in one worker must be found.

The worker makes one pass a fault, with the trained model of the package, and the ordinary
comparison with the CPU's packaged images judges them.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from sdbench.correctness.arithmetic import NO_TF32
from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.parity import ParityResult
from sdbench.correctness.picture_faults import is_noise
from sdbench.models.resolve import find_model
from sdbench.plan.config import Config
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.process.environment import PRELOAD, preload_modules
from sdbench.process.executor import Task
from sdbench.process.launch import PLANTED_FAULTS_FOLDER, PLANTED_FAULTS_MODULE
from sdbench.process.picture_job import picture_job
from sdbench.records import Case, Gate, ImageCompared, InstrumentLine, Slot
from sdbench.runner.reference_maker import Group, ReferenceStore
from sdbench.runner.replicate import replicate_record
from sdbench.selftest.judging import Question, all_unknown
from sdbench.selftest.workers import ONE_THREAD, Setup

FAULTS = "SDBENCH_PLANTED_FAULTS"
_LIMIT_S = 180.0
_CASE = Case(resolution="128x128", dtype="float32", batching="batch")
RIGHT = "match"
# The passes of the worker in their order: what is planted, and under which code it must be found.
PASSES = (
    ("first-pass", "first-pass"),
    ("none", RIGHT),
    ("black", "black"),
    ("not-a-number", "not-a-number"),
    ("noise", "noise"),
    ("operator", "latents"),
    ("washed-out", "washed-out"),
    ("batch-item", "batch-item-2"),
    ("decode", "decode"),
)

IsNoise = Callable[[ImageCompared], bool]


def picture_lines(setup: Setup) -> list[InstrumentLine]:
    """One line for the right images and one for each fault."""
    config = msgspec.structs.replace(shipped_for_its_model("quick"), images=2)
    with tempfile.TemporaryDirectory(prefix="sdbench-selftest-") as folder:
        return _look(setup, config, Path(folder))


def question_of(planted: str) -> Question:
    """The line of a pass."""
    if planted == "none":
        name, source = "right", "images of a pass in which nothing is planted"
    else:
        name, source = planted, f"the fault that was planted in the pass: {planted}"
    return Question(
        id=f"picture-{name}", instrument="code under which a pass is judged", source=source
    )


def _look(setup: Setup, config: Config, folder: Path) -> list[InstrumentLine]:
    model = find_model(config.model).prepare()
    environment = setup.environment
    preloads = [*preload_modules(environment), PLANTED_FAULTS_MODULE]
    paths = [PLANTED_FAULTS_FOLDER, *filter(None, [environment.get("PYTHONPATH")])]
    task = Task(
        replicate_id="selftest-pictures",
        interpreter=setup.interpreter,
        environment={
            **environment,
            PRELOAD: ",".join(preloads),
            "PYTHONPATH": os.pathsep.join(paths),
            FAULTS: ",".join(planted for planted, _ in PASSES),
            # The images are judged by the rounding of float32; TF32 would be taken for a fault.
            NO_TF32: "0",
            **ONE_THREAD,
        },
        job=picture_job(config, model, setup.device, _CASE, allow_pickle=False)
        | {
            "passes": len(PASSES),
            "profile": False,
            "count_flops": False,
            "artifacts": str(folder.absolute()),
        },
        start="spawn",
        timeout_s=setup.within(_LIMIT_S),
        telemetry=False,
    )
    report = setup.executor.run(task, lambda event, sample: None)
    slot = Slot(index=0, block=0, case_id=_CASE.case_id, arm="selftest")
    replicate = replicate_record(slot, 1, task, report, Gate(), cold_cache=False)
    if replicate.outcome != "ok":
        words = f"the worker ended as {replicate.outcome}: {replicate.reason}"
        return all_unknown((question_of(planted) for planted, _ in PASSES), words)
    shelf = ReferenceStore(config, model, {"selftest": setup.stack})
    yardstick = shelf.yardstick(Group("selftest", _CASE.resolution), _CASE.dtype)
    artifacts = Artifacts(folder)
    compared = ParityResult(artifacts, trained=True).compare(replicate, _CASE, yardstick)
    return judged(compared.images, lambda image: _is_noise(artifacts, image))


def judged(images: Sequence[ImageCompared], noise: IsNoise) -> list[InstrumentLine]:
    """The lines from the comparison of all passes, which are numbered from 1."""
    codes = [
        code_of([image for image in images if number in image.passes], noise)
        for number in range(1, len(PASSES) + 1)
    ]
    if codes[0] not in (RIGHT, None) and codes[1] == RIGHT:
        codes[0] = "first-pass"
    lines = []
    for (planted, expected), code in zip(PASSES, codes, strict=True):
        question = question_of(planted)
        if code is None:
            reasons = {image.reason for image in images if image.verdict == "unknown"}
            words = "; ".join(sorted(filter(None, reasons))) or "its images were not compared"
            lines.append(question.unknown(words, expected=expected))
        else:
            lines.append(question.compare_words(code, expected))
    return lines


def code_of(images: Sequence[ImageCompared], noise: IsNoise) -> str | None:
    """What is wrong with the images of one pass, in a word; None where that is unknown."""
    if not images or any(image.verdict == "unknown" for image in images):
        return None
    wrong = [image for image in images if image.verdict != "match"]
    if not wrong:
        return RIGHT
    if len(wrong) < len(images):
        return f"batch-item-{wrong[0].image + 1}"
    faults = {image.fault for image in wrong}
    if len(faults) == 1 and None not in faults and "another-picture" not in faults:
        return str(faults.pop())
    if all(noise(image) for image in wrong):
        return "noise"
    if not all(image.latents_are_right for image in wrong):
        return "latents"
    washed = all(any("washed out" in one.words for one in image.differences) for image in wrong)
    return "washed-out" if washed else "decode"


def _is_noise(artifacts: Artifacts, image: ImageCompared) -> bool:
    pixels = artifacts.pixels(image.pixels_sha256)
    return pixels is not None and is_noise(pixels)
