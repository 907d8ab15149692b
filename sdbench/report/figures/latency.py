"""Every process's time: steady passes as dots, the first pass apart, the interval behind."""

import math
from typing import TYPE_CHECKING

from sdbench.report.figures.canvas import (
    MOST_ROWS,
    Theme,
    in_their_order,
    label_rows,
    legend,
    new_drawing,
    time_axis,
)
from sdbench.report.figures.figure import Figure
from sdbench.report.view.model import CaseView, ProcessTimes, RunReport
from sdbench.words import counted, seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

# The share of a row's height over which its dots are spread, and how many can be distinguished.
_SPREAD = 0.5
_MOST_PROCESSES = 50


def latency_figure(run: RunReport, prefix: str) -> Figure | None:
    """None where nothing was timed; of many cells the fastest and the slowest."""
    timed = [cell for cell in run.cells if _times(cell)]
    if not timed:
        return None
    shown, left_out = timed, ""
    if len(timed) > MOST_ROWS:
        ranked = sorted(timed, key=lambda cell: min(_times(cell)))
        shown = in_their_order([*ranked[: MOST_ROWS // 2], *ranked[-MOST_ROWS // 2 :]], timed)
        left_out = f" Shown are the {MOST_ROWS // 2} fastest and slowest of {len(timed)} cells."
    words = "; ".join(
        f"{cell.name}: {seconds(cell.seconds_per_picture)}, "
        f"{counted(cell.summary.latency_s.n, 'process', 'processes')}"
        for cell in shown[:8]
        if cell.seconds_per_picture is not None
    )
    return Figure(
        kind="latency",
        id=f"{prefix}-latency",
        title="Seconds per image, every process",
        caption=f"The bar is the median over processes.{left_out}{_thinned_words(shown)}",
        description=f"{words}{' …' if len(shown) > 8 else '.'}{left_out}",
        draw=lambda theme: _draw(shown, theme),
    )


def _times(cell: CaseView) -> list[float]:
    found = [one.steady_s for one in cell.processes] + [one.first_s for one in cell.processes]
    return [time for time in found if time is not None]


def _thinned(processes: list[ProcessTimes]) -> list[ProcessTimes]:
    """All, or as many as can be distinguished: the fastest, the slowest, and evenly between."""
    if len(processes) <= _MOST_PROCESSES:
        return processes
    ranked = sorted(processes, key=lambda one: math.inf if one.steady_s is None else one.steady_s)
    last = len(ranked) - 1
    chosen = [ranked[round(i * last / (_MOST_PROCESSES - 1))] for i in range(_MOST_PROCESSES)]
    return in_their_order(chosen, processes)


def _thinned_words(cells: list[CaseView]) -> str:
    if all(len(cell.processes) <= _MOST_PROCESSES for cell in cells):
        return ""
    return (
        f" Of a cell with more than {_MOST_PROCESSES} processes only {_MOST_PROCESSES} are drawn, "
        "including the fastest and the slowest."
    )


def _draw(cells: list[CaseView], theme: Theme) -> "Drawing":
    drawing, (axes,) = new_drawing(theme, 0.95 + theme.row * len(cells))
    label_rows(axes, [cell.name for cell in cells], theme)
    first: list[tuple[float, float]] = []
    steady: list[tuple[float, float]] = []
    for row, cell in enumerate(cells):
        if cell.ci95 is not None:
            label = None if any(one.ci95 for one in cells[:row]) else "95% interval"
            axes.plot(
                cell.ci95,
                [row, row],
                color=theme["1"],
                alpha=0.35,
                linewidth=6,
                solid_capstyle="butt",
                label=label,
                zorder=1,
            )
        if cell.seconds_per_picture is not None:
            axes.plot(
                [cell.seconds_per_picture] * 2,
                [row - 0.3, row + 0.3],
                color=theme["1"],
                linewidth=1.6,
                zorder=3,
            )
        processes = _thinned(cell.processes)
        count = len(processes)
        for index, process in enumerate(processes):
            place = row + (_SPREAD * (index / (count - 1) - 0.5) if count > 1 else 0.0)
            if process.first_s is not None:
                first.append((process.first_s, place))
            if process.steady_s is not None:
                steady.append((process.steady_s, place))
    if steady:
        axes.plot(
            *zip(*steady, strict=True),
            "o",
            color=theme["1"],
            markersize=3.6,
            markeredgecolor=theme["ground"],
            markeredgewidth=0.4,
            zorder=4,
            label="a process, steady passes",
        )
    if first:
        axes.plot(
            *zip(*first, strict=True),
            "^",
            color="none",
            markeredgecolor=theme["2"],
            markersize=4.2,
            markeredgewidth=0.9,
            zorder=2,
            label="its first pass",
        )
    time_axis(axes, [time for cell in cells for time in _times(cell)], "seconds per image", theme)
    legend(axes, theme)
    return drawing
