"""Empty axes in the report's style, and what several figures do alike."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from sdbench.words import printable, seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backend_bases import RendererBase
    from matplotlib.figure import Figure as Drawing

T = TypeVar("T")

# Of an SVG, so that what is measured is what is drawn.
_DPI = 72
# What matplotlib's constrained layout leaves free at every side of a panel, inches.
_PAD = 3 / 72
# A layout that moves less is the last, inches; and there are so many at most.
_CLOSE = 2 / 72
_MOST_TIMES = 4
# Inches at 72 points: what a page of 1280 pixels and one of 390 have room for.
WIDTH = 10.6
NARROW = 3.72
# Beyond that ratio a linear axis would hide the small ones.
_LOG_FROM = 8.0
# What a row of a list-like figure takes; in a narrow one its name stands above it.
_ROW, _NARROW_ROW = 0.27, 0.42
# And how many of them can still be read.
MOST_ROWS = 40


class Theme(dict[str, str]):
    """How a figure is drawn: colour by role (palette's names without ``fig-``), width in inches."""

    def __init__(self, colours: Mapping[str, str], width: float = WIDTH) -> None:
        super().__init__(colours)
        self.width = width

    @property
    def narrow(self) -> bool:
        """Whether it is for a phone: names above rows, fewer ticks, legends in two columns."""
        return self.width <= NARROW

    @property
    def row(self) -> float:
        """What a row of a list-like figure takes, in inches."""
        return _NARROW_ROW if self.narrow else _ROW


def new_drawing(
    theme: Theme, height: float, *, width: float | None = None, panels: Sequence[float] = (1,)
) -> "tuple[Drawing, list[Axes]]":
    """A drawing as wide as the theme's, in inches, axes above each other, heights in proportion."""
    from matplotlib.figure import Figure as Drawing

    size = (width or theme.width, height)
    drawing = Drawing(size, _DPI, facecolor=theme["ground"], layout="constrained")
    drawing.patch.set_alpha(0.0 if theme["ground"].startswith("#fe") else 1.0)
    grid = drawing.subplots(
        len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": list(panels)}
    )
    axes = [row[0] for row in grid]
    for one in axes:
        plain(one, theme)
    return drawing, axes


def lay_out(drawing: "Drawing") -> None:
    """Give names, ticks and legends the room they take, and the panels the rest.

    The result is that of matplotlib's constrained layout for panels above each other, for which
    everything is measured twice and drawn twice. A second call does nothing.
    """
    if drawing.get_layout_engine() is None:
        return
    drawing.set_layout_engine(None)
    renderer = measuring()
    before, ticks = 0.0, [*_ticks(drawing.axes)]
    for _ in range(_MOST_TIMES):
        beyond = _place(drawing, renderer)
        # A panel of another size has other ticks, and text in it may reach further out of it.
        settled = abs(beyond - before) < _CLOSE
        before, last = beyond, ticks
        if settled and last == (ticks := [*_ticks(drawing.axes)]):
            break


@functools.cache
def measuring() -> "RendererBase":
    """What tells how large text is in an SVG, and keeps it: figures have many words in common."""
    from matplotlib.backend_bases import RendererBase

    return RendererBase()


def _ticks(panels: Sequence["Axes"]) -> Iterator[list[float]]:
    for axes in panels:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            yield [place for place in axis.get_majorticklocs() if low <= place <= high]


def _place(drawing: "Drawing", renderer: "RendererBase") -> float:
    """Move the panels by what stands around each; returns what that was on the right, in inches."""
    width, height = drawing.get_size_inches()
    across, up = _PAD / width, _PAD / height
    reaches = [outside(axes, renderer) for axes in drawing.axes]
    left, right = (max(sides[n] for sides in reaches) + across for n in (0, 1))
    free = 1 - sum(above + below + 2 * up for *_, above, below in reaches)
    shares = [axes.get_position().height for axes in drawing.axes]
    top = 1.0
    if 1 - left - right <= 0 or free <= 0:
        return 0.0  # no room for a panel at all: better cut than empty
    for axes, (*_, above, below), share in zip(drawing.axes, reaches, shares, strict=True):
        tall = free * share / sum(shares)
        bottom = top - up - above - tall
        axes.set_position((left, bottom, 1 - left - right, tall))
        top = bottom - below - up
    return float(right - across) * float(width)


def outside(axes: "Axes", renderer: "RendererBase") -> tuple[float, float, float, float]:
    """How far it reaches beyond its panel: left, right, above, below; shares of the drawing."""
    panel = axes.get_position()
    reach = axes.get_tightbbox(renderer, for_layout_only=True)
    assert reach is not None, "a panel is seen"
    reach = reach.transformed(axes.figure.transFigure.inverted())
    return panel.x0 - reach.x0, reach.x1 - panel.x1, reach.y1 - panel.y1, panel.y0 - reach.y0


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


def label_rows(
    axes: "Axes",
    names: Sequence[str],
    theme: Theme,
    *,
    notes: Sequence[str] = (),
    lines: bool = True,
) -> None:
    """One row a name, the first on top, with a faint line each.

    In a narrow figure the name stands above its line, and below it its note, of ``notes``.
    """
    places = range(len(names))
    if theme.narrow:
        axes.set_yticks([])
        for place, name in zip(places, names, strict=True):
            words = [name, *notes[place : place + 1]]
            axes.text(
                0,
                place - 0.26,
                "\n".join(shortened(line, 52) for line in words),
                transform=axes.get_yaxis_transform(),
                va="bottom",
                fontsize=8,
                color=theme["ink"],
            )
        axes.set_ylim(len(names) - 0.6, -0.9 if notes else -0.75)
    else:
        axes.set_yticks(list(places), [shortened(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for place in places if lines else ():
        axes.axhline(place, color=theme["line"], linewidth=0.6, zorder=0)


def time_axis(axes: "Axes", values: Sequence[float], label: str, theme: Theme) -> None:
    """Seconds from 0 on, or logarithmic where they differ by much."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set_xlabel(label)
    known = [value for value in values if value > 0]
    if known and max(known) / min(known) > _LOG_FROM:
        axes.set_xscale("log")
        subs = (1, 3) if theme.narrow else (1, 2, 5)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(min(known) / 1.25, max(known) * 1.25)
        axes.set_xlabel(f"{label} (logarithmic)")
    else:
        axes.set_xlim(0, max(known, default=1.0) * 1.08)
        if theme.narrow:
            axes.xaxis.set_major_locator(MaxNLocator(4))
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
        ncols=min(columns, 2) if theme.narrow else columns,
        frameon=False,
        fontsize=8 if theme.narrow else 9,
        borderaxespad=0,
        handletextpad=0.5,
        columnspacing=1.4,
    )
    for text in found.get_texts():
        text.set_color(theme["ink"])
