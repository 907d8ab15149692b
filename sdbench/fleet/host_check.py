"""Whether a host can take part, found out before anything begins, in words and with what to do."""

import asyncio
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbench import __version__
from sdbench.errors import MachineError
from sdbench.fleet.connection import TERMINAL, no_route_words
from sdbench.fleet.hosts_file import Host, HostsFile
from sdbench.words import shell, shortened

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHKnownHosts

CONNECT_S = 15.0
_PROBE_S = 90.0
_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
# Read from standard input by the Python on the host, so nothing of it is in a command line.
_PROBE = """
import json, socket, sys
found = {"python": "%d.%d.%d" % sys.version_info[:3], "sdbench": None, "torch": None}
try:
    from importlib import metadata, util
    found["missing"] = [name for name in ("dask", "distributed") if util.find_spec(name) is None]
    for name in ("sdbench", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    import sdbench
    found["sdbench"] = sdbench.__version__
except Exception:
    pass
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 10).close()
except OSError as error:
    found["unreached"] = [error.errno, str(error)]
print("\\nsdbench-probe " + json.dumps(found))
"""


class UnfitHostError(MachineError):
    """A host cannot take part; the message says why, and what to do, in one line."""


@dataclass(frozen=True)
class FitHost:
    """A host that can take part; ``address`` is this machine's, as the host reaches it."""

    host: Host
    python: str
    address: str
    words: str


def load_known_hosts(file: HostsFile) -> "SSHKnownHosts":
    """The host keys that are trusted: those of the file that is named, else the user's own.

    Always an object, even of no keys: ssh's settings can then not switch the check off.

    Raises:
        UnfitHostError: a file cannot be read.
    """
    import asyncssh

    own = Path("~/.ssh/known_hosts").expanduser()
    paths = (own, _SYSTEM_KNOWN_HOSTS) if file.known_hosts is None else (file.known_hosts,)
    known = asyncssh.SSHKnownHosts()
    for path in paths:
        try:
            if path.is_file():
                known.load(path.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError) as error:
            raise UnfitHostError(f"{path}: cannot be read as known_hosts: {error}") from error
    return known


def connect_options(host: Host, known: "SSHKnownHosts") -> dict[str, Any]:
    """What asyncssh is given; all else is as in the user's ssh configuration."""
    options: dict[str, Any] = {
        "known_hosts": known,
        "connect_timeout": CONNECT_S,
        "login_timeout": CONNECT_S,
        "keepalive_interval": 10,
        "keepalive_count_max": 3,
    }
    if host.user is not None:
        options["username"] = host.user
    if host.port is not None:
        options["port"] = host.port
    return options


async def connect(host: Host, known: "SSHKnownHosts") -> "SSHClientConnection":
    """A connection to a host whose key is known.

    Raises:
        UnfitHostError: there is none.
    """
    import asyncssh

    try:
        return await asyncssh.connect(host.host, **connect_options(host, known))
    except (OSError, asyncssh.Error, asyncio.TimeoutError, ValueError) as error:
        raise UnfitHostError(why_not_connected(host, error)) from error


def why_not_connected(host: Host, error: Exception, platform: str = sys.platform) -> str:
    """Why ssh does not reach a host, and what to do."""
    import asyncssh

    words = shortened(" ".join(str(error).split()) or type(error).__name__, 200)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return (
            "its host key is not in known_hosts, or is another one than there: connect once and "
            f"compare the key: {host.ssh_words}"
        )
    if isinstance(error, asyncssh.PermissionDenied):
        keys = host.ssh_words.replace("ssh ", "ssh-copy-id ", 1)
        return (
            f"permission denied, no key was accepted: {keys}; for a key with a passphrase, ssh-add"
        )
    if no_route := no_route_words(error, TERMINAL, platform):
        return no_route
    if isinstance(error, ConnectionRefusedError) or "refused" in words:
        return (
            f"nothing answers on its ssh port ({words}): switch ssh on there (on a Mac: System "
            "Settings, General, Sharing, Remote Login)"
        )
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return f"no answer within {CONNECT_S:.0f} s: is it on, and does {host.ssh_words} work?"
    if type(error).__name__ == "gaierror":
        return f"its name is not known here ({words}): {host.ssh_words}"
    return f"no ssh connection ({words}): {host.ssh_words}"


async def check_host(
    host: Host,
    connection: "SSHClientConnection",
    python: str,
    port: int,
    *,
    needs_torch: bool,
) -> FitHost:
    """Look what a host has, and whether it reaches a port of this machine.

    Raises:
        UnfitHostError: something is missing.
    """
    address = host.address or own_address(connection)
    command = f"{shell_word(python)} {shlex.join(['-', address, str(port)])}"
    try:
        done = await asyncio.wait_for(connection.run(command, input=_PROBE), _PROBE_S)
    except Exception as error:
        words = " ".join(str(error).split()) or type(error).__name__
        raise UnfitHostError(f"its Python could not be asked: {words}") from error
    found = _found(str(done.stdout or ""))
    if found is None:
        said = str(done.stderr or "").strip().splitlines()
        raise UnfitHostError(
            f"{python} does not run there ({shortened(said[-1], 120) if said else 'no answer'}): "
            "name an interpreter with `python`, or an environment to install with `stack`"
        )
    problem = why_unfit(host, python, found, needs_torch=needs_torch) or _unreached(
        address, port, found
    )
    if problem is not None:
        raise UnfitHostError(problem)
    torch = f"torch {found['torch']}" if found.get("torch") else "no torch"
    key = connection.get_server_host_key()
    algorithm = "" if key is None else f" ({key.get_algorithm()})"
    words = (
        f"reached as {connection.get_extra_info('username')}, host key known{algorithm}; Python "
        f"{found['python']}, sdbench {found['sdbench']}, {torch}; it reaches {address}"
    )
    return FitHost(host, python, address, words)


def shell_word(python: str) -> str:
    """An interpreter as a word for the shell there, which expands nothing of it but a ``~/``."""
    if python.startswith("~/"):
        return f'"$HOME"/{shlex.quote(python[2:])}'
    return shlex.quote(python)


def own_address(connection: "SSHClientConnection") -> str:
    """This machine's address on the way to a host, without the scope that only it knows.

    Raises:
        UnfitHostError: it is not known, because ssh goes through another machine or program.
    """
    name = connection.get_extra_info("sockname")
    if not isinstance(name, tuple) or not name or not name[0]:
        raise UnfitHostError(
            "it is reached through another machine or program: set address in the hosts file, at "
            "which it reaches this machine"
        )
    return str(name[0]).partition("%")[0]


def why_unfit(host: Host, python: str, found: dict[str, Any], *, needs_torch: bool) -> str | None:
    """What a host's Python lacks, and how to get it; None: nothing."""
    wanted = f"sdbench[fleet]=={__version__}"
    there_words = f"Python {found['python']} at {python}"
    if found.get("sdbench") is None:
        return f"no sdbench in {there_words}: {_install(host, python, wanted)}"
    if found["sdbench"] != __version__:
        return (
            f"it has sdbench {found['sdbench']}, and here is {__version__}: "
            f"{_install(host, python, wanted)}"
        )
    if found.get("missing"):
        return (
            f"no {', '.join(found['missing'])} in {there_words}: {_install(host, python, wanted)}"
        )
    if needs_torch and found.get("torch") is None:
        wanted = f"sdbench[fleet,torch]=={__version__}"
        return f"no torch in {there_words}: {_install(host, python, wanted)}"
    return None


def _install(host: Host, python: str, wanted: str) -> str:
    """The command that a person types here; what is for the host is quoted twice."""
    command = f"{shell_word(python)} {shell('-m', 'pip', 'install', wanted)}"
    return f"{host.ssh_words} {shlex.quote(command)}"


def _unreached(address: str, port: int, found: dict[str, Any]) -> str | None:
    if "unreached" not in found:
        return None
    number, words = found["unreached"]
    platform = "darwin" if number == 65 else "linux"
    said = no_route_words(f"[Errno {number}]", "what runs Python there", platform)
    said = said or shortened(str(words), 120)
    return (
        f"it does not reach this machine at {address}, port {port} ({said}): set address in the "
        "hosts file, and port where a firewall lets only one in"
    )


def _found(output: str) -> dict[str, Any] | None:
    """The probe's last line; a login shell may have said something before it."""
    for line in reversed(output.splitlines()):
        if line.startswith("sdbench-probe "):
            try:
                found = json.loads(line.partition(" ")[2])
            except ValueError:
                return None
            return found if isinstance(found, dict) and "python" in found else None
    return None
