"""What do fingerprints cost? Hashes, statistics and files of each image, beside the pass itself.

    python tests/benchmarks/fingerprints.py [--device cuda] [--model builtin/shapes] …  (see --help)

One process, real passes. Fingerprints are taken after a pass's clock has stopped, so they cannot
change its time; ``fingerprints_share`` is their time over the pass's and belongs under 0.01. Inside
a pass a callback keeps the latents by reference: passes with and without it take turns, and
``callback_ratio`` belongs within 0.99 to 1.01. Nothing else may run meanwhile; with builtin/shapes
on two cores it takes about three minutes.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from typing import Any

from sdbench.models.resolve import find_model
from sdbench.plan.read_config import parse_config
from sdbench.process.picture_job import picture_job
from sdbench.records import Case


def main() -> None:
    """Measure one setting and print one JSON document."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        told = measure(_job(options, folder), options.passes)
    sys.stdout.write(json.dumps({**vars(options), **told}) + "\n")


def measure(job: dict[str, Any], count: int) -> dict[str, float]:
    """Medians over passes, the first of each kind left out."""
    from sdbench.worker.devices import open_device
    from sdbench.worker.passes import Passes
    from sdbench.worker.pipelines import apply_settings, import_stack, load
    from sdbench.worker.pipelines.calls import pipeline_calls

    import_stack()
    device = open_device(job["device"])
    pipeline = load(job, device)
    apply_settings(pipeline, job["case"])
    passes, calls = Passes(pipeline, device, job), pipeline_calls(pipeline, job)
    bare, kept, described = [], [], []
    for index in range(1, count + 1):
        for turn in ("bare", "kept") if index % 2 else ("kept", "bare"):
            if turn == "bare":
                bare.append(_bare(calls, job["steps"], device))
            else:
                pass_s, fingerprints_s = _kept(passes, index)
                kept.append(pass_s)
                described.append(fingerprints_s)
    pass_s = statistics.median(kept[1:])
    fingerprints_s = statistics.median(described[1:])
    ratios = [one / other for one, other in zip(kept[1:], bare[1:], strict=True)]
    return {
        "pass_s": pass_s,
        "fingerprints_s": fingerprints_s,
        "fingerprints_share": fingerprints_s / pass_s,
        "callback_ratio": statistics.median(ratios),
    }


def _kept(passes: Any, index: int) -> tuple[float, float]:
    """A measured pass as a worker makes it: its time, and what came after."""
    started = time.perf_counter()
    record = passes.measured(index)
    whole = time.perf_counter() - started
    return record["duration_s"], whole - record["duration_s"]


def _bare(calls: list[Any], steps: int, device: Any) -> float:
    """The same calls with nothing kept."""
    prepared = [call.prepared(steps) for call in calls]
    device.synchronize()
    started = time.perf_counter()
    for call in prepared:
        call().cpu()
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--model", default="builtin/shapes")
    parser.add_argument("--resolution", default="128x128")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batching", default="loop", choices=["loop", "batch"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--passes", type=int, default=5)
    return parser.parse_args()


def _job(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    config = parse_config({"steps": options.steps, "images": options.images}, "fingerprints")
    case = Case(resolution=options.resolution, dtype=options.dtype, batching=options.batching)
    model = find_model(options.model).prepare()
    job = picture_job(config, model, options.device, case, allow_pickle=False)
    return job | {"artifacts": folder}


if __name__ == "__main__":
    main()
