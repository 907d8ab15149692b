"""Where verbs print: people's output and JSON on stdout, progress and remarks on stderr."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment
from rich.theme import Theme

from sdbench import __version__
from sdbench.cli.streams import Lossy
from sdbench.errors import MachineError, UsageError
from sdbench.files.access import make_folder, write_file
from sdbench.runs import not_writable
from sdbench.words import printable, shell

DOCUMENT_SCHEMA = 1
"""Of documents that are not records of a run: those have the schema of the records."""
COLOURS = {"green": 28, "yellow": 166, "red": 196, "cyan": 31}
"""Numbers of the 256 colours that can be read on a light and on a dark ground; a terminal's own
green, yellow and cyan are too light for a white one."""
_THEME = Theme(
    {
        f"{weight}{name}": f"{weight}color({number})"
        for name, number in COLOURS.items()
        for weight in ("", "bold ")
    }
)
# A pipe has no width of its own; a table that wraps at 80 there would be hard to read and to grep.
_PIPED_WIDTH = 160


def console(*, err: bool = False, lossy: bool = False) -> Console:
    """A console that does not guess colours into numbers and words, and obeys nobody's text.

    On standard error what cannot be written is dropped. On standard output it is an error, unless
    ``lossy``: for verbs that measure, whose results are in their records.

    Raises:
        MachineError: standard output is closed.
    """
    stream: TextIO | Lossy | None = sys.stderr if err else sys.stdout
    if err or lossy:
        stream = Lossy(sys.stderr if err else sys.stdout)
    if stream is None:
        raise MachineError("standard output is closed, so nothing can be shown")
    width = None if stream.isatty() else _PIPED_WIDTH
    made = _Console(
        file=cast(TextIO, stream) if err or lossy else None,
        highlight=False,
        emoji=False,
        width=width,
        theme=_THEME,
    )
    made.push_render_hook(_Shown())
    return made


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the entry of the command line, which ends with 1; rich would exit here."""
        raise BrokenPipeError


class _Shown(RenderHook):
    """Whatever is printed, by whichever verb: terminal escapes in it are shown, not obeyed.

    Names of models, labels, prompts, paths and error output come from outside. Rich's own colours
    and cursor movements are added to the text later and stay.
    """

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Each one, seen through ``printable``."""
        return [_Harmless(one) for one in renderables]


class _Harmless:
    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                lines = map(printable, segment.text.split("\n"))
                yield Segment("\n".join(lines), segment.style)


def print_next(*words: object) -> None:
    """The command to go on with, as the last line of an exit that is not 0; on standard error."""
    console(err=True).print(f"next: {shell(*words)}", markup=False, soft_wrap=True)


def print_json(document: dict[str, Any], *, lossy: bool = False) -> None:
    """One document, and nothing else, on standard output; ``lossy`` as of :func:`console`.

    Raises:
        MachineError: standard output is closed.
    """
    print_text(json.dumps(identified(document), indent=2, allow_nan=False) + "\n", lossy=lossy)


def identified(document: dict[str, Any]) -> dict[str, Any]:
    """A document with its ``schema`` and ``sdbench_version``, where it does not have its own.

    Within a number of the schema fields are added and never renamed or dropped.
    """
    known = {"schema": DOCUMENT_SCHEMA, "sdbench_version": __version__}
    return {name: value for name, value in known.items() if name not in document} | document


def print_text(text: str, *, lossy: bool = False) -> None:
    """Text as it is on standard output; ``lossy`` as of :func:`console`.

    Raises:
        MachineError: standard output is closed.
    """
    stream = Lossy(sys.stdout) if lossy else sys.stdout
    if stream is None:
        raise MachineError("standard output is closed, so nothing can be shown")
    stream.write(text)
    stream.flush()


def print_bytes(data: bytes) -> None:
    """Data that is no text on standard output.

    Raises:
        MachineError: standard output is closed.
        UsageError: standard output is a terminal.
    """
    if sys.stdout is None:
        raise MachineError("standard output is closed, so nothing can be shown")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal: expected -o FILE, or a pipe")
    sys.stdout.buffer.write(data)
    sys.stdout.flush()


def write_text(path: Path, text: str) -> None:
    """Write a file the user asked for.

    Raises:
        UsageError: it cannot be written there.
        StoreError: the disk is at fault.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """The same, of data that is no text.

    Raises:
        UsageError: it cannot be written there.
        StoreError: the disk is at fault.
    """
    try:
        write_file(path, data)
    except OSError as error:
        raise not_writable(f"cannot write {path}", error) from error


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, which is made if it does not exist.

    Raises:
        UsageError: they cannot be written there.
        StoreError: the disk is at fault.
    """
    try:
        make_folder(folder)
        for name, data in files.items():
            write_file(folder / name, data)
    except OSError as error:
        raise not_writable(f"cannot write {folder}", error) from error
