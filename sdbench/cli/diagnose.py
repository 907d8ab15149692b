"""``sdbench diagnose``."""

from pathlib import Path

import click

from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.insight.diagnose import diagnose
from sdbench.insight.records import Diagnosis, as_json
from sdbench.quality.artifacts import Artifacts
from sdbench.quality.equality import check_equality
from sdbench.report.diagnosis import render_diagnosis
from sdbench.store import LoadedRun, find_run, load_run


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


def diagnosed(loaded: LoadedRun) -> Diagnosis:
    """The diagnosis of a run in its folder."""
    equalities = check_equality(
        loaded.run, loaded.replicates, loaded.compared, Artifacts(loaded.files)
    )
    return diagnose(loaded, equalities)


def show(diagnosis: Diagnosis, *, json_wanted: bool) -> int:
    """Print it; returns the exit code."""
    if json_wanted:
        print_json(as_json(diagnosis))
    else:
        render_diagnosis(diagnosis, console())
    return diagnosis.exit_code
