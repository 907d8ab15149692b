"""``sdbench diagnose``."""

from pathlib import Path

import click

from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.insight.records import Diagnosis, as_json
from sdbench.report.diagnosis import render_diagnosis
from sdbench.report.story import diagnosed
from sdbench.store import find_run, load_run


@click.command(name="diagnose")
@click.argument("run")
@results_option
@json_option
def command(run: str, root: Path, as_json: bool) -> int:
    """Say what is wrong, which claims of the documentation hold here, and what to use.

    RUN is a run's path, its id, the beginning of its id, or 'latest'. Measures nothing: it reads
    what the run has kept. Exits with 1 where a finding is an error.
    """
    return show(diagnosed(load_run(find_run(root, run))), json_wanted=as_json)


def show(diagnosis: Diagnosis, *, json_wanted: bool) -> int:
    """Print it; returns the exit code."""
    if json_wanted:
        print_json(as_json(diagnosis))
    else:
        render_diagnosis(diagnosis, console())
    return diagnosis.exit_code
