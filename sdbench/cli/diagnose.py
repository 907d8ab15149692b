"""``sdbench diagnose``."""

from pathlib import Path

import click
import msgspec

from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.report.terminal.diagnosis import render_diagnosis
from sdbench.report.view import diagnosed
from sdbench.runs import find_run, load_run


@click.command(name="diagnose")
@click.argument("run")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also show claims about other devices, and every case.",
)
@results_option
@json_option
def command(run: str, everything: bool, root: Path, as_json: bool) -> int:
    """Report what is wrong, what to use, and which claims of the documentation hold here.

    RUN is a run's path, its id, the beginning of its id, or 'latest'. Nothing is measured: the
    records of the run are read. Exits with 1 if a finding is an error, if planned processes did not
    end, if images were not checked, or if other programs disturbed every process.
    """
    diagnosis = diagnosed(load_run(find_run(root, run)))
    if as_json:
        print_json(msgspec.to_builtins(diagnosis))
    else:
        render_diagnosis(diagnosis, console(), everything=everything)
    return diagnosis.exit_code
