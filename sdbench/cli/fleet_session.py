"""What ``fleet run`` and ``fleet resume`` share: the connection, the screen, and the end."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from sdbench.analysis.run_summary import summary_of
from sdbench.cli.fleet_hosts import Hosts, check_hosts, run_on
from sdbench.cli.fleet_screen import Screen
from sdbench.cli.fleet_status import status_document
from sdbench.cli.output import console, print_json, print_next
from sdbench.cli.report import write_page
from sdbench.errors import UsageError
from sdbench.plan.config import Config
from sdbench.process.interrupt import InterruptFlag
from sdbench.runs import load_run
from sdbench.runs.secrets import holds_secret, is_secret_name
from sdbench.words import counted, shell

if TYPE_CHECKING:
    from sdbench.fleet.certificates import Role
    from sdbench.fleet.connection import Connection
    from sdbench.fleet.course import End
    from sdbench.fleet.fleet_folder import FleetFolder

    Way = Connection | Hosts

_EXIT_CODES = {"interrupted": 130, "no-machine": 3, "refused": 3, "held-back": 1}
_END_WORDS = {
    "interrupted": "stopped; all measurements are kept",
    "stopped": "stopped by sdbench fleet stop; all measurements are kept",
    "budget": "the time budget (max_minutes) is used up; the remaining processes were not run",
    "no-machine": "no machine was left to go on with; all measurements are kept",
    "refused": "no machine can take part",
    "held-back": (
        "the remaining slots are held back: three machines vanished under each of them, and "
        "nobody knows why; resume gives them again"
    ),
}
_NEEDED = ("dask", "distributed", "cryptography", "asyncssh")


def require_extra() -> None:
    """Refuse what needs Dask where it is not installed.

    Raises:
        UsageError: it is not; the message has the command.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{', '.join(missing)} not installed: pip install 'sdbench[fleet]'").then(
            "pip install 'sdbench[fleet]'"
        )


def check_config(config: Config) -> None:
    """Refuse what a fleet cannot do.

    Raises:
        UsageError: it goes on until decided, or has a secret to pass on.
    """
    if config.until_decided is not None:
        raise UsageError(
            f"{config.name}: until_decided: a fleet carries out a fixed plan; set replicates "
            "instead, or use sdbench run on one machine"
        )
    for arm in config.arm:
        for name, value in arm.env.items():
            if is_secret_name(name) or holds_secret(value):
                raise UsageError(
                    f"{config.name}: variant {arm.name} sets {name}, which looks like a secret: a "
                    "fleet passes none on; remove it there and set it in the environment of each "
                    "worker"
                )


def connection(
    address: str, certificates: Path | None, insecure: bool, role: "Role" = "client"
) -> "Connection":
    """How to reach the scheduler.

    Raises:
        UsageError: as of :func:`~sdbench.fleet.connection.connection_to`.
    """
    from sdbench.fleet.connection import connection_to

    return connection_to(address, certificates, role, insecure=insecure)


def way_to(
    scheduler: str | None,
    hosts: Path | None,
    certificates: Path | None,
    insecure: bool,
    config: Config,
    *,
    yes: bool,
) -> "Way":
    """The machines of a scheduler that runs already, or those of a file that ssh reaches.

    Raises:
        UsageError: not exactly one of the two is meant, or it is not what it should be.
        MachineError: no host can take part.
    """
    if hosts is not None and (scheduler is not None or certificates is not None or insecure):
        raise UsageError("--hosts makes its own scheduler and keys; expected it alone")
    if hosts is not None:
        return check_hosts(hosts, config, yes=yes)
    if scheduler is None:
        raise UsageError(
            "which machines? expected --scheduler ADDRESS of a Dask scheduler, or --hosts FILE "
            "with machines to reach by ssh"
        )
    return connection(scheduler, certificates, insecure)


def work(
    folder: "FleetFolder",
    way: "Way",
    machines: int,
    silent_s: float,
    patience_s: float,
    json_wanted: bool,
) -> int:
    """Work on a fleet to its end and show its runs; the exit code."""
    from sdbench.fleet.connection import quieten
    from sdbench.fleet.course import Settings
    from sdbench.fleet.engine import Engine

    quieten()
    settings = Settings(machines=machines, silent_s=silent_s, patience_s=patience_s)
    try:
        with InterruptFlag() as flag, Screen(console(err=True), folder) as screen:
            screen.says(f"Fleet {folder.fleet.fleet_id}, in {folder.path}")

            def engine(reached: "Connection") -> Engine:
                return Engine(folder, reached, screen, lambda: flag.requested, settings)

            if isinstance(way, Hosts):
                end = run_on(way, folder.fleet.fleet_id, engine, screen.says)
            else:
                end = engine(way).run()
    finally:
        folder.close()
    again = ("--hosts", way.file.path) if isinstance(way, Hosts) else ("--scheduler", "ADDRESS")
    return _finish(folder.path, end, again, json_wanted)


def _write_pages(path: Path, runs: list[Path], mode: str, out: Console) -> None:
    """One page that compares the machines, or one for each kind of them."""
    together = mode == "every" and len(runs) > 1
    pages = [write_page(path, runs)] if together else [write_page(run) for run in runs]
    for page in filter(None, pages):
        out.print(f"Report: {page}", markup=False, soft_wrap=True)


def _finish(path: Path, end: "End", again: tuple[object, ...], json_wanted: bool) -> int:
    document = status_document(path)
    if json_wanted:
        print_json({"end": end, **document}, lossy=True)
    out = console(err=True) if json_wanted else console(lossy=True)
    codes = []
    for run in document["runs"]:
        summary = summary_of(load_run(Path(run["path"])))
        codes.append(summary.exit_code)
        out.print(
            f"{run['title']}: {run['done']} of {counted(run['slots'], 'process', 'processes')} "
            f"recorded: {shell('sdbench', 'show', run['path'])}",
            markup=False,
            soft_wrap=True,
        )
    if end == "complete":
        _write_pages(path, [Path(run["path"]) for run in document["runs"]], document["mode"], out)
    if end in _END_WORDS:
        words = f"{_END_WORDS[end]}."
        console(err=True).print(words, markup=False, soft_wrap=True)
    if end != "complete":
        print_next("sdbench", "fleet", "resume", path, *again)
    # Where there is no run, nothing was measured.
    return _EXIT_CODES.get(end) or max(codes, default=1)
