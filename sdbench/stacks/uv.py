"""uv, which makes the environments: where it is, running it, and its errors in one line."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from sdbench.errors import UsageError
from sdbench.process.interrupt import InterruptFlag

Tell = Callable[[str], None]
"""Called with a line of progress."""

_WORTH_TELLING = ("Downloading ", "Prepared ", "Installed ")
_POLITE_S = 10.0
_LONGEST_WORDS = 300
_UNREACHABLE = re.compile(
    r"dns error|error sending request|could not connect|connection (?:refused|reset)|timed out|"
    r"failed to (?:fetch|lookup)",
    re.IGNORECASE,
)


class UvError(UsageError):
    """uv did not do what it was asked; says why in one line."""


def find_uv() -> str:
    """The program: on PATH, else the one that the Python package ``uv`` brings.

    Raises:
        UsageError: it is in neither place.
    """
    found = shutil.which("uv")
    if found is not None:
        return found
    with contextlib.suppress(ImportError, FileNotFoundError):
        from uv import find_uv_bin

        return str(find_uv_bin())
    raise UsageError(
        "uv makes the environments and is not here; get it with: pip install uv "
        "(on a Mac also: brew install uv)"
    )


def run_uv(program: str, arguments: Sequence[str], folder: Path, tell: Tell) -> None:
    """Run it in a folder, whose own settings for uv hold and nobody's project.

    Raises:
        UvError: it ended with an error.
    """
    lines = []
    process: subprocess.Popen[str] | None = None
    try:
        with InterruptFlag(patient=True) as flag:  # else it may leave a process nobody knows of
            process = subprocess.Popen(
                [program, *arguments],
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="replace",
            )
        if flag.requested:
            raise KeyboardInterrupt
        assert process.stderr is not None
        with process.stderr as said:
            for line in said:
                lines.append(line)
                if line.startswith(_WORTH_TELLING):
                    tell(line.strip())
        process.wait()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    if process.returncode != 0:
        raise UvError(
            problem_in("".join(lines)) or f"uv ended with exit status {process.returncode}"
        )


def problem_in(said: str) -> str:
    """What uv complains about, in one line; empty if it says nothing."""
    if "No space left on device" in said or "os error 28" in said:
        return "the disk is full"
    words = [line.strip() for line in said.splitlines() if line.strip()]
    starts = [at for at, line in enumerate(words) if line.startswith(("error:", "×"))]
    if starts:
        words = words[starts[0] :]
    if _UNREACHABLE.search(said):
        return f"nothing could be downloaded ({_without_mark(words[-1])})"
    return _without_mark(" ".join(words))[:_LONGEST_WORDS]


def _without_mark(words: str) -> str:
    return re.sub(r"^(?:error:|cause:|Caused by:|×|╰─▶)\s*", "", words)


def _environment() -> dict[str, str]:
    """The user's own, and the Pythons of pyenv: its shims of releases not in use do not run."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = sorted(str(folder) for folder in root.glob("versions/*/bin"))
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])
    return {**os.environ, "PATH": path, "NO_COLOR": "1"}


def _end(process: "subprocess.Popen[str]") -> None:
    with process:  # closes the pipe
        process.terminate()
        try:
            process.wait(_POLITE_S)
        except subprocess.TimeoutExpired:
            process.kill()
