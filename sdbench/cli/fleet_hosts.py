"""``--hosts``: what ``fleet run`` and ``fleet resume`` do before and after they work by ssh."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sdbench.cli.output import console
from sdbench.errors import MachineError, UsageError
from sdbench.plan.config import Config
from sdbench.words import counted, printable

if TYPE_CHECKING:
    from sdbench.fleet.connection import Connection
    from sdbench.fleet.course import End
    from sdbench.fleet.engine import Engine
    from sdbench.fleet.host_check import FitHost
    from sdbench.fleet.host_setup import Environment
    from sdbench.fleet.hosts_file import HostsFile


@dataclass(frozen=True)
class Hosts:
    """The hosts of a file that can take part."""

    file: "HostsFile"
    fit: "tuple[FitHost, ...]"


def check_hosts(path: Path, config: Config, *, yes: bool) -> Hosts:
    """Look which hosts can take part, and install the environments that they need.

    Raises:
        UsageError: the file is wrong, its port is taken, or nobody agreed to an installation.
        MachineError: no host can take part.
    """
    from sdbench.fleet.connection import quieten
    from sdbench.fleet.host_check import UnfitHostError
    from sdbench.fleet.hosts_file import read_hosts
    from sdbench.fleet.ready_hosts import ready_hosts

    quieten()
    file = read_hosts(path)
    needs_torch = any(arm.stack == "current" for arm in config.arm)

    def agree(absent: "Sequence[Environment]") -> None:
        _agree(absent, yes)

    try:
        fit = asyncio.run(ready_hosts(file, needs_torch=needs_torch, agree=agree, say=_say))
    except UnfitHostError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{path}: port: {file.port} cannot be used here: {error}") from error
    if not fit:
        raise MachineError(
            f"{path}: none of {counted(len(file.hosts), 'host')} can take part"
        ).then(file.hosts[0].ssh_words)
    return Hosts(file, tuple(fit))


def run_on(
    hosts: Hosts,
    fleet_id: str,
    open_engine: "Callable[[Connection], Engine]",
    says: Callable[[str], None],
) -> "End":
    """Work on a fleet with a scheduler here and a worker on each host.

    Raises:
        UsageError: the scheduler's port is taken.
    """
    from sdbench.fleet.host_workers import workers_on

    async def work() -> "End":
        async with workers_on(hosts.fit, hosts.file, fleet_id, says) as connection:
            return await open_engine(connection).work()

    return asyncio.run(work())


def _agree(absent: "Sequence[Environment]", yes: bool) -> None:
    words = "; ".join(
        f"{one.host.name}: {one.stack}, about {(one.disk_bytes or 0) / 1e9:.1f} GB of disk"
        for one in absent
    )
    _say(f"To be installed by uv: {words}")
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{words}: to be installed, and nobody can be asked here").then_with(
            "--yes"
        )
    if not click.confirm("Install?", err=True):
        raise UsageError("not started")


def _say(words: str) -> None:
    console(err=True).print(printable(words), markup=False, soft_wrap=True)
