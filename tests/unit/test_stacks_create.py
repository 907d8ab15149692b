"""Making an environment: what is kept, what is made anew, and that nothing half made is left."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock
from stack_doubles import STACK, fake_uv, lock_of, script

from sdbench.errors import MachineError, UsageError
from sdbench.stacks.create import Created, create, remove
from sdbench.stacks.created import INFO, examine, read_info, stack_folder, stacks_folder
from sdbench.stacks.uv import UvError, find_uv, problem_in, run_uv

Make = Callable[..., Created]


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    room(monkeypatch, 10**12)


def room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let so many bytes of disk be free."""
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr("sdbench.stacks.create.shutil.disk_usage", lambda path: usage)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> Make:
    """Create the environment with a fake uv."""

    def made(torch: str = STACK.torch, **uv: Any) -> Created:
        program = fake_uv(tmp_path, **uv)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return create(STACK, lambda interpreter: torch, told.append)

    return made


def calls(folder: Path) -> list[str]:
    """How uv was called."""
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def visible() -> list[str]:
    """What is in the environments folder, the files that lock it aside."""
    return sorted(path.name for path in stacks_folder().iterdir() if path.suffix != ".lock")


# --- made, kept, made anew -----------------------------------------------------------------------


def test_created_environment_has_proven_itself(make: Make, tmp_path: Path, told: list[str]) -> None:
    made = make()
    assert (made.action, made.reason, made.found.state) == ("created", None, "ready")
    info = read_info(stack_folder(STACK.name))
    assert info is not None
    assert (info.lock_sha256, info.platform) == (lock_of().sha256, "linux-x86_64")
    assert (info.python, info.packages) == ("3.10.1", dict(sorted(lock_of().versions.items())))
    assert visible() == [STACK.name]
    environment, installation = calls(tmp_path)
    assert "--python cpython-3.10-linux-x86_64-gnu" in environment
    assert f"--constraint {lock_of().path} torch diffusers" in installation
    assert "--only-binary :all:" in installation  # nothing downloaded is run to be built
    assert "Downloading torch (1.0MiB)" in told


def test_what_is_there_is_kept(make: Make, tmp_path: Path) -> None:
    make()
    before = calls(tmp_path)
    assert make().action == "kept"
    assert calls(tmp_path) == before


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: (folder / INFO).unlink(), "missing or unreadable"),
        (lambda folder: script(folder / "bin" / "python", "exit 1"), "its Python does not run"),
        (lambda folder: (folder / INFO).write_text("{"), "missing or unreadable"),
    ],
)
def test_what_is_spoilt_is_made_anew_and_why_is_said(
    make: Make, told: list[str], spoil: Callable[[Path], Any], reason: str
) -> None:
    make()
    spoil(stack_folder(STACK.name))
    made = make()
    assert (made.action, made.found.state) == ("rebuilt", "ready")
    assert reason in str(made.reason)
    assert any(reason in line for line in told)
    assert visible() == [STACK.name]


def test_removed_environment_is_gone(make: Make, told: list[str]) -> None:
    make()
    assert remove(STACK, told.append)
    assert (visible(), examine(STACK).state) == ([], "absent")
    assert not remove(STACK, told.append)


def test_two_at_once_wait_for_each_other(make: Make, told: list[str]) -> None:
    stacks_folder().mkdir(parents=True)
    lock = FileLock(stacks_folder() / f".{STACK.name}.lock")
    made: list[Created] = []
    with lock:
        second = threading.Thread(target=lambda: made.append(make()))
        second.start()
        deadline = time.monotonic() + 30
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
        assert told == ["waiting for another sdbench process that is working on it"]
        assert visible() == []
    second.join(30)
    assert [entry.action for entry in made] == ["created"]


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uv", "error", "words"),
    [
        ({"venv": "echo 'error: no such Python' >&2; exit 2"}, UvError, "no such Python.*put pyth"),
        ({"install": "echo 'error: odd' >&2; exit 1"}, UvError, "could not be installed: odd"),
        ({"install": "exit 3"}, UvError, "uv ended with exit status 3"),
        ({"install": "kill -9 $$"}, UvError, "uv ended with exit status -9"),
        (
            {"install": "echo 'error: No space left on device (os error 28)' >&2; exit 1"},
            UvError,
            "the disk is full",
        ),
        (
            {"packages": {**lock_of().versions, "torch": "2.0.0"}},
            MachineError,
            r"differs from its lock file: torch is 2\.0\.0 instead of 1\.13\.1",
        ),
        ({"packages": {}}, MachineError, "torch is not installed, diffusers is not installed"),
        ({"torch": "2.5.1+cu124"}, MachineError, "torch calls itself 2.5.1"),
    ],
)
def test_failure_leaves_nothing(
    make: Make, uv: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(**uv)
    assert visible() == []
    assert make().action == "created"


def test_failure_leaves_what_was_there_before(make: Make) -> None:
    make()
    (stack_folder(STACK.name) / INFO).unlink()
    with pytest.raises(UvError):
        make(install="exit 1")
    assert visible() == [STACK.name]
    assert (stack_folder(STACK.name) / "bin" / "python").exists()


def test_picture_that_cannot_be_made(make: Make, tmp_path: Path, told: list[str]) -> None:
    make()
    remove(STACK, told.append)

    def failing(interpreter: Path) -> str:
        raise MachineError("SIGSEGV while importing")

    with pytest.raises(MachineError, match="makes no image here: SIGSEGV while importing"):
        create(STACK, failing, told.append)
    assert visible() == []


def test_disk_that_is_too_small(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room(monkeypatch, 10**9)
    with pytest.raises(UsageError, match=r"takes about 3\.6 GB and 1\.0 GB of disk are free"):
        make()
    assert (visible(), calls(tmp_path)) == ([], [])


def test_folder_that_cannot_be_written(
    make: Make, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_cache.parent.mkdir()
    own_cache.write_text("a file, no folder")
    with pytest.raises(UsageError, match="stacks cannot be written"):
        make()


def test_uv_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(UsageError, match="install it with: pip install uv"):
        find_uv()


def test_uv_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = script(tmp_path / "uv", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_uv() == str(program)


def test_pythons_of_pyenv_are_offered_last(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shims fail for releases that are not in use, which hides the Pythons behind them."""
    folder = tmp_path / "pyenv" / "versions" / "3.10.9" / "bin"
    folder.mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    make(install=f"echo \"$PATH\" > '{tmp_path}/path'")
    assert (tmp_path / "path").read_text().strip().split(os.pathsep)[-1] == str(folder)


# --- what uv says --------------------------------------------------------------------------------

OFFLINE = """\
warning: Failed to inspect Python interpreter from search path at `/shims/python3.10`
  cause: Querying Python at `/shims/python3.10` failed with exit status exit status: 127
error: Request failed after 3 retries in 8.8s
  cause: Failed to download `https://example.org/cpython-3.10.tar.gz`
  cause: error sending request for url (https://example.org/cpython-3.10.tar.gz)
  cause: dns error
  cause: failed to lookup address information: Name or service not known
"""
FORGED = """\
Resolved 1 package in 135ms
error: Failed to download `zipp==4.1.2`
  cause: Hash mismatch for `zipp==4.1.2`

         Expected:
           sha256:00

         Computed:
           sha256:b3
"""
UNSOLVED = """\
  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of torch==1.13.1 and you require torch==1.13.1, your
      requirements are unsatisfiable.
"""


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (OFFLINE, "nothing could be downloaded (failed to lookup address information: Name or"),
        (FORGED, "Failed to download `zipp==4.1.2` cause: Hash mismatch for `zipp==4.1.2` Expect"),
        (UNSOLVED, "No solution found when resolving dependencies: ╰─▶ Because there is no vers"),
        ("error: failed to write: No space left on device (os error 28)", "the disk is full"),
        ("error: " + "a " * 999, "a a a a"),
    ],
)
def test_errors_of_uv_in_one_line(said: str, words: str) -> None:
    problem = problem_in(said)
    assert problem.startswith(words)
    assert "\n" not in problem
    assert len(problem) <= 300


def test_uv_that_says_nothing() -> None:
    assert problem_in("") == ""


# --- interrupted ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_stopped_half_way(number: int, code: int, make: Make, tmp_path: Path) -> None:
    """A real process, stopped while uv installs; SIGKILL leaves what the next creation clears."""
    # exec: whoever ends this uv ends all of it
    program = fake_uv(tmp_path, install=f"echo $$ > '{tmp_path}/pid'; exec sleep 60")
    cache = os.environ["SDBENCH_CACHE"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sdbench", "stacks", "create", STACK.name],
        env={**os.environ, "PATH": f"{program.parent}{os.pathsep}/usr/bin{os.pathsep}/bin"},
        stderr=subprocess.PIPE,
        text=True,
    )
    pid_file = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    installer = int(pid_file.read_text())
    assert process.returncode == code
    assert not (Path(cache) / "stacks" / STACK.name).exists()
    if number == signal.SIGKILL:
        assert visible() == [f".{STACK.name}.new-{process.pid}"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(installer, signal.SIGKILL)
    else:
        assert said.endswith(f"interrupted; next: sdbench stacks create {STACK.name}\n")
        assert visible() == []
        with pytest.raises(ProcessLookupError):
            os.kill(installer, 0)
    assert make().action == "created"
    assert visible() == [STACK.name]


def test_stopped_while_uv_is_being_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The signal comes after the process is there and before anybody knows of it."""
    started = []

    def popen(*words: Any, **options: Any) -> Any:
        started.append(make_process(*words, **options))
        signal.raise_signal(signal.SIGINT)
        return started[-1]

    make_process = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(KeyboardInterrupt):
        run_uv("/bin/sleep", ["60"], tmp_path, print)
    assert started[0].returncode == -signal.SIGTERM
