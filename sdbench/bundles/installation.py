"""The random id and the salt of this installation, made once: what is shared names no machine.

A run's own ``machine_id`` is a digest of the machine's identifier, so whoever knows that identifier
could recognise it. In a bundle stands a random id instead, which is the same in all bundles of this
installation.
"""

import hashlib
import re
import secrets
from typing import Annotated

import msgspec

from sdbench import machine
from sdbench.errors import StoreError
from sdbench.files.access import MIB, make_folder, read_file, write_file
from sdbench.files.user_folders import state_folder

_FILE = "sharing.json"
_DIGITS = 16
_Hexadecimal = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_SHARED = re.compile(rf"[mb]-[0-9a-f]{{{_DIGITS}}}")


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """``salt`` never leaves this machine; ``made_on`` is the salted hash of its recorded id.

    A home folder that is moved to a new machine takes both along, so the new one is another.
    """

    machine_id: Annotated[str, msgspec.Meta(pattern=r"^m-[0-9a-f]{16}\Z")]
    salt: _Hexadecimal
    made_on: str = ""

    def machine(self, recorded: str) -> str:
        """The id under which a machine is shared: the random one of the machine it was made on.

        Another machine's id is replaced by a salted hash; an id that was shared stays.
        """
        hidden = self.hidden_machine(recorded)
        return self.machine_id if hidden == self.made_on else hidden

    def hidden_machine(self, recorded: str) -> str:
        """The salted hash of a machine's recorded id."""
        return self._hidden("m", recorded)

    def boot(self, recorded: str) -> str:
        """What stands for the id of a start of a machine: equal ones stay equal."""
        return self._hidden("b", recorded)

    def _hidden(self, kind: str, recorded: str) -> str:
        if _SHARED.fullmatch(recorded):
            return recorded
        digest = hashlib.sha256(f"{self.salt}{kind}{recorded}".encode()).hexdigest()
        return f"{kind}-{digest[:_DIGITS]}"


def kept_installation() -> Installation | None:
    """The id and the salt of this installation; None where it has shared nothing yet.

    Raises:
        StoreError: they cannot be read.
    """
    path = state_folder() / _FILE
    try:
        return msgspec.json.decode(read_file(path, MIB), type=Installation)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise StoreError(
            f"{path}: expected the random id and salt of this installation; remove the file to "
            "get new ones"
        ) from None


def this_installation() -> Installation:
    """The id and the salt of this installation, made now if it has none.

    Raises:
        StoreError: they cannot be read, or not be kept for the next time.
    """
    found = kept_installation()
    if found is not None:
        return found
    path = state_folder() / _FILE
    made = Installation(
        machine_id=f"m-{secrets.token_hex(_DIGITS // 2)}", salt=secrets.token_hex(32)
    )
    made = msgspec.structs.replace(made, made_on=made.hidden_machine(machine.machine_id()))
    try:
        make_folder(state_folder(), 0o700)
        write_file(path, msgspec.json.encode(made))
        path.chmod(0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
    return made
