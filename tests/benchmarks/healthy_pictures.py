"""Healthy runs, and how many findings above information they have: there should be none.

    python tests/benchmarks/healthy_pictures.py [--device cpu|cuda|mps] [--runs 200] [--jobs 1]
        [--seeds SEED ...] [--keep FOLDER]

Each run is a real one of a random setting: model, size, steps, scheduler, dtype, sliced or not, in
a batch or a loop, VAE in tiles or slices, primed or not, three images and three passes. The
models are small, because the CPU makes every reference. Prints a line a run and every finding above
``info`` about an image, with the measures of each image beyond its noise floor and what rounding
alone made of it; exits 1 where there is one, or where an image was not checked. Times are
not looked at, so several runs may share a machine (``--jobs``).
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sdbench.diagnosis.findings import PICTURE_CODES
from sdbench.records import ImageCompared, StageDifference
from sdbench.runs import load_run

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
    sizes = {"cpu": [64, 128], "cuda": [64, 128, 256], "mps": [64, 128, 256]}[device]
    if trained or (device == "cpu" and dtype == "float16"):
        sizes = [128, 192] if trained else [64]
    return {
        "model": "builtin/shapes" if trained else "synthetic/tiny",
        "device": device,
        "steps": pick.choice([3, 8] if device == "cpu" else [4, 8, 20]),
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


def findings_of(
    settings: dict[str, Any], folder: Path
) -> tuple[list[dict[str, Any]], str, list[str]]:
    """A real run's findings above information about its images, its verdict, and its measures."""
    config = folder / f"healthy-{settings['seed']}.toml"
    config.write_text(_CONFIG.format(**{name: json.dumps(v) for name, v in settings.items()}))
    sdbench = [sys.executable, "-m", "sdbench"]
    results = folder / f"results-{settings['seed']}"
    run = subprocess.run(
        [*sdbench, "run", str(config), "-o", str(results), "--yes", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode not in (0, 1):
        return (
            [{"code": "no run", "severity": "error", "sentence": run.stderr[-300:]}],
            "unknown",
            [],
        )
    document = json.loads(run.stdout)
    diagnosed = subprocess.run(
        [*sdbench, "diagnose", document["path"], "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(diagnosed.stdout)["findings"]
    told = [
        entry for entry in found if entry["severity"] != "info" and entry["code"] in PICTURE_CODES
    ]
    return told, document["cases"][0]["correct"], measures_of(Path(document["path"]))


def measures_of(run: Path) -> list[str]:
    """A line for each different image that is beyond its noise floor, or not what was asked for.

    And for each stage of the profiling pass that is beyond it, which alone makes a run drift, too.
    """
    lines = []
    loaded = load_run(run)
    read = {
        picture.pixels_sha256: picture.content
        for replicate in loaded.replicates
        for entry in replicate.passes
        for picture in entry.images
        if picture.content is not None
    }
    for record in loaded.compared:
        for image in record.images:
            content = read.get(image.pixels_sha256)
            misread = content == "wrong" and image.reference_content == "right"
            if image.verdict != "match" or misread:
                lines.append(f"{_line_of(image)}; read as {content}")
        lines += [
            f"profiling pass: {stage.stage} {_apart(stage)}"
            for stage in record.stages
            if stage.margin is not None and stage.margin > 1
        ]
    return lines


def _line_of(image: ImageCompared) -> str:
    """Image, passes, verdict, margins, what is to be seen, and what rounding alone does."""
    seen = ", ".join(
        f"{entry.kind} {entry.strength / entry.noticed:.1f}x" for entry in image.differences
    )
    own = image.own_rounding
    words = (
        f"image {image.image + 1} pass {','.join(map(str, image.passes))} {image.verdict} "
        f"{image.fault or ''} margin {_shown(image.margin)}; "
        f"latents {_apart(image.latents)}, image {_apart(image.picture)}, "
        f"SSIM {_shown(image.ssim)}; "
        f"seen: {seen or 'nothing'}; CPU's read as {image.reference_content}"
    )
    if own is None:
        return f"{words}; rounding: {image.own_rounding_missing or 'not needed'}"
    beyond = ", ".join(own.beyond) or "nothing"
    return (
        f"{words}; {own.arithmetic} rounding alone, {own.times} times: "
        f"latents {_shown(own.latents_rel_l2)}, image {_shown(own.picture_rel_l2)}, "
        f"SSIM {own.ssim:.3f}, worst cell {own.part_levels:.0f} levels, "
        f"moves {own.moved_share:.0%}, read as {own.content}, beyond it: {beyond}"
    )


def _apart(stage: StageDifference | None) -> str:
    if stage is None:
        return "not kept"
    return f"{_shown(stage.rel_l2)} apart (margin {_shown(stage.margin)})"


def _shown(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def main() -> int:
    """Make the runs and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", help="these only")
    parser.add_argument("--keep", type=Path, help="a folder for the runs; else they are removed")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    seeds = options.seeds or range(options.first_seed, options.first_seed + options.runs)
    found_above, unchecked = 0, 0
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(options.jobs) as pool:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        every = [settings_of(seed, options.device) for seed in seeds]
        results = pool.map(lambda settings: findings_of(settings, folder), every)
        for settings, (found, correct, measures) in zip(every, results, strict=True):
            found_above += bool(found)
            unchecked += correct == "unknown"
            on = [name for name, value in settings.items() if value is True]
            shown = ("seed", "model", "resolution", "steps", "scheduler", "dtype", "batching")
            print(*(settings[name] for name in shown), *on, correct, sep="  ", flush=True)
            for entry in found:
                print(f"    {entry['severity']} {entry['code']}: {entry['sentence']}", flush=True)
            for line in measures:
                print(f"      {line}", flush=True)
    print(f"{len(seeds)} runs: {found_above} with a finding above info, {unchecked} not checked")
    return int(bool(found_above or unchecked))


if __name__ == "__main__":
    sys.exit(main())
