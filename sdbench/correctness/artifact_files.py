"""The files of a run that hold what was made, read with care: a worker wrote them, or a stranger.

Names are digests and nothing else, sizes are bounded, no link is followed, nothing is unpickled.
What is missing, too large, torn, or not what its name is the digest of reads as None.
"""

import hashlib
import io
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from sdbench.files.access import MIB, read_file, read_inside, write_inside
from sdbench.records import Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# A worker writes at most 64 MiB a trace; one image of one step above that can be a little more.
_LARGEST_FILE_BYTES = 256 * MIB
_MOST_AT_HAND_BYTES = 32 * MIB
_DIGEST = re.compile(r"[0-9a-f]{64}")
MOST_PIXELS = 8192 * 8192
"""Of the largest size that a configuration can ask for (``plan/config.py``)."""
# What ``builtin/shapes`` draws before a run, whatever the plan's sizes are.
_LEAST_LIMIT_PIXELS = 512 * 512
NOT_ITS_NAME = (
    "not shown: the content of its file does not match its name (a digest of the content), so it "
    "is damaged or was replaced"
)


def most_pixels(plan: Plan) -> int:
    """Pixels of the largest image that a run can have made."""
    planned = (entry.case.width * entry.case.height for entry in plan.cases)
    return min(MOST_PIXELS, max(_LEAST_LIMIT_PIXELS, *planned))


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
    """The images, latents and traces of a run: in its folder, or in memory by their paths in it.

    Images of more than ``most_pixels`` are not decoded: a small file can hold an enormous one.
    """

    def __init__(self, folder: Path | Mapping[str, bytes], most_pixels: int = MOST_PIXELS) -> None:
        self._folder = folder
        self._most_pixels = most_pixels
        self._not_their_name: set[str] = set()
        self._at_hand: dict[tuple[str, str], Array] = {}
        self._at_hand_bytes = 0

    def latents(self, digest: str) -> "Array | None":
        """Final latents of one image in float32, in the loop's own shape."""
        return self._kept("latents", digest)

    def pixels(self, digest: str) -> "Array | None":
        """An image, 8 bits (height, width, 3)."""
        return self._kept("pixels", digest)

    def trace(self, digest: str) -> Tensors | None:
        """What a profiling pass made on its way."""
        data = self._read("traces", digest, ".safetensors")
        if data is None or not self._holds(digest, {hashlib.sha256(data).hexdigest()}):
            return None
        return _tensors_of(data)

    def why_not(self, digest: str) -> str | None:
        """Why something that was asked for was refused, where its file is there and readable."""
        return NOT_ITS_NAME if digest in self._not_their_name else None

    def _kept(self, kind: str, digest: str) -> "Array | None":
        """Loaded now or kept from before: a reference is compared with many results."""
        found = self._at_hand.get((kind, digest))
        if found is None:
            load = self._load_latents if kind == "latents" else self._load_pixels
            found = load(digest)
            if found is None:
                return None
            if self._at_hand_bytes > _MOST_AT_HAND_BYTES:
                self._at_hand.clear()
                self._at_hand_bytes = 0
            found.flags.writeable = False
            self._at_hand[kind, digest] = found
            self._at_hand_bytes += found.nbytes
        return found

    def _load_latents(self, digest: str) -> "Array | None":
        data = self._read("latents", digest, ".npy")
        array = None if data is None else _array_of(data)
        return array if array is None or self._holds(digest, _latents_digests(array)) else None

    def _load_pixels(self, digest: str) -> "Array | None":
        data = self._read("images", digest, ".png")
        pixels = None if data is None else _pixels_of(data, self._most_pixels)
        return pixels if pixels is None or self._holds(digest, {pixels_digest(pixels)}) else None

    def _holds(self, digest: str, held: set[str]) -> bool:
        if digest not in held:
            self._not_their_name.add(digest)
        return digest in held

    def keep_pixels(self, pixels: "Array") -> str | None:
        """Write an image by its content as a worker does; its digest, None if it cannot be.

        Among files in memory nothing is written.
        """
        digest = pixels_digest(pixels)
        name = f"{digest}.png"
        if isinstance(self._folder, Mapping):
            return digest
        try:
            if not (self._folder / "images" / name).exists():
                write_inside(self._folder, "images", name, data=_png(pixels))
        except OSError:
            return None
        return digest

    def _read(self, folder: str, digest: str, suffix: str) -> bytes | None:
        if not _DIGEST.fullmatch(digest):
            return None
        if isinstance(self._folder, Mapping):
            return self._folder.get(f"{folder}/{digest}{suffix}")
        try:
            return read_inside(
                self._folder, folder, f"{digest}{suffix}", most_bytes=_LARGEST_FILE_BYTES
            )
        except OSError:
            return None


def pixels_digest(pixels: "Array") -> str:
    """The name of an image's file (``worker/fingerprints.py``)."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _latents_digests(array: "Array") -> set[str]:
    """What a worker may have called these latents: it hashes them in the dtype they were made in,
    and keeps them in float32, which holds the half-precision ones exactly."""
    import numpy as np

    single = np.ascontiguousarray(array, np.float32)
    with np.errstate(over="ignore"):
        bits: dict[str, Array] = {
            "float32": single,
            "float16": single.astype(np.float16),
            "bfloat16": (single.view(np.uint32) >> 16).astype(np.uint16),
        }
    return {
        hashlib.sha256(f"torch.{dtype}{single.shape}".encode() + held.tobytes()).hexdigest()
        for dtype, held in bits.items()
    }


def _array_of(data: bytes) -> "Array | None":
    """The array of an npy file, if its header and its size agree."""
    import numpy as np
    from numpy.lib import format as npy

    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        count = 1
        for extent in shape:
            count *= extent
        if dtype.kind != "f" or count * dtype.itemsize != len(data) - file.tell():
            return None
        file.seek(0)
        array = np.load(file, allow_pickle=False)
    except (ValueError, SyntaxError, TokenError, RecursionError, MemoryError):
        # numpy reads the header as Python: what the parser refuses is an error of the parser's.
        return None
    return array if isinstance(array, np.ndarray) else None


def _pixels_of(data: bytes, most_pixels: int) -> "Array | None":
    import numpy as np
    from PIL import Image

    try:
        # What is enormous is refused by its size, in a sentence: Pillow would warn on the way.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                if image.width * image.height > most_pixels:
                    return None
                return np.asarray(image.convert("RGB"))
    except Exception:  # Pillow raises whatever its parsers meet in a damaged chunk: IndexError, too
        return None


def _png(pixels: "Array") -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")  # an array carries no metadata
    return file.getvalue()


def is_finite(tensors: Tensors) -> bool:
    """Whether no number of it is infinite or not a number."""
    import numpy as np

    return all(bool(np.isfinite(array).all()) for array in tensors.arrays.values())


def load_tensors(path: Path) -> Tensors | None:
    """A safetensors file with our metadata; None where it is not one."""
    try:
        return _tensors_of(read_file(path, _LARGEST_FILE_BYTES))
    except OSError:
        return None


def _tensors_of(data: bytes) -> Tensors | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        # The library checks header and sizes; the metadata it does not hand out from memory.
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        texts = header.get("__metadata__") or {}
        metadata = {name: json.loads(text) for name, text in texts.items()}
    except (SafetensorError, KeyError, ValueError, RecursionError):
        return None  # no such file, a dtype that numpy has not, or metadata that is no JSON
    kept = metadata.get("kept")
    latents, pictures = arrays.get("latents"), arrays.get("pictures")
    if not isinstance(kept, list) or not all(isinstance(step, int) for step in kept):
        return None
    if latents is None or latents.ndim < 3 or latents.shape[1] != len(kept):
        return None
    if pictures is None or pictures.ndim != 4:
        return None
    return Tensors(arrays, kept, metadata)
