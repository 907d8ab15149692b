"""The matrix as a heat map: resolution against settings, seconds per image in every cell."""

from typing import TYPE_CHECKING

from sdbench.report.figures.canvas import Theme, new_drawing, shortened
from sdbench.report.figures.figure import Figure
from sdbench.report.figures.palette import FIRST_HIGH_HEAT
from sdbench.report.view.model import CaseView, RunReport
from sdbench.words import seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.text import Text

_MOST_CELLS = 600
_MOST_COLUMNS = 10
_SIGNS = {"broken": "✗ wrong image", "drift": "≈"}


def matrix_figure(run: RunReport, prefix: str) -> Figure | None:
    """None where no cell has a time."""
    timed = [cell for cell in run.cells if cell.seconds_per_picture is not None]
    if not timed or len(run.cells) > _MOST_CELLS:
        return None
    fastest = min(timed, key=lambda cell: cell.seconds_per_picture or 0.0)
    slowest = max(timed, key=lambda cell: cell.seconds_per_picture or 0.0)
    description = (
        f"{len(run.cells)} cells, {len(timed)} with a steady time. Fastest: {fastest.name} with "
        f"{seconds(fastest.seconds_per_picture)} per image; slowest: {slowest.name} with "
        f"{seconds(slowest.seconds_per_picture)}. The table below holds every number."
    )
    return Figure(
        kind="matrix",
        id=f"{prefix}-matrix",
        title="Seconds per image in every cell of the matrix",
        caption="The stronger the colour, the slower; ★ is recommended.",
        description=description,
        draw=lambda theme: _draw(run.cells, theme),
    )


def _draw(cells: list[CaseView], theme: Theme) -> "Drawing":
    by_place = {(cell.summary.case.resolution, cell.settings): cell for cell in cells}
    sizes = list(dict.fromkeys(cell.summary.case.resolution for cell in cells))
    settings = list(dict.fromkeys(cell.settings for cell in cells))
    sizes_down = len(sizes) > _MOST_COLUMNS and len(settings) <= len(sizes)
    rows, columns = (sizes, settings) if sizes_down else (settings, sizes)
    height = 0.6 + 0.3 * len(rows)
    drawing, (axes,) = new_drawing(theme, height, width=min(9.6, 2.6 + 1.05 * len(columns)))
    for down, row in enumerate(rows):
        for across, column in enumerate(columns):
            cell = by_place.get((row, column) if sizes_down else (column, row))
            if cell is not None:
                text = _draw_cell(axes, down, across, cell, theme)
                # Only words at a side can reach out of the panel; to measure all takes long.
                text.set_in_layout(across in (0, len(columns) - 1))
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [shortened(name) for name in rows])
    axes.set_xticks(range(len(columns)), [shortened(name, 30) for name in columns])
    axes.xaxis.tick_top()
    if max(map(len, columns)) > 10 and len(columns) > 2:
        for label in axes.get_xticklabels():
            label.set(rotation=25, ha="left", rotation_mode="anchor")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawing


def _draw_cell(axes: "Axes", down: int, across: int, cell: CaseView, theme: Theme) -> "Text":
    from matplotlib.patches import Rectangle

    level = cell.heat_level
    ground = theme["ground"] if level is None else theme[f"heat-{level}"]
    ink = theme["soft"]
    if level is not None:
        ink = theme["heat-ink-high" if level >= FIRST_HIGH_HEAT else "heat-ink-low"]
    corner = (across - 0.48, down - 0.46)
    patch = Rectangle(corner, 0.96, 0.92, facecolor=ground, edgecolor=theme["line"], linewidth=0.6)
    axes.add_artist(patch)  # not add_patch: the limits are set, and need not be found anew
    text = axes.text(across, down, _words(cell), ha="center", va="center", color=ink, fontsize=8.5)
    if cell.summary.correct == "broken" or cell.summary.outcome not in ("ok", "skipped"):
        patch.set(hatch="////", edgecolor=theme["bad"])
        text.set_bbox({"facecolor": ground, "edgecolor": "none", "pad": 1.2})
    if cell.recommended:
        text.set_fontweight("bold")
    return text


def _words(cell: CaseView) -> str:
    if cell.seconds_per_picture is None:
        return cell.outcome_words if cell.summary.outcome != "ok" else "no steady pass"
    star = "★ " if cell.recommended else ""
    sign = f" {_SIGNS[cell.summary.correct]}" if cell.summary.correct in _SIGNS else ""
    worst = "" if cell.summary.outcome == "ok" else f" ({cell.outcome_words})"
    return f"{star}{seconds(cell.seconds_per_picture)}{sign}{worst}"
