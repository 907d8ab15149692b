"""A recording of another machine, which replaces every probe (``SDBENCH_MACHINE_RECORDING=DIR``).

``DIR/commands.json`` holds what system programs said, ``DIR/facts.json`` what Python and the system
calls would have said. What is in neither is unavailable.
"""

from typing import Any

import msgspec

VARIABLE = "SDBENCH_MACHINE_RECORDING"


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
    packages: dict[str, str] | None = None
    torch: RecordedTorch | None = None
    sysctl: dict[str, Any] = {}
    env: dict[str, str] = {}


class RecordedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of ``commands.json``; ``argv[0]`` is compared by its base name."""

    argv: list[str]
    stdout: str = ""
    stderr: str = ""
    exit: int = 0
    hang_s: float = 0
