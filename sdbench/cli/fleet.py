"""``sdbench fleet``."""

from pathlib import Path
from typing import Any

import click

from sdbench import __version__
from sdbench.cli.completion import complete_axis_value, complete_config, complete_key
from sdbench.cli.fleet_options import (
    certificates_option,
    fleet_argument,
    hosts_option,
    insecure_option,
    machines_option,
    patience_option,
    scheduler_option,
    silent_option,
    yes_option,
)
from sdbench.cli.fleet_session import check_config, connection, require_extra, way_to, work
from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.errors import UsageError
from sdbench.runner.prepare import require_room
from sdbench.runner.request import Request, configure
from sdbench.words import printable


@click.group(name="fleet")
def command() -> None:
    """Measure one configuration on many machines: run, worker, certificates, status, resume, stop.

    The machines run Dask workers, which are started by ssh (`--hosts`) or by `sdbench fleet
    worker`; this machine hands them the slots of the plan, one at a time, and keeps every result. A
    machine that vanishes, a scheduler that restarts and a client that is killed cost time and no
    result.

    Needs Dask: pip install 'sdbench[fleet]'. For two or three machines, `sdbench run` on each and
    `sdbench compare` need no engine at all. run, resume and status print a document with --json.

    \b
    sdbench fleet run quick --hosts hosts.toml        by ssh; nothing is to be started elsewhere

    \b
    sdbench fleet certificates certs                  or with a scheduler that stays;
    dask scheduler --protocol tls --tls-ca-file certs/ca.pem \\
      --tls-cert certs/scheduler.pem --tls-key certs/scheduler-key.pem
    sdbench fleet worker tls://HOST:8786 --certificates certs         on every machine
    sdbench fleet run quick --scheduler tls://HOST:8786 --certificates certs
    """


@command.command(name="run", short_help="Measure a configuration on many machines.")
@click.argument("config", shell_complete=complete_config)
@scheduler_option
@hosts_option
@certificates_option
@insecure_option
@click.option(
    "--mode",
    type=click.Choice(["split", "every"]),
    default="split",
    show_default=True,
    help="split: machines of one kind share the plan, one run for each kind. every: each machine "
    "carries out the whole plan, one run for each machine.",
)
@results_option
@click.option("--model", help="Model, as of sdbench run. [default: from the configuration]")
@click.option(
    "--device",
    type=click.Choice(["auto", "mps", "cuda", "cpu"]),
    help="Device to measure. [default: from the configuration]",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_key,
    help="Change one key of the configuration, as of sdbench run.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="AXIS=V[,V]",
    shell_complete=complete_axis_value,
    help="Keep only these cases, as of sdbench run.",
)
@click.option("--label", help="Label of the runs, at most 200 characters.")
@click.option("--allow-pickle", is_flag=True, help="Also read weights in pickle files.")
@machines_option
@silent_option
@patience_option
@yes_option
@json_option
def run_command(
    config: str,
    scheduler: str | None,
    hosts: Path | None,
    certificates: Path | None,
    insecure: bool,
    mode: Any,
    root: Path,
    model: str | None,
    device: str | None,
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    label: str | None,
    allow_pickle: bool,
    machines: int,
    silent_s: float,
    patience_s: float,
    yes: bool,
    as_json: bool,
) -> int:
    """Measure a configuration on the machines of a file (--hosts) or of a scheduler.

    --hosts FILE has a table `[[host]]` for each machine: `host`, and as needed `name`, `user`,
    `port`, and `python` (a path there) or `stack` (an environment that uv installs there, if you
    agree). Host keys must be in known_hosts. Each host is checked before anything begins, and a
    line says what is missing. Keys for this run are made here and removed from the hosts at the
    end; a connection that is cut is made again.

    CONFIG is the name of a shipped configuration or the path of a TOML file. Results go to a new
    folder in the results folder, with one ordinary run folder for each kind of machine (--mode
    split) or each machine (--mode every); show, diagnose, compare, report and bundle work on them.

    Machines are of one kind if chip, memory, system, device, versions, variables and model are the
    same. In mode split, processes that are compared with each other run on the same machine: with
    replicates for a verdict, each block is measured by one machine, so a plan of 3 replicates keeps
    at most 3 machines of a kind busy.

    Exits with 1 if a case did not complete, 3 if no machine could take part or was left.
    """
    require_extra()
    from sdbench.fleet.fleet_folder import FleetFolder
    from sdbench.fleet.messages import Plan

    request = Request(config=config, model=model, device=device, overrides=overrides)
    settled = configure(request, config)
    check_config(settled)
    require_room(root, settled)
    way = way_to(scheduler, hosts, certificates, insecure, settled, yes=yes)
    plan = Plan(
        sdbench=__version__,
        config=settled,
        only=only,
        label=label,
        allow_pickle=allow_pickle,
        yes=yes,
    )
    folder = FleetFolder.create(root, plan, mode)
    return work(folder, way, machines, silent_s, patience_s, as_json)


@command.command(name="resume", short_help="Continue a fleet that was stopped or killed.")
@fleet_argument
@scheduler_option
@hosts_option
@certificates_option
@insecure_option
@results_option
@machines_option
@silent_option
@patience_option
@yes_option
@json_option
def resume_command(
    fleet: str,
    scheduler: str | None,
    hosts: Path | None,
    certificates: Path | None,
    insecure: bool,
    root: Path,
    machines: int,
    silent_s: float,
    patience_s: float,
    yes: bool,
    as_json: bool,
) -> int:
    """Continue a fleet that was stopped or killed, with whatever machines are there.

    FLEET is a fleet's path, its id, the beginning of its id, or 'latest'. What is recorded is not
    repeated.
    """
    require_extra()
    from sdbench.fleet.fleet_file import find_fleet, read_fleet, require_own
    from sdbench.fleet.fleet_folder import FleetFolder

    path = find_fleet(root, fleet)
    config = read_fleet(path).plan.config
    require_own(path)
    way = way_to(scheduler, hosts, certificates, insecure, config, yes=yes)
    return work(FleetFolder.open(path), way, machines, silent_s, patience_s, as_json)


@command.command(name="worker", short_help="Let this machine measure for a scheduler.")
@click.argument("scheduler", metavar="ADDRESS")
@certificates_option
@insecure_option
@click.option("--name", help="Name of the worker. [default: its address]")
def worker_command(
    scheduler: str, certificates: Path | None, insecure: bool, name: str | None
) -> int:
    """Let this machine measure for the scheduler at ADDRESS, until Ctrl-C.

    Starts a Dask worker with one thread and the resource sdbench=1, with Dask's profiler and memory
    limit off, and the machine's facts as its metadata. It is started again when it is killed, and
    waits for a scheduler that is not there. Several workers on one machine take turns.

    Whoever holds the fleet's keys can run programs here as this user.
    """
    require_extra()
    from sdbench.fleet.connection import quieten
    from sdbench.fleet.serve import serve

    quieten()
    out = console(err=True)
    reached = connection(scheduler, certificates, insecure, role="worker")
    serve(reached, name, lambda words: out.print(printable(words), markup=False, soft_wrap=True))
    return 0


@command.command(name="certificates", short_help="Make the keys that a fleet's machines need.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
def certificates_command(folder: Path) -> int:
    """Make a certificate authority in DIR, and certificates and keys for scheduler, worker, client.

    Files are readable by their owner only and valid for a year; nothing is overwritten. A worker
    needs ca.pem, worker.pem and worker-key.pem; ca-key.pem can stay on one machine.
    """
    require_extra()
    from sdbench.fleet.certificates import make_certificates

    for path in make_certificates(folder):
        console().print(str(path), markup=False, soft_wrap=True)
    return 0


@command.command(name="status", short_help="Show how far a fleet is.")
@fleet_argument
@results_option
@json_option
def status_command(fleet: str, root: Path, as_json: bool) -> int:
    """Show how far a fleet is: its runs, its machines, and what each is doing.

    FLEET is a fleet's path, its id, the beginning of its id, or 'latest'. Needs no Dask.
    """
    from sdbench.cli.fleet_status import show_status, status_document
    from sdbench.fleet.fleet_file import find_fleet

    document = status_document(find_fleet(root, fleet))
    if as_json:
        print_json(document)
    else:
        show_status(document, console())
    return 0


@command.command(name="stop", short_help="Stop a fleet from another terminal.")
@fleet_argument
@results_option
def stop_command(fleet: str, root: Path) -> int:
    """Stop the process that works on a fleet; results are kept, and resume continues it.

    FLEET is a fleet's path, its id, the beginning of its id, or 'latest'.
    """
    from sdbench.fleet.fleet_file import ask_to_stop, find_fleet, is_at_work

    path = find_fleet(root, fleet)
    if not is_at_work(path):
        raise UsageError(f"{path}: no process is working on this fleet")
    ask_to_stop(path)
    console().print(f"{path.name} was asked to stop.", markup=False, soft_wrap=True)
    return 0
