"""Is sdbench's steady time that of a bare loop? Fresh processes until the answer is sharp.

    python tests/benchmarks/fidelity.py [--device cuda] [--model synthetic/sd15] …  (see --help)

A block is one worker as ``sdbench run`` starts it (real executor, telemetry on) beside one process
of a hand-written loop that does exactly the same pass (the loop below). Both are loaded at once
and make their passes in turn, in the order ABBA (``turns.py``), while the other sleeps. A block's
ratio is the median over its pairs of sdbench over bare, the first pair left out. It ends when the
95% half-width of the geometric mean over blocks is at most 1%, or after ``--max-blocks``.
"""

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sdbench.config import parse_config
from sdbench.models.resolve import find_model
from sdbench.plan import make_plan
from sdbench.runner.environment import worker_environment
from sdbench.runner.events import PassEnded
from sdbench.runner.executor import Task
from sdbench.runner.process import ProcessExecutor
from sdbench.schema import Case

_SETTINGS = ("device", "model", "resolution", "dtype", "batching", "steps", "images", "passes")
MIN_BLOCKS, MAX_BLOCKS = 5, 40
HALF_WIDTH = 0.01

# A person's own loop: the same prompt path, the same latents, pixels to the host. Nothing of
# sdbench in it.
BARE_LOOP = """
import json, sys, time
import torch, turns
from diffusers import StableDiffusionPipeline, DDIMScheduler
job = json.loads(sys.argv[1])
case, device = job["case"], job["device"]
dtype = getattr(torch, case["dtype"])
pipe = StableDiffusionPipeline.from_pretrained(
    job["model_path"], torch_dtype=dtype, safety_checker=None, requires_safety_checker=False
).to(device)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe.set_progress_bar_config(disable=True)
if case["attention_slicing"]:
    pipe.enable_attention_slicing()
shape = (1, 4, case["height"] // 8, case["width"] // 8)
noise = [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(job["seed"] + i)).to(dtype)
         for i in range(job["images"])]
prompts = [job["prompts"][i % len(job["prompts"])] for i in range(job["images"])]
times = []
calls = list(zip(prompts, noise))
if case["batching"] == "batch":
    calls = [(prompts, torch.cat(noise))]
line = turns.Turns("b")
for _ in range(job["passes"]):
    line.wait()
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for prompt, latents in calls:
        pipe(prompt, latents=latents, width=case["width"], height=case["height"],
             num_inference_steps=job["steps"], guidance_scale=job["guidance_scale"],
             output_type="pt").images.cpu()
    times.append(time.perf_counter() - started)
    line.end()
print(json.dumps(times))
"""


def main() -> None:
    """Run blocks until the ratio is known well enough; print it as JSON."""
    options = _options()
    model = find_model(options.model).prepare()
    config = parse_config(
        {"steps": options.steps, "images": options.images, "passes": options.passes}, "fidelity"
    )
    case = Case(resolution=options.resolution, dtype=options.dtype, batching=options.batching)
    make_plan(config, options.device)
    job: dict[str, Any] = {
        "device": options.device,
        "model_path": model.path,
        "scheduler": config.scheduler,
        "steps": config.steps,
        "guidance_scale": config.guidance_scale,
        "seed": config.seed,
        "images": config.images,
        "prompts": list(config.prompts),
        "passes": config.passes,
        "profile": False,
        "case": {
            **{name: getattr(case, name) for name in case.__struct_fields__},
            "width": case.width,
            "height": case.height,
        },
    }
    executor = ProcessExecutor()
    ratios: list[float] = []
    while True:
        with tempfile.TemporaryDirectory() as folder:
            job["artifacts"] = folder
            pairs = _block(executor, job, Path(folder) / "turns")
        ratios.append(statistics.median(ours / bare for ours, bare in pairs))
        half_width = _half_width(ratios)
        print(
            f"block {len(ratios)}: ratio {ratios[-1]:.4f} over {len(pairs)} pairs, "
            f"sdbench {statistics.median(ours for ours, _ in pairs):.4f} s, "
            f"bare {statistics.median(bare for _, bare in pairs):.4f} s, "
            f"half-width {half_width:.4f}",
            file=sys.stderr,
            flush=True,
        )
        if len(ratios) >= options.max_blocks or (
            len(ratios) >= MIN_BLOCKS and half_width <= HALF_WIDTH
        ):
            break
    executor.close()
    center = statistics.geometric_mean(ratios)
    half = _half_width(ratios)
    print(
        json.dumps(
            {
                **{key: getattr(options, key) for key in _SETTINGS},
                "blocks": len(ratios),
                "ratio": center,
                "ci95": [center * math.exp(-half), center * math.exp(half)],
                "half_width": half,
            }
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--model", default="synthetic/tiny")
    parser.add_argument("--resolution", default="256x256")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batching", default="loop", choices=["loop", "batch"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--passes", type=int, default=17)
    parser.add_argument("--max-blocks", type=int, default=MAX_BLOCKS)
    return parser.parse_args()


def _block(
    executor: ProcessExecutor, job: dict[str, Any], address: Path
) -> list[tuple[float, float]]:
    """Seconds of sdbench and of the bare loop for each pair of passes but the first."""
    variables = {"SDBENCH_TURNS": str(address)}
    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(2) as threads:
        listener.bind(str(address))
        listener.listen(2)
        listener.settimeout(600)
        ours = threads.submit(_ours, executor, job, variables)
        bare = threads.submit(_bare, job, variables)
        lines: dict[bytes, socket.socket] = {}
        while len(lines) < 2:
            line, _ = listener.accept()
            lines[line.recv(1)] = line
        for index in range(job["passes"]):
            for name in (b"s", b"b") if index % 4 in (0, 3) else (b"b", b"s"):
                lines[name].sendall(b"g")
                assert lines[name].recv(1) == b"e", f"process {name!r} died"
        for line in lines.values():
            line.close()
        return list(zip(ours.result()[1:], bare.result()[1:], strict=True))


def _environment(variables: dict[str, str]) -> dict[str, str]:
    environment = worker_environment(variables)
    here = str(Path(__file__).parent)
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (here, environment.get("PYTHONPATH")) if part
    )
    return environment


def _ours(executor: ProcessExecutor, job: dict[str, Any], variables: dict[str, str]) -> list[float]:
    environment = _environment({**variables, "SDBENCH_WORKER_PRELOAD": "turns"})
    task = Task("fidelity", sys.executable, environment, job, "spawn", 3600)
    report = executor.run(task, lambda event, sample: None)
    assert report.telemetry is not None and report.telemetry.samples > 0, report.stderr_tail
    return [event.duration_s for event in report.events if isinstance(event, PassEnded)]


def _bare(job: dict[str, Any], variables: dict[str, str]) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", BARE_LOOP, json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_environment(variables),
        cwd=Path.cwd(),
        check=True,
    )
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


def _half_width(ratios: list[float]) -> float:
    """Half-width of the 95% t interval of the mean log ratio."""
    if len(ratios) < 2:
        return math.inf
    from scipy.special import stdtrit

    logs = [math.log(ratio) for ratio in ratios]
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return float(stdtrit(len(logs) - 1, 0.975)) * error


if __name__ == "__main__":
    main()
