"""The file of ``--hosts``: which machines to use by ssh, and what to run sdbench with there.

Everything that later stands in a command line on a host, or in the settings of ssh, is checked
here: only ``python`` is free text, and that is quoted where it is used.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdbench.errors import ConfigError, UsageError
from sdbench.files.toml import TomlError, read_toml
from sdbench.stacks.catalogue import shipped_stacks
from sdbench.words import did_you_mean, shell

DEFAULT_PYTHON = "python3"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_SCOPE = re.compile(r"[A-Za-z0-9._-]{0,32}")
_MOST_HOSTS = 1000


@dataclass(frozen=True)
class Host:
    """A machine that ssh reaches; None: as the user's ssh configuration says.

    Exactly one of ``python`` (an interpreter there) and ``stack`` (an environment that uv makes
    there) is given. ``address`` is this machine's, as that host reaches it.
    """

    name: str
    host: str
    user: str | None = None
    port: int | None = None
    python: str | None = DEFAULT_PYTHON
    stack: str | None = None
    address: str | None = None

    @property
    def ssh_words(self) -> str:
        """The command with which a person reaches it."""
        port = () if self.port is None else ("-p", self.port)
        return shell("ssh", *port, self.target)

    @property
    def target(self) -> str:
        """``user@host``."""
        return self.host if self.user is None else f"{self.user}@{self.host}"


@dataclass(frozen=True)
class HostsFile:
    """What the file says. ``port``: where the scheduler listens here; None: any free one."""

    path: Path
    hosts: tuple[Host, ...]
    port: int | None = None
    known_hosts: Path | None = None


def read_hosts(path: Path) -> HostsFile:
    """The machines of a file.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        ConfigError: a value is not what it should be; says file, key and what was expected.
    """
    try:
        document = read_toml(path)
    except FileNotFoundError:
        raise UsageError(f"--hosts {path}: no such file") from None
    except TomlError as error:
        raise ConfigError(str(path), "", str(error)) from None
    table = _Table(path, "", document)
    table.refuse_others(("address", "port", "known_hosts", "host"))
    address = table.text("address", is_host, _ADDRESS_WORDS)
    known_hosts = table.text("known_hosts", _is_path, "expected the path of a known_hosts file")
    hosts = tuple(_hosts(path, document.get("host"), address))
    _refuse_same_names(path, hosts)
    return HostsFile(
        path=path,
        hosts=hosts,
        port=table.port(),
        known_hosts=None if known_hosts is None else _found(path, known_hosts),
    )


def is_host(text: str) -> bool:
    """Whether a text is a host's name or address: nothing that a shell or ssh could take apart."""
    if _HOST_NAME.fullmatch(text):
        return True
    address, _, scope = text.partition("%")
    try:
        return bool(_SCOPE.fullmatch(scope)) and ipaddress.ip_address(address).version == 6
    except ValueError:
        return False


_HOST_WORDS = 'expected a name or address like "studio.local" or "192.168.1.20"'
_ADDRESS_WORDS = f"{_HOST_WORDS}, without a port, at which the hosts reach this machine"


def _hosts(path: Path, entries: object, address: str | None) -> Iterable[Host]:
    if not isinstance(entries, list) or not entries or len(entries) > _MOST_HOSTS:
        raise ConfigError(
            str(path), "host", f"expected 1 to {_MOST_HOSTS} tables, each beginning with [[host]]"
        )
    for number, entry in enumerate(entries, start=1):
        key = f"host[{number}]"
        if not isinstance(entry, dict):
            raise ConfigError(str(path), key, "expected a table, beginning with [[host]]")
        yield _host(_Table(path, f"{key}.", entry), address)


def _host(table: "_Table", address: str | None) -> Host:
    table.refuse_others(("name", "host", "user", "port", "python", "stack", "address"))
    host = table.text("host", is_host, _HOST_WORDS)
    if host is None:
        raise table.error("host", f"missing; {_HOST_WORDS}")
    name_words = "expected letters, digits, dots, dashes and underscores, at most 64" + (
        "" if "name" in table.values else " (it is host's value; add a name)"
    )
    name = table.text("name", _NAME.fullmatch, name_words, default=host)
    assert name is not None
    python = table.text("python", _is_path, "expected the path of a Python on the host")
    stack = table.text("stack", shipped_stacks().__contains__, _stack_words(table))
    if python is not None and stack is not None:
        raise table.error("stack", "there is python, too; expected only one of the two")
    return Host(
        name=name,
        host=host,
        user=table.text("user", _USER.fullmatch, 'expected a user name like "me"'),
        port=table.port(),
        python=python or (DEFAULT_PYTHON if stack is None else None),
        stack=stack,
        address=table.text("address", is_host, _ADDRESS_WORDS, default=address),
    )


def _stack_words(table: "_Table") -> str:
    stack = table.values.get("stack")
    meant = did_you_mean(stack, shipped_stacks()) if isinstance(stack, str) else ""
    return f"{meant}expected one of {', '.join(shipped_stacks())}"


def _is_path(text: str) -> bool:
    return bool(text) and len(text) <= 1000 and text.isprintable() and not text.startswith("-")


def _found(path: Path, known_hosts: str) -> Path:
    found = path.parent / Path(known_hosts).expanduser()
    if not found.is_file():
        raise ConfigError(str(path), "known_hosts", f"{found} is not there; expected a file")
    return found


def _refuse_same_names(path: Path, hosts: tuple[Host, ...]) -> None:
    seen: dict[str, int] = {}
    for number, host in enumerate(hosts, start=1):
        if host.name in seen:
            raise ConfigError(
                str(path),
                f"host[{number}].name",
                f"{host.name} is the name of host[{seen[host.name]}], too; expected another one",
            )
        seen[host.name] = number


@dataclass(frozen=True)
class _Table:
    """A table of the file, and how its keys are called in messages."""

    path: Path
    prefix: str
    values: dict[str, Any]

    def error(self, key: str, words: str) -> ConfigError:
        return ConfigError(str(self.path), self.prefix + key, words)

    def refuse_others(self, known: tuple[str, ...]) -> None:
        for key in self.values:
            if key not in known:
                meant = did_you_mean(key, known)
                raise self.error(key, f"unknown key; {meant}expected {', '.join(known)}")

    def text(
        self,
        key: str,
        fits: Callable[[str], object],
        words: str,
        *,
        default: str | None = None,
    ) -> str | None:
        value = self.values.get(key, default)
        if value is None:
            return None
        if not isinstance(value, str) or not fits(value):
            raise self.error(key, f"{value!r:.100}: {words}")
        return value

    def port(self) -> int | None:
        value = self.values.get("port")
        if value is None:
            return None
        if type(value) is not int or not 1 <= value <= 65535:
            raise self.error("port", f"{value!r:.100}: expected a port, 1 to 65535")
        return value
