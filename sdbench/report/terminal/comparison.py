"""A comparison on the terminal: what differs, the table of cases, the remarks."""

from rich.console import Console
from rich.table import Table

from sdbench.analysis.case_words import case_words
from sdbench.comparison.result import CaseComparison, Comparison, Verdict
from sdbench.comparison.sentence import refused_words, verdict_words
from sdbench.report.terminal.lines import harmless, render_lines, say
from sdbench.report.terminal.tables import Column, fit_table, print_table, table_of
from sdbench.report.view.comparison_words import (
    change_lines,
    decided_words,
    fine_print,
    first_pass_words,
    memory_words_of,
    picture_time,
    picture_times,
    picture_words_of,
    ratio_and_interval_words,
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
    """The sides and what differs, the table, why verdicts are missing, one sentence.

    Sides that may not be compared are reported before anything else.
    """
    refused = refused_words(comparison.cases)
    if refused:
        say(console, f"[yellow]{harmless(refused)}[/]")
        console.print()
    render_lines(side_lines(comparison), console)
    _print_differences(comparison, console)
    console.print()
    _print_table(comparison, console)
    for line in remark_lines(comparison):
        say(console, harmless(line), lead="  ")
    console.print()
    say(console, harmless(comparison.summary.sentence))
    say(console, fine_print(comparison), style="dim")
    for note in comparison.summary.notes:
        say(console, harmless(note), lead="[yellow]note:[/] ")


def _print_differences(comparison: Comparison, console: Console) -> None:
    if not comparison.differences:
        console.print("No known difference between the two sides.")
        return
    console.print("What differs:")
    width = max(len(entry.words) for entry in comparison.differences)
    for entry in comparison.differences:
        sides = [value_words(entry.what, value) for value in (entry.base, entry.new)]
        say(console, harmless(" → ".join(sides)), lead=f"  {harmless(f'{entry.words:<{width}}')}  ")


def _print_table(comparison: Comparison, console: Console) -> None:
    """All figures in one table; on a narrower screen the times, and below what else changed."""
    table = _table(comparison)
    if fit_table(table, console.width):
        console.print(table)
        return
    print_table(_times_table(comparison), console)
    for line in change_lines(comparison):
        say(console, harmless(line), lead="  ")


def _table(comparison: Comparison) -> Table:
    one_by_one = not any(case.machines for case in comparison.cases)
    interval = f"{comparison.confidence:.0%} interval"
    columns: list[Column[CaseComparison]] = [
        *_name_columns(),
        ("base s/image", "figure", lambda case: picture_time(case.base_s, case)),
        ("new s/image", "figure", lambda case: picture_time(case.new_s, case)),
        ("time new/base", "figure", lambda case: ratio_words(case.ratio)),
        (interval, "figure", lambda case: ratio_interval_words(case.ci99 or case.ci95)),
        ("verdict", "whole", _verdict),
        ("first pass", "number", first_pass_words),
        ("peak memory", "figure", memory_words_of),
        ("image", "text", picture_words_of),
    ]
    times = dict.fromkeys(["base s/image", "new s/image"], one_by_one)
    return table_of(comparison.cases, columns, _title(comparison), _names_shown(comparison) | times)


def _times_table(comparison: Comparison) -> Table:
    """``1.96 → 1.09 s``, ``×0.584 (0.538–0.633)``: what fits 80 columns."""
    interval = f"time new/base ({comparison.confidence:.0%})"
    columns: list[Column[CaseComparison]] = [
        *_name_columns(),
        ("s/image", "figure", picture_times),
        (interval, "figure", ratio_and_interval_words),
        ("verdict", "text", _short_verdict),
    ]
    one_by_one = not any(case.machines for case in comparison.cases)
    shown = _names_shown(comparison) | {"s/image": one_by_one}
    return table_of(comparison.cases, columns, _title(comparison), shown)


def _title(comparison: Comparison) -> str:
    title: str = comparison.title
    if comparison.title == "system comparison":
        title += (
            ": the operating system differs too, so no difference can be attributed to torch alone"
        )
    if comparison.simulated:
        title += " – SIMULATED: no real device made these numbers"
    return title


def _name_columns() -> list[Column[CaseComparison]]:
    return [
        ("case", "folded", lambda case: harmless(case_words(case.case))),
        ("variant", "text", lambda case: harmless(case.arm or "")),
        ("new", "text", lambda case: harmless(case.new)),
    ]


def _names_shown(comparison: Comparison) -> dict[str, bool]:
    return {
        "variant": any(case.arm is not None for case in comparison.cases),
        "new": len(comparison.new) > 1,
    }


def _verdict(case: CaseComparison) -> str:
    """``faster, 26% less time``."""
    words = [verdict_words(case), *decided_words(case)]
    return f"[{_STYLES[case.verdict]}]{', '.join(words)}[/]"


def _short_verdict(case: CaseComparison) -> str:
    """``26% less time``, or the verdict where there is no such figure."""
    (words,) = decided_words(case) or [verdict_words(case)]
    return f"[{_STYLES[case.verdict]}]{words}[/]"
