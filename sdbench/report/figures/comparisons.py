"""Ratios of times with their intervals and verdicts, and one case over time."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdbench.analysis.case_words import case_words
from sdbench.analysis.run_summary import per_picture
from sdbench.comparison.result import CaseComparison, Comparison, Verdict
from sdbench.report.figures.canvas import (
    MOST_ROWS,
    Theme,
    in_their_order,
    label_rows,
    legend,
    new_drawing,
    shortened,
)
from sdbench.report.figures.figure import Figure
from sdbench.report.view.comparison_words import VERDICT_WORDS, case_name, change_words
from sdbench.words import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

    from sdbench.comparison import History, HistoryEntry

_TICKS_A_SIDE = 5
_FEWER_TICKS = 3
_NARROW_ROW = 0.56  # two lines of words above it
# Beyond that ratio ticks are at 1, 2 and 5 times powers of ten.
_FAR = 5.0
_STEPS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_LOOKS: dict[Verdict, tuple[str, str]] = {
    "faster": ("v", "3"),
    "slower": ("^", "2"),
    "equivalent": ("o", "1"),
    "inconclusive": ("|", "soft"),
    "incorrect": ("x", "bad"),
}
_WEIGHT: tuple[Verdict, ...] = ("incorrect", "slower", "faster", "inconclusive", "equivalent")


def comparison_figure(comparison: Comparison, number: int) -> Figure | None:
    """None where no case has a ratio; of many cases those that matter most."""
    shown, known = chosen_ratios(comparison, MOST_ROWS)
    if not shown:
        return None
    left_out = ""
    if len(shown) < known:
        left_out = f" {len(shown)} of {known} cases are shown, wrong and slower ones first."
    simulated = "Simulated. " if comparison.simulated else ""
    return Figure(
        kind="comparison",
        id=f"comparison-{number}",
        title="Time, new over base",
        caption=f"Left means faster.{left_out}",
        description=f"{simulated}{comparison.summary.sentence}",
        draw=lambda theme: _draw(shown, comparison.threshold, theme),
    )


def chosen_ratios(comparison: Comparison, most: int) -> tuple[list[CaseComparison], int]:
    """Cases with a ratio, of many wrong and slower ones first, and how many there are."""
    known = [case for case in comparison.cases if case.ratio is not None]
    ranked = sorted(known, key=lambda case: _WEIGHT.index(case.verdict))
    return in_their_order(ranked[:most], known), len(known)


def _draw(cases: list[CaseComparison], threshold: float, theme: Theme) -> "Drawing":
    row = _NARROW_ROW if theme.narrow else theme.row
    drawing, (axes,) = new_drawing(theme, 0.95 + row * len(cases))
    draw_ratios(axes, cases, threshold, theme)
    legend(axes, theme, columns=5)
    return drawing


def draw_ratios(
    axes: "Axes", cases: Sequence[CaseComparison], threshold: float, theme: Theme
) -> None:
    """A row per case: its ratio with interval, and the verdict in words (narrow: below
    its name)."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    names = [case_name(case) for case in cases]
    words = [_words(case.ratio or 1.0, case.verdict) for case in cases]
    label_rows(axes, names, theme, notes=words)
    axes.axvspan(
        1 / (1 + threshold),
        1 + threshold,
        color=theme["line"],
        alpha=0.45,
        zorder=0,
        linewidth=0,
        label=f"equivalent (±{threshold:.0%})",
    )
    axes.axvline(1, color=theme["soft"], linewidth=0.8)
    reach = [1 / (1 + 2 * threshold), 1 + 2 * threshold]
    for row, case in enumerate(cases):
        assert case.ratio is not None, "cases without one are left out"
        shape, colour = _LOOKS[case.verdict]
        bounds = case.ci99 or case.ci95
        if bounds is not None:
            axes.plot(bounds, [row, row], color=theme[colour], linewidth=1.4)
        axes.plot(
            [case.ratio],
            [row],
            shape,
            color=theme[colour],
            markersize=6,
            markeredgewidth=1.4 if shape in "x|" else 0,
            linestyle="none",
        )
        reach += [value for value in (case.ratio, *(bounds or ())) if value]
        if not theme.narrow:
            axes.text(
                1.01,
                row,
                words[row],
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=9,
                color=theme["ink"],
            )
    low, high = min(reach) / 1.03, max(reach) * 1.03
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(
        FixedLocator(ratio_ticks(low, high, _FEWER_TICKS if theme.narrow else _TICKS_A_SIDE))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:.3g}"))
    axes.set_xlabel("left: new is faster · right: new is slower")


def _words(ratio: float, verdict: Verdict) -> str:
    """``faster, 26% less time``; a ratio where nothing is decided."""
    decided = verdict in ("faster", "slower")
    size = change_words(ratio, "time") if decided else f"×{ratio:.3f}"
    return f"{VERDICT_WORDS[verdict]}, {size}"


def ratio_ticks(low: float, high: float, most_a_side: int = _TICKS_A_SIDE) -> list[float]:
    """1 and round numbers on either side of it, in steps alike: 0.6, 0.7, 0.8, 0.9, 1.

    Far from 1 they are the series 1, 2, 5, or powers of ten where these are too many.
    """
    if max(high, 1 / low) > _FAR:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [base * 10.0**power for power in powers for base in (1, 2, 5)]
        found = [value for value in found if low <= value <= high]
        few = len(found) <= 2 * most_a_side + 1
        return found if few else [value for value in found if _is_power(value)]
    span = max(high - 1, 1 - low)
    step = next(step for step in _STEPS if span / step <= most_a_side)
    counts = range(math.floor((low - 1) / step), math.ceil((high - 1) / step) + 1)
    return [value for count in counts if low <= (value := round(1 + count * step, 6)) <= high]


def _is_power(value: float) -> bool:
    return math.isclose(math.log10(value), round(math.log10(value)), abs_tol=1e-6)


def history_figure(history: "History") -> Figure | None:
    """None where fewer than two runs have a time."""
    known = [entry for entry in history.runs if entry.latency_s.median is not None]
    if len(known) < 2:
        return None
    last = known[-1]
    newest_s = per_picture(last.latency_s.median, last.images)
    return Figure(
        kind="history",
        id="history",
        title=f"{case_words(history.case)} over time",
        caption="Each run of this machine, with its 95% interval.",
        description=f"{len(known)} runs; the newest took {seconds(newest_s)} per image.",
        draw=lambda theme: _draw_history(known, theme),
    )


def _draw_history(entries: "list[HistoryEntry]", theme: Theme) -> "Drawing":
    drawing, (axes,) = new_drawing(theme, 2.6)
    places = {entry.created_utc: place for place, entry in enumerate(entries)}
    groups: dict[tuple[str, str], list[HistoryEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.series, entry.arm), []).append(entry)
    for number, ((series, arm), own) in enumerate(groups.items()):
        colour = theme[str(number % 5 + 1)]
        across = [places[entry.created_utc] for entry in own]
        times = [(entry.latency_s.median or 0.0) / entry.images for entry in own]
        axes.plot(
            across,
            times,
            "o-",
            color=colour,
            linewidth=1.2,
            markersize=4,
            label=shortened(f"{series} [{arm}]", 52),
        )
        for place, entry in zip(across, own, strict=True):
            if entry.latency_s.ci95 is not None:
                low, high = entry.latency_s.ci95
                axes.plot(
                    [place] * 2,
                    [low / entry.images, high / entry.images],
                    color=colour,
                    alpha=0.5,
                    linewidth=3,
                )
    names = {places[entry.created_utc]: entry.label or entry.created_utc[:10] for entry in entries}
    axes.set_xticks(list(names), [shortened(name, 14) for name in names.values()])
    axes.set_ylim(bottom=0)
    axes.set_ylabel("seconds per image")
    axes.grid(axis="y", color=theme["line"], linewidth=0.5)
    legend(axes, theme, columns=1)
    return drawing
