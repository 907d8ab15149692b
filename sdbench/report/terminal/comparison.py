"""A comparison on the terminal: what differs, the table of cases, the remarks."""

from rich.console import Console
from rich.table import Table

from sdbench.analysis.case_words import case_words
from sdbench.comparison.result import CaseComparison, Comparison, Verdict
from sdbench.comparison.sentence import verdict_words
from sdbench.report.terminal.tables import Column, harmless, print_table, render_lines, table_of
from sdbench.report.view.comparison_words import (
    fine_print,
    first_pass_words,
    memory_words_of,
    picture_time,
    picture_words_of,
    ratio_interval_words,
    ratio_words,
    remark_lines,
    side_lines,
    value_words,
)

_STYLES: dict[Verdict, str] = {
    "faster": "green",
    "slower": "red",
    "equivalent": "dim",
    "inconclusive": "yellow",
    "incorrect": "red",
}


def render_comparison(comparison: Comparison, console: Console) -> None:
    """The sides and what differs, the table, why verdicts are missing, one sentence."""
    render_lines(side_lines(comparison), console)
    _print_differences(comparison, console)
    console.print()
    print_table(_table(comparison), console)
    for line in remark_lines(comparison):
        console.print(f"  {harmless(line)}", soft_wrap=True)
    console.print(f"\n{comparison.summary.sentence}", soft_wrap=True)
    console.print(fine_print(comparison), style="dim", soft_wrap=True)
    for note in comparison.summary.notes:
        console.print(f"[yellow]note:[/] {harmless(note)}", soft_wrap=True)


def _print_differences(comparison: Comparison, console: Console) -> None:
    if not comparison.differences:
        console.print("No known difference between the two sides.")
        return
    console.print("What differs:")
    width = max(len(entry.words) for entry in comparison.differences)
    for entry in comparison.differences:
        sides = [value_words(entry.what, value) for value in (entry.base, entry.new)]
        words = f"{entry.words:<{width}}  {' → '.join(sides)}"
        console.print(f"  {harmless(words)}", soft_wrap=True)


def _table(comparison: Comparison) -> Table:
    title: str = comparison.title
    if comparison.title == "system comparison":
        title += (
            ": the operating system differs too, so no difference can be attributed to torch alone"
        )
    if comparison.simulated:
        title += " – SIMULATED: no real device made these numbers"
    one_by_one = not any(case.machines for case in comparison.cases)
    shown = {
        "variant": any(case.arm is not None for case in comparison.cases),
        "new": len(comparison.new) > 1,
        **dict.fromkeys(["base s/image", "new s/image"], one_by_one),
    }
    interval = f"{comparison.confidence:.0%} interval"
    columns: list[Column[CaseComparison]] = [
        ("case", "folded", lambda case: harmless(case_words(case.case))),
        ("variant", "text", lambda case: harmless(case.arm or "")),
        ("new", "text", lambda case: harmless(case.new)),
        ("base s/image", "figure", lambda case: picture_time(case.base_s, case)),
        ("new s/image", "figure", lambda case: picture_time(case.new_s, case)),
        ("time new/base", "figure", lambda case: ratio_words(case.ratio)),
        (interval, "figure", lambda case: ratio_interval_words(case.ci99 or case.ci95)),
        ("verdict", "whole", lambda case: f"[{_STYLES[case.verdict]}]{verdict_words(case)}[/]"),
        ("first pass", "number", first_pass_words),
        ("peak memory", "number", memory_words_of),
        ("image", "text", picture_words_of),
    ]
    return table_of(comparison.cases, columns, title, shown)
