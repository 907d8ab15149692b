"""How the machines of a fleet talk: mutual TLS, because Dask moves pickles.

Whoever can talk to a Dask scheduler can run code on every worker, so a plain connection is only
for a scheduler on this machine, and has to be asked for.
"""

import ipaddress
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sdbench.errors import UsageError
from sdbench.fleet.certificates import CA_FILE, Role, files_of

if TYPE_CHECKING:
    from distributed import Client, Future
    from distributed.security import Security

TERMINAL = "the terminal program that sdbench was started from"
NO_PAGES = "127.0.0.1:0"
"""Where Dask's web server listens, which cannot be switched off and has no TLS."""
CONNECT_S = 10.0
"""How long one attempt to reach a scheduler takes."""


@dataclass(frozen=True)
class Connection:
    """A scheduler's address, and the folder with the certificates; None: no TLS."""

    address: str
    certificates: Path | None


def connection_to(
    address: str, certificates: Path | None, role: Role, *, insecure: bool
) -> Connection:
    """How to reach a scheduler.

    Raises:
        UsageError: the address is not one, is not encrypted without ``--insecure`` on loopback, or
            certificates are missing.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if host is None or port is None or parts.scheme not in ("tls", "tcp"):
        raise UsageError(
            f"{address}: expected the address of a Dask scheduler, like tls://host:8786"
        )
    if parts.scheme == "tcp":
        if not insecure or not _is_loopback(host):
            raise UsageError(
                f"{address}: without TLS anybody in the network could run programs on these "
                "machines; use tls:// with --certificates (sdbench fleet certificates DIR makes "
                "them), or --insecure with a scheduler on 127.0.0.1"
            )
        return Connection(address, None)
    if certificates is None:
        raise UsageError(
            f"{address}: add --certificates DIR, the folder with the certificates of the fleet "
            "(sdbench fleet certificates DIR makes it)"
        ).then_with("--certificates DIR")
    for file in (certificates / CA_FILE, *files_of(certificates, role)):
        if not file.is_file():
            raise UsageError(f"--certificates {certificates}: {file.name} is not there")
    return Connection(address, certificates)


def security_of(connection: Connection) -> "Security":
    """The certificates, as Dask needs them."""
    from distributed.security import Security

    if connection.certificates is None:
        return Security(require_encryption=False)
    pairs = {}
    for role in ("client", "worker", "scheduler"):
        certificate, key = files_of(connection.certificates, role)
        if certificate.is_file():
            pairs[f"tls_{role}_cert"] = str(certificate)
            pairs[f"tls_{role}_key"] = str(key)
    ca_file = str(connection.certificates / CA_FILE)
    return Security(tls_ca_file=ca_file, require_encryption=True, **pairs)


def new_client(connection: Connection) -> "Client":
    """A client of the scheduler, to be awaited, which nothing else uses by accident."""
    from distributed import Client

    client: Client = Client(
        connection.address,
        security=security_of(connection),
        asynchronous=True,
        set_as_default=False,
        timeout=CONNECT_S,
        name="sdbench-fleet",
    )
    return client


def no_route_words(error: BaseException | str, program: str, platform: str = sys.platform) -> str:
    """``No route to host`` and, on a Mac, the setting that may be the reason; else nothing.

    Args:
        error: an error of the network with whatever caused it, or its words.
        program: what the setting is about.
    """
    words: list[str] = [error] if isinstance(error, str) else []
    causes = set[int]()
    at = None if isinstance(error, str) else error
    while at is not None and id(at) not in causes:
        causes.add(id(at))
        number = getattr(at, "errno", None)
        words.append(f"[Errno {number}] {at}")
        at = at.__cause__ or at.__context__
    if not any(re.search(r"\[Errno (?:65|113)\]|No route to host", one) for one in words):
        return ""
    if platform != "darwin":
        return "No route to host"
    return (
        f"No route to host: macOS 15 and later answer so where {program} may not use the local "
        "network (ssh itself may): switch it on in System Settings, Privacy & Security, Local "
        "Network"
    )


def is_lost(future: "Future", error: Exception) -> bool:
    """Whether an answer will not come because worker or scheduler is gone.

    Otherwise the task itself raised the error, which may be an ``OSError`` too: a full disk, or a
    file that somebody has removed.
    """
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    return future.status != "error" or isinstance(error, (CommClosedError, KilledWorker))


def quieten() -> None:
    """Have Dask say nothing by itself: what matters is said by whoever uses it."""
    import distributed  # sets its loggers up when it is imported

    assert distributed
    logging.getLogger("distributed").setLevel(logging.CRITICAL)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
