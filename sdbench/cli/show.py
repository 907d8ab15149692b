"""``sdbench show``."""

from pathlib import Path

import click
import msgspec

from sdbench.analysis.beside import beside_words
from sdbench.analysis.case_names import cases_called, names_of
from sdbench.analysis.case_words import case_words, process_name
from sdbench.analysis.iterations import work_words
from sdbench.analysis.provenance import provenance
from sdbench.analysis.run_summary import as_json as summary_json
from sdbench.analysis.run_summary import device_facts, summary_of
from sdbench.cli.completion import complete_case, complete_run
from sdbench.cli.options import DEFAULT_ROOT, json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.errors import UsageError
from sdbench.records import Run
from sdbench.report.terminal.case_page import show_replicate
from sdbench.report.terminal.lines import render_lines
from sdbench.report.terminal.overview import render_overview
from sdbench.report.view.build import build_run_report
from sdbench.report.view.correctness_words import check_words, correctness_lines
from sdbench.report.view.efficiency_words import efficiency_words
from sdbench.report.view.spread import spread_words
from sdbench.report.view.telemetry_words import telemetry_lines
from sdbench.report.view.time_words import time_lines
from sdbench.runs import LoadedRun, find_run, load_run
from sdbench.words import (
    counted,
    device_words,
    did_you_mean,
    memory_words,
    printable,
    shell,
    shortened,
    system_words,
)


@click.command(name="show")
@click.argument("run", shell_complete=complete_run)
@click.argument("case", required=False, shell_complete=complete_case)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Show all cases and remarks instead of fitting one screen.",
)
@results_option
@json_option
def command(run: str, case: str | None, everything: bool, root: Path, as_json: bool) -> int:
    """Show a run on one screen, or all records of one CASE.

    RUN is a run's path, its id, the beginning or a part of its id ('155633'), or 'latest'. CASE is
    what the table calls it ('512x512 sliced float16') or as many of these words as only it has
    ('sliced'), its id, or the beginning of that.
    """
    path = find_run(root, run)
    loaded = load_run(path)
    if case is not None:
        return _show_case(loaded, case, as_json)
    if as_json:
        print_json(summary_json(summary_of(loaded)))
        return 0
    # As it was typed, where that finds it again without a folder.
    name = run if root == DEFAULT_ROOT else str(path)
    story = build_run_report(loaded, details=False)
    render_overview(story, _head(loaded), console(), path=name, everything=everything)
    return 0


def _head(loaded: LoadedRun) -> list[tuple[str, str]]:
    run = loaded.run
    weights = "" if run.model.trained else ", random weights"
    lines = [
        ("run", f"{run.run_id}, begun {run.created_utc}" + (f", {run.label}" if run.label else "")),
        ("machine", _machine_words(run)),
        ("model", f"{run.model.title} on {run.device}{weights}"),
        ("work", _work_words(run)),
        ("device", device_words(device_facts(loaded.replicates), run.device)),
    ]
    for name, stack in run.stacks.items():
        packages = ", ".join(f"{key} {value}" for key, value in stack.packages.items())
        lines.append(("environment", f"{name}: Python {stack.python}, {packages}"))
    lines += [("check", check_words(check)) for check in loaded.checks[-1:]]
    return lines


def _machine_words(run: Run) -> str:
    """``Apple M2 Max, 32 GB, macOS 14.2.1``."""
    machine = run.machine
    words = [str(machine.get("chip")), memory_words(machine.get("memory_bytes"))]
    return ", ".join(word for word in [*words, system_words(machine, run.machine_facts)] if word)


def _work_words(run: Run) -> str:
    """``8 steps, ddim, 2 images per pass, 3 processes per case``: without it no time means much."""
    if run.config.get("until_decided"):
        return f"{work_words(run)}, processes until decided"
    processes = counted(int(run.config.get("replicates", 1)), "process", "processes")
    return f"{work_words(run)}, {processes} per case"


def find_case(loaded: LoadedRun, case: str) -> str:
    """The id of a case given by (some of) its words, its id, or the beginning of that.

    Raises:
        UsageError: none or several match.
    """
    cases = [planned.case for planned in loaded.run.plan.cases]
    matches = cases_called(case, cases)
    if len(matches) != 1:
        found, known = ("several cases", matches) if matches else ("no case", cases)
        called = f"{found} called {shortened(case)!r} in {loaded.run.run_id}"
        ids = [planned.case_id for planned in loaded.run.plan.cases]
        hint = "" if matches else did_you_mean(case, [*map(case_words, cases), *ids])
        raise UsageError(f"{called}; {hint}there are {names_of(known)}").then(
            shell("sdbench", "show", loaded.path)
        )
    return matches[0].case_id


def _show_case(loaded: LoadedRun, case: str, json_wanted: bool) -> int:
    case_id = find_case(loaded, case)
    attempts = [entry for entry in loaded.attempts if entry.case_id == case_id]
    summary = summary_of(loaded)
    rows = [row for row in summary.cases if row.case_id == case_id]
    compared = [entry for entry in loaded.compared if entry.case_id == case_id]
    if json_wanted:
        replicates = msgspec.to_builtins(attempts)
        print_json(
            {
                "case_id": case_id,
                "summary": [
                    row for row in summary_json(summary)["cases"] if row["case_id"] == case_id
                ],
                "replicates": replicates,
                "compared": msgspec.to_builtins(compared),
                "schema": summary.schema,
                "run_id": summary.run_id,
                **provenance(loaded.run),
            }
        )
        return 0
    out = console()
    out.print(f"{case_words(loaded.run.plan.planned(case_id).case)}  ({case_id})")
    if loaded.run.simulated or any(replicate.simulated for replicate in attempts):
        out.print("SIMULATED: no real device made these numbers")
    beside = beside_words(loaded.run)
    if beside is not None:
        out.print(f"Times: {printable(beside)}", markup=False, soft_wrap=True)
    for row in rows:
        if len(rows) > 1:
            out.print(f"\n{row.arm}", markup=False)
        render_lines(
            [
                *time_lines(row, summary.images, [one for one in attempts if one.arm == row.arm]),
                ("efficiency", efficiency_words(row.efficiency, row.case.dtype)),
                ("spread", spread_words(row)),
                *telemetry_lines(row),
            ],
            out,
        )
        beside_cpu = [entry for entry in compared if entry.arm == row.arm]
        if beside_cpu:
            render_lines(correctness_lines(beside_cpu), out)
    for replicate in attempts:
        show_replicate(replicate, process_name(replicate, loaded.run), out)
    return 0
