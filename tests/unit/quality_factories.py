"""Small images, latents, traces and references on disk, as workers leave them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from factories import make_picture
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sdbench.correctness.artifact_files import Tensors
from sdbench.correctness.floors import Floor
from sdbench.correctness.references import IMAGE_FILE, Reference
from sdbench.records import Picture

Array = NDArray[Any]
STEPS = 4
SHAPE = (4, 8, 8)  # latents of a 64x64 image
VERSIONS = {"torch": "2.0.0", "diffusers": "0.31.0", "transformers": "4.46.0"}


def smooth_picture(seed: int = 0) -> Array:
    """A float image (3, 64, 64) in [0, 1] whose 8x8 cells follow each other."""
    y, x = np.mgrid[0:64, 0:64] / 64
    phase = 2.0 * seed
    channels = [0.5 + 0.4 * np.sin(5 * x + phase + c) * np.cos(4 * y - phase) for c in range(3)]
    return np.array(channels, np.float32)


def noise_picture(seed: int = 0) -> Array:
    """Cells of 8x8 pixels that have nothing to do with each other."""
    cells = np.random.default_rng(seed).random((3, 8, 8), np.float32)
    return cells.repeat(8, axis=1).repeat(8, axis=2)


def latents_of(seed: int = 0) -> Array:
    """Latents after every step, the noise first: (steps + 1, channels, height, width)."""
    rng = np.random.default_rng(100 + seed)
    return rng.standard_normal((STEPS + 1, *SHAPE)).astype(np.float32)


def nudged(array: Array, rel_l2: float, seed: int = 1) -> Array:
    """The array with an error of that relative size."""
    error = np.random.default_rng(seed).standard_normal(array.shape)
    scale = rel_l2 * np.linalg.norm(array) / np.linalg.norm(error)
    nearby: Array = (array + scale * error).astype(np.float32)
    return nearby


def make_floor(**fields: Any) -> Floor:
    """Every step adds 1e-3; the root of the sum of 4 squares is 2e-3."""
    defaults: dict[str, Any] = {
        "dtype": "float16",
        "steps": STEPS,
        "text": 1e-3,
        "noise": 0.0,
        "latents": {1: 1e-3, STEPS: 1e-3},
        "picture": 1e-3,
        "picture_max_abs": 1e-2,
    }
    if fields.get("dtype") == "float32":  # whose rounding is some thousand times smaller
        small = {"text": 1e-6, "latents": {1: 1e-6, STEPS: 1e-6}, "picture": 1e-6}
        defaults |= small | {"picture_max_abs": 1e-5}
    return Floor(**{**defaults, **fields})


def make_reference(seed: int = 0, folder: Path = Path("/nowhere"), **arrays: Array) -> Reference:
    """The CPU's version of image ``seed``."""
    held: dict[str, Array] = {
        "latents": latents_of(seed)[None],
        "pictures": smooth_picture(seed)[None],
        "text.prompt_embeds": np.ones((1, 7, 5), np.float32),
        **arrays,
    }
    metadata = {"kept": list(range(STEPS + 1)), "picture_gain": 0.5, "versions": VERSIONS}
    tensors = Tensors(held, list(range(STEPS + 1)), metadata)
    return Reference(tensors, "computed here, made with torch 2.0.0", folder / str(seed))


def write_reference(folder: Path, reference: Reference, floors: Sequence[Floor] = ()) -> None:
    """As the worker writes one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / IMAGE_FILE, reference.tensors)
    for floor in floors:
        fields = {name: getattr(floor, name) for name in Floor.__struct_fields__}
        (folder / f"floor-{floor.dtype}.json").write_text(json.dumps(fields))


def write_tensors(path: Path, tensors: Tensors) -> None:
    metadata = {**tensors.metadata, "kept": tensors.kept}
    held = {name: np.ascontiguousarray(array) for name, array in tensors.arrays.items()}
    save_file(held, path, {name: json.dumps(value) for name, value in metadata.items()})


def keep(folder: Path, picture: Array, latents: Array, **fields: Any) -> Picture:
    """Write an image and its final latents as a worker does; the record of them."""
    from PIL import Image

    for name in ("images", "latents"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    finite = np.nan_to_num(picture, nan=0.0)
    pixels = np.clip(np.rint(finite.transpose(1, 2, 0) * 255), 0, 255).astype(np.uint8)
    pixels_sha256 = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    head = f"torch.{latents.dtype}{latents.shape}".encode()
    latents_sha256 = hashlib.sha256(head + latents.tobytes()).hexdigest()
    image = folder / "images" / f"{pixels_sha256}.png"
    if not image.exists():  # most are made again, by each pass
        Image.fromarray(pixels).save(image, compress_level=1)
    tensor = folder / "latents" / f"{latents_sha256}.npy"
    if not tensor.exists():
        np.save(tensor, latents)
    found = {
        "nan_count": int(np.isnan(picture).sum()),
        "latents_nonfinite_count": int((~np.isfinite(latents)).sum()),
        "black": bool(finite.max() < 1 / 255),
        "flat": bool(finite.std() < 1 / 255),
    }
    return make_picture(
        pixels_sha256=pixels_sha256, latents_sha256=latents_sha256, **{**found, **fields}
    )


def keep_trace(
    folder: Path, latents: Array, pictures: Array, text: Array, name: str = "prompt_embeds"
) -> str:
    """Write a profiling pass's trace (images first); its digest."""
    (folder / "traces").mkdir(parents=True, exist_ok=True)
    arrays = {"latents": latents, "pictures": pictures, f"text.{name}": text}
    scratch = folder / "traces" / "scratch"
    write_tensors(scratch, Tensors(arrays, list(range(latents.shape[1]))))
    digest = hashlib.sha256(scratch.read_bytes()).hexdigest()
    scratch.rename(folder / "traces" / f"{digest}.safetensors")
    return digest
