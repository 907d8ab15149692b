"""What goes over the wire: JSON text, and the bytes of files. Nothing else is ever passed.

Dask moves functions and arguments as pickles; ours are a function of this package by name, one
string, and bytes.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from sdbench.errors import SdbenchError
from sdbench.plan.config import Config
from sdbench.records import Record, Run

Answer = tuple[str, bytes]
"""JSON text, and the contents of the files that it lists, one after the other."""
WRITTEN_FOLDERS = ("images", "latents", "traces", "telemetry")
"""The folders of a run that files may go into."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+x-]{0,250}")
M = TypeVar("M", bound=msgspec.Struct)


class WrongAnswerError(SdbenchError):
    """A worker answered with what no sdbench of this version writes."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole fleet does; ``sdbench`` is the version that every machine must have."""

    sdbench: str
    config: Config
    only: tuple[str, ...] = ()
    label: str | None = None
    allow_pickle: bool = False
    yes: bool = False
    """Whether a machine may do what ``sdbench run`` asks a person about."""


class DescribeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Say what this machine is, and how it would carry out the plan."""

    plan: Plan


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine is. ``refused``: why it cannot take part; then only the ids are there.

    ``run`` is the run as this machine would make it, without what is private; ``kind`` is the
    same on machines whose results may be in one comparison.
    """

    machine: str
    process: str
    """Another one for each worker process."""
    died: tuple[str, ...] = ()
    """Tokens of what earlier worker processes of this machine were killed under."""
    title: str = ""
    kind: str = ""
    run: Run | None = None
    refused: str | None = None


class MeasureOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Measure one slot. Seconds are the fleet's: spent so far, and expected after this slot."""

    plan: Plan
    kind: str
    slot: str
    attempt: int
    token: str
    """Names this give in the whole world."""
    spent_s: float = 0.0
    later_s: float = 0.0


class CheckOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Make the small image before a run, and measure how fast the device multiplies matrices."""

    plan: Plan
    kind: str
    token: str


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A file of a run by folder and name, and how many bytes of the blob are its content."""

    folder: str
    name: str
    bytes: int


class CompareOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Compare the images of these records with the CPU's."""

    plan: Plan
    kind: str
    records: list[Record]
    files: list[FileEntry]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order. ``unfit``: why this machine should get no more of them."""

    records: list[Record] = []
    files: list[FileEntry] = []
    end: str = "complete"
    unfit: str | None = None


def encode(message: msgspec.Struct) -> str:
    """A message as JSON text."""
    return msgspec.json.encode(message).decode()


def decode(text: str, kind: type[M]) -> M:
    """A message of that kind.

    Raises:
        WrongAnswerError: it is none.
    """
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise WrongAnswerError(f"a message of the fleet is not readable: {error}") from None


def packed(files: Iterable[tuple[str, str, bytes]]) -> tuple[list[FileEntry], bytes]:
    """Files, each as folder, name and content, as a list and one blob."""
    entries, contents = [], []
    for folder, name, data in files:
        entries.append(FileEntry(folder=folder, name=name, bytes=len(data)))
        contents.append(data)
    return entries, b"".join(contents)


def unpacked(entries: Iterable[FileEntry], blob: bytes) -> Iterator[tuple[str, str, bytes]]:
    """The files of a blob.

    Raises:
        WrongAnswerError: a name is not one of a run's file, or the sizes do not fit.
    """
    at = 0
    for entry in entries:
        if entry.folder not in WRITTEN_FOLDERS or not _NAME.fullmatch(entry.name):
            raise WrongAnswerError(f"a file of the fleet has an unusable name: {entry.name[:80]!r}")
        if entry.bytes < 0 or at + entry.bytes > len(blob):
            raise WrongAnswerError("the files of an answer are not as long as they should be")
        yield entry.folder, entry.name, blob[at : at + entry.bytes]
        at += entry.bytes
    if at != len(blob):
        raise WrongAnswerError("the files of an answer are not as long as they should be")


def as_document(value: Any) -> Any:
    """A record or structure as plain JSON types."""
    return msgspec.json.decode(msgspec.json.encode(value))
