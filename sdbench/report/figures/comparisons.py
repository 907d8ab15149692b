"""Ratios of times with their intervals and verdicts, and one case over time."""

from typing import TYPE_CHECKING

from sdbench.analysis.case_words import case_words
from sdbench.analysis.run_summary import per_picture
from sdbench.comparison.result import CaseComparison, Comparison, Verdict
from sdbench.report.figures.canvas import (
    MOST_ROWS,
    ROW,
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
    from matplotlib.figure import Figure as Drawing

    from sdbench.comparison import History, HistoryEntry

_TICKS_A_SIDE = 4
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
    known = [case for case in comparison.cases if case.ratio is not None]
    if not known:
        return None
    shown, left_out = known, ""
    if len(known) > MOST_ROWS:
        ranked = sorted(known, key=lambda case: _WEIGHT.index(case.verdict))
        shown = in_their_order(ranked[:MOST_ROWS], known)
        left_out = f" {MOST_ROWS} of {len(known)} cases are shown, wrong and slower ones first."
    simulated = "Simulated. " if comparison.simulated else ""
    return Figure(
        kind="comparison",
        id=f"comparison-{number}",
        title="Time, new over base",
        caption=f"Left means faster.{left_out}",
        description=f"{simulated}{comparison.summary.sentence}",
        draw=lambda theme: _draw(shown, comparison.threshold, theme),
    )


def _draw(cases: list[CaseComparison], threshold: float, theme: Theme) -> "Drawing":
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    drawing, (axes,) = new_drawing(theme, 0.95 + ROW * len(cases))
    label_rows(axes, [case_name(case) for case in cases], theme)
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
        words = _words(case.ratio, case.verdict)
        axes.text(
            1.01,
            row,
            words,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=theme["ink"],
        )
    low, high = min(reach) / 1.03, max(reach) * 1.03
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"×{value:.3g}"))
    axes.set_xlabel("left: new is faster · right: new is slower")
    legend(axes, theme, columns=5)
    return drawing


def _words(ratio: float, verdict: Verdict) -> str:
    """``faster, 26% less time``; a ratio where nothing is decided."""
    decided = verdict in ("faster", "slower")
    size = change_words(ratio, "time") if decided else f"×{ratio:.3f}"
    return f"{VERDICT_WORDS[verdict]}, {size}"


def _ticks(low: float, high: float) -> list[float]:
    """1 and steps away from it that suit the range, at most four to a side."""
    for step in (1.01, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 10.0):
        if max(high, 1 / low) <= step**_TICKS_A_SIDE:
            break
    sides = range(-_TICKS_A_SIDE, _TICKS_A_SIDE + 1)
    return [step**side for side in sides if low <= step**side <= high]


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
