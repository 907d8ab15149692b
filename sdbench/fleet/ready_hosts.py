"""All hosts of a file at once: reached, with the environments they need, and checked."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from sdbench.fleet.host_check import FitHost, UnfitHostError, check_host, connect, load_known_hosts
from sdbench.fleet.host_setup import Environment, find_environment, install
from sdbench.fleet.hosts_file import Host, HostsFile

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

Say = Callable[[str], None]
T = TypeVar("T")


async def ready_hosts(
    file: HostsFile, *, needs_torch: bool, agree: Callable[[Sequence[Environment]], None], say: Say
) -> list[FitHost]:
    """The hosts that can take part, in the order of the file; a line each is said.

    ``agree`` is asked before environments are installed; what it raises ends everything.

    Raises:
        UnfitHostError: a known_hosts file cannot be read.
        OSError: the port that the hosts are to reach is taken.
    """
    known = load_known_hosts(file)
    connections: dict[Host, SSHClientConnection] = {}

    async def reach(host: Host) -> None:
        connections[host] = await connect(host, known)

    async with _listening(file.port) as port:
        try:
            await _each(file.hosts, reach, say)
            pythons = await _environments(connections, agree, say)

            async def check(host: Host) -> FitHost:
                fit = await check_host(
                    host, connections[host], pythons[host], port, needs_torch=needs_torch
                )
                say(f"{host.name}: {fit.words}")
                return fit

            return await _each([host for host in file.hosts if host in pythons], check, say)
        finally:
            for connection in connections.values():
                connection.close()


async def _environments(
    connections: dict[Host, "SSHClientConnection"],
    agree: Callable[[Sequence[Environment]], None],
    say: Say,
) -> dict[Host, str]:
    """The interpreter of each host; environments that are not there are installed."""
    pythons = {host: host.python for host in connections if host.python is not None}

    async def find(host: Host) -> Environment:
        return await find_environment(host, connections[host])

    found = await _each([host for host in connections if host.stack is not None], find, say)
    absent = [environment for environment in found if environment.disk_bytes is not None]
    if absent:
        agree(absent)

    async def prepare(environment: Environment) -> None:
        if environment.disk_bytes is not None:
            say(f"{environment.host.name}: uv installs {environment.stack} there")
            await install(environment, connections[environment.host])
        pythons[environment.host] = environment.python

    await _each(found, prepare, say, lambda environment: environment.host)
    return pythons


S = TypeVar("S")


async def _each(
    subjects: Sequence[S],
    what: Callable[[S], Awaitable[T]],
    say: Say,
    host_of: Callable[[S], Host] = lambda subject: subject,  # type: ignore[assignment,return-value]
) -> list[T]:
    """What came of it for each that it could be done with; the others are said to be left out."""

    async def one(subject: S) -> list[T]:
        try:
            return [await what(subject)]
        except UnfitHostError as error:
            say(f"{host_of(subject).name} is left out: {error}")
            return []

    done = await asyncio.gather(*map(one, subjects))
    return [result for results in done for result in results]


@contextlib.asynccontextmanager
async def _listening(port: int | None) -> AsyncIterator[int]:
    """A port of this machine that answers and does nothing."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    both = socket.has_dualstack_ipv6()
    listening = socket.create_server(
        ("", port or 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
    )
    server = await asyncio.start_server(answer, sock=listening)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()
