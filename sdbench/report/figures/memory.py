"""Memory and swap over the life of one process, with its phases and the pressure on the machine."""

import functools
from typing import TYPE_CHECKING

from sdbench.report.figures.canvas import Theme, legend, new_drawing
from sdbench.report.figures.figure import Figure
from sdbench.report.view.model import RunReport, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_GB = 1e9
# A limit further away than that share of it is only said elsewhere.
_NEAR = 0.5
# A phase narrower than that share of the timeline has no room for its name.
_NARROW = 0.05


def timeline_figures(run: RunReport, prefix: str) -> list[Figure]:
    """One for each chosen process."""
    return [
        Figure(
            kind="timeline",
            id=f"{prefix}-timeline-{number}",
            title=f"Memory of {timeline.name} ({timeline.chosen}; {timeline.outcome_words})",
            caption=timeline.sentence,
            description=timeline.sentence,
            draw=functools.partial(_draw, timeline),
        )
        for number, timeline in enumerate(run.timelines, start=1)
    ]


def _draw(timeline: Timeline, theme: Theme) -> "Drawing":
    """The process on a separate scale: on the scale of a machine's memory it would be a
    flat line."""
    panels = [
        ("this process", timeline.footprint_bytes, theme["1"], 2.0),
        ("available", timeline.available_bytes, theme["3"], 1.0),
        ("swap used", timeline.swap_used_bytes, theme["4"], 1.0),
    ]
    # Unknown throughout, or swap never used: no panel, and the caption says so.
    panels = [panel for panel in panels if any(panel[1])]
    heights = [height for *_, height in panels]
    drawing, axes = new_drawing(theme, 0.75 + 0.55 * sum(heights), panels=heights)
    for one, (label, values, colour, _) in zip(axes, panels, strict=True):
        known = [float("nan") if value is None else value / _GB for value in values]
        one.plot(timeline.t_s, known, color=colour, linewidth=1.3)
        one.fill_between(timeline.t_s, known, color=colour, alpha=0.15, linewidth=0)
        one.set_ylabel(f"{label},\nGB", fontsize=8)
        most = max((value for value in known if value == value), default=0.0)
        one.set_ylim(0, max(most * 1.2, 0.1))
        one.grid(axis="y", color=theme["line"], linewidth=0.5)
    _limit(axes[0], timeline, theme)
    _pressure(axes, timeline, theme)
    axes[-1].set_xlabel("seconds since the process began")
    end = max(timeline.t_s[-1], 1e-3)
    axes[-1].set_xlim(0, end)
    _phases(axes, timeline, end, theme)
    if axes[0].get_legend_handles_labels()[0]:
        legend(axes[0], theme)
    return drawing


def _limit(axes: "Axes", timeline: Timeline, theme: Theme) -> None:
    """Where the process comes near it."""
    most = max((value for value in timeline.footprint_bytes if value is not None), default=0)
    if timeline.limit_bytes is not None and most > _NEAR * timeline.limit_bytes:
        axes.axhline(
            timeline.limit_bytes / _GB,
            color=theme["2"],
            linewidth=1,
            linestyle="--",
            label="recommended limit of the device",
        )
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.1 * timeline.limit_bytes / _GB))


def _pressure(axes: "list[Axes]", timeline: Timeline, theme: Theme) -> None:
    looks = {"warn": (theme["warning"], "//"), "critical": (theme["bad"], "xx")}
    seen: set[str] = set()
    for span in timeline.pressure:
        if span.name not in looks:
            continue
        colour, hatch = looks[span.name]
        for one in axes:
            label = f"pressure {span.name}" if one is axes[0] and span.name not in seen else None
            one.axvspan(
                span.begin_s,
                span.end_s,
                facecolor="none",
                edgecolor=colour,
                hatch=hatch,
                linewidth=0,
                alpha=0.5,
                label=label,
                zorder=0,
            )
        seen.add(span.name)


def _phases(axes: "list[Axes]", timeline: Timeline, end: float, theme: Theme) -> None:
    """Thin lines where a phase begins, names at the bottom where there is room."""
    for span in timeline.phases:
        for one in axes:
            one.axvline(span.begin_s, color=theme["line"], linewidth=0.7, zorder=0)
        if (span.end_s - span.begin_s) / end >= _NARROW * (3 if theme.narrow else 1):
            middle = (span.begin_s + span.end_s) / 2
            axes[0].text(
                middle,
                0.97,
                span.name,
                transform=axes[0].get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=7.5,
                color=theme["soft"],
            )
