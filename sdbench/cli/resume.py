"""``sdbench resume``."""

import dataclasses
import os
import sys
from pathlib import Path

import click
import msgspec

from sdbench.cli.completion import complete_run
from sdbench.cli.devices import devices_again, measure_on
from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console
from sdbench.cli.session import end_with, exit_code, finish, say_if_not_noted, watcher_for
from sdbench.errors import UsageError
from sdbench.privacy.redact_recorded import hidden_run, shown_run
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import Run
from sdbench.runner.prepare import check_resumable, check_same_machine, require_room, same_model
from sdbench.runner.resume import remaining_slots, undecided, with_put_off_again
from sdbench.runner.session import config_of, run_session, with_new_sitting
from sdbench.runner.strangers_run import adopted, what_it_decides
from sdbench.runs import LoadedRun, RunFolder, find_run
from sdbench.runs.reading import FLEET_FILE
from sdbench.words import printable, shell


@click.command(name="resume")
@click.argument("run", shell_complete=complete_run)
@results_option
@click.option(
    "--retry", is_flag=True, help="Also repeat replicates that crashed, failed or timed out."
)
@click.option(
    "--trust",
    is_flag=True,
    help="Resume a run that this installation did not make without asking. [default: ask]",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help="Also read weights in pickle files. [default: as the run began, if it is your own]",
)
@json_option
def command(
    run: str, root: Path, retry: bool, trust: bool, allow_pickle: bool, as_json: bool
) -> int:
    """Continue a run that was interrupted, killed, or out of time.

    RUN is a run's path, its id, the beginning of its id, or 'latest'. Finished processes, including
    crashed ones, are not repeated unless --retry is given. The machine and the installed versions
    must be the same as at the beginning of the run.

    A run that another installation of sdbench made, or whose run.json was changed, cannot decide
    which programs are started: its environments must be 'current' or named ones, its variables may
    only tune the computation, and --allow-pickle must be given again.
    """
    path = find_run(root, run)
    _check_no_fleet(path)
    folder = RunFolder.open(path)
    executor = ProcessExecutor()
    try:
        loaded = folder.before
        resumed = _agreed(loaded, trust=trust, allow_pickle=allow_pickle)
        check_resumable(resumed)
        on_devices = measure_on(devices_again(resumed, config_of(resumed)))
        resumed = with_put_off_again(resumed, loaded)
        left = len(remaining_slots(dataclasses.replace(loaded, run=resumed), retry=retry))
        further = ", then until every comparison is decided" if undecided(loaded) else ""
        console(err=True).print(
            f"{resumed.run_id}: {len(resumed.plan.slots) - left} of {len(resumed.plan.slots)} "
            f"processes are done, {left} remain{further}.",
            soft_wrap=True,
        )
        if left or further:
            require_room(path, config_of(resumed))
            resumed = same_model(resumed, may_download=loaded.own)
            resumed = with_new_sitting(resumed)
            folder.write_run(hidden_run(resumed))
            say_if_not_noted(folder)
        sat = run_session(
            folder, resumed, executor, watcher_for(path), retry=retry, measure=on_devices
        )
    finally:
        folder.close()
        executor.close()
    say_if_not_noted(folder)
    finish(sat, resumed, as_json)
    return end_with(exit_code(sat), sat)


def _check_no_fleet(run: Path) -> None:
    """Refuse a fleet's run: the fleet's ledger has what is done, and which machine does what.

    Raises:
        UsageError: it is one.
    """
    fleet = run.absolute().parent
    if os.path.lexists(fleet / FLEET_FILE):
        command = shell("sdbench", "fleet", "resume", fleet, "--scheduler", "ADDRESS")
        raise UsageError(f"{run.name} is a run of a fleet. Continue the fleet: {command}")


def _agreed(loaded: LoadedRun, *, trust: bool, allow_pickle: bool) -> Run:
    """The run as it may be resumed; where it is not our own, the user is asked first.

    Raises:
        UsageError: the user does not agree, or there is nobody to ask.
        MachineError: it was begun on another machine, or a secret variable is missing.
    """
    run = shown_run(loaded.run)
    if loaded.own:
        consent = allow_pickle or run.config.get("allow_pickle") is True
        return msgspec.structs.replace(run, config={**run.config, "allow_pickle": consent})
    check_same_machine(run)
    run = adopted(run, allow_pickle=allow_pickle)
    if trust:
        return run
    words = (
        f"{run.run_id} was not made by this installation of sdbench, or its run.json was changed "
        f"since. To continue it means: {what_it_decides(run)}"
    )
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            f"{words}. No terminal is available for a question: read its run.json and add --trust"
        ).then_with("--trust")
    if not click.confirm(f"{printable(words)}. Continue?", err=True):
        raise UsageError("not started")
    return run
