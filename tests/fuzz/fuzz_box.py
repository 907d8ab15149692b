"""A place for one input: what sdbench may write, what it may not, and who watches.

While a box is open, a process that is started, a pickle that is read, code of the box that is
imported and a file that is opened for writing elsewhere are noted and refused. Audit hooks stay
for ever, so there is one for all boxes. Memory and time of a call are limited.
"""

import contextlib
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEMORY_BYTES = 4 << 30
"""What a call may take in addition."""
BUSY_S, WAITING_S = 20.0, 60.0
"""How long a call may compute, and how long it may take in all but for waiting for a core."""

_STARTS = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork"),
    *("os.forkpty", "pty.spawn", "pickle.find_class", "socket.connect", "ctypes.dlopen"),
)
_CHANGES = {
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"), 1),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), 2),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TakesTooLong(BaseException):
    """A call did not end."""


class Forbidden(BaseException):
    """Something was tried that reading must not do."""


class Box:
    """``inside`` may be written (``work`` is the current folder), ``outside`` may not."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))
        self.inside, self.outside = self.root / "inside", self.root / "outside"
        self.work, self.given = self.inside / "work", self.inside / "given"
        self.noted: list[str] = []
        self._before: dict[str, Any] = {}

    def empty(self) -> None:
        """Begin anew; what is outside stays as it was made."""
        shutil.rmtree(self.inside, ignore_errors=True)
        for folder in (self.work, self.given, self.inside / "cache", self.inside / "state"):
            folder.mkdir(parents=True)
        # What the current folder holds is nobody's torch.
        (self.work / "torch.py").write_text("raise SystemExit('fuzzcanary')\n")
        self.noted.clear()

    def written(self) -> dict[str, bytes]:
        """Files in the current folder, by name; of a bundle its members."""
        found: dict[str, bytes] = {}
        for path in sorted(self.work.rglob("*")):
            if path.is_file() and path.name != "torch.py":
                name = path.relative_to(self.work).as_posix()
                found |= _members(path) if path.suffix == ".zip" else {name: path.read_bytes()}
        return found

    def remember(self) -> None:
        """What is not to be changed from now on."""
        self._before = self._state()

    def changed(self) -> list[str]:
        """What was changed nevertheless, since this was last asked."""
        before, after = self._before, self._state()
        self._before = after
        names = before.keys() | after.keys()
        return sorted(name for name in names if before.get(name) != after.get(name))

    def _state(self) -> dict[str, Any]:
        found = {
            str(path): _looks(path)
            for place in (self.outside, self.given)
            for path in _below(place)
        }
        for folder in (self.root, self.inside):
            found[str(folder)] = sorted(entry.name for entry in os.scandir(folder))
        return found

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """The limits and the watch, for one call."""
        _install()
        before = os.getcwd(), tempfile.tempdir
        os.chdir(self.work)
        tempfile.tempdir = str(self.inside)  # where a bundle is laid out
        _open_boxes.append(self)
        try:
            with _limited_memory(), _limited_time():
                yield
        finally:
            _open_boxes.remove(self)
            os.chdir(before[0])
            tempfile.tempdir = before[1]


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {f"{path.name}/{name}": archive.read(name) for name in archive.namelist()}


def _below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(parent) / name


def _looks(path: Path) -> Any:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        return kind, found.st_mode
    return kind, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino


# --- the watch ------------------------------------------------------------------------------------

_open_boxes: list[Box] = []
_installed: list[bool] = []


def _install() -> None:
    if not _installed:
        _installed.append(True)
        sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _open_boxes:
        return
    box = _open_boxes[-1]
    words = _forbidden(event, arguments, box)
    if words is not None:
        box.noted.append(words)
        raise Forbidden(words)


def _forbidden(event: str, arguments: tuple[Any, ...], box: Box) -> str | None:
    if event in _STARTS:
        if event == "ctypes.dlopen" or event == "socket.connect":
            inside = str(box.root) in str(arguments)
            return f"{event} {arguments!r}"[:300] if inside else None
        return f"{event} {arguments!r}"[:300]
    if event == "exec" and arguments:
        file = str(getattr(arguments[0], "co_filename", ""))
        return f"code of {file} is run" if file.startswith(str(box.root)) else None
    if event == "open":
        path, mode, flags = (*arguments, None, None, None)[:3]
        writes = bool(isinstance(flags, int) and flags & _WRITING) or bool(
            isinstance(mode, str) and set(mode) & set("wax+")
        )
        return _misplaced("open for writing", path, box) if writes else None
    if event in _CHANGES:
        for path in arguments[: _CHANGES[event]]:
            words = _misplaced(event, path, box)
            if words is not None:
                return words
    return None


def _misplaced(what: str, path: Any, box: Box) -> str | None:
    """What is wrong with changing that path; relative ones are below a folder that was opened."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        return None
    if not os.path.isabs(text):
        return f"{what}: {text!r}" if ".." in Path(text).parts else None
    folder = os.path.realpath(os.path.dirname(text))
    if folder == str(box.inside) or folder.startswith(f"{box.inside}{os.sep}"):
        return None
    if text.startswith("/dev/") or "__pycache__" in text or "matplotlib" in text:
        return None  # what libraries keep for themselves
    return f"{what}: {text!r}"


# --- limits ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _queued_s() -> float:
    """How long this thread has been ready to run while others had the cores (Linux; else 0)."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    began, queued = time.monotonic(), _queued_s()

    def ends(number: int, frame: Any) -> None:
        waited = time.monotonic() - began - (_queued_s() - queued)
        if number == signal.SIGPROF or waited >= WAITING_S:
            raise TakesTooLong

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, BUSY_S),
        (signal.ITIMER_REAL, signal.SIGALRM, WAITING_S),
    )
    before = [(number, signal.signal(number, ends)) for _, number, _ in timers]
    for timer, _, limit_s in timers:
        # Again and again: what catches everything must not go on for ever.
        signal.setitimer(timer, limit_s, 1.0)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for number, handler in before:
            signal.signal(number, handler)
