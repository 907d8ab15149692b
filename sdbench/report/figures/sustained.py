"""Seconds per pass over the minutes of one process, with the GPU's temperature and power below."""

import functools
from typing import TYPE_CHECKING

from sdbench.report.figures.canvas import Theme, legend, new_drawing
from sdbench.report.figures.figure import Figure
from sdbench.report.view.model import RunReport, SustainedCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def sustained_figures(run: RunReport, prefix: str) -> list[Figure]:
    """One for each process that was to go on for some minutes."""
    return [
        Figure(
            kind="sustained",
            id=f"{prefix}-sustained-{number}",
            title=f"Speed of {curve.name} over time",
            caption=curve.sentence,
            description=curve.sentence,
            draw=functools.partial(_draw, curve),
        )
        for number, curve in enumerate(run.sustained, start=1)
    ]


def _draw(curve: SustainedCurve, theme: Theme) -> "Drawing":
    below = [
        ("GPU, °C", curve.temperature_c, theme["2"]),
        ("GPU, W", curve.power_w, theme["4"]),
    ]
    below = [panel for panel in below if panel[1]]
    heights = [2.0, *[1.0 for _ in below]]
    drawing, axes = new_drawing(theme, 0.75 + 0.55 * sum(heights), panels=heights)
    minutes = [begin / 60 for begin in curve.begin_s]
    axes[0].plot(minutes, curve.pass_s, color=theme["1"], linewidth=0, marker="o", markersize=3)
    axes[0].set_ylabel("seconds per pass", fontsize=8)
    axes[0].set_ylim(0, 1.15 * max(curve.pass_s))
    if curve.slows_after_s is not None:
        axes[0].axvline(
            curve.slows_after_s / 60,
            color=theme["2"],
            linewidth=1,
            linestyle="--",
            label="slower from this point on",
        )
        legend(axes[0], theme)
    for one, (label, points, colour) in zip(axes[1:], below, strict=True):
        one.plot([t / 60 for t, _ in points], [value for _, value in points], color=colour)
        one.set_ylabel(label, fontsize=8)
        one.set_ylim(bottom=0)
    for one in axes:
        one.grid(axis="y", color=theme["line"], linewidth=0.5)
    axes[-1].set_xlabel("minutes since the first steady pass began")
    axes[-1].set_xlim(left=0)
    return drawing
