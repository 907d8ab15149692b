"""The tables and sentences a person sees."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table

from sdbench.analysis.case_words import OUTCOME_WORDS, case_words
from sdbench.analysis.no_effect import marked
from sdbench.analysis.run_summary import CaseSummary, RunSummary, per_picture
from sdbench.records import Outcome
from sdbench.report.view.efficiency_words import efficiency_sentence
from sdbench.report.view.passes import passes_sentence, sustained_lines
from sdbench.report.view.summary_words import (
    case_remarks,
    disturbed_lines,
    interval_words,
    not_checked_lines,
    picture_words,
    spread_lines,
    swapped_words,
)
from sdbench.words import printable, seconds, size

T = TypeVar("T")
Layout = Literal["text", "whole", "folded", "number", "figure"]
Column = tuple[str, Layout, Callable[[T], str]]
"""A column's name, how it is laid out, and what it says of a row, in rich's markup."""
_LAYOUTS: dict[Layout, dict[str, Any]] = {
    "text": {},
    "whole": {"no_wrap": True},
    "folded": {"overflow": "fold"},
    "number": {"justify": "right"},
    "figure": {"justify": "right", "no_wrap": True},
}
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
        console.print(f"  [yellow]warning:[/] {harmless(warning)}")
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
    """A line for each of these rows of a summary; ``chosen`` (case id, variant) are what to use."""
    arms, images = {row.arm for row in summary.cases}, summary.images
    columns: list[Column[CaseSummary]] = [
        ("case", "folded", lambda row: escape(_name(row))),
        ("variant", "text", lambda row: harmless(row.arm)),
        ("outcome", "text", _outcome),
        ("s/image", "figure", lambda row: _time(row, images)),
        ("first pass", "figure", lambda row: seconds(per_picture(row.first_pass_s, images))),
        ("95% interval", "figure", lambda row: interval_words(row.latency_s.ci95, images)),
        ("peak memory", "figure", lambda row: size(row.peak_memory_bytes)),
        ("swap", "figure", lambda row: size(row.swap_delta_bytes)),
        ("image", "text", picture_words),
        ("use", "text", lambda row: "●" if row.key in chosen else ""),
    ]
    return table_of(rows, columns, title, {"variant": len(arms) > 1, "use": bool(chosen)})


def _name(row: CaseSummary) -> str:
    return marked(case_words(row.case), row.case, row.no_effect)


def _outcome(row: CaseSummary) -> str:
    return f"[{_OUTCOME_STYLE.get(row.outcome, 'red')}]{OUTCOME_WORDS[row.outcome]}[/]"


def _time(row: CaseSummary, images: int) -> str:
    return seconds(per_picture(row.latency_s.median, images)) + (" !" if row.disturbed else "")


def harmless(text: str) -> str:
    """Text of others, in which no markup and no terminal escape takes effect."""
    return escape(printable(text))


def table_of(
    rows: Iterable[T],
    columns: Sequence[Column[T]],
    title: str | None = None,
    shown: Mapping[str, bool] = {},
) -> Table:
    """A line per row, without the columns for which ``shown`` is False; the title may
    hold markup."""
    columns = [column for column in columns if shown.get(column[0], True)]
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for name, layout, _ in columns:
        table.add_column(name, **_LAYOUTS[layout])
    for row in rows:
        table.add_row(*(say(row) for *_, say in columns))
    return table


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


def render_lines(lines: Iterable[tuple[str, str]], console: Console) -> None:
    """Two columns: what, and what about it."""
    print_lines([(what, harmless(about)) for what, about in lines], console)


def print_lines(lines: Sequence[tuple[str, str]], console: Console) -> None:
    """As :func:`render_lines`, the second column in rich's markup."""
    width = max((len(what) for what, _ in lines), default=0)
    for what, about in lines:
        console.print(f"[bold]{what:<{width}}[/]  {about}", soft_wrap=True)
