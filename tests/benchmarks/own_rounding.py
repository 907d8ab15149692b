"""How far rounding alone takes an image, from run to run: what OWN_ROUNDING_MULTIPLE stands on.

    python tests/benchmarks/own_rounding.py [SEED ...] [--runs 12]

Takes the trained settings of ``healthy_pictures.py`` (as for CUDA), makes each image on the CPU in
float32 and some times in the emulated arithmetic of the data type (TF32 for float32), freely, from
noise that is one rounding unit apart. Each of these runs then stands for a healthy device and is
judged by three others, and by nine where three do not explain it. Prints the measures and how many
were called faulty; exits 1 if one was in the end.
"""

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import torch
from healthy_pictures import settings_of

from sdbench.correctness import measures
from sdbench.correctness.arithmetic import own_arithmetic
from sdbench.correctness.own_rounding import cell_errors, unexplained
from sdbench.correctness.parity import rounding_levels
from sdbench.correctness.picture_differences import picture_differences
from sdbench.correctness.thresholds import OWN_ROUNDING_TIMES
from sdbench.models.builtin import BUILTIN
from sdbench.records import Case
from sdbench.worker import reference
from sdbench.worker.devices import open_device
from sdbench.worker.pipelines import import_stack, load
from sdbench.worker.pipelines.calls import pipeline_calls
from sdbench.worker.rounding import loaded_as, rounding_of

_JUDGEMENTS = 20  # of each run, by others drawn at random
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


def free_runs(settings: dict[str, Any], arithmetic: str, runs: int) -> Iterator[tuple[Any, Any]]:
    """Of each image the image of float32 (8 bits) and those of the rounded runs."""
    job, device = job_of(settings), open_device("cpu")
    pipeline = load(job, device)
    calls = pipeline_calls(pipeline, job)
    expected = [call.make(job["steps"]) for call in calls]
    as_loaded = dict(job, case=dict(job["case"], dtype=loaded_as(arithmetic)))
    with rounding_of(arithmetic, load(as_loaded, device)) as rounding:
        calls = pipeline_calls(rounding.pipeline, job)
        for call, right in zip(calls, expected, strict=True):
            made = reference._rounded(rounding, call, job["steps"], {"times": runs, "more": False})
            yield (
                measures.to_pixels(right[0].numpy()),
                [measures.to_pixels(one.numpy()) for one in made["pictures"]],
            )


def called_faulty(made: list[Any], expected: Any, seen: list[Any], levels: float) -> Counter[str]:
    """How many judgements of these healthy runs by others there were, and how they ended."""
    count: Counter[str] = Counter()
    few, many, _ = OWN_ROUNDING_TIMES
    pick = random.Random(0)
    for this, one in enumerate(made):
        others = [other for k, other in enumerate(made) if k != this]
        for _ in range(_JUDGEMENTS if seen[this] else 0):
            own = pick.sample(others, min(many, len(others)))
            count["judged"] += 1
            if unexplained(one, expected, own[:few], seen[this], levels):
                count["faulty by three"] += 1
                count["faulty by nine"] += bool(unexplained(one, expected, own, seen[this], levels))
    return count


def main() -> int:
    """Measure and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=_SEEDS)
    parser.add_argument("--runs", type=int, default=12)
    options = parser.parse_args()
    import_stack()
    total: Counter[str] = Counter()
    for seed in options.seeds:
        settings = settings_of(seed, "cuda")
        if settings["model"] != "builtin/shapes":
            continue
        case = Case(resolution=settings["resolution"], dtype=settings["dtype"])
        arithmetic = own_arithmetic(case.dtype) or "tf32"
        with torch.no_grad():
            images = list(free_runs(settings, arithmetic, options.runs))
        for image, (expected, made) in enumerate(images, 1):
            levels = rounding_levels(None, expected, case)
            seen = [picture_differences(one, expected, levels) for one in made]
            worst = [float(cell_errors(one, expected).max()) for one in made]
            apart = [measures.relative_l2(one, expected) or 0.0 for one in made]
            total += called_faulty(made, expected, seen, levels)
            plain = sum(any(entry.is_plain for entry in found) for found in seen)
            print(
                *(seed, settings["resolution"], settings["steps"], settings["scheduler"]),
                f"{arithmetic} image {image}: {' '.join(f'{one:.2g}' for one in apart)} apart, "
                f"worst cell {' '.join(f'{one:.0f}' for one in worst)} levels, "
                f"{plain} of {len(made)} plainly different from float32",
                flush=True,
            )
    print(
        f"of {total['judged']} judgements of a healthy run {total['faulty by three']} called it "
        f"faulty by three others, {total['faulty by nine']} by nine"
    )
    return int(bool(total["faulty by nine"]))


if __name__ == "__main__":
    sys.exit(main())
