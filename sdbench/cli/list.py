"""``sdbench list``."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdbench.cli.fleet_status import status_document
from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.comparison import LeftOut, Past, pasts_in
from sdbench.errors import SdbenchError, StoreError
from sdbench.report.terminal.tables import print_table
from sdbench.runs import list_fleets
from sdbench.runs.baselines import names_by_run, read_baselines
from sdbench.words import counted, printable, shell

MOST = 100
"""Number of runs listed by default: formatting a table takes longer than reading the runs."""


_COLUMNS = ("run", "label", "device", "torch", "model", "cases", "processes", "state")


@click.command(name="list")
@click.option("--all", "everything", is_flag=True, help=f"Also list runs before the last {MOST}.")
@results_option
@json_option
def command(everything: bool, root: Path, as_json: bool) -> int:
    """List the runs in the results folder, oldest first, then the fleets."""
    names = _baselines(root)
    rows = [
        {**_row(path, past), "baselines": names.get(path.name, [])} for path, past in pasts_in(root)
    ]
    fleets = [_fleet_row(path) for path in list_fleets(root)]
    if as_json:
        print_json({"runs": rows, "fleets": fleets})
        return 0
    out = console()
    if rows:
        _show_runs(rows, names, out, everything=everything)
    elif not fleets:
        out.print(f"No runs in {root} yet. Make one with: sdbench run", markup=False)
    for fleet in fleets if everything else fleets[-MOST:]:
        out.print(_fleet_line(fleet), markup=False, soft_wrap=True)
    return 0


def _show_runs(
    rows: list[dict[str, Any]], names: dict[str, list[str]], out: Console, *, everything: bool
) -> None:
    table = Table(show_edge=False, pad_edge=False)
    # Ids are given back to other verbs, so they stay whole.
    for column in [*_COLUMNS, *(["baseline"] if names else [])]:
        whole = column in ("run", "device", "processes")
        table.add_column(column, no_wrap=whole, overflow="fold")
    shown = rows if everything else rows[-MOST:]
    for row in shown:
        cells = [*_cells(row), *([", ".join(row["baselines"])] if names else [])]
        table.add_row(*(escape(printable(cell)) for cell in cells))
    earlier = rows[: len(rows) - len(shown)]
    if earlier:
        lost = sum("error" in row for row in earlier)
        unreadable = f", {lost} unreadable" if lost else ""
        out.print(f"{counted(len(earlier), 'earlier run')}{unreadable}: --all lists them")
    print_table(table, out)


def _baselines(root: Path) -> dict[str, list[str]]:
    """The baselines of each run; a file that cannot be read costs a remark, and not the list."""
    try:
        return names_by_run(read_baselines(root))
    except StoreError as error:
        console(err=True).print(f"left out: {printable(str(error))}", markup=False, soft_wrap=True)
        return {}


def _row(path: Path, past: Past | LeftOut) -> dict[str, Any]:
    if isinstance(past, LeftOut):
        return {"run_id": path.name, "path": str(path), "error": past.reason}
    fields = ("run_id", "created_utc", "label", "device", "simulated", "model", "outcomes")
    return {
        "path": str(path),
        **{name: getattr(past, name) for name in (*fields, "processes", "complete")},
        "torch": _torch_releases(past),
    }


def _fleet_row(path: Path) -> dict[str, Any]:
    """A fleet, whose runs are in its own folder."""
    try:
        document = status_document(path)
    except SdbenchError as error:
        return {"fleet": path.name, "path": str(path), "error": str(error)}
    runs = document["runs"]
    slots, done = (sum(run[key] for run in runs) for key in ("slots", "done"))
    kept = ("fleet", "path", "mode", "at_work", "complete")
    names = [run["run"] for run in runs]
    machines = len(document["machines"])
    return {name: document[name] for name in kept} | {
        "runs": names,
        "machines": machines,
        "slots": slots,
        "done": done,
    }


def _fleet_line(fleet: dict[str, Any]) -> str:
    name = printable(fleet["fleet"])
    if "error" in fleet:
        return f"Fleet {name}: unreadable: {printable(fleet['error'])}"
    state = "complete" if fleet["complete"] else "can be resumed"
    if fleet["at_work"]:
        state = "at work"
    runs, machines = counted(len(fleet["runs"]), "run"), counted(fleet["machines"], "machine")
    processes = f"{fleet['done']} of {counted(fleet['slots'], 'process', 'processes')}"
    listing = shell("sdbench", "list", "--results", fleet["path"])
    return (
        f"Fleet {name}, mode {fleet['mode']}: {runs}, {machines}, {processes}, {state}: {listing}"
    )


def _torch_releases(past: Past) -> list[str]:
    """Of all environments of a run, each once, in their order."""
    releases = (entry.versions.get("torch") for _, entry in past.entries)
    return list(dict.fromkeys(release for release in releases if release))


def _cells(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["run_id"], *[""] * (len(_COLUMNS) - 2), f"unreadable: {row['error']}"]
    outcomes = ", ".join(f"{count} {name}" for name, count in row["outcomes"].items())
    device = row["device"] + (" (simulated)" if row["simulated"] else "")
    state = "complete" if row["complete"] else "can be resumed"
    processes = str(row["processes"])
    torch = ", ".join(row["torch"])
    return [
        *(row["run_id"], row["label"] or "", device, torch, row["model"]),
        *(outcomes, processes, state),
    ]
