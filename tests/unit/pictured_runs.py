"""Runs that were never run, with images in their folders and the CPU's beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from factories import make_model, make_pass
from measured_runs import measured, one_case
from quality_factories import Array, keep, latents_of, make_floor, make_reference

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.parity import ParityResult, ReferenceSet
from sdbench.plan.config import Config
from sdbench.records import Slot
from sdbench.runs import LoadedRun

Painter = Callable[[Slot, int], Array]
"""The image (3, 64, 64) that a process makes in a pass."""


def four_settings(replicates: int = 1, *, dtypes: tuple[str, ...] = (), **document: Any) -> Config:
    """Two switches at one size, or in each of some dtypes."""
    matrix: dict[str, Any] = {
        "resolution": ["64x64"],
        "attention_slicing": [False, True],
        "warmup": [False, True],
        "dtype": [*(dtypes or ("float32",))],
    }
    return one_case(replicates, matrix=matrix, **document)


def pictured(
    folder: Path,
    painter: Painter,
    *,
    config: Config | None = None,
    trained: bool = True,
    compared: bool = True,
    picture: Callable[[Slot], dict[str, Any]] = lambda slot: {},
    **fields: Any,
) -> LoadedRun:
    """A run on mps with two passes per process; the CPU made ``smooth_picture()``.

    ``picture`` gives further fields of a process's images.
    """

    def passes(slot: Slot) -> dict[str, Any]:
        return {
            "passes": [
                make_pass(
                    1.0,
                    index,
                    images=[keep(folder, painter(slot, index), latents_of()[-1], **picture(slot))],
                )
                for index in (1, 2)
            ]
        }

    fields = {"device": "mps", "model": make_model(trained=trained), **fields}
    loaded = measured(config=config or four_settings(), path=folder, fields=passes, **fields)
    if compared:
        comparison = ParityResult(Artifacts(folder), trained=trained)
        for replicate in loaded.replicates:
            case = loaded.run.plan.planned(replicate.case_id).case
            yardstick = ReferenceSet({0: make_reference()}, make_floor(dtype=case.dtype))
            loaded.comparisons.append(comparison.compare(replicate, case, yardstick))
    return loaded
