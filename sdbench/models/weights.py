"""Weights files, read as far as their headers: which tensors they hold, and whether they are whole.

The format of safetensors is eight bytes of header length (little-endian), a JSON header that says
where each tensor lies, and the data. The library refuses a file whose size is not exactly what the
header says; so does :func:`read_header`, without reading the data.
"""

import json
import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.files.access import open_file

# The library's own limit (safetensors, MAX_HEADER_SIZE).
_MOST_HEADER_BYTES = 100_000_000
_PEEK_BYTES = 512
_MOST_DIMENSIONS = 64  # torch's own limit; the product of a million sizes would take hours
_LARGEST = (1 << 63) - 1
_POINTER = b"version https://git-lfs.github.com/spec/"
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
}
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
DOWNLOAD_AGAIN = "download this file again"


class Tensor(NamedTuple):
    """One tensor of a file: its dtype as safetensors calls it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


class WeightsError(Exception):
    """A file does not hold what its name says; ``remedy`` is what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


def look_at(path: Path) -> bytes:
    """The first bytes of a file of any kind that holds weights.

    Raises:
        WeightsError: it cannot be opened, is empty, or is something else under this name.
    """
    try:
        if not path.exists() and path.is_symlink():
            raise _dangling(path)
        with open_file(path) as file:
            beginning = file.read(_PEEK_BYTES)
    except OSError as error:
        raise WeightsError(
            f"cannot be read: {error.strerror}", "check the permissions of this file"
        ) from error
    if not beginning:
        raise WeightsError("empty (0 bytes)", DOWNLOAD_AGAIN)
    if beginning.startswith(_POINTER):
        size = re.search(rb"\nsize (\d{1,15})", beginning)
        whole = f" for {int(size[1]):,} bytes" if size else ""
        raise WeightsError(
            f"a Git LFS pointer of {path.stat().st_size} bytes{whole}, not the weights",
            "fetch the weights: git lfs install && git lfs pull in this folder, or download the "
            "model again",
        )
    if beginning.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(
            "a web page, not weights",
            "the site sent a page instead of the file: log in, accept the model's licence, and "
            + DOWNLOAD_AGAIN,
        )
    return beginning


def _dangling(path: Path) -> WeightsError:
    """What a link to nothing means: in the Hub's cache, where files are links, half a download."""
    target = os.readlink(path)
    if "blobs" in Path(target).parts:
        return WeightsError(
            f"not downloaded: a link of the Hub's cache to {target}, which does not exist",
            "download the model again; what is there already is kept. In a copy of a snapshot the "
            "files are missing: copy it with the files that its links name (cp -RL)",
        )
    return WeightsError(
        f"a link to {target}, which does not exist",
        "copy the folder with the files that its links name (cp -RL), or download it again",
    )


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; only the header is read.

    Raises:
        WeightsError: it is no such file, or its size is not what the header says.
    """
    beginning = look_at(path)
    if beginning.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        raise WeightsError(
            "a pickle file that was named .safetensors",
            "download the safetensors file; a pickle file can run code when it is read",
        )
    if beginning.startswith(b"GGUF"):
        raise WeightsError("a GGUF file that was named .safetensors", DOWNLOAD_AGAIN)
    size = path.stat().st_size
    length = int.from_bytes(beginning[:8], "little")
    no_header = WeightsError("no safetensors file: its header cannot be read", DOWNLOAD_AGAIN)
    if len(beginning) < 8 or length > _MOST_HEADER_BYTES:
        raise no_header
    if size < 8 + length:
        raise WeightsError(
            f"truncated: {size:,} bytes, and the header alone has {8 + length:,}", DOWNLOAD_AGAIN
        )
    with open_file(path) as file:
        file.seek(8)
        text = file.read(length)
    try:
        tensors, end = _tensors(json.loads(text, object_pairs_hook=_without_repeats))
    except (ArithmeticError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise no_header from None
    expected = 8 + length + end
    if size != expected:
        word = "truncated" if size < expected else "damaged"
        raise WeightsError(f"{word}: {size:,} bytes instead of {expected:,}", DOWNLOAD_AGAIN)
    return tensors


def stored_as(tensors: dict[str, Tensor]) -> tuple[int, int, str | None]:
    """Bytes, number of values, and the dtype (as torch calls it) that most of the bytes have."""
    bits: dict[str, int] = {}
    count = 0
    for tensor in tensors.values():
        values = math.prod(tensor.shape)
        count += values
        bits[tensor.dtype] = bits.get(tensor.dtype, 0) + _BITS.get(tensor.dtype, 0) * values
    most = max(bits, key=lambda name: bits[name], default="")
    return sum(bits.values()) // 8, count, _DTYPES.get(most)


def _tensors(header: dict[str, dict[str, list[int] | str]]) -> tuple[dict[str, Tensor], int]:
    """Tensors by name, and bytes of data; they must lie one after the other without gaps.

    Raises:
        ArithmeticError, ValueError, TypeError, KeyError, AttributeError: the header is not as the
            format says.
    """
    tensors: dict[str, Tensor] = {}
    spans = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if len(entry["shape"]) > _MOST_DIMENSIONS:
            raise ValueError(name)
        dtype, shape = str(entry["dtype"]), tuple(map(_whole, entry["shape"]))
        begin, end = map(_whole, entry["data_offsets"])
        bits = _BITS.get(dtype)
        if bits is not None and 8 * (end - begin) != bits * math.prod(shape):
            raise ValueError(name)
        tensors[name] = Tensor(dtype, shape)
        spans.append((begin, end))
    at = 0
    for begin, end in sorted(spans):
        if begin != at or end < begin:
            raise ValueError("gap")
        at = end
    return tensors, at


def _whole(value: object) -> int:
    """A size as it stands in a header; 0.5 and "4" are none, though ``int`` takes them."""
    if type(value) is not int:
        raise TypeError(value)
    if not 0 <= value <= _LARGEST:
        raise ValueError(value)
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once; readers differ in which of two they take.

    Raises:
        ValueError: one is there twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def look_at_pickle(path: Path) -> None:
    """Whether a pickle file may be one; it is never unpickled.

    Raises:
        WeightsError: it is certainly none.
    """
    beginning = look_at(path)
    if not beginning.startswith((b"PK\x03\x04", b"\x80")):
        raise WeightsError("no file that torch saved", DOWNLOAD_AGAIN)
    if beginning.startswith(b"PK") and not _zip_is_whole(path):
        raise WeightsError("truncated: the end of the archive is missing", DOWNLOAD_AGAIN)


def _zip_is_whole(path: Path) -> bool:
    """Whether the archive's end record is there: it is the last that is written."""
    import zipfile

    return zipfile.is_zipfile(path)
