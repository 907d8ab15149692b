"""The tables and sentences a person sees."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table

from sdbench.analysis.case_words import (
    CONTENT_WORDS,
    CORRECT_WORDS,
    OUTCOME_WORDS,
    case_words,
    process_words,
)
from sdbench.analysis.run_summary import CaseSummary, RunSummary, per_picture
from sdbench.records import Correctness, Outcome
from sdbench.report.view.efficiency_words import efficiency_sentence
from sdbench.report.view.passes import passes_sentence, sustained_lines
from sdbench.report.view.spread import spread_words, widest
from sdbench.words import counted, printable, seconds, size

_PICTURE_WORDS: dict[Correctness, str] = {
    "broken": "wrong picture",
    "drift": "slightly different picture",
}
# Of the same thing in more cases than that, one is named.
_NAMED_CASES = 3
_OUTCOME_STYLE: dict[Outcome, str] = {"ok": "green", "skipped": "dim"}

_ANY_WIDTH = 10_000


def picture_words(row: CaseSummary) -> str:
    """Beside the CPU's picture, and beside the prompt where that can be checked."""
    if row.content is None:
        return CORRECT_WORDS[row.correct]
    if row.correct == "unknown":
        return CONTENT_WORDS[row.content]
    return f"{CONTENT_WORDS[row.content]}, {CORRECT_WORDS[row.correct]}"


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


def case_remarks(summary: RunSummary, rows: Sequence[CaseSummary]) -> Iterator[str]:
    """Why cases did not end well, and what is wrong with their pictures; said once for many."""
    several_arms = len({row.arm for row in summary.cases}) > 1
    alike: dict[str, list[str]] = {}
    for row in rows:
        for words in _remarks(row):
            arm = f" ({row.arm})" if several_arms else ""
            alike.setdefault(words, []).append(f"{case_words(row.case)}{arm}")
    for words, names in alike.items():
        if len(names) <= _NAMED_CASES:
            yield from (printable(f"{name}: {words}") for name in names)
        else:
            yield printable(f"{names[0]} and {len(names) - 1} more cases: {words}")


def _remarks(row: CaseSummary) -> Iterator[str]:
    if row.outcome != "ok" and row.reason:
        yield f"{OUTCOME_WORDS[row.outcome]} – {row.reason}"
    if row.correct in ("broken", "drift"):
        yield f"{_PICTURE_WORDS[row.correct]} – {row.correct_reason or ''}"
    if row.content == "wrong":
        yield f"not what was asked for – {row.content_reason or ''}"


def not_checked_lines(summary: RunSummary) -> Iterator[str]:
    """Why pictures that were made were not compared, and in how many cases."""
    for reason, count in _not_checked(summary).items():
        words = f"{CORRECT_WORDS['unknown']} in {count} of {len(summary.cases)} cases – {reason}"
        yield printable(words)


def _not_checked(summary: RunSummary) -> Counter[str]:
    """Why pictures that were made were not compared, and in how many cases."""
    return Counter(
        row.correct_reason
        for row in summary.cases
        if row.correct == "unknown" and row.outcome == "ok" and row.correct_reason
    )


def swapped_words(size_bytes: int | None) -> str:
    """Always in GB, so that it can be looked for and added up."""
    return "unknown" if size_bytes is None else f"{size_bytes / 1e9:.1f} GB"


def disturbed_lines(summary: RunSummary) -> Iterator[str]:
    """Which processes were held up, and by what: what the ! in the table stands for."""
    lines = [
        f"{_row_words(summary, row)}, {process_words(one.block, row.planned)}: "
        f"{'; '.join(one.reasons)}"
        for row in summary.cases
        for one in row.disturbed
    ]
    yield from map(printable, lines[:_NAMED_CASES])
    if lines[_NAMED_CASES:]:
        yield f"and {counted(len(lines) - _NAMED_CASES, 'more process', 'more processes')} likewise"


def spread_lines(summary: RunSummary) -> Iterator[str]:
    """What makes the figures uncertain, of the case that it shows most in."""
    for row, others in widest(summary.cases):
        more = f" (and likewise {counted(others, 'more case')})" if others else ""
        yield printable(f"Spread: {_row_words(summary, row)}: {spread_words(row)}{more}.")


def _row_words(summary: RunSummary, row: CaseSummary) -> str:
    several_arms = len({one.arm for one in summary.cases}) > 1
    return case_words(row.case) + (f" [{row.arm}]" if several_arms else "")


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
            cells.append("●" if (row.case_id, row.arm) in chosen else "")
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
        name, *told = [(header, str(cells[number])) for header, cells in columns]
        console.print(f"[bold]{name[1]}[/]")
        words = [f"{header} {value}" for header, value in told if value not in ("", "–")]
        console.print(Padding(" · ".join(words), (0, 0, 0, 2)))


def render_lines(lines: Sequence[tuple[str, str]], console: Console) -> None:
    """Two columns: what, and what about it."""
    width = max(len(what) for what, _ in lines)
    for what, about in lines:
        console.print(f"[bold]{what:<{width}}[/]  {escape(printable(about))}", soft_wrap=True)
