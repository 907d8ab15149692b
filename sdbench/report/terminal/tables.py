"""The tables and sentences a person sees."""

from collections.abc import Collection, Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table

from sdbench.analysis.case_words import OUTCOME_WORDS, case_words
from sdbench.analysis.run_summary import CaseSummary, RunSummary, per_picture
from sdbench.records import Outcome
from sdbench.report.view.efficiency_words import efficiency_sentence
from sdbench.report.view.passes import passes_sentence, sustained_lines
from sdbench.report.view.summary_words import (
    case_remarks,
    disturbed_lines,
    not_checked_lines,
    picture_words,
    spread_lines,
    swapped_words,
)
from sdbench.words import printable, seconds, size

_OUTCOME_STYLE: dict[Outcome, str] = {"ok": "green", "skipped": "dim"}

_ANY_WIDTH = 10_000


def render_summary(summary: RunSummary, console: Console, *, first_look: bool = False) -> None:
    """The table of a run, what went wrong below it."""
    print_table(_table(summary, first_look), console)
    for line in case_remarks(summary, summary.cases):
        console.print(f"  {escape(line)}")
    for line in [] if first_look else not_checked_lines(summary):
        console.print(f"  {escape(line)}")
    for warning in summary.warnings:
        console.print(f"  [yellow]warning:[/] {escape(printable(warning))}")
    for line in disturbed_lines(summary):
        console.print(f"  [yellow]![/] {escape(line)}", soft_wrap=True)
    for line in [] if first_look else spread_lines(summary):
        console.print(escape(line), soft_wrap=True)
    passes = passes_sentence(summary)
    if passes is not None:
        console.print(passes, soft_wrap=True)
    for line in sustained_lines(summary):
        console.print(f"Sustained: {line}.", soft_wrap=True, markup=False)
    efficiency = None if first_look else efficiency_sentence(summary)
    if efficiency is not None:
        console.print(efficiency, soft_wrap=True)
    if not first_look:
        console.print(f"Written to swap meanwhile: {swapped_words(summary.swapped_out_bytes)}.")


def _table(summary: RunSummary, first_look: bool) -> Table:
    title = f"{printable(summary.run_id)} on {summary.device}"
    if summary.simulated:
        title += " – SIMULATED: no real device made these numbers"
    if first_look:
        title += " – first look after one block, no verdicts yet"
    return case_table(summary, summary.cases, title=escape(title))


def case_table(
    summary: RunSummary,
    rows: Sequence[CaseSummary],
    *,
    title: str | None = None,
    chosen: Collection[tuple[str, str]] = (),
) -> Table:
    """A line for each of these rows of a summary; ``chosen`` (case id, arm) are what to use."""
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    several_arms = len({row.arm for row in summary.cases}) > 1
    table.add_column("case", overflow="fold")
    if several_arms:
        table.add_column("arm")
    table.add_column("outcome")
    for name in ("s/picture", "first pass", "95% interval", "peak memory", "swap"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("picture")
    if chosen:
        table.add_column("use")
    for row in rows:
        cells = [escape(case_words(row.case))]
        if several_arms:
            cells.append(escape(printable(row.arm)))
        style = _OUTCOME_STYLE.get(row.outcome, "red")
        cells.append(f"[{style}]{OUTCOME_WORDS[row.outcome]}[/]")
        cells += _numbers(row, summary.images)
        cells.append(picture_words(row))
        if chosen:
            cells.append("●" if row.key in chosen else "")
        table.add_row(*cells)
    return table


def _numbers(row: CaseSummary, images: int) -> list[str]:
    median, interval = row.latency_s.median, row.latency_s.ci95
    bounds = "–" if interval is None else f"{interval[0] / images:.3g}–{interval[1] / images:.3g} s"
    mark = " !" if row.disturbed else ""
    return [
        seconds(per_picture(median, images)) + mark,
        seconds(per_picture(row.first_pass_s, images)),
        bounds,
        size(row.peak_memory_bytes),
        size(row.swap_delta_bytes),
    ]


def print_table(table: Table, console: Console) -> None:
    """The table where it fits; on a narrower screen a block a row, so that no number is cut off."""
    unbounded = console.options.update(max_width=_ANY_WIDTH)
    needed = Measurement.get(console, unbounded, table).minimum
    if needed <= console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title)
    columns = [(str(column.header), [*column.cells]) for column in table.columns]
    for number in range(table.row_count):
        name, *reported = [(header, str(cells[number])) for header, cells in columns]
        console.print(f"[bold]{name[1]}[/]")
        words = [f"{header} {value}" for header, value in reported if value not in ("", "–")]
        console.print(Padding(" · ".join(words), (0, 0, 0, 2)))


def render_lines(lines: Sequence[tuple[str, str]], console: Console) -> None:
    """Two columns: what, and what about it."""
    width = max(len(what) for what, _ in lines)
    for what, about in lines:
        console.print(f"[bold]{what:<{width}}[/]  {escape(printable(about))}", soft_wrap=True)
