"""A recording of another machine, which replaces every probe (``SDBENCH_MACHINE_RECORDING=DIR``).

``DIR/commands.json`` holds what system programs said, ``DIR/facts.json`` what Python and the system
calls would have said. What is in neither is unavailable.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sdbench.errors import UsageError
from sdbench.files.access import MIB, read_file
from sdbench.machine.facts import (
    NOT_RECORDED,
    Scheduling,
    Unavailable,
    all_unavailable,
    first_known,
)
from sdbench.machine.macos.text import parse_df, parse_sysctl, sysctl_refusal
from sdbench.machine.system import COMMAND_LIMIT_S, Output, timed_out

VARIABLE = "SDBENCH_MACHINE_RECORDING"
# Of a whole machine they are some kilobytes.
_MOST_BYTES = 16 * MIB
T = TypeVar("T")


class RecordedTorch(msgspec.Struct, frozen=True, kw_only=True):
    """What torch would have said; None is not recorded."""

    version: str | None = None
    mps_built: bool | None = None
    mps_available: bool | None = None


class RecordedFacts(msgspec.Struct, frozen=True, kw_only=True):
    """``facts.json``; unknown keys are left alone, None is not recorded."""

    system: str | None = None
    machine: str | None = None
    mac_ver: str | None = None
    python: str | None = None
    python_machine: str | None = None
    packages: dict[str, str | None] | None = None
    """None for one that is not installed, the same as one left out."""
    torch: RecordedTorch | None = None
    sysctl: dict[str, Any] = {}
    env: dict[str, str | None] = {}
    """None for one that is not set, the same as one left out."""


class RecordedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``commands.json``; ``argv[0]`` is compared by its base name."""

    argv: list[str]
    stdout: str = ""
    stderr: str = ""
    exit: int = 0
    hang_s: float = 0

    @property
    def program(self) -> str:
        """The name of what was run, without its folder."""
        return os.path.basename(self.argv[0]) if self.argv else ""

    @property
    def failed(self) -> bool:
        """Whether it would have told nothing."""
        return self.exit != 0 or self.hang_s > COMMAND_LIMIT_S

    def answer(self) -> Output | Unavailable:
        """What whoever runs it gets; nobody waits for one that hangs."""
        if self.hang_s > COMMAND_LIMIT_S:
            return timed_out(self.program)
        return Output(stdout=self.stdout, stderr=self.stderr, exit=self.exit)


# Programs that no other system has: they tell which it was where nothing else does.
_MACS_OWN = {"memory_pressure", "notifyutil", "pmset", "sw_vers", "system_profiler", "vm_stat"}


class RecordedSystem:
    """Answers from a recording; it is asked in other words than it was made with, and understands.

    Attributes:
        facts: what Python, torch and the environment of the recorded machine said.
    """

    simulated = True

    def __init__(self, facts: RecordedFacts, commands: Sequence[RecordedCommand]) -> None:
        self.facts = facts
        self._commands = list(commands)

    @classmethod
    def load(cls, folder: Path) -> "RecordedSystem":
        """A recording in a folder; one of the two files may be missing.

        Raises:
            UsageError: neither file is there, or one cannot be read or has another shape.
        """
        files = folder / "facts.json", folder / "commands.json"
        if not any(file.is_file() for file in files):
            raise UsageError(
                f"{VARIABLE}={folder}: expected a folder with commands.json and facts.json"
            )
        facts = _decoded(files[0], RecordedFacts, RecordedFacts())
        return cls(facts, _decoded(files[1], list[RecordedCommand], []))

    def command(self, argv: Sequence[str]) -> Output | Unavailable:
        program = os.path.basename(argv[0])
        fitting = [
            (entry.failed, penalty, index, entry)
            for index, entry in enumerate(self._of(program))
            if (penalty := _penalty(program, argv[1:], entry.argv[1:])) is not None
        ]
        if fitting:
            return min(fitting)[-1].answer()
        return self._sw_vers() if program == "sw_vers" else NOT_RECORDED

    def sysctl(self, names: Sequence[str]) -> dict[str, str | Unavailable]:
        return {name: self._sysctl(name) for name in names}

    def _sysctl(self, name: str) -> str | Unavailable:
        value = self.facts.sysctl.get(name)
        if isinstance(value, list):
            return " ".join(str(item) for item in value)
        if value is not None:
            return str(int(value)) if isinstance(value, bool) else str(value)
        reason = NOT_RECORDED
        for entry in self._of("sysctl"):
            names = [word for word in entry.argv[1:] if not word.startswith("-")]
            answer = entry.answer()
            if isinstance(answer, Output):
                found = _sysctl_values(entry).get(name)
                if found is not None:
                    return found
                if name in names:
                    reason = sysctl_refusal(name, entry.stderr)
            elif name in names:
                reason = answer
        return reason

    def read(self, path: str) -> str | Unavailable:
        said = self.command(("cat", path))
        if isinstance(said, Unavailable) or said.exit != 0:
            return NOT_RECORDED
        return said.stdout

    def names(self, folder: str) -> list[str]:
        prefix = folder.rstrip("/") + "/"
        paths = [path for entry in self._of("cat") for path in entry.argv[1:]]
        inside = {path[len(prefix) :].split("/")[0] for path in paths if path.startswith(prefix)}
        return sorted(inside)

    def name(self) -> str:
        if self.facts.system is not None:
            return self.facts.system
        of_a_mac = any(entry.program in _MACS_OWN for entry in self._commands)
        return "Darwin" if self.facts.mac_ver or of_a_mac else ""

    def release(self) -> str | Unavailable:
        return self._uname("-r") or NOT_RECORDED

    def machine(self) -> str:
        if self.facts.machine is not None:
            return self.facts.machine
        return self._uname("-m")

    def python_machine(self) -> str:
        return self.facts.python_machine or ""

    def mac_version(self) -> str:
        return self.facts.mac_ver or ""

    def free_disk_bytes(self, folder: Path) -> int | Unavailable:
        said = [entry.answer() for entry in self._of("df")]
        free = [
            answer if isinstance(answer, Unavailable) else parse_df(answer.stdout)
            for answer in said
        ]
        return first_known(*free, NOT_RECORDED)

    def scheduling(self) -> Scheduling:
        return all_unavailable(Scheduling, NOT_RECORDED)

    def _of(self, program: str) -> Iterator[RecordedCommand]:
        return (entry for entry in self._commands if entry.program == program)

    def _uname(self, option: str) -> str:
        said = self.command(("uname", option))
        return "" if isinstance(said, Unavailable) else said.stdout.strip()

    def _sw_vers(self) -> Output | Unavailable:
        """The whole answer, put together from ``sw_vers -productVersion`` and its like."""
        options = {"-productVersion": "ProductVersion", "-buildVersion": "BuildVersion"}
        lines = [
            f"{options[entry.argv[1]]}:\t{entry.stdout.strip()}"
            for entry in self._of("sw_vers")
            if len(entry.argv) == 2 and entry.argv[1] in options and entry.exit == 0
        ]
        return Output(stdout="\n".join(lines)) if lines else NOT_RECORDED


# Any of these was recorded, any of these is asked for; the parsers read all of their forms.
_ALIKE = {
    "pmset": (
        ({"-g", "ps"}, {"-g", "batt"}),
        ({"-g"}, {"-g", "live"}, {"-g", "custom"}),
        ({"-g", "therm"}, {"-g", "thermlog"}),
    ),
    "uname": (({"-v"}, {"-a"}),),
}


def _penalty(program: str, asked: Sequence[str], recorded: Sequence[str]) -> int | None:
    """How far a recorded command is from the one asked for; None if it is another one."""
    if list(asked) == list(recorded):
        return 0
    if set(asked) == set(recorded):
        return 1
    if program == "system_profiler":
        kinds = {word for word in recorded if word.startswith("SP")}
        wanted = {word for word in asked if word.startswith("SP")}
        if not wanted <= kinds and kinds:
            return None
        return 2 if "-json" in recorded else 3
    if program == "memory_pressure" and set(recorded) == {"-Q"}:
        return 1  # tells less than without
    for group in _ALIKE.get(program, ()):
        if set(asked) in group and set(recorded) in group:
            return 2 + group.index(set(recorded))
    return None


def _sysctl_values(entry: RecordedCommand) -> dict[str, str]:
    """Values by name of one recorded ``sysctl``, with ``-n`` as well as without."""
    flags = "".join(word for word in entry.argv[1:] if word.startswith("-"))
    if "n" not in flags:
        return parse_sysctl(entry.stdout)
    unknown = set(re.findall(r"unknown oid '([^']*)'", entry.stderr))
    names = [word for word in entry.argv[1:] if not word.startswith("-") and word not in unknown]
    lines = entry.stdout.splitlines()
    if len(names) != len(lines):  # which value is whose cannot be told
        return {}
    return {name: line.strip() for name, line in zip(names, lines, strict=True) if line.strip()}


def _decoded(file: Path, kind: type[T], missing: T) -> T:
    """A file of a recording.

    Raises:
        UsageError: one line with the file, the key and what was expected.
    """
    try:
        return msgspec.json.decode(read_file(file, _MOST_BYTES), type=kind)
    except FileNotFoundError:
        return missing
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    except msgspec.ValidationError as error:
        message, _, key = str(error).partition(" - at ")
        where = key.strip("`").replace("$", "", 1).lstrip(".") or "the whole file"
        raise UsageError(f"{file}: {where}: {message[:1].lower()}{message[1:]}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: expected JSON ({error})") from None
