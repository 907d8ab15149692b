"""What can go wrong, as one small tree; each class knows its exit code.

SdbenchError            1  something failed after the work began
├── UsageError          2  wrong usage or configuration: one clear line, no traceback
│   └── ConfigError     2  a configuration file or key; says file, key, what was expected
└── MachineError        3  this machine or environment cannot run it at all
    ├── ModelError      3  the model cannot be had or is not what it should be
    └── StoreError      3  the results cannot be written or read
"""

from typing import TypeVar

__all__ = [
    "ConfigError",
    "MachineError",
    "ModelError",
    "SdbenchError",
    "StoreError",
    "UsageError",
]


_Error = TypeVar("_Error", bound="SdbenchError")


class SdbenchError(Exception):
    """Anything sdbench reports to the user in one line.

    ``next_command`` is the command to go on with, ``missing_option`` the option that the same
    command line lacks; where both are None the command line chooses.
    """

    exit_code = 1
    next_command: str | None = None
    missing_option: str | None = None

    def then(self: _Error, command: str) -> _Error:
        """The same error, with the command to go on with."""
        self.next_command = command
        return self

    def then_with(self: _Error, option: str) -> _Error:
        """The same error, where the same command line with this option goes on."""
        self.missing_option = option
        return self


class UsageError(SdbenchError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration says something that cannot be."""

    def __init__(self, source: str, key: str, expected: str) -> None:
        where = f"{source}: {key}" if key else source
        super().__init__(f"{where}: {expected}")


class MachineError(SdbenchError):
    """This machine or environment cannot run what was asked."""

    exit_code = 3


class ModelError(MachineError):
    """A model cannot be built, found or trusted."""


class StoreError(MachineError):
    """A run folder cannot be written or read."""
