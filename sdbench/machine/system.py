"""Where probes get their raw text: this machine, or a recording of another one.

Probes never start a program or read ``platform`` by themselves; they ask a :class:`System`, so that
one recording (``SDBENCH_MACHINE_RECORDING``) replaces them all.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from sdbench.machine.facts import Unavailable

COMMAND_LIMIT_S = 3.0
"""No command of ours needs a tenth of this; one that hangs must not hang doctor."""


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

    def sysctl(self, name: str) -> str | Unavailable:
        """One value by its name, without the name."""

    def read(self, path: str) -> str | Unavailable:
        """A small text file such as those below ``/proc``; never one of a recording's machine."""

    def name(self) -> str:
        """``platform.system()``."""

    def machine(self) -> str:
        """``platform.machine()`` of this process (``x86_64`` under Rosetta)."""

    def mac_version(self) -> str:
        """``platform.mac_ver()[0]``; empty elsewhere."""
