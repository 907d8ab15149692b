"""``sdbench history``."""

from pathlib import Path

import click
import msgspec

from sdbench.analysis.run_summary import per_picture
from sdbench.cli.completion import complete_case
from sdbench.cli.list import MOST
from sdbench.cli.options import json_option, results_option
from sdbench.cli.output import console, print_json
from sdbench.comparison import Past, history_of_pasts, pasts_in
from sdbench.machine import machine_id
from sdbench.report.terminal.case_history import render_history
from sdbench.words import printable


@click.command(name="history")
@click.argument("case", required=False, shell_complete=complete_case)
@click.option("--all", "everything", is_flag=True, help=f"Also show runs before the last {MOST}.")
@results_option
@json_option
def command(case: str | None, everything: bool, root: Path, as_json: bool) -> int:
    """Show one CASE over all runs of this machine: date, versions, seconds per image, and a plot.

    CASE is given as for show; without it, the case that most runs have. The plot shows each run's
    time as a dot and its 95% interval as a bar.
    """
    runs: list[Past] = []
    left_out: list[dict[str, str]] = []
    for path, past in pasts_in(root):
        if isinstance(past, Past):
            runs.append(past)
            continue
        left_out.append({"path": str(path), "error": past.reason})
        words = printable(f"left out: {past.reason}")
        console(err=True).print(words, markup=False, soft_wrap=True)
    history = history_of_pasts(runs, machine_id(), case)
    if as_json:
        document = msgspec.to_builtins(history) | {"left_out": left_out}
        for row, entry in zip(document["runs"], history.runs, strict=True):
            row["seconds_per_pass"] = entry.latency_s.median
            row["seconds_per_picture"] = per_picture(entry.latency_s.median, entry.images)
        print_json(document)
        return 0
    render_history(history, console(), most=None if everything else MOST)
    return 0
