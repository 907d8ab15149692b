"""A disk below the process's own ``os`` calls: it fails at one of them, and it can lose its power.

Everything is really done in a folder, and beside it the disk keeps what would be there after a
power cut: of a file what was flushed last, of a folder the names that it had when it was flushed.
What is written by another way than through ``os`` shows when the two are compared
(:meth:`FaultyDisk.differences`): nothing of sdbench may go around.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest

FaultKind = Literal["killed", "torn", "short", "full", "EIO"]
"""Killed before the call; killed when half of a write is done; a write that takes half and says
so, as it may; no space from here on; an input/output error, once."""
PowerCut = Literal["bare", "renamed", "half", "unnamed"]
"""What is lost with the power, of all that was not flushed: everything; the content of files while
their names are there; the second half of that content; the names while the content is there."""
POWER_CUTS: tuple[PowerCut, ...] = ("bare", "renamed", "half", "unnamed")
Tree = dict[str, bytes | None]
"""Contents of files by path; None for a folder."""

T = TypeVar("T")


class Killed(BaseException):
    """The process ended here, as SIGKILL ends it: nothing of it writes any more."""


@dataclass(frozen=True)
class Fault:
    """What happens at which call, counted from 0."""

    at: int
    kind: FaultKind


@dataclass
class File:
    """A file: what a program reads, and what a power cut leaves."""

    data: bytearray = field(default_factory=bytearray)
    flushed: bytes = b""

    def after(self, cut: PowerCut) -> bytes:
        """What is left of it."""
        now = bytes(self.data)
        if cut == "unnamed" or now == self.flushed:
            return now
        if cut == "half":
            kept = len(self.flushed) if now.startswith(self.flushed) else 0
            return now[: kept + (len(now) - kept) // 2]
        return self.flushed


@dataclass
class Folder:
    """A folder: the names it has, and those that a power cut leaves."""

    names: "dict[str, Node]" = field(default_factory=dict)
    flushed: "dict[str, Node]" = field(default_factory=dict)

    def after(self, cut: PowerCut) -> "dict[str, Node]":
        """The names that are left."""
        return self.names if cut in ("renamed", "half") else self.flushed


Node = File | Folder


class FaultyDisk:
    """Stands below the ``os`` calls of this process for all that lies in one folder.

    Links in the folder lead out of it, to what is none of this disk's.
    """

    def __init__(self, root: Path, fault: Fault | None = None) -> None:
        self.root = root.resolve()
        self.calls: list[str] = []
        """What changed something, in order, as ``write records.jsonl``."""
        self.fault = fault
        self.struck = False
        """Whether the call at which it fails was made."""
        self._killed = self._full = False
        self._top = Folder({self.root.name: _node_of(self.root)})
        self._open: dict[int, tuple[tuple[int, int], Node, bool]] = {}
        self._real = {name: getattr(os, name) for name in _CALLS}

    @contextmanager
    def below(self) -> Iterator[None]:
        """Put it under everything that this process does."""
        with pytest.MonkeyPatch.context() as patch:
            for name, own in _CALLS.items():
                patch.setattr(os, name, getattr(self, own))
            yield

    def next_process(self) -> None:
        """What was not flushed still is not; nothing fails any more."""
        self.fault, self._killed, self._full = None, False, False
        self.calls.clear()
        self._open.clear()

    def tree(self, cut: PowerCut | None = None) -> Tree:
        """All that is in the folder, or would be after a power cut."""
        (root,) = self._top.names.values()
        assert isinstance(root, Folder)
        return dict(_tree_of(root, cut))

    def differences(self) -> dict[str, str]:
        """Where the folder is not as it would be by what went through here."""
        thought, real = self.tree(), dict(_tree_of(_node_of(self.root), None))
        return {
            name: f"{_short(thought.get(name, 'nothing'))} here, "
            f"{_short(real.get(name, 'nothing'))} on the disk"
            for name in thought.keys() | real.keys()
            if thought.get(name, "nothing") != real.get(name, "nothing")
        }

    # --- what stands for the calls of ``os`` -----------------------------------------------------

    def _open_(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = self._place(path, dir_fd)

        def act() -> int:
            fd: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            if place is not None:
                folder, name = place
                node = folder.names.setdefault(name, File())
                if flags & os.O_TRUNC and isinstance(node, File):
                    node.data.clear()
                self._open[fd] = (_identity(fd), node, bool(flags & os.O_APPEND))
            return fd

        if place is None or (place[1] not in place[0].names and not flags & os.O_CREAT):
            return self._real["open"](path, flags, mode, dir_fd=dir_fd)  # type: ignore[no-any-return]
        there = place[0].names.get(place[1])
        if there is None or (flags & os.O_TRUNC and isinstance(there, File) and there.data):
            return self._step("create", place[1], act, needs_space=True)
        return act()

    def _write(self, fd: int, data: Any) -> int:
        node = self._node(fd)
        if not isinstance(node, File):
            return self._real["write"](fd, data)  # type: ignore[no-any-return]
        whole = bytes(memoryview(data).cast("B"))

        def put(piece: bytes) -> int:
            appends = self._open[fd][2]
            at = len(node.data) if appends else os.lseek(fd, 0, os.SEEK_CUR)
            written: int = self._real["write"](fd, piece)
            node.data[at : at + written] = piece[:written]
            return written

        def half() -> int:
            return put(whole[: len(whole) // 2])

        return self._step("write", self._name(node), lambda: put(whole), half, needs_space=True)

    def _fsync(self, fd: int) -> None:
        node = self._node(fd)

        def act() -> None:  # the real disk is not waited for
            if isinstance(node, File):
                node.flushed = bytes(node.data)
            elif isinstance(node, Folder):
                node.flushed = dict(node.names)

        return act() if node is None else self._step("fsync", self._name(node), act)

    def _ftruncate(self, fd: int, length: int) -> None:
        node = self._node(fd)

        def act() -> None:
            self._real["ftruncate"](fd, length)
            if isinstance(node, File):
                del node.data[length:]

        return act() if node is None else self._step("truncate", self._name(node), act)

    def _replace(
        self, src: Any, dst: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> None:
        old, new = self._place(src, src_dir_fd), self._place(dst, dst_dir_fd)

        def act() -> None:
            self._real["replace"](src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            if old is not None and new is not None:
                new[0].names[new[1]] = old[0].names.pop(old[1])

        return act() if new is None else self._step("rename", new[1], act)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)

        def act() -> None:
            self._real["unlink"](path, dir_fd=dir_fd)
            if place is not None:
                place[0].names.pop(place[1], None)

        return act() if place is None else self._step("unlink", place[1], act)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)

        def act() -> None:
            self._real["mkdir"](path, mode, dir_fd=dir_fd)
            if place is not None:
                place[0].names[place[1]] = Folder()

        if place is None or place[1] in place[0].names:
            return act()
        return self._step("mkdir", place[1], act, needs_space=True)

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)

        def act() -> None:
            self._real["rmdir"](path, dir_fd=dir_fd)
            if place is not None:
                place[0].names.pop(place[1], None)

        return act() if place is None else self._step("rmdir", place[1], act)

    # --- the fault -------------------------------------------------------------------------------

    def _step(
        self,
        call: str,
        name: str,
        act: Callable[[], T],
        half: Callable[[], T] | None = None,
        *,
        needs_space: bool = False,
    ) -> T:
        """Do one call, unless this is where it fails."""
        if self._killed:
            raise Killed
        number = len(self.calls)
        self.calls.append(f"{call} {name}")
        if self.fault is None or self.fault.at != number:
            if self._full and needs_space:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            return act()
        self.struck = True
        kind = self.fault.kind
        if kind in ("killed", "torn"):
            if kind == "torn" and half is not None:
                half()
            self._killed = True
            raise Killed
        if kind == "EIO":
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        if kind == "full":
            self._full = True
        if half is not None:  # as a full disk does: the next write fails
            return half()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    # --- where things are ------------------------------------------------------------------------

    def _place(self, path: Any, dir_fd: int | None) -> tuple[Folder, str] | None:
        """The folder and the name that a path leads to; None where that is not of this disk."""
        path = os.fsdecode(path)
        if dir_fd is not None and not os.path.isabs(path):
            node: Node | None = self._node(dir_fd)
            parts = [part for part in path.split("/") if part]
        else:
            absolute = os.path.abspath(path)
            if absolute != str(self.root) and not absolute.startswith(f"{self.root}/"):
                return None
            node = self._top
            parts = [self.root.name, *Path(absolute).relative_to(self.root).parts]
        for part in parts[:-1]:
            node = node.names.get(part) if isinstance(node, Folder) else None
        return (node, parts[-1]) if isinstance(node, Folder) and parts else None

    def _node(self, fd: int) -> Node | None:
        """What is open under a number, unless it was closed and is another's now."""
        identity, node, _ = self._open.get(fd, ((0, 0), None, False))
        return node if node is not None and identity == _identity(fd) else None

    def _name(self, wanted: Node) -> str:
        folders: list[tuple[str, Folder]] = [("", self._top)]
        for where, folder in folders:
            for name, node in folder.names.items():
                if node is wanted:
                    return f"{where}{name}"
                if isinstance(node, Folder):
                    folders.append((f"{name}/", node))
        return "a file without a name"


_CALLS = {
    "open": "_open_",
    "write": "_write",
    "fsync": "_fsync",
    "ftruncate": "_ftruncate",
    "replace": "_replace",
    "rename": "_replace",
    "unlink": "_unlink",
    "remove": "_unlink",
    "mkdir": "_mkdir",
    "rmdir": "_rmdir",
}


def restore(root: Path, tree: Tree) -> None:
    """Make a folder hold what a power cut has left, links in it aside."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            _without_links(path)
        elif not path.is_symlink():
            path.unlink()
    for name, data in tree.items():
        path = root / name
        if data is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_bytes(data)


def _without_links(folder: Path) -> None:
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    if not links:
        shutil.rmtree(folder)
        return
    for path in folder.iterdir():
        if path.is_symlink():
            continue
        if path.is_dir():
            _without_links(path)
        else:
            path.unlink()


def _node_of(path: Path) -> Node:
    """What is on the disk, taken as flushed."""
    if not path.is_dir():
        data = path.read_bytes()
        return File(bytearray(data), data)
    names = {entry.name: _node_of(entry) for entry in path.iterdir() if not entry.is_symlink()}
    return Folder(names, dict(names))


def _tree_of(
    node: Node, cut: PowerCut | None, where: str = ""
) -> Iterator[tuple[str, bytes | None]]:
    if isinstance(node, File):
        yield where, bytes(node.data) if cut is None else node.after(cut)
        return
    if where:
        yield where, None
    for name, below in (node.names if cut is None else node.after(cut)).items():
        yield from _tree_of(below, cut, f"{where}/{name}" if where else name)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _short(what: object) -> str:
    return (
        f"{len(what):,} bytes"
        if isinstance(what, bytes)
        else "a folder"
        if what is None
        else str(what)
    )
