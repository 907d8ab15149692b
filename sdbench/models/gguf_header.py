"""GGUF files, read as far as their headers: metadata, and which tensors they hold.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3).
Every count and length is the file's own word, so each is compared with the rest of the file and of
a budget before anything is read.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sdbench.files.access import MIB, open_file
from sdbench.models.weights import DOWNLOAD_AGAIN, Tensor, WeightsError, look_at

_MOST_HEADER_BYTES = 32 * MIB  # vocabularies are the largest part; denoisers have none
_MOST_TENSORS = 100_000
_MOST_ENTRIES = 10_000
_MOST_NAME_BYTES = 512
_MOST_DIMENSIONS = 4
_VERSIONS = (2, 3)
_STRING, _ARRAY, _UINT32 = 8, 9, 4
# Bytes of a value, by its type.
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class _Kind(NamedTuple):
    """How tensors of one type are stored: values in a block, and its bytes."""

    name: str
    values: int
    size_bytes: int


# Of ggml, those that diffusers computes with (``quantizers/gguf/utils.py``).
_KINDS = {
    0: _Kind("F32", 1, 4),
    1: _Kind("F16", 1, 2),
    2: _Kind("Q4_0", 32, 18),
    3: _Kind("Q4_1", 32, 20),
    6: _Kind("Q5_0", 32, 22),
    7: _Kind("Q5_1", 32, 24),
    8: _Kind("Q8_0", 32, 34),
    10: _Kind("Q2_K", 256, 84),
    11: _Kind("Q3_K", 256, 110),
    12: _Kind("Q4_K", 256, 144),
    13: _Kind("Q5_K", 256, 176),
    14: _Kind("Q6_K", 256, 210),
    20: _Kind("IQ4_NL", 32, 18),
    23: _Kind("IQ4_XS", 256, 136),
    30: _Kind("BF16", 1, 2),
}


class GgufHeader(NamedTuple):
    """What a file says of itself; shapes are torch's, which are ggml's in reverse order."""

    architecture: str | None
    """``general.architecture``."""
    tensors: dict[str, Tensor]
    bytes_of: dict[str, int]
    """Size of each tensor in the file."""


def read_gguf_header(path: Path) -> GgufHeader:
    """The header of a GGUF file; no tensor is read.

    Raises:
        WeightsError: it is no such file, a part of it is missing, or diffusers does not read it.
    """
    if not look_at(path).startswith(b"GGUF"):
        raise WeightsError("no GGUF file", DOWNLOAD_AGAIN)
    size = path.stat().st_size
    with open_file(path) as file:
        header = _Bytes(file, min(size, _MOST_HEADER_BYTES))
        try:
            return _read(header, size)
        except (OverflowError, UnicodeDecodeError, struct.error):
            raise _broken("a text or number in it cannot be read") from None


def _broken(reason: str) -> WeightsError:
    return WeightsError(f"no whole GGUF file: {reason}", DOWNLOAD_AGAIN)


class _Bytes:
    """The beginning of a file, of which no more than a budget is read."""

    def __init__(self, file: BinaryIO, budget: int) -> None:
        self._file, self._left = file, budget
        self.at = 0

    def take(self, count: int) -> bytes:
        if count > self._left:
            raise _broken(f"its header ends beyond the file or {_MOST_HEADER_BYTES >> 20} MiB")
        data = self._file.read(count)
        if len(data) != count:
            raise _broken("its header is cut off")
        self._left -= count
        self.at += count
        return data

    def number(self, form: str) -> int:
        (value,) = struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))
        return int(value)

    def text(self, most_bytes: int) -> str:
        length = self.number("Q")
        if length > most_bytes:
            raise _broken(f"a name of {length:,} bytes")
        return self.take(length).decode("utf-8")

    def skip_text(self) -> None:
        self.take(self.number("Q"))


def _read(header: _Bytes, size: int) -> GgufHeader:
    header.take(4)
    version = header.number("I")
    if version not in _VERSIONS:
        raise WeightsError(
            f"a GGUF file of version {version}; expected 2 or 3", "take a newer conversion of it"
        )
    tensor_count, entry_count = header.number("Q"), header.number("Q")
    if tensor_count > _MOST_TENSORS or entry_count > _MOST_ENTRIES:
        raise _broken(f"it claims {tensor_count:,} tensors and {entry_count:,} entries")
    architecture, alignment = _metadata(header, entry_count)
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int]] = []
    sizes: dict[str, int] = {}
    for _ in range(tensor_count):
        name = header.text(_MOST_NAME_BYTES)
        if name in tensors:
            raise _broken("two tensors have one name")
        dimensions = header.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise _broken(f"a tensor of {dimensions} dimensions")
        shape = tuple(header.number("Q") for _ in range(dimensions))[::-1]
        kind = _kind(header.number("I"))
        begin, values = header.number("Q"), math.prod(shape)
        if values % kind.values or (shape and shape[-1] % kind.values):
            raise _broken("a tensor that does not fill its blocks")
        tensors[name] = Tensor(kind.name, shape)
        sizes[name] = values // kind.values * kind.size_bytes
        spans.append((begin, begin + sizes[name]))
    data = -(-header.at // alignment) * alignment
    _check_spans(spans, alignment, size - data)
    return GgufHeader(architecture, tensors, sizes)


def _kind(number: int) -> _Kind:
    if number not in _KINDS:
        raise WeightsError(
            f"quantised as ggml type {number}, which diffusers does not read",
            f"take a file in one of {', '.join(kind.name for kind in _KINDS.values())}",
        )
    return _KINDS[number]


def _metadata(header: _Bytes, count: int) -> tuple[str | None, int]:
    """The architecture and the alignment; everything else is skipped."""
    architecture, alignment = None, 32
    for _ in range(count):
        key, kind = header.text(_MOST_NAME_BYTES), header.number("I")
        if key == "general.architecture" and kind == _STRING:
            architecture = header.text(_MOST_NAME_BYTES)
        elif key == "general.alignment" and kind == _UINT32:
            alignment = header.number("I")
            if not 8 <= alignment <= MIB or alignment % 8:
                raise _broken(f"an alignment of {alignment} bytes")
        elif kind == _ARRAY:
            _skip_array(header)
        elif kind == _STRING:
            header.skip_text()
        else:
            header.take(_size_of(kind))
    return architecture, alignment


def _skip_array(header: _Bytes) -> None:
    kind, count = header.number("I"), header.number("Q")
    if kind == _ARRAY:
        raise _broken("lists within lists")
    if kind != _STRING:
        header.take(count * _size_of(kind))
        return
    for _ in range(count):  # each takes eight bytes at least of what is left
        header.skip_text()


def _size_of(kind: int) -> int:
    if kind not in _SIZES:
        raise _broken(f"a value of type {kind}")
    return _SIZES[kind]


def _check_spans(spans: list[tuple[int, int]], alignment: int, size: int) -> None:
    """The tensors lie one after the other within the file."""
    at = 0
    for begin, end in sorted(spans):
        if begin < at or begin % alignment:
            raise _broken("its tensors overlap or are not aligned")
        at = end
    if at > size:
        raise WeightsError(
            f"truncated: {max(size, 0):,} bytes of tensors instead of {at:,}", DOWNLOAD_AGAIN
        )
