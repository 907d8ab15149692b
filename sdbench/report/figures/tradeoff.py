"""Time against memory: which settings are beaten by none in both."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from sdbench.analysis.case_words import arm_words
from sdbench.report.figures.canvas import (
    Theme,
    lay_out,
    legend,
    measuring,
    new_drawing,
    shortened,
    time_axis,
)
from sdbench.report.figures.figure import Figure
from sdbench.report.view.cases import settings_words
from sdbench.report.view.model import RunReport
from sdbench.words import seconds, size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.transforms import Bbox

    from sdbench.diagnosis.result import Tradeoff

_POINTS = "osD^vP"
_MOST_SIZES = len(_POINTS)
_MOST_LABELS = 8
# Where a name may stand, in points from its mark; the first that is free.
_PLACES_OF_LABELS: tuple[tuple[Literal["left", "right"], tuple[float, float]], ...] = (
    *(("left", (6, 4)), ("left", (6, -10))),
    *(("right", (-6, 4)), ("right", (-6, -10))),
    *(("left", (6, 14)), ("left", (6, -20))),
)


def tradeoff_figure(run: RunReport, prefix: str) -> Figure | None:
    """None with fewer than two cases that have both figures, or too many resolutions to tell."""
    tradeoffs = run.diagnosis.recommendation.tradeoffs
    known = [one for one in tradeoffs if one.peak_memory_bytes is not None]
    if len(known) < 2 or len({one.case.resolution for one in known}) > _MOST_SIZES:
        return None
    arms = {row.arm for row in run.summary.cases}
    best = [one for one in known if one.efficient]
    words = "; ".join(
        f"{one.case.resolution} {settings_words(one.case)}: {seconds(one.seconds_per_picture)}, "
        f"{size(one.peak_memory_bytes)}"
        for one in best[:_MOST_LABELS]
    )
    return Figure(
        kind="tradeoff",
        id=f"{prefix}-tradeoff",
        title="Time against memory",
        caption="Filled: no other case of its size is right and at least as fast and as small.",
        description=f"Efficient are {words}.",
        draw=lambda theme: _draw(known, arms, theme),
    )


def _draw(points: "list[Tradeoff]", arms: Collection[str], theme: Theme) -> "Drawing":
    drawing, (axes,) = new_drawing(theme, 3.0)
    named: list[Tradeoff] = []
    for number, resolution in enumerate(dict.fromkeys(one.case.resolution for one in points)):
        colour, shape = theme[str(number % 5 + 1)], _POINTS[number]
        own = [one for one in points if one.case.resolution == resolution]
        best = sorted(
            (one for one in own if one.efficient), key=lambda one: one.seconds_per_picture
        )
        axes.plot(*_places(best), ":", color=colour, linewidth=1, drawstyle="steps-post")
        axes.plot(*_places(best), shape, color=colour, markersize=6, label=resolution)
        rest = [one for one in own if not one.efficient and one.correct != "broken"]
        axes.plot(*_places(rest), shape, color="none", markeredgecolor=colour, markersize=5)
        wrong = [one for one in own if one.correct == "broken"]
        axes.plot(*_places(wrong), "x", color=theme["bad"], markersize=6)
        named += best
    if any(one.correct == "broken" for one in points):
        axes.plot([], [], "x", color=theme["bad"], markersize=6, label="wrong image")
    time_axis(axes, [one.seconds_per_picture for one in points], "seconds per image", theme)
    axes.set_ylabel("peak memory, GB")
    heights = [(one.peak_memory_bytes or 0) / 1e9 for one in points]
    narrow = min(heights) > 0.5 * max(heights)
    axes.set_ylim(0.97 * min(heights) if narrow else 0, max(heights) * (1.03 if narrow else 1.1))
    axes.grid(color=theme["line"], linewidth=0.5)
    legend(axes, theme, columns=5)
    _label(axes, named[:_MOST_LABELS], arms, theme)
    return drawing


def _label(axes: "Axes", points: "list[Tradeoff]", arms: Collection[str], theme: Theme) -> None:
    """Name points where there is room: to the side, above or below; one that has none stays
    unnamed."""
    drawing = axes.get_figure(root=True)
    assert drawing is not None
    lay_out(drawing)  # it decides what is beside what
    renderer = measuring()
    free = axes.get_window_extent(renderer)
    taken: list[Bbox] = []
    for one, (across, up) in zip(points, zip(*_places(points), strict=True), strict=True):
        label = axes.annotate(
            shortened(settings_words(one.case) + arm_words(one.arm, arms), 34),
            (across, up),
            textcoords="offset points",
            fontsize=7.5,
            color=theme["ink"],
            in_layout=False,
        )
        for side, offset in _PLACES_OF_LABELS:
            label.set_horizontalalignment(side)
            label.set_position(offset)
            box = label.get_window_extent(renderer)
            inside = free.x0 <= box.x0 and box.x1 <= free.x1
            if inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            label.remove()


def _places(points: "list[Tradeoff]") -> tuple[list[float], list[float]]:
    return (
        [one.seconds_per_picture for one in points],
        [(one.peak_memory_bytes or 0) / 1e9 for one in points],
    )
