"""Healthy runs, and how many findings above information they have: there should be none.

    python tests/benchmarks/healthy_pictures.py [--device cpu|cuda|mps] [--runs 200] [--folder DIR]

Each run is a real one of a random setting: model, size, steps, scheduler, dtype, sliced or not, in
a batch or a loop, VAE in tiles or slices, primed or not, three pictures and three passes. Prints a
line a run and every finding above ``info`` about a picture; exits 1 where there is one, or where
a picture was not checked. On a CPU the float16 runs are small: its half kernels are slow.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sdbench.insight.findings import PICTURE_CODES

_TRAINED_PROMPTS = [
    "a red circle to the left of a blue star on a white background",
    "a yellow star inside a purple ring on a black background",
    "a green cross above an orange square on a white background",
]
_PROMPTS = ["a lighthouse at dusk", "two cats", "a red bicycle"]
_CONFIG = """name = "healthy"
model = {model}
device = {device}
steps = {steps}
scheduler = {scheduler}
guidance_scale = {guidance_scale}
seed = {seed}
images = 3
passes = 3
replicates = 1
prompts = {prompts}
[matrix]
resolution = [{resolution}]
attention_slicing = [{attention_slicing}]
warmup = [{warmup}]
batching = [{batching}]
dtype = [{dtype}]
vae_slicing = [{vae_slicing}]
vae_tiling = [{vae_tiling}]
"""


def settings_of(seed: int, device: str) -> dict[str, Any]:
    """One random setting."""
    pick = random.Random(seed)
    trained = pick.random() < 0.5
    dtype = pick.choice(["float32", "bfloat16", "float16"])
    sizes = {"cpu": [64, 128], "cuda": [256, 512, 768], "mps": [256, 512]}[device]
    if trained or (device == "cpu" and dtype == "float16"):
        sizes = [128, 192] if trained else [64]
    large = "synthetic/tiny" if device == "cpu" else "synthetic/sd15"
    return {
        "model": "builtin/shapes" if trained else large,
        "device": device,
        "steps": pick.choice([3, 8] if device == "cpu" else [8, 20]),
        "scheduler": pick.choice(["ddim", "euler", "dpmsolver", "pndm"]),
        "guidance_scale": 3.0 if trained else 7.5,
        "seed": seed,
        "prompts": _TRAINED_PROMPTS if trained else _PROMPTS,
        "resolution": f"{(side := pick.choice(sizes))}x{side}",
        "attention_slicing": pick.random() < 0.5,
        "warmup": pick.random() < 0.3,
        "batching": pick.choice(["loop", "batch"]),
        "dtype": dtype,
        "vae_slicing": pick.random() < 0.2,
        "vae_tiling": pick.random() < 0.3,
    }


def findings_of(settings: dict[str, Any], folder: Path) -> tuple[list[dict[str, Any]], str]:
    """The findings of a real run above information about its pictures, and its verdict."""
    config = folder / f"healthy-{settings['seed']}.toml"
    config.write_text(_CONFIG.format(**{name: json.dumps(v) for name, v in settings.items()}))
    sdbench = [sys.executable, "-m", "sdbench"]
    run = subprocess.run(
        [*sdbench, "run", str(config), "-o", str(folder / "results"), "--yes", "--json"],
        capture_output=True,
        text=True,
    )
    if run.returncode not in (0, 1):
        return [{"code": "no run", "severity": "error", "sentence": run.stderr[-300:]}], "unknown"
    document = json.loads(run.stdout)
    diagnosed = subprocess.run(
        [*sdbench, "diagnose", document["path"], "--json"], capture_output=True, text=True
    )
    found = json.loads(diagnosed.stdout)["findings"]
    told = [
        entry for entry in found if entry["severity"] != "info" and entry["code"] in PICTURE_CODES
    ]
    return told, document["cases"][0]["correct"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    wolves, unchecked = 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in range(options.first_seed, options.first_seed + options.runs):
            settings = settings_of(seed, options.device)
            found, correct = findings_of(settings, folder)
            wolves += bool(found)
            unchecked += correct == "unknown"
            on = [name for name, value in settings.items() if value is True]
            shown = ("model", "resolution", "steps", "scheduler", "dtype", "batching")
            print(seed, *(settings[name] for name in shown), *on, correct, sep="  ", flush=True)
            for entry in found:
                print(f"    {entry['severity']} {entry['code']}: {entry['sentence']}", flush=True)
    print(f"{options.runs} runs: {wolves} with a finding above info, {unchecked} not checked")
    return int(bool(wolves or unchecked))


if __name__ == "__main__":
    sys.exit(main())
