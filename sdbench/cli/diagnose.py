"""``sdbench diagnose``."""

from pathlib import Path

import click
import msgspec

from sdbench.analysis.provenance import provenance, with_seconds_per_pass
from sdbench.cli.completion import complete_run
from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json, print_next
from sdbench.diagnosis.result import Diagnosis
from sdbench.report.terminal.diagnosis import render_diagnosis
from sdbench.report.view import diagnosed
from sdbench.runs import find_run, load_run


@click.command(name="diagnose")
@click.argument("run", shell_complete=complete_run)
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
    loaded = load_run(find_run(root, run))
    diagnosis = diagnosed(loaded)
    if as_json:
        document = msgspec.to_builtins(diagnosis) | provenance(loaded.run)
        print_json(with_seconds_per_pass(document, int(loaded.run.config["images"])))
    else:
        render_diagnosis(diagnosis, console(), everything=everything)
    if diagnosis.exit_code:
        print_next(*_next_command(diagnosis))
    return diagnosis.exit_code


def _next_command(diagnosis: Diagnosis) -> list[str]:
    """Finish what is unfinished; else look closer at the case of the worst finding."""
    if any(entry.code == "unfinished" for entry in diagnosis.findings) or not diagnosis.findings:
        return ["sdbench", "resume", diagnosis.path]
    case_ids = diagnosis.findings[0].case_ids[:1]
    return ["sdbench", "show", diagnosis.path, *case_ids]
