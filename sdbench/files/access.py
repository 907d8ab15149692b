"""Opens files that somebody else may have made: a run folder, a configuration, a model, a log.

Only a regular file below a size limit is read: a FIFO may never deliver anything, and ``/dev/zero``
has no end. Inside a run folder no link is followed, neither for reading (another file would be
shown as the run's) nor for writing (another file would be changed, by a hard link as well). The
folder itself may be reached through links, because the user named it.

Everything raises OSError with a sentence as ``strerror``, as the system does.

It also writes all files that must not be lost (CONTRIBUTING, "What a crash may cost"): a file gets
its name after its content is on the disk, and the name is on the disk when the call returns.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

MIB = 1 << 20
DISK_FAULTS = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT})
"""Errors of the disk itself; neither the path nor a permission is wrong."""
TOO_DEEP = "nested hundreds of levels deep, unlike any file of sdbench"
"""What is said where a parser gave up (RecursionError)."""

# What a file is called until it is whole (``worker/atomic_write.py`` too);
# a killed process leaves it.
_SCRATCH = re.compile(r"\.sdbench-[0-9a-f]+\.tmp")
# A FIFO is opened at once and then refused; a terminal does not become ours.
_CAREFUL = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
}


def read_file(path: Path, most_bytes: int) -> bytes:
    """A whole file that the user named; links are followed.

    Raises:
        OSError: it cannot be opened, is no regular file, or is larger.
    """
    with open_file(path) as file:
        return _whole(file, most_bytes)


def open_file(path: Path) -> BinaryIO:
    """A file that the user named, to read; links are followed.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    return _opened(os.open(path, os.O_RDONLY | _CAREFUL))


def open_inside(folder: Path, *names: str) -> BinaryIO:
    """A file in a folder of others, to read; no part of the way below the folder may be a link.

    Raises:
        OSError: it does not exist, is reached through a link, or is no regular file.
    """
    with _parent(folder, names) as parent:
        return _opened(_open_at(parent, names[-1], os.O_RDONLY))


def read_inside(folder: Path, *names: str, most_bytes: int) -> bytes:
    """A whole file in a folder of others.

    Raises:
        OSError: as :func:`open_inside`, or it is larger.
    """
    with open_inside(folder, *names) as file:
        return _whole(file, most_bytes)


def open_to_append(folder: Path, name: str) -> BinaryIO:
    """A file in a folder, made if it does not exist, to write at its end; unbuffered.

    Raises:
        OSError: it is a link or no regular file, has a second name, or cannot be made.
    """
    with _parent(folder, (name,)) as parent:
        fd = _open_at(parent, name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        file = _opened(fd, "ab")
    if os.fstat(fd).st_nlink > 1:
        file.close()
        raise OSError(
            errno.EMLINK, "it has another name too (a hard link); replace it by a copy", name
        )
    return file


def write_inside(folder: Path, *names: str, data: bytes, flushed: bool = True) -> None:
    """Write a file in a folder whole or not at all, and durably; a link of its name is replaced.

    A missing folder on the way is made. Not ``flushed`` is what can be made again, and whose
    reader finds out that it is empty or cut: that is all a power cut may leave of it.

    Raises:
        OSError: it cannot be written, or a folder on the way is a link.
    """
    with _parent(folder, names, make=True) as parent:
        _write_at(parent, names[-1], data, flushed=flushed)


def write_file(path: Path, data: bytes) -> None:
    """Write a file that the user named, whole or not at all; links are followed.

    A terminal, a pipe, and a file in a folder that may not be changed are written in place.

    Raises:
        OSError: it cannot be written.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is None or (stat.S_ISREG(mode) and not str(path).startswith("/dev/")):
        target = Path(os.path.realpath(path))
        try:
            with _parent(target.parent, (target.name,)) as parent:
                return _write_at(parent, target.name, data, like=mode)
        except PermissionError:
            if mode is None:
                raise
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and those on the way to it, durably; it may be there already.

    The folder above is always flushed, because the process that made this one may have been killed
    before it could do so.

    Raises:
        OSError: it cannot be made.
    """
    if not path.is_dir():
        if path.parent != path:
            make_folder(path.parent)
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            if not path.is_dir():
                raise
    flush_folder(path.parent)


def remove_inside(folder: Path, *names: str) -> None:
    """Remove a file in a folder, if it is there; a link is removed and not followed.

    Raises:
        OSError: it cannot be removed, or a folder on the way is a link.
    """
    with contextlib.suppress(FileNotFoundError), _parent(folder, names) as parent:
        os.unlink(names[-1], dir_fd=parent)


def remove_scratch(folder: Path, *names: str, older_than_s: float = 0.0) -> None:
    """Remove the unfinished files of killed processes from a folder, which may be missing."""
    with contextlib.suppress(OSError), _parent(folder, (*names, "")) as parent:
        for name in filter(_SCRATCH.fullmatch, os.listdir(parent)):
            written = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mtime
            if time.time() - written >= older_than_s:
                os.unlink(name, dir_fd=parent)


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however often the system takes a part only."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def flush_to_disk(fd: int) -> None:
    """fsync; on macOS that stops at the drive's cache, so F_FULLFSYNC is asked for there."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(fd, full)
            return
        except OSError as error:  # network and FAT volumes do not support it
            if error.errno in DISK_FAULTS:
                raise
    os.fsync(fd)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable; a folder that cannot be opened is left as it is.

    Raises:
        OSError: the disk fails.
    """
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _flush_names(fd)
    finally:
        os.close(fd)


def lines_of(file: BinaryIO, most_bytes: int) -> Iterator[bytes | None]:
    """The lines of a file one at a time, without their ends; None for one that is longer.

    Of longer ones at most four times as much is skipped in all: a file with a hole of terabytes
    takes no room and would be read for hours. What follows is not read.
    """
    skipped = 0
    while line := file.readline(most_bytes + 1):
        if len(line) <= most_bytes or line.endswith(b"\n"):
            yield line.rstrip(b"\r\n")
            continue
        yield None
        while line and not line.endswith(b"\n"):
            line = file.readline(MIB)
            skipped += len(line)
            if skipped > 4 * most_bytes:
                return


def _flush_names(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:  # some file systems cannot flush a folder
        if error.errno in DISK_FAULTS:
            raise


def _write_at(
    parent: int, name: str, data: bytes, like: int | None = None, *, flushed: bool = True
) -> None:
    """Write a file under another name, then rename it; ``like`` is the mode of the one before."""
    scratch = f".sdbench-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(scratch, flags, 0o644, dir_fd=parent)
    try:
        try:
            if like is not None:
                os.fchmod(fd, stat.S_IMODE(like))
            write_all(fd, data)
            if flushed:
                flush_to_disk(fd)
        finally:
            os.close(fd)
        os.replace(scratch, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(scratch, dir_fd=parent)
        raise
    if flushed:
        _flush_names(parent)


@contextlib.contextmanager
def _parent(folder: Path, names: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder that holds the last of the names."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    fd = os.open(folder, flags)
    try:
        for name in names[:-1]:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=fd)
                    _flush_names(fd)
            below = _open_at(fd, name, flags)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _open_at(parent: int, name: str, flags: int) -> int:
    """Open what a folder has of that name, if it is not a link.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    if "/" in name or name in ("", ".", ".."):
        raise OSError(errno.EINVAL, "not the name of a file", name)
    try:
        return os.open(name, flags | os.O_NOFOLLOW | _CAREFUL, 0o644, dir_fd=parent)
    except OSError as error:
        # Of a link Linux says ELOOP or ENOTDIR and BSD EMLINK, of a FIFO to write into ENXIO.
        kind = _kind_of(parent, name)
        wanted = stat.S_IFDIR if flags & os.O_DIRECTORY else stat.S_IFREG
        if kind in _KINDS and kind != wanted:
            raise _unfit(kind, name) from None
        raise error from None


def _kind_of(parent: int, name: str) -> int | None:
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return None


def _unfit(kind: int, name: str) -> OSError:
    what = _KINDS.get(kind, "something else")
    if kind == stat.S_IFLNK:
        what += ", which is not followed"
    return OSError(errno.EINVAL, f"not a regular file but {what}", name)


def _opened(fd: int, mode: str = "rb") -> BinaryIO:
    """A file object of a descriptor, if it is a regular file; the descriptor is closed otherwise.

    Raises:
        OSError: it is none.
    """
    try:
        kind = stat.S_IFMT(os.fstat(fd).st_mode)
        if kind != stat.S_IFREG:
            raise _unfit(kind, "")
        os.set_blocking(fd, True)
        return cast(BinaryIO, open(fd, mode, buffering=0 if mode == "ab" else -1))
    except BaseException:
        os.close(fd)
        raise


def _whole(file: BinaryIO, most_bytes: int) -> bytes:
    size = os.fstat(file.fileno()).st_size
    data = b"" if size > most_bytes else file.read(most_bytes + 1)
    if max(size, len(data)) > most_bytes:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and at most {most_bytes:,} are read")
    return data
