"""Folders as values: what is in each file, or what stands in its place."""

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["folder", "fifo", "link", "sparse", "socket"]


@dataclass(frozen=True)
class Odd:
    """What is no ordinary file. ``target`` is of a link; ``outside/`` names what is not the run's.

    ``size`` is of a file that has a hole after its ``head``.
    """

    kind: Kind
    target: str = ""
    size: int = 0
    head: bytes = b""


Tree = Mapping[str, bytes | Odd]
"""Content by path; folders are made as needed."""


def write_tree(tree: Tree, root: Path, outside: Path) -> None:
    """Make it on disk. What cannot be there (a file below a file) is left out."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = root / name
        with suppress(OSError, ValueError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                _make(content, path, outside)


def _make(odd: Odd, path: Path, outside: Path) -> None:
    if odd.kind == "folder":
        path.mkdir()
    elif odd.kind == "fifo":
        os.mkfifo(path)
    elif odd.kind == "link":
        away = odd.target.startswith("outside/")
        path.symlink_to(outside / odd.target.removeprefix("outside/") if away else odd.target)
    elif odd.kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        with path.open("wb") as file:
            file.write(odd.head)
            file.truncate(odd.size)


def read_tree(root: Path) -> dict[str, bytes]:
    """The ordinary files of a folder."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
