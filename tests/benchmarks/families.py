"""Every family at its published size, one model at a time, with a person's own loop after it.

    python tests/benchmarks/families.py --device cuda --models synthetic/sd15,synthetic/z-image

For each model: make it, ``sdbench run tests/benchmarks/families.toml``, a bare diffusers loop of
the same work in one process, remove it. Prints one JSON line a model (seconds are those of one
image, memory is bytes) and goes on after a model that fails.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from sdbench.models.resolve import find_model

CONFIG = Path(__file__).with_name("families.toml")
KEPT = (
    *("outcome", "reason", "latency_s", "load_s", "first_pass_s", "no_effect"),
    *("peak_memory_bytes", "peak_bytes", "predicted_peak_bytes", "prediction_error"),
    *("correct", "correct_reason", "correct_margin"),
)

# A person's own loop: nothing of sdbench in it.
BARE_LOOP = """
import json, statistics, sys, time
import inspect, torch
from diffusers import DiffusionPipeline
job = json.loads(sys.argv[1])
device = job["device"]
pipe = DiffusionPipeline.from_pretrained(
    job["path"], torch_dtype=torch.bfloat16, local_files_only=True
).to(device)
pipe.set_progress_bar_config(disable=True)
options = {"num_inference_steps": job["steps"], "width": job["width"], "height": job["height"]}
if job["guidance_scale"] is not None:
    options["guidance_scale"] = job["guidance_scale"]
known = inspect.signature(pipe.__call__).parameters
options = {name: value for name, value in options.items() if name in known}
times = []
for index in range(job["passes"] + 1):
    generator = torch.Generator("cpu").manual_seed(index)
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    image = pipe(prompt=job["prompt"], generator=generator, output_type="pt", **options).images
    image.cpu()
    times.append(time.perf_counter() - started)
peak = torch.cuda.max_memory_reserved() if device == "cuda" else None
print(json.dumps({"first_s": times[0], "median_s": statistics.median(times[1:]),
                  "least_s": min(times[1:]), "peak_reserved_bytes": peak}))
"""


def measured(options: argparse.Namespace, model: str, steps: int, extra: list[str]) -> Any:
    """What ``sdbench run --json`` says of a model, or what it printed instead."""
    arguments = [
        "run",
        str(CONFIG),
        "--model",
        model,
        "--device",
        options.device,
        "--yes",
        "--json",
    ]
    arguments += ["-o", options.results, "--set", f"steps={steps}", *extra]
    done = subprocess.run(
        [sys.executable, "-m", "sdbench", *arguments], capture_output=True, text=True, check=False
    )
    click.echo(done.stderr[-options.tail :], err=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"failed": done.stdout[-500:] + done.stderr[-500:]}


def bare(options: argparse.Namespace, model: str, run: dict[str, Any]) -> Any:
    """Seconds an image of the bare loop, with the steps and guidance that the run resolved."""
    record = json.loads((Path(run["path"]) / "run.json").read_text())
    work = record["config"]
    job = {
        "path": str(find_model(model).prepare().path),
        "device": options.device,
        "steps": work["steps"],
        "guidance_scale": work["guidance_scale"],
        "width": 512,
        "height": 512,
        "passes": options.passes,
        "prompt": "a photo of an astronaut riding a horse on mars",
    }
    done = subprocess.run(
        [sys.executable, "-c", BARE_LOOP, json.dumps(job)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return {"failed": done.stderr[-800:]}


def one_model(options: argparse.Namespace, entry: str) -> dict[str, Any]:
    """Measure one entry of ``--models``: ``NAME`` or ``NAME@STEPS``."""
    model, _, steps = entry.partition("@")
    started = time.monotonic()
    run = measured(options, model, int(steps or 4), options.extra)
    line: dict[str, Any] = {"model": model, "steps": int(steps or 4)}
    if "cases" in run:
        line["path"] = run["path"]
        line["bare"] = bare(options, model, run)
        for case in run["cases"]:
            name = "sliced" if case["case"]["attention_slicing"] else "plain"
            line[name] = {key: case.get(key) for key in KEPT}
    else:
        line |= run
    line["wall_s"] = time.monotonic() - started
    return line


def main() -> None:
    """Measure all models and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", required=True, help="NAME[@STEPS],…")
    parser.add_argument("--passes", type=int, default=5, help="of the bare loop, after its first")
    parser.add_argument("--results", default="results")
    parser.add_argument("--keep", action="store_true", help="do not remove the models")
    parser.add_argument("--tail", type=int, default=1500)
    parser.add_argument("extra", nargs="*", help="more options of sdbench run, after --")
    options = parser.parse_args()
    entries = options.models.split(",")
    for index, entry in enumerate(entries):
        click.echo(json.dumps(one_model(options, entry)))
        later = {other.partition("@")[0] for other in entries[index + 1 :]}
        if not options.keep and entry.partition("@")[0] not in later:
            command = [sys.executable, "-m", "sdbench", "models", "remove", entry.partition("@")[0]]
            subprocess.run(command, check=False, capture_output=True)


if __name__ == "__main__":
    main()
