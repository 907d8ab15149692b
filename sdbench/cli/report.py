"""``sdbench report``."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from sdbench.cli.options import json_option
from sdbench.cli.output import write_text
from sdbench.comparison.sides import summary_of
from sdbench.errors import UsageError
from sdbench.report.junit import junit_of_runs
from sdbench.report.pytest_benchmark import pytest_benchmark_document
from sdbench.report.tidy_csv import csv_of_runs
from sdbench.store import LoadedRun, find_run, load_run
from sdbench.summary import as_json


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(["json", "csv", "junit", "pytest-benchmark"]),
    default="json",
    show_default=True,
    help="json: what run --json prints; csv: a row for each process; junit: XML for a CI; "
    "pytest-benchmark: one run, for 'pytest-benchmark compare'.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Write there.  [default: standard output]",
)
@click.option(
    "--results",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds the run folders.",
)
@json_option
def command(
    runs: tuple[str, ...], kind: str, output: Path | None, root: Path, as_json: bool
) -> int:
    """Write runs in a format that other programs read.

    RUNS are given by path, by id, by the beginning of an id, or as 'latest'.
    """
    loaded = [load_run(find_run(root, name)) for name in runs]
    text = _WRITERS["json" if as_json else kind](loaded)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_text(output, text)
    return 0


def _json(runs: Sequence[LoadedRun]) -> str:
    """One run as ``run --json`` prints it; several in a list."""
    documents = [as_json(summary_of(loaded)) for loaded in runs]
    return _dumped(documents[0] if len(documents) == 1 else {"runs": documents})


def _pytest_benchmark(runs: Sequence[LoadedRun]) -> str:
    if len(runs) != 1:
        raise UsageError("-f pytest-benchmark: expected one RUN, since its files hold one run each")
    (loaded,) = runs
    return _dumped(pytest_benchmark_document(loaded.run, loaded.replicates, summary_of(loaded)))


def _dumped(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


_WRITERS: dict[str, Callable[[Sequence[LoadedRun]], str]] = {
    "json": _json,
    "csv": csv_of_runs,
    "junit": lambda runs: junit_of_runs([summary_of(loaded) for loaded in runs]),
    "pytest-benchmark": _pytest_benchmark,
}
