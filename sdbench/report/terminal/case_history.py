"""One case over time: a line per run, and a plot next to it."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdbench.analysis.case_words import OUTCOME_WORDS, case_words
from sdbench.analysis.run_summary import per_picture
from sdbench.comparison import History, HistoryEntry
from sdbench.report.terminal.lines import harmless, say
from sdbench.report.terminal.tables import Column, fit_table, print_table, table_of
from sdbench.words import counted, printable, seconds

_PLOT_WIDTH = 40


def render_history(history: History, console: Console, most: int | None = None) -> None:
    """A table for each series: what ran different work or another device has its own scale.

    ``most`` lines of each are shown, the last ones; the scale is that of all.
    """
    several_arms = len({entry.arm for entry in history.runs}) > 1
    by_series: dict[str, list[HistoryEntry]] = {}
    for entry in history.runs:
        by_series.setdefault(entry.series, []).append(entry)
    for series, entries in by_series.items():
        shown = entries if most is None else entries[-most:]
        if len(shown) < len(entries):
            console.print(f"{counted(len(entries) - len(shown), 'earlier line')}: --all shows them")
        table = _table(history, series, shown, _Scale(entries), several_arms)
        if not fit_table(table, console.width):
            table = _table(history, series, shown, None, several_arms)
        print_table(table, console)
    for spread in history.spreads:
        torch = next(
            entry.versions.get("torch", "–")
            for entry in history.runs
            if entry.conditions == spread.conditions
        )
        words = (
            f"The {spread.runs} runs with torch {torch} under the same conditions differ by "
            f"{math.expm1(spread.log_sd):.1%}: between two separate runs, a ratio below "
            f"×{spread.least_ratio:.2f} is not a change."
        )
        say(console, harmless(words))


def _table(
    history: History,
    series: str,
    entries: Sequence[HistoryEntry],
    scale: "_Scale | None",
    several_arms: bool,
) -> Table:
    """With a plot and the date apart, unless there is no ``scale``; ids begin with the date."""
    title = f"{case_words(history.case)}: {printable(series)}"
    columns: list[Column[HistoryEntry]] = [
        ("date", "folded", lambda entry: harmless(entry.created_utc[:16].replace("T", " "))),
        ("run", "whole", lambda entry: harmless(f"{entry.run_id} {entry.label or ''}".rstrip())),
        ("variant", "whole", lambda entry: harmless(entry.arm)),
        ("torch", "whole", lambda entry: harmless(entry.versions.get("torch", "–"))),
        ("diffusers", "folded", lambda entry: harmless(entry.versions.get("diffusers", "–"))),
        ("outcome", "folded", _outcome),
        ("s/image", "figure", _time),
    ]
    if scale is not None:
        columns.append((scale.heading, "whole", scale.line))
    wide = scale is not None
    shown = {"variant": several_arms, "date": wide, "diffusers": wide}
    return table_of(entries, columns, escape(title), shown)


def _outcome(entry: HistoryEntry) -> str:
    return OUTCOME_WORDS[entry.outcome] + (" (simulated)" if entry.simulated else "")


def _time(entry: HistoryEntry) -> str:
    return seconds(per_picture(entry.latency_s.median, entry.images))


class _Scale:
    """Draws a time as a dot and its 95% interval as a bar, from the fastest to the slowest."""

    def __init__(self, entries: Sequence[HistoryEntry]) -> None:
        shown = [bound for entry in entries for bound in _bounds(entry)]
        self._low, self._high = min(shown, default=0.0), max(shown, default=0.0)

    @property
    def heading(self) -> str:
        """What the two ends of the plot mean."""
        low, high = seconds(self._low), seconds(self._high)
        return low + high.rjust(_PLOT_WIDTH - len(low)) if self._high else ""

    def line(self, entry: HistoryEntry) -> str:
        """One run's place in the plot; empty without a real time."""
        bounds = _bounds(entry)
        if not bounds:
            return ""
        low, middle, high = (self._column(bound) for bound in bounds)
        cells = [" "] * _PLOT_WIDTH
        cells[low : high + 1] = "─" * (high + 1 - low)
        cells[middle] = "●"
        return "".join(cells).rstrip()

    def _column(self, value: float) -> int:
        span = self._high - self._low
        share = 0.0 if span == 0 else (value - self._low) / span
        return round(share * (_PLOT_WIDTH - 1))


def _bounds(entry: HistoryEntry) -> tuple[float, ...]:
    """Low, middle and high seconds per image; a stand-in's times have no place among real ones."""
    median, interval = entry.latency_s.median, entry.latency_s.ci95
    if median is None or entry.simulated:
        return ()
    low, high = interval or (median, median)
    # The interval is of the mean of logarithms; in a skewed sample the median may lie beside it.
    return tuple(value / entry.images for value in (min(low, median), median, max(high, median)))
