"""Runs whose images have a fault: of a kind, in a stage, in some passes and images."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from factories import make_config, make_model, make_pass, make_replicate, make_run
from quality_factories import Array, keep, latents_of, make_floor, make_reference, nudged

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.equality import Equality, check_equality
from sdbench.correctness.parity import ParityResult, ReferenceSet
from sdbench.records import Case
from sdbench.runs import LoadedRun

SIDE, IMAGES, PASSES = 64, 3, 4
Paint = Callable[[Array], Array]
"""From the right image (3, height, width) in [0, 1] to a wrong one."""


@dataclass(frozen=True)
class At:
    """One image of a run: the case it is of, its pass and its image, both counted from 1."""

    case: Case
    number: int
    image: int


def everywhere(at: At) -> bool:
    return True


@dataclass(frozen=True)
class Fault:
    """What is wrong and where, and what has to be said of it."""

    name: str
    paint: Paint
    where: Callable[[At], bool] = everywhere
    in_latents: bool = False
    code: str = "cpu-mismatch"
    severity: str = "error"
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    grows: bool = False
    dtype: str = "float32"
    checked: bool = True
    versions: dict[str, str] = field(default_factory=lambda: {"torch": "2.99.0"})
    cases: tuple[dict[str, Any], ...] = ({}, {"batching": "batch"})


@functools.cache
def scene(image: int = 0) -> Array:
    """An image with a sky, a ground, a disc, a block and some texture: (3, 64, 64) in [0, 1]."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    sky = np.stack([0.35 + 0.3 * y, 0.5 + 0.3 * y, 0.85 - 0.1 * y])
    ground = np.stack([0.5 - 0.2 * x, 0.42 + 0.1 * x, 0.2 + 0.1 * y])
    made = np.where(y < 0.6 + 0.05 * np.sin(6 * x + image), sky, ground)
    disc = (x - 0.3 - 0.12 * image) ** 2 + (y - 0.3) ** 2 < 0.02
    made = np.where(disc, np.array([0.9, 0.75, 0.3])[:, None, None], made)
    block = (abs(x - 0.7 + 0.1 * image) < 0.1) & (abs(y - 0.62) < 0.16)
    made = np.where(block, np.array([0.6, 0.15, 0.12])[:, None, None], made)
    texture = np.random.default_rng(40 + image).normal(0, 1, (SIDE, SIDE))
    for _ in range(2):
        texture = (texture + np.roll(texture, 1, 0) + np.roll(texture, 1, 1)) / 3
    found: Array = np.clip(made + 0.06 * texture, 0.02, 0.97).astype(np.float32)
    found.flags.writeable = False
    return found


def faulty_run(folder: Path, fault: Fault | None, **document: Any) -> LoadedRun:
    """One process a case with four passes of three images, rounded as the dtype rounds."""
    dtype = fault.dtype if fault is not None else document.pop("dtype", "float32")
    cases = (fault.cases if fault is not None else None) or ({}, {"batching": "batch"})
    settings = [{"resolution": f"{SIDE}x{SIDE}", "dtype": dtype, **case} for case in cases]
    config = make_config(case=settings, images=IMAGES, passes=PASSES, replicates=1, **document)
    run = make_run(config, device="mps", model=make_model(trained=True))
    floor = _floor(dtype)
    references = {
        image: make_reference(image, pictures=scene(image)[None]) for image in range(IMAGES)
    }
    comparison = ParityResult(Artifacts(folder), trained=True)
    attempts, records = [], []
    for slot in run.plan.slots:
        case = run.plan.planned(slot.case_id).case
        passes = [
            make_pass(
                1.0,
                number,
                images=[
                    _picture(folder, fault, At(case, number, image + 1), floor)
                    for image in range(IMAGES)
                ],
            )
            for number in range(1, PASSES + 1)
        ]
        fields: dict[str, Any] = {} if fault is None else {"versions": fault.versions}
        attempts.append(make_replicate(slot, passes=passes, **fields))
        if fault is None or fault.checked:
            yardstick = ReferenceSet(references, floor)
            records.append(comparison.compare(attempts[-1], case, yardstick))
    return LoadedRun(folder, run, [], attempts, comparisons=records)


def equalities_of(folder: Path, loaded: LoadedRun) -> list[Equality]:
    return check_equality(loaded.run, loaded.replicates, loaded.compared, Artifacts(folder))


def _floor(dtype: Any) -> Any:
    unit = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    return make_floor(dtype=dtype, text=unit, latents={1: unit, 4: unit}, picture=unit / 2)


def _picture(folder: Path, fault: Fault | None, at: At, floor: Any) -> Any:
    image = at.image - 1
    picture, latents = scene(image), latents_of(image)[-1]
    # Rounding: of its own in each case, the same in all its passes, smooth as a decoder makes it.
    seed = 7 + 10 * image + (at.case.batching == "batch")
    coarse = np.random.default_rng(seed).normal(0, 1, (3, SIDE // 4, SIDE // 4))
    rounding = coarse.repeat(4, axis=1).repeat(4, axis=2)
    picture = picture + rounding * float(floor.picture) * 2 * float(np.sqrt((picture**2).mean()))
    latents = nudged(latents, float(floor.latents[1]), seed)
    if fault is not None and fault.where(at):
        strength = at.number if fault.grows else 1
        for _ in range(strength):
            picture = fault.paint(picture)
        if fault.in_latents:
            latents = nudged(latents, 0.5 * strength, seed + 1)
    return keep(folder, np.clip(picture, 0, 1).astype(np.float32), latents)
