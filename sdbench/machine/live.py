"""This very machine, and the choice between it and a recording."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdbench.machine.facts import Scheduling, Unavailable
from sdbench.machine.macos.commands import NEVER_CHANGES, SYSCTL
from sdbench.machine.macos.text import parse_sysctl, sysctl_refusal
from sdbench.machine.recording import VARIABLE, RecordedSystem
from sdbench.machine.system import COMMAND_LIMIT_S, Output, System, timed_out

# getpriority(2) on macOS: 1 when the process was put in the background, 0 when not.
_PRIO_DARWIN_PROCESS = 4
_LONGEST_READ_BYTES = 1 << 20


def open_system(environ: Mapping[str, str] = os.environ) -> System:
    """This machine, or the recording that ``SDBENCH_MACHINE_RECORDING`` names.

    Raises:
        UsageError: the recording cannot be read; one line with file, key and what was expected.
    """
    folder = environ.get(VARIABLE)
    return RecordedSystem.load(Path(folder)) if folder else LiveSystem()


class LiveSystem:
    """Asks the machine itself."""

    simulated = False

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Output] = {}

    def command(self, argv: Sequence[str]) -> Output | Unavailable:
        known = self._known.get(tuple(argv))
        if known is not None:
            return known
        said = _run(argv)
        if tuple(argv) in NEVER_CHANGES and isinstance(said, Output) and said.exit == 0:
            self._known[tuple(argv)] = said
        return said

    def sysctl(self, names: Sequence[str]) -> dict[str, str | Unavailable]:
        said = self.command((SYSCTL, *names))  # it goes on after a name that it does not know
        if isinstance(said, Unavailable):
            return dict.fromkeys(names, said)
        values = parse_sysctl(said.stdout)
        return {name: values.get(name) or sysctl_refusal(name, said.stderr) for name in names}

    def read(self, path: str) -> str | Unavailable:
        try:
            with open(path, "rb") as file:
                return file.read(_LONGEST_READ_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return Unavailable(f"there is no {path}")
        except OSError as error:
            return Unavailable(f"{path} cannot be read ({error.strerror})")

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(folder))
        except OSError:
            return []

    def name(self) -> str:
        return platform.system()

    def release(self) -> str | Unavailable:
        return platform.release()

    def machine(self) -> str:
        return platform.machine()

    def python_machine(self) -> str:
        return platform.machine()

    def mac_version(self) -> str:
        return platform.mac_ver()[0]

    def free_disk_bytes(self, folder: Path) -> int | Unavailable:
        try:
            folder = folder.absolute()
            there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
            return shutil.disk_usage(there).free
        except OSError as error:
            return Unavailable(f"the file system does not report it ({error.strerror})")

    def scheduling(self) -> Scheduling:
        return Scheduling(nice=os.nice(0), background=_in_background())


def _run(argv: Sequence[str]) -> Output | Unavailable:
    program = os.path.basename(argv[0])
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=COMMAND_LIMIT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C", "SYSTEM_VERSION_COMPAT": "0"},
        )
    except subprocess.TimeoutExpired:
        return timed_out(program)
    except FileNotFoundError:
        return Unavailable(f"there is no {argv[0]} here")
    except OSError as error:
        return Unavailable(f"{program} could not be started ({type(error).__name__})")
    return Output(stdout=done.stdout, stderr=done.stderr, exit=done.returncode)


def _in_background() -> bool | Unavailable:
    try:
        if sys.platform == "darwin":
            return os.getpriority(_PRIO_DARWIN_PROCESS, 0) == 1
        if sys.platform == "linux":
            return os.sched_getscheduler(0) == os.SCHED_IDLE
    except OSError:
        return Unavailable("the system refuses to report it")
    return Unavailable("this system has no such state")
