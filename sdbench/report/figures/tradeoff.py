"""Time against memory: which settings are beaten by none in both."""

from typing import TYPE_CHECKING

from sdbench.report.figures.canvas import Theme, legend, new_drawing, shortened, time_axis
from sdbench.report.figures.figure import Figure
from sdbench.report.story.cells import settings_words
from sdbench.report.story.records import RunStory
from sdbench.report.units import seconds, size

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from sdbench.insight.records import Tradeoff

_POINTS = "osD^vP"
_MOST_SIZES = len(_POINTS)
_MOST_LABELS = 8


def tradeoff_figure(run: RunStory, prefix: str) -> Figure | None:
    """None with fewer than two cases that have both figures, or too many resolutions to tell."""
    known = [one for one in run.recommendation.tradeoffs if one.peak_memory_bytes is not None]
    if len(known) < 2 or len({one.case.resolution for one in known}) > _MOST_SIZES:
        return None
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
        caption="Filled: no other of its size is right, as fast and as small.",
        description=f"Efficient are {words}.",
        draw=lambda theme: _draw(known, theme, several_arms=run.several_arms),
    )


def _draw(points: "list[Tradeoff]", theme: Theme, *, several_arms: bool) -> "Drawing":
    drawing, (axes,) = new_drawing(theme, 3.0)
    labels = 0
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
        for one in best:
            if labels < _MOST_LABELS:
                arm = f" [{one.arm}]" if several_arms else ""
                axes.annotate(
                    shortened(settings_words(one.case) + arm, 34),
                    (one.seconds_per_picture, (one.peak_memory_bytes or 0) / 1e9),
                    xytext=(6, 4 if labels % 2 else -10),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=theme["ink"],
                )
                labels += 1
    if any(one.correct == "broken" for one in points):
        axes.plot([], [], "x", color=theme["bad"], markersize=6, label="wrong picture")
    time_axis(axes, [one.seconds_per_picture for one in points], "seconds a picture")
    axes.set_ylabel("peak memory, GB")
    heights = [(one.peak_memory_bytes or 0) / 1e9 for one in points]
    narrow = min(heights) > 0.5 * max(heights)
    axes.set_ylim(0.97 * min(heights) if narrow else 0, max(heights) * (1.03 if narrow else 1.1))
    axes.grid(color=theme["line"], linewidth=0.5)
    legend(axes, theme, columns=5)
    return drawing


def _places(points: "list[Tradeoff]") -> tuple[list[float], list[float]]:
    return (
        [one.seconds_per_picture for one in points],
        [(one.peak_memory_bytes or 0) / 1e9 for one in points],
    )
