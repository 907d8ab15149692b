"""``sdbench history``."""

from pathlib import Path

import click
import msgspec

from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.comparison import history_of
from sdbench.errors import StoreError
from sdbench.machine import machine_id
from sdbench.report.history import render_history
from sdbench.report.units import printable
from sdbench.store import LoadedRun, list_runs, load_run


@click.command(name="history")
@click.argument("case", required=False)
@results_option
@json_option
def command(case: str | None, root: Path, as_json: bool) -> int:
    """Show one CASE over all runs of this machine: date, versions, seconds a picture, and a plot.

    CASE is a case id or the beginning of one; without it, the case that most runs have. The plot
    shows each run's time as a dot and its 95% interval as a bar.
    """
    runs: list[LoadedRun] = []
    for path in list_runs(root):
        try:
            runs.append(load_run(path))
        except StoreError as error:
            console(err=True).print(f"left out: {printable(str(error))}", markup=False)
    history = history_of(runs, machine_id(), case)
    if as_json:
        print_json(msgspec.to_builtins(history))
        return 0
    render_history(history, console())
    return 0
