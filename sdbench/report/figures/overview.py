"""The cases of a run at a glance: a bar each with its interval, the first pass as a hollow mark."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdbench.analysis.iterations import iterations_words
from sdbench.report.figures.canvas import Theme, label_rows, legend, new_drawing, time_axis
from sdbench.report.figures.figure import Figure
from sdbench.report.view.headline import size_rank
from sdbench.report.view.model import CaseView, RunReport
from sdbench.words import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

MOST_BARS = 12
# First passes that take so many times the slowest steady one would flatten all bars.
_MOST_TIMES = 4


def overview_figure(run: RunReport, prefix: str) -> Figure | None:
    """None with fewer than two timed cases; of many those that matter most."""
    shown = chosen_bars(run.cells, MOST_BARS)
    timed = sum(cell.seconds_per_picture is not None for cell in run.cells)
    if len(shown) < 2:
        return None
    left_out = f" {len(shown)} of {timed} cases are shown." if len(shown) < timed else ""
    hidden = "" if _first_passes(shown) else " First passes take far longer and are not drawn."
    words = "; ".join(f"{cell.name}: {bar_words(cell)}" for cell in shown)
    return Figure(
        kind="overview",
        id=f"{prefix}-overview",
        title="Seconds per image, by case",
        caption=f"{_explained(shown)}{left_out}{hidden}",
        description=f"{words}.{left_out}",
        draw=lambda theme: _draw(shown, theme),
    )


def _explained(cells: Sequence[CaseView]) -> str:
    known = any(cell.ci95 is not None for cell in cells)
    interval = "The line across a bar is its 95% interval" if known else "Without intervals"
    return f"{interval}{'; ★ is recommended' if any(one.recommended for one in cells) else ''}."


def chosen_bars(cells: Sequence[CaseView], most: int) -> list[CaseView]:
    """Timed cases, the usual size first, of a size the fastest; recommended ones are all there."""
    ranked = sorted(
        (cell for cell in cells if cell.seconds_per_picture is not None),
        key=lambda cell: cell.seconds_per_picture or 0.0,
    )
    ranked.sort(key=lambda cell: size_rank(cell.summary.case), reverse=True)
    first = sorted(ranked, key=lambda cell: not cell.recommended)[:most]
    kept = {cell.summary.key for cell in first}
    return [cell for cell in ranked if cell.summary.key in kept]


def bar_words(cell: CaseView) -> str:
    """``0.214 s, 37.4 it/s``, and what is wrong with it."""
    words = seconds(cell.seconds_per_picture)
    if cell.iterations_per_second is not None:
        words += f", {iterations_words(cell.iterations_per_second)}"
    if cell.tone != "bad":
        return words
    why = cell.picture_words if cell.summary.outcome == "ok" else cell.outcome_words
    return f"{words}, ✕ {why}"


def draw_bars(axes: "Axes", cells: Sequence[CaseView], theme: Theme) -> None:
    """Bars into a panel, the first case on top; narrow: names and figures above them."""
    stars = ["★ " if cell.recommended else "" for cell in cells]
    names = [f"{star}{cell.name}" for star, cell in zip(stars, cells, strict=True)]
    words = [bar_words(cell) for cell in cells]
    if theme.narrow:
        names = [f"{name}: {said}" for name, said in zip(names, words, strict=True)]
    label_rows(axes, names, theme, lines=False)
    firsts = _first_passes(cells)
    interval = first = False
    ends = []
    for row, cell in enumerate(cells):
        time_s = cell.seconds_per_picture or 0.0
        end = time_s
        axes.barh(
            row,
            time_s,
            height=0.34 if theme.narrow else 0.56,
            color=theme["1"],
            alpha=0.9 if cell.recommended else 0.45,
            hatch="////" if cell.tone == "bad" else None,
            edgecolor=theme["bad"] if cell.tone == "bad" else "none",
            linewidth=0,
        )
        if cell.ci95 is not None:
            label = None if interval else "95% interval"
            axes.plot(cell.ci95, [row, row], "|-", color=theme["ink"], linewidth=1.3, label=label)
            end, interval = max(end, cell.ci95[1]), True
        if firsts and cell.first_s is not None:
            axes.plot(
                [cell.first_s],
                [row],
                "^",
                color="none",
                markeredgecolor=theme["2"],
                markersize=5,
                label=None if first else "first pass",
            )
            first = True
        ends.append(end)
    most = max([*ends, *firsts])
    time_axis(axes, [most], "seconds per image", theme)
    for row, said in enumerate([] if theme.narrow else words):
        axes.text(
            1.01,
            row,
            said,
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=theme["ink"],
        )


def _first_passes(cells: Sequence[CaseView]) -> list[float]:
    """Seconds of first passes; none where they would flatten the bars."""
    firsts = [cell.first_s for cell in cells if cell.first_s is not None]
    slowest = max((cell.seconds_per_picture or 0.0 for cell in cells), default=0.0)
    return firsts if firsts and max(firsts) <= _MOST_TIMES * slowest else []


def _draw(cells: Sequence[CaseView], theme: Theme) -> "Drawing":
    drawing, (axes,) = new_drawing(theme, 0.85 + theme.row * len(cells))
    draw_bars(axes, cells, theme)
    if axes.get_legend_handles_labels()[0]:
        legend(axes, theme)
    return drawing
