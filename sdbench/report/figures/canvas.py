"""Empty axes in the report's style, and what several figures do alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from sdbench.report.units import printable, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

Theme = dict[str, str]
T = TypeVar("T")

# Inches at 72 points; a page shows it about 690 pixels wide.
WIDTH = 7.2
# Beyond that ratio a linear axis would hide the small ones.
_LOG_FROM = 8.0
# What a row of a list-like figure takes.
ROW = 0.24
# And how many of them can still be read.
MOST_ROWS = 40


def new_drawing(
    theme: Theme, height: float, *, width: float = WIDTH, panels: Sequence[float] = (1,)
) -> "tuple[Drawing, list[Axes]]":
    """A drawing of inches with axes above each other, heights in proportion."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), layout="constrained", facecolor=theme["ground"])
    drawing.patch.set_alpha(0.0 if theme["ground"].startswith("#fe") else 1.0)
    grid = drawing.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(panels)}
    )
    axes = [row[0] for row in grid]
    for one in axes:
        plain(one, theme)
    return drawing, axes


def plain(axes: "Axes", theme: Theme) -> None:
    """Quiet spines and ticks."""
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_color(theme["line"])
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=theme["soft"], labelcolor=theme["ink"], length=3, width=0.7)
    axes.xaxis.label.set_color(theme["soft"])
    axes.yaxis.label.set_color(theme["soft"])


def in_their_order(chosen: Sequence[T], among: Sequence[T]) -> list[T]:
    """The chosen rows as they stand among all; the very objects, since rows may be equal."""
    wanted = {id(row) for row in chosen}
    return [row for row in among if id(row) in wanted]


def label_rows(axes: "Axes", names: Sequence[str], theme: Theme, *, lines: bool = True) -> None:
    """One row a name, the first on top, with a faint line each."""
    places = range(len(names))
    axes.set_yticks(list(places), [shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for place in places if lines else ():
        axes.axhline(place, color=theme["line"], linewidth=0.6, zorder=0)


def time_axis(axes: "Axes", values: Sequence[float], label: str) -> None:
    """Seconds from 0 on, or logarithmic where they differ by much."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xlabel(label)
    known = [value for value in values if value > 0]
    if known and max(known) / min(known) > _LOG_FROM:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(min(known) / 1.25, max(known) * 1.25)
        axes.set_xlabel(f"{label} (logarithmic)")
    else:
        axes.set_xlim(0, max(known, default=1.0) * 1.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))


def shortened(text: str, most: int = 46) -> str:
    """Printable, and short enough for a label."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def legend(axes: "Axes", theme: Theme, *, columns: int = 4) -> None:
    """Above the axes, without a box."""
    found = axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        ncols=columns,
        frameon=False,
        fontsize=8,
        borderaxespad=0,
        handletextpad=0.5,
        columnspacing=1.4,
    )
    for text in found.get_texts():
        text.set_color(theme["ink"])
