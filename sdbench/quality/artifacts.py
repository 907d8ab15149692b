"""The files of a run that hold what was made, read with care: a worker wrote them, or a stranger.

Names are digests and nothing else, sizes are bounded, nothing is unpickled. What is missing,
too large or torn reads as None.
"""

import contextlib
import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# A worker writes at most 64 MiB a trace; one image of one step above that can be a little more.
_LARGEST_FILE_BYTES = 256 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Tensors:
    """A trace or a reference: arrays by name, and which latents it keeps (0 is the noise)."""

    arrays: "dict[str, Array]"
    kept: list[int]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> "dict[str, Array]":
        """The text embeddings by name, images first."""
        return {name: array for name, array in self.arrays.items() if name.startswith("text.")}


class Artifacts:
    """The pictures, latents and traces in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def latents(self, digest: str) -> "Array | None":
        """Final latents of one image in float32 (channels, height/8, width/8)."""
        path = self._file("latents", digest, ".npy")
        return None if path is None else _load_array(path)

    def pixels(self, digest: str) -> "Array | None":
        """A picture, 8 bits (height, width, 3)."""
        path = self._file("images", digest, ".png")
        return None if path is None else _load_picture(path)

    def trace(self, digest: str) -> Tensors | None:
        """What a profiling pass made on its way."""
        path = self._file("traces", digest, ".safetensors")
        return None if path is None else load_tensors(path)

    def keep_pixels(self, pixels: "Array") -> str | None:
        """Write a picture by its content as a worker does; its digest, None if it cannot be."""
        digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        path = self._folder / "images" / f"{digest}.png"
        scratch = path.with_name(f".{os.getpid()}.{path.name}")
        try:
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                _save_picture(pixels, scratch)
                os.replace(scratch, path)
        except OSError:
            with contextlib.suppress(OSError):
                scratch.unlink()
            return None
        return digest

    def _file(self, folder: str, digest: str, suffix: str) -> Path | None:
        if not _DIGEST.fullmatch(digest):
            return None
        path = self._folder / folder / f"{digest}{suffix}"
        return path if is_of_bearable_size(path) else None


def _load_array(path: Path) -> "Array | None":
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and array.dtype.kind == "f" else None


def _load_picture(path: Path) -> "Array | None":
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _save_picture(pixels: "Array", path: Path) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path, format="PNG")  # an array carries no metadata


def load_tensors(path: Path) -> Tensors | None:
    """A safetensors file with our metadata; None where it is not one."""
    from safetensors import SafetensorError, safe_open

    if not is_of_bearable_size(path):
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError):
        return None
    kept = metadata.get("kept")
    latents, pictures = arrays.get("latents"), arrays.get("pictures")
    if not isinstance(kept, list) or not all(isinstance(step, int) for step in kept):
        return None
    if latents is None or latents.ndim != 5 or latents.shape[1] != len(kept):
        return None
    if pictures is None or pictures.ndim != 4:
        return None
    return Tensors(arrays, kept, metadata)


def is_of_bearable_size(path: Path) -> bool:
    """Whether there is a file of a size worth reading."""
    try:
        return path.is_file() and path.stat().st_size <= _LARGEST_FILE_BYTES
    except OSError:
        return False
