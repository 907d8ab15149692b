"""Writes files whole or not at all.

A file is named after its content and is written once, so its content is flushed before it gets the
name. The parent flushes the names (``RunFolder.keep_files``) before it records them; so a worker
waits for the disk once for each file.
"""

import contextlib
import os
from typing import Callable, Optional


def keep_file(folder: str, name: str, content: "Callable[[], bytes]") -> Optional[str]:
    """Write a file under its content's name once; a torn write never takes the final name.

    Returns why it could not be kept (a full disk, say): a measurement is worth more than its
    image, so that is noted and not raised.
    """
    path = os.path.join(folder, name)
    try:
        if not os.path.exists(path):
            write_whole(path, content())
    except OSError as error:
        return f"{type(error).__name__}: {error.strerror}"
    return None


def write_whole(path: str, data: bytes) -> None:
    """Write a file as a whole or not at all; its folder is made if it does not exist.

    Raises:
        OSError: it cannot be written.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    scratch = os.path.join(folder, f".sdbench-{os.urandom(8).hex()}.tmp")  # as of files/access.py
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(scratch, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
