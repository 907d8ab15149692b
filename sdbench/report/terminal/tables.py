"""The tables and sentences a person sees."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Column as RichColumn
from rich.table import Table

from sdbench.analysis.case_words import OUTCOME_WORDS, case_words
from sdbench.analysis.iterations import iterations_per_second, iterations_words
from sdbench.analysis.no_effect import marked
from sdbench.analysis.run_summary import CaseSummary, RunSummary, per_picture
from sdbench.records import Outcome
from sdbench.report.terminal.lines import columns_of, harmless, plain, say
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

_BETWEEN_COLUMNS = 3  # a blank, a line, a blank
_INDENT = 2
_FOLDED_WIDTH = 20


def render_summary(summary: RunSummary, console: Console, *, first_look: bool = False) -> None:
    """The table of a run, what went wrong below it."""
    print_table(_table(summary, first_look), console)
    for line in case_remarks(summary, summary.cases):
        say(console, escape(line), lead="  ")
    for line in [] if first_look else not_checked_lines(summary):
        say(console, escape(line), lead="  ")
    for warning in summary.warnings:
        say(console, harmless(warning), lead="  [yellow]warning:[/] ")
    for line in disturbed_lines(summary):
        say(console, escape(line), lead="  [yellow]![/] ")
    for line in [] if first_look else spread_lines(summary):
        say(console, escape(line))
    passes = passes_sentence(summary)
    if passes is not None:
        say(console, escape(passes))
    for line in sustained_lines(summary):
        say(console, escape(f"Sustained: {line}."))
    efficiency = None if first_look else efficiency_sentence(summary)
    if efficiency is not None:
        say(console, escape(efficiency))
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
        ("it/s", "figure", lambda row: _rate(row, images)),
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


def _rate(row: CaseSummary, images: int) -> str:
    seconds_per_picture = per_picture(row.latency_s.median, images)
    return rate_figure(iterations_per_second(row.steps, seconds_per_picture))


def rate_figure(per_second: float | None) -> str:
    """``37.4``, under the heading it/s."""
    return iterations_words(per_second).removesuffix(" it/s")


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
    """The table where it fits, so that no number is cut off.

    On a narrower screen what all rows have in common stands below it, once; if it does not fit
    then either, each row is a block of lines.
    """
    common = [] if _whole_width(table) <= console.width else _common_columns(table)
    left = [column for column in table.columns if column not in common]
    # Rich numbers the columns of a table; the padding of the last one differs.
    table.columns = [dataclasses.replace(column, _index=at) for at, column in enumerate(left)]
    _print_narrow(table, console)
    alike = [(column.header, str(next(iter(column.cells)))) for column in common]
    words = " · ".join(f"{header} {value}" for header, value in alike if value not in ("", "–"))
    if words:
        say(console, words, lead="every row: ")


def _whole_width(table: Table) -> int:
    """The width of a table none of whose cells is wrapped."""
    widths = [
        max(map(columns_of, [str(column.header), *map(str, column.cells)]))
        for column in table.columns
    ]
    return sum(widths) + _BETWEEN_COLUMNS * (len(widths) - 1)


def _common_columns(table: Table) -> list[RichColumn]:
    """Columns that say the same in each of several rows, those that name the rows apart."""
    if table.row_count < 2:
        return []
    return [
        column
        for column in table.columns[1:]
        if len({*map(str, column.cells)}) == 1 and not _names(str(column.header))
    ]


def _print_narrow(table: Table, console: Console) -> None:
    if fit_table(table, console.width):
        console.print(table)
        return
    if table.title:
        console.print(table.title)
    columns = [(str(column.header), [*column.cells]) for column in table.columns]
    for number in range(table.row_count):
        row = [(header, str(cells[number])) for header, cells in columns]
        names = [value for place, (header, value) in enumerate(row) if not place or _names(header)]
        console.print(f"[bold]{' · '.join(filter(None, names))}[/]", soft_wrap=True)
        words = [
            f"{header} {value}"
            for header, value in row[1:]
            if value not in ("", "–") and not _names(header)
        ]
        for line in _filled(words, console.width - _INDENT):
            say(console, line, lead=" " * _INDENT)


def _names(header: str) -> bool:
    """Whether a column says, with the first one, what a row is about."""
    return header in ("variant", "new")


def fit_table(table: Table, width: int) -> bool:
    """Give the columns widths with which the table fits, and say whether it does.

    Only columns of text get narrower, down to their longest word and half of their longest cell
    (those that fold further, wherever a word is), first where that wraps the fewest cells.
    """
    texts = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    lengths = [[*map(columns_of, cells)] for cells in texts]
    widths = [*map(max, lengths)]
    least = [*map(_least_width, table.columns, texts, widths)]
    room = width - _BETWEEN_COLUMNS * (len(widths) - 1)
    if sum(least) > room:
        return False
    while sum(widths) > room:
        index = min(
            (index for index, most in enumerate(widths) if most > least[index]),
            key=lambda index: sum(length >= widths[index] for length in lengths[index]),
        )
        widths[index] -= 1
    for column, most in zip(table.columns, widths, strict=True):
        column.width = most
    return True


def _least_width(column: RichColumn, cells: Sequence[str], most: int) -> int:
    if column.no_wrap:
        return most
    least = max(_longest_word(cells), -(-most // 2))
    return min(least, _FOLDED_WIDTH) if column.overflow == "fold" else least


def _longest_word(cells: Iterable[str]) -> int:
    return max((cell_len(word) for cell in cells for word in plain(cell).split()), default=0)


def _filled(words: Sequence[str], width: int) -> Iterator[str]:
    """As many of these a line as fit, separated by dots; none is broken if it fits a line."""
    line = ""
    for word in words:
        longer = f"{line} · {word}" if line else word
        if line and columns_of(longer) > width:
            yield line
            longer = word
        line = longer
    if line:
        yield line
