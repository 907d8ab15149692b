"""The one command to go on with, which ends every exit that is not 0."""

import re
from collections.abc import Sequence

from sdbench.errors import MachineError, ModelError, SdbenchError, StoreError
from sdbench.words import close_to, shell

_ENDS_WITH_COMMAND = re.compile(r"\bsdbench [a-z]+[^;:]*$")
_WRITES_RUNS = ("run", "resume")


def with_next_step(message: str, error: BaseException, given: Sequence[str], verb: str) -> str:
    """An error's line with the command to go on with at its end, unless it ends with one.

    Args:
        message: what went wrong.
        error: decides the command, or names it (:meth:`SdbenchError.then`).
        given: the command line, without the program's name.
        verb: the verb in it, or an empty text.
    """
    named = error.next_command if isinstance(error, SdbenchError) else None
    if named is None and _ENDS_WITH_COMMAND.search(message):
        return message
    return f"{message.rstrip('.')}; next: {named or _usual(error, given, verb)}"


def _usual(error: BaseException, given: Sequence[str], verb: str) -> str:
    option = error.missing_option if isinstance(error, SdbenchError) else None
    if option is not None:
        return shell("sdbench", *given, option)
    if isinstance(error, KeyboardInterrupt):
        return shell("sdbench", *given)
    if isinstance(error, ModelError):
        return "sdbench models"
    if isinstance(error, StoreError) and verb not in _WRITES_RUNS:
        return "sdbench list"
    if isinstance(error, SdbenchError) and not isinstance(error, MachineError):
        return shell("sdbench", *([verb] if verb else []), "--help")
    return "sdbench doctor" if verb != "doctor" else "sdbench doctor --help"


def probably_meant(given: Sequence[str], verbs: Sequence[str]) -> str | None:
    """The command line with the verb that was probably meant; None where no verb is alike."""
    if not given:
        return None
    near = close_to(given[0], verbs)
    return shell("sdbench", near[0], *given[1:]) if near else None
