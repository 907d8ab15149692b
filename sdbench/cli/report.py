"""``sdbench report``."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sdbench.analysis.run_summary import as_json as summary_json
from sdbench.analysis.run_summary import summary_of
from sdbench.cli.completion import complete_run
from sdbench.cli.options import force_option, json_option, results_option_alone
from sdbench.cli.output import (
    console,
    identified,
    print_bytes,
    print_text,
    write_bytes,
    write_files,
    write_text,
)
from sdbench.cli.overwriting import WRITTEN_BY, spare_others
from sdbench.errors import UsageError
from sdbench.files.access import write_inside
from sdbench.privacy.redact_shared import shared
from sdbench.report.export.card import card_png
from sdbench.report.export.junit import junit_of_runs
from sdbench.report.export.markdown import markdown_report
from sdbench.report.export.pytest_benchmark import pytest_benchmark_document
from sdbench.report.export.row import rows_of_runs
from sdbench.report.export.tidy_csv import csv_of_runs
from sdbench.report.html import html_report
from sdbench.report.pictures.gallery import gallery_of
from sdbench.report.view import build_report
from sdbench.report.view.build import build_run_report
from sdbench.runs import LoadedRun, find_run, load_run
from sdbench.words import shell

REPORT_FILE = "report.html"
_STANDARD_OUTPUT = Path("-")
_MARKDOWN_PICTURES = 12  # there is no folding them away


@dataclass(frozen=True)
class _Format:
    """``file`` is where it goes when nothing is said, None for standard output."""

    about: str
    content_of: Callable[[Sequence[LoadedRun]], str | bytes]
    file: str | None = None


def _row(runs: Sequence[LoadedRun]) -> str:
    return rows_of_runs(runs, [build_run_report(loaded) for loaded in runs])


def _json(runs: Sequence[LoadedRun]) -> str:
    """One run as ``run --json`` prints it; several in a list."""
    documents = [summary_json(summary_of(loaded)) for loaded in runs]
    together = {"runs": documents} | identified({})  # marks the file as ours
    return _dumped(documents[0] if len(documents) == 1 else together)


def _pytest_benchmark(runs: Sequence[LoadedRun]) -> str:
    if len(runs) != 1:
        raise UsageError("-f pytest-benchmark: expected one RUN, since its files hold one run each")
    return _dumped(pytest_benchmark_document(runs[0]))


def _dumped(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


_FORMATS: dict[str, _Format] = {
    "html": _Format("one self-contained page", html_report, REPORT_FILE),
    "md": _Format(
        "Markdown for GitHub; with -o X.md its images are in X_files",
        lambda runs: markdown_report(build_report(runs)).text,
    ),
    "row": _Format("a table line per run, of the fastest recommended settings, for a thread", _row),
    "card": _Format(
        "an image (PNG, 1200x630) to post, of a run or of the comparison of several",
        lambda runs: card_png(runs, build_report(runs)),
        "card.png",
    ),
    "json": _Format("the document that run --json prints", _json),
    "csv": _Format("a row for each process", csv_of_runs),
    "junit": _Format(
        "XML for CI", lambda runs: junit_of_runs([summary_of(loaded) for loaded in runs])
    ),
    "pytest-benchmark": _Format(
        "one run in the format of 'pytest-benchmark compare'", _pytest_benchmark
    ),
}


# What a file of such a name holds; who asks for report.md does not want HTML in it.
_BY_SUFFIX = {".md": "md", ".png": "card", ".csv": "csv", ".json": "json", ".xml": "junit"}


@click.command(name="report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_run)
@click.option(
    "-f",
    "--format",
    "kind",
    type=click.Choice(list(_FORMATS)),
    help="; ".join(f"{name}: {one.about}" for name, one in _FORMATS.items())
    + ".  [default: from the name of the output file, else html]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Output file; '-' is standard output. "
    "[default: report.html for html, else standard output]",
)
@click.option(
    "--share",
    is_flag=True,
    help="Remove user and host names, paths, tokens, e-mail addresses, your own prompts with their "
    "images, and workers' error output.",
)
@results_option_alone
@force_option
@json_option
def command(
    runs: tuple[str, ...],
    kind: str | None,
    output: Path | None,
    share: bool,
    root: Path,
    force: bool,
    as_json: bool,
) -> int:
    """Write a page about runs, or export them for other programs.

    RUNS are given by path, by id, by the beginning of an id, or as 'latest'. A page about several
    runs begins with their comparison; the first run is the base.
    """
    named = _BY_SUFFIX.get(output.suffix) if output else None
    kind = "json" if as_json else kind or named or "html"
    form = _FORMATS[kind]
    target = output or (Path(form.file) if form.file else _STANDARD_OUTPUT)
    if target != _STANDARD_OUTPUT:
        spare_others(target, force=force)
    loaded = [load_run(find_run(root, name)) for name in runs]
    if share:
        loaded = shared(loaded)
    if kind == "md" and target != _STANDARD_OUTPUT:
        _write_markdown(loaded, target)
        return 0
    _write(form.content_of(loaded), target)
    if output is None and target != _STANDARD_OUTPUT:
        console(err=True).print(f"Written: {target}", markup=False, soft_wrap=True)
    return 0


def _write(content: str | bytes, target: Path) -> None:
    to_output = target == _STANDARD_OUTPUT
    if isinstance(content, bytes):
        print_bytes(content) if to_output else write_bytes(target, content)
    else:
        print_text(content) if to_output else write_text(target, content)


def _write_markdown(runs: Sequence[LoadedRun], target: Path) -> None:
    """The text, and its images in a folder next to it."""
    folder = target.with_name(f"{target.stem}_files")
    story = build_report(runs)
    galleries = [
        gallery_of(loaded, run, most_shown=_MARKDOWN_PICTURES)
        for loaded, run in zip(runs, story.runs, strict=True)
    ]
    report = markdown_report(story, folder.name, galleries)
    if report.files:
        write_files(folder, report.files)
    write_text(target, f"{report.text}\n<!-- {WRITTEN_BY} -->\n")


def write_page(folder: Path, runs: Sequence[Path] = ()) -> Path | None:
    """Write the page of a run into its folder, or of several runs into the folder that holds them;
    a failure gives one line and leaves the runs complete.

    A failure to draw a page must never cost a finished measurement.
    """
    target = folder / REPORT_FILE
    try:
        page = html_report([load_run(run) for run in runs or (folder,)])
        write_inside(folder, REPORT_FILE, data=page.encode("utf-8"))
    except (Exception, KeyboardInterrupt) as error:
        words = str(error) or type(error).__name__
        console(err=True).print(
            f"the page of this run could not be written ({words}); "
            f"try: sdbench report {shell(*(runs or (folder,)))}",
            markup=False,
            soft_wrap=True,
        )
        return None
    return target
