"""A comparison on the terminal: what differs, the table of cases, the remarks."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdbench.analysis.case_words import case_words
from sdbench.comparison.result import Comparison, Verdict
from sdbench.comparison.sentence import VERDICT_WORDS as VERDICT_WORDS
from sdbench.comparison.sentence import verdict_words as verdict_words
from sdbench.report.terminal.tables import print_table, render_lines
from sdbench.report.view.comparison_words import (
    fine_print,
    first_pass_words,
    interval_words,
    memory_words_of,
    picture_time,
    picture_words_of,
    ratio_words,
    remark_lines,
    side_lines,
    value_words,
)
from sdbench.words import printable

_STYLES: dict[Verdict, str] = {
    "faster": "green",
    "slower": "red",
    "equivalent": "dim",
    "inconclusive": "yellow",
    "incorrect": "red",
}


def render_comparison(comparison: Comparison, console: Console) -> None:
    """The sides and what differs, the table, why verdicts are missing, one sentence."""
    render_lines([*side_lines(comparison)], console)
    _print_differences(comparison, console)
    console.print()
    print_table(_table(comparison), console)
    for line in remark_lines(comparison):
        console.print(f"  {escape(printable(line))}", soft_wrap=True)
    console.print(f"\n{comparison.summary.sentence}", soft_wrap=True)
    console.print(fine_print(comparison), style="dim", soft_wrap=True)
    for note in comparison.summary.notes:
        console.print(f"[yellow]note:[/] {escape(printable(note))}", soft_wrap=True)


def _print_differences(comparison: Comparison, console: Console) -> None:
    if not comparison.differences:
        console.print("Nothing that sdbench knows of differs between the two sides.")
        return
    console.print("What differs:")
    width = max(len(entry.words) for entry in comparison.differences)
    for entry in comparison.differences:
        sides = [value_words(entry.what, value) for value in (entry.base, entry.new)]
        words = f"{entry.words:<{width}}  {' → '.join(sides)}"
        console.print(f"  {escape(printable(words))}", soft_wrap=True)


def _table(comparison: Comparison) -> Table:
    title: str = comparison.title
    if comparison.title == "system comparison":
        title += ": the operating system differs too, so no difference is torch's alone"
    if comparison.simulated:
        title += " – SIMULATED: no real device made these numbers"
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    several_arms = any(case.arm is not None for case in comparison.cases)
    several_new = len(comparison.new) > 1
    table.add_column("case", overflow="fold")
    if several_arms:
        table.add_column("arm")
    if several_new:
        table.add_column("new")
    over_machines = any(case.machines for case in comparison.cases)
    if not over_machines:
        table.add_column("base s/picture", justify="right", no_wrap=True)
        table.add_column("new s/picture", justify="right", no_wrap=True)
    table.add_column("time new/base", justify="right", no_wrap=True)
    table.add_column(f"{comparison.confidence:.0%} interval", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name in ("first pass", "peak memory"):
        table.add_column(name, justify="right")
    table.add_column("picture")
    for case in comparison.cases:
        cells = [case_words(case.case)]
        if several_arms:
            cells.append(case.arm or "")
        if several_new:
            cells.append(case.new)
        if not over_machines:
            cells += [picture_time(case.base_s, case), picture_time(case.new_s, case)]
        cells += [ratio_words(case.ratio), interval_words(case.ci99 or case.ci95)]
        cells = [escape(printable(cell)) for cell in cells]
        cells.append(f"[{_STYLES[case.verdict]}]{verdict_words(case)}[/]")
        cells += [first_pass_words(case), memory_words_of(case), picture_words_of(case)]
        table.add_row(*cells)
    return table
