"""How far rounding alone takes an image, from run to run: what OWN_ROUNDING_MULTIPLE stands on.

    python tests/benchmarks/own_rounding.py [SEED ...] [--runs 6]

Takes the trained half-precision settings of ``healthy_pictures.py`` (as for CUDA), makes each image
on the CPU in float32 and some times in the emulated arithmetic of the data type, freely, from noise
that is one rounding unit apart. Each of these runs then stands for a healthy device and is judged
by every two others. Prints the measures and how many were called faulty; exits 1 if one was.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import torch
from healthy_pictures import settings_of

from sdbench.models.builtin import BUILTIN
from sdbench.quality import measures
from sdbench.quality.compare import rounding_levels
from sdbench.quality.own_rounding import cell_errors, unexplained
from sdbench.quality.picture_differences import picture_differences
from sdbench.schema import Case
from sdbench.worker.devices import open_device
from sdbench.worker.passes import pipeline_calls
from sdbench.worker.pipelines import import_stack, load, torch_dtype
from sdbench.worker.rounding import Rounding

_SEEDS = (13, 50, 67)  # the runs on a healthy H100 that had a finding before


def job_of(settings: dict[str, Any]) -> dict[str, Any]:
    """As a worker gets it, for the CPU in float32."""
    case = Case(resolution=settings["resolution"])
    return {
        **{name: settings[name] for name in ("scheduler", "steps", "guidance_scale", "seed")},
        "prompts": settings["prompts"],
        "images": len(settings["prompts"]),
        "model_path": str(BUILTIN["builtin/shapes"].folder),
        "case": msgspec.to_builtins(case) | {"width": case.width, "height": case.height},
    }


def free_runs(settings: dict[str, Any], runs: int) -> Iterator[tuple[Any, list[Any]]]:
    """Of each image float32's picture (8 bits) and those of the rounded runs."""
    job, device = job_of(settings), open_device("cpu")
    pipeline = load(job, device)
    calls = pipeline_calls(pipeline, job)
    expected = [pipeline(**call, num_inference_steps=job["steps"]).images for call in calls]
    dtype = settings["dtype"]
    half = load(dict(job, case=dict(job["case"], dtype=dtype)), device)
    with Rounding(half, torch_dtype(dtype)) as rounding:
        for call, right in zip(calls, expected, strict=True):
            made: list[Any] = []
            start = rounding.rounded(call["latents"])
            while len(made) < runs:
                _, picture = rounding.run(call, job["steps"], start)
                made.append(picture[0])
                start = rounding.one_unit_away(start, 0)
            yield (
                measures.to_pixels(right[0].numpy()),
                [measures.to_pixels(one.numpy()) for one in made],
            )


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=_SEEDS)
    parser.add_argument("--runs", type=int, default=6)
    options = parser.parse_args()
    import_stack()
    judged, faulty = 0, 0
    for seed in options.seeds:
        settings = settings_of(seed, "cuda")
        if settings["model"] != "builtin/shapes" or settings["dtype"] == "float32":
            continue
        case = Case(resolution=settings["resolution"], dtype=settings["dtype"])
        with torch.no_grad():
            images = list(free_runs(settings, options.runs))
        for image, (expected, made) in enumerate(images, 1):
            levels = rounding_levels(None, expected, case)
            seen = [picture_differences(one, expected, levels) for one in made]
            worst = [float(cell_errors(one, expected).max()) for one in made]
            for this, one in enumerate(made):
                others = [other for k, other in enumerate(made) if k != this]
                for own in itertools.combinations(others, 2):
                    judged += bool(seen[this])
                    left = seen[this] and unexplained(one, expected, own, seen[this], levels)
                    faulty += bool(left)
            plain = sum(any(entry.is_plain for entry in found) for found in seen)
            print(
                *(seed, settings["resolution"], settings["steps"], settings["scheduler"]),
                f"{case.dtype} image {image}: worst cell {np.round(worst, 1).tolist()} levels, "
                f"{plain} of {len(made)} plainly different from float32",
                flush=True,
            )
    print(f"{faulty} of {judged} judgements of a healthy run called it faulty")
    return int(bool(faulty))


if __name__ == "__main__":
    sys.exit(main())
