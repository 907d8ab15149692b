"""``sdbench list``."""

from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.comparison import LeftOut, Past, pasts_in
from sdbench.words import counted, printable

MOST = 100
"""Number of runs listed by default: formatting a table takes longer than reading the runs."""


@click.command(name="list")
@click.option("--all", "everything", is_flag=True, help=f"Also list runs before the last {MOST}.")
@results_option
@json_option
def command(everything: bool, root: Path, as_json: bool) -> int:
    """List the runs in the results folder, oldest first."""
    rows = [_row(path, past) for path, past in pasts_in(root)]
    if as_json:
        print_json({"runs": rows})
        return 0
    out = console()
    if not rows:
        out.print(f"No runs in {root} yet. Make one with: sdbench run", markup=False)
        return 0
    table = Table(show_edge=False, pad_edge=False)
    for column in ("run", "label", "device", "model", "cases", "processes", "state"):
        table.add_column(column, overflow="fold")
    shown = rows if everything else rows[-MOST:]
    for row in shown:
        table.add_row(*(escape(printable(cell)) for cell in _cells(row)))
    earlier = rows[: len(rows) - len(shown)]
    if earlier:
        lost = sum("error" in row for row in earlier)
        unreadable = f", {lost} unreadable" if lost else ""
        out.print(f"{counted(len(earlier), 'earlier run')}{unreadable}: --all lists them")
    out.print(table)
    return 0


def _row(path: Path, past: Past | LeftOut) -> dict[str, Any]:
    if isinstance(past, LeftOut):
        return {"run_id": path.name, "path": str(path), "error": past.reason}
    fields = ("run_id", "created_utc", "label", "device", "simulated", "model", "outcomes")
    return {
        "path": str(path),
        **{name: getattr(past, name) for name in (*fields, "processes", "complete")},
    }


def _cells(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["run_id"], "", "", "", "", "", f"unreadable: {row['error']}"]
    outcomes = ", ".join(f"{count} {name}" for name, count in row["outcomes"].items())
    device = row["device"] + (" (simulated)" if row["simulated"] else "")
    state = "complete" if row["complete"] else "can be resumed"
    processes = str(row["processes"])
    return [row["run_id"], row["label"] or "", device, row["model"], outcomes, processes, state]
