"""Where verbs print: people's output and JSON on stdout, progress and remarks on stderr."""

import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from sdbench.errors import UsageError

# A pipe has no width of its own; a table that wraps at 80 there would be hard to read and to grep.
_PIPED_WIDTH = 160


def console(*, err: bool = False) -> Console:
    """A console that does not guess colours into numbers and words."""
    stream = sys.stderr if err else sys.stdout
    width = None if stream.isatty() else _PIPED_WIDTH
    return Console(stderr=err, highlight=False, width=width)


def print_json(document: dict[str, Any]) -> None:
    """One document, and nothing else, on standard output."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def write_text(path: Path, text: str) -> None:
    """Write a file the user asked for.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
