"""Where probes get their raw text: this machine, or a recording of another one.

Probes never start a program or read ``platform`` by themselves; they ask a :class:`System`, so that
one recording (``SDBENCH_MACHINE_RECORDING``) replaces them all.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from sdbench.machine.facts import Scheduling, Unavailable

COMMAND_LIMIT_S = 3.0
"""No command of ours needs a tenth of this; one that hangs must not hang doctor."""


Read = Callable[[str], str | Unavailable]
"""Reads a small text file by its path: :meth:`System.read`, or the sampler's quicker way."""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a program said."""

    stdout: str
    stderr: str = ""
    exit: int = 0


class System(Protocol):
    """A machine's answers."""

    simulated: bool

    def command(self, argv: Sequence[str]) -> Output | Unavailable:
        """Run a system program (no shell, absolute path, C locale, time limit)."""

    def sysctl(self, names: Sequence[str]) -> dict[str, str | Unavailable]:
        """Each of these values now, without its name."""

    def read(self, path: str) -> str | Unavailable:
        """A small text file such as those below ``/proc``; of a recording, what ``cat`` said."""

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, sorted; nothing where there is no such folder."""

    def name(self) -> str:
        """``platform.system()``."""

    def release(self) -> str | Unavailable:
        """``platform.release()``: the kernel's."""

    def machine(self) -> str:
        """``platform.machine()`` (``x86_64`` under Rosetta); empty if unknown."""

    def python_machine(self) -> str:
        """The architecture this Python was made for; empty if unknown."""

    def mac_version(self) -> str:
        """``platform.mac_ver()[0]``; empty elsewhere."""

    def free_disk_bytes(self, folder: Path) -> int | Unavailable:
        """Free space of the file system that holds a folder, which need not be there yet."""

    def scheduling(self) -> Scheduling:
        """How this process is ranked among others."""


def timed_out(program: str, limit_s: float = COMMAND_LIMIT_S) -> Unavailable:
    """Why there is no answer of a program that hangs."""
    return Unavailable(f"{program} did not answer within {limit_s:g} s")


def stdout_of(program: str, output: Output | Unavailable) -> str | Unavailable:
    """What a program printed, if it succeeded; its stderr may name things and is not quoted."""
    if isinstance(output, Unavailable):
        return output
    if output.exit != 0:
        return Unavailable(f"{program} ended with exit code {output.exit}")
    if not output.stdout.strip():
        return Unavailable(f"{program} said nothing")
    return output.stdout
