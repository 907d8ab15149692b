"""``sdbench resume``."""

from pathlib import Path

import click

from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console
from sdbench.cli.run import exit_code, finish, watcher_for
from sdbench.runner.leftover import remaining_slots, undecided
from sdbench.runner.prepare import check_resumable, require_room, same_model
from sdbench.runner.process import ProcessExecutor
from sdbench.runner.session import config_of, sit, with_new_sitting
from sdbench.store import RunFolder, find_run, load_run
from sdbench.store.privacy import hidden_run, shown_run


@click.command(name="resume")
@click.argument("run")
@results_option
@click.option("--retry", is_flag=True, help="Also run again what ended badly (crashed, failed, …).")
@json_option
def command(run: str, root: Path, retry: bool, as_json: bool) -> int:
    """Go on with a run that was interrupted, killed, or out of time.

    RUN is a run's path, its id, the beginning of its id, or 'latest'. Finished processes are not
    run again, crashed ones included, unless --retry is given. The machine and the installed
    versions must be the ones the run began with.
    """
    path = find_run(root, run)
    folder = RunFolder.open(path)
    executor = ProcessExecutor()
    try:
        loaded = load_run(path)
        resumed = shown_run(loaded.run)
        check_resumable(resumed)
        left = len(remaining_slots(loaded, retry=retry))
        further = ", then until decided" if undecided(loaded) else ""
        console(err=True).print(
            f"{resumed.run_id}: {len(resumed.plan.slots) - left} of {len(resumed.plan.slots)} "
            f"processes are done, {left} to go{further}.",
            soft_wrap=True,
        )
        if left or further:
            require_room(path, config_of(resumed))
            resumed = same_model(resumed)
            resumed = with_new_sitting(resumed)
            folder.write_run(hidden_run(resumed))
        sat = sit(folder, resumed, executor, watcher_for(path), retry=retry)
    finally:
        folder.close()
        executor.close()
    finish(sat, resumed, as_json)
    return exit_code(sat)
