"""How often the model draws what it is asked for: held-out prompts, judged by the content check.

    python -m shapes.evaluate FOLDER --device cpu --dtype float32 --sizes 128 --report out.json

Prompts are a fixed sample of the scenes that training never saw. "attributes" counts images with
every shape, every colour and the background right; "relation" counts, among images of two shapes
in a relation, those where everything including the relation is right.
"""

import argparse
import json
import random
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from sdbench.correctness.content import judge
from sdbench.correctness.scene import parse_prompt
from shapes.scenes import random_caption, random_scene

PROMPT_SEED = 20261122


def held_out_prompts(count: int) -> list[str]:
    """The first ``count`` prompts of the fixed sample."""
    rng = random.Random(PROMPT_SEED)
    return [random_caption(rng, random_scene(rng, held_out=True)) for _ in range(count)]


def make_pictures(
    pipeline: Any, prompts: list[str], side: int, arguments: argparse.Namespace
) -> np.ndarray:
    """Images (n, side, side, 3), 8 bits; image i starts from the noise of seed i."""
    made = []
    for start in range(0, len(prompts), arguments.batch):
        texts = prompts[start : start + arguments.batch]
        noise = [
            torch.randn(
                (1, 4, side // 8, side // 8), generator=torch.Generator().manual_seed(start + index)
            )
            for index in range(len(texts))
        ]
        images = pipeline(
            texts,
            latents=torch.cat(noise).to(pipeline.unet.dtype).to(arguments.device),
            width=side,
            height=side,
            num_inference_steps=arguments.steps,
            guidance_scale=arguments.guidance,
            output_type="np",
        ).images
        made.append(np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8))
    return np.concatenate(made)


def _judge_one(job: tuple[np.ndarray, str]) -> str | None:
    return judge(*job).reason


def shares(prompts: list[str], reasons: list[str | None]) -> dict[str, Any]:
    """The figures of one set of images."""
    scenes = [parse_prompt(prompt) for prompt in prompts]
    # The reader names the relation last, so a fault there means that all else was right.
    attributes = [reason is None or " is not " in reason for reason in reasons]
    pairs = [
        reason is None
        for scene, reason in zip(scenes, reasons, strict=True)
        if len(scene.items) == 2 and scene.relation is not None
    ]
    document: dict[str, Any] = {
        "pictures": len(prompts),
        "attributes": float(np.mean(attributes)),
        "relation": float(np.mean(pairs)),
        "right": float(np.mean([reason is None for reason in reasons])),
    }
    for count in (1, 2, 3):
        right = [
            reason is None
            for scene, reason in zip(scenes, reasons, strict=True)
            if len(scene.items) == count
        ]
        document[f"right_with_{count}"] = float(np.mean(right)) if right else None
    return document


def main() -> None:
    """Make and judge the images; print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 192, 256])
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--sheet", type=Path, help="also save the first images side by side")
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    pipeline = StableDiffusionPipeline.from_pretrained(
        arguments.folder,
        dtype=getattr(torch, arguments.dtype),
        use_safetensors=True,
        safety_checker=None,
        requires_safety_checker=False,
    ).to(arguments.device)
    pipeline.set_progress_bar_config(disable=True)
    prompts = held_out_prompts(arguments.prompts)
    results = []
    with ProcessPoolExecutor(max_workers=8) as pool:
        for side in arguments.sizes:
            began = time.monotonic()
            pictures = make_pictures(pipeline, prompts, side, arguments)
            spent = time.monotonic() - began
            reasons = list(pool.map(_judge_one, zip(pictures, prompts, strict=True), chunksize=16))
            result = {
                "side": side,
                "device": arguments.device.split(":")[0],
                "dtype": arguments.dtype,
                "steps": arguments.steps,
                "guidance": arguments.guidance,
                **shares(prompts, reasons),
                "seconds": round(spent, 1),
            }
            print(json.dumps(result), flush=True)
            for prompt, reason in zip(prompts, reasons, strict=True):
                if reason is not None:
                    print(f"  {side} wrong: {prompt}: {reason}")
            results.append(result)
            if arguments.sheet:
                _save_sheet(pictures, arguments.sheet.with_stem(f"{arguments.sheet.stem}-{side}"))
    if arguments.report:
        arguments.report.write_text(json.dumps(results, indent=2) + "\n")


def _save_sheet(pictures: np.ndarray, path: Path, columns: int = 10, rows: int = 5) -> None:
    from PIL import Image

    chosen = pictures[: columns * rows]
    lines = [
        np.concatenate(chosen[i : i + columns], axis=1) for i in range(0, len(chosen), columns)
    ]
    Image.fromarray(np.concatenate([line for line in lines if line.shape == lines[0].shape])).save(
        path
    )


if __name__ == "__main__":
    main()
