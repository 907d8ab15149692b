"""Memory and swap over the life of one process, with its phases and the pressure on the machine."""

from typing import TYPE_CHECKING

from sdbench.report.figures.canvas import Theme, legend, new_drawing
from sdbench.report.figures.figure import Figure
from sdbench.report.story.records import RunStory, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_GB = 1e9
# A phase narrower than that share of the timeline has no room for its name.
_NARROW = 0.05


def timeline_figures(run: RunStory, prefix: str) -> list[Figure]:
    """One for each chosen process."""
    return [
        Figure(
            kind="timeline",
            id=f"{prefix}-timeline-{number}",
            title=f"Memory of {timeline.name} ({timeline.chosen}; {timeline.outcome_words})",
            description=timeline.sentence,
            draw=lambda theme, timeline=timeline: _draw(timeline, theme),  # type: ignore[misc]
        )
        for number, timeline in enumerate(run.timelines, start=1)
    ]


def _draw(timeline: Timeline, theme: Theme) -> "Drawing":
    swap = any(value is not None for value in timeline.swap_used_bytes)
    drawing, axes = new_drawing(theme, 2.5 if swap else 1.9, panels=(3, 1) if swap else (1,))
    memory = axes[0]
    _line(memory, timeline, timeline.footprint_bytes, theme["1"], "-", "this process")
    _line(memory, timeline, timeline.available_bytes, theme["3"], "--", "available on the machine")
    if timeline.limit_bytes is not None:
        memory.axhline(
            timeline.limit_bytes / _GB,
            color=theme["2"],
            linewidth=1,
            linestyle=":",
            label="recommended or installed at most",
        )
    _pressure(axes, timeline, theme)
    memory.set_ylabel("GB")
    memory.set_ylim(bottom=0)
    memory.grid(axis="y", color=theme["line"], linewidth=0.5)
    if swap:
        _line(axes[1], timeline, timeline.swap_used_bytes, theme["4"], "-", None)
        axes[1].set_ylabel("swap, GB")
        axes[1].set_ylim(0, max(axes[1].get_ylim()[1], 0.1))
        axes[1].grid(axis="y", color=theme["line"], linewidth=0.5)
    axes[-1].set_xlabel("seconds since the process began")
    end = max(timeline.t_s[-1], 1e-3)
    axes[-1].set_xlim(0, end)
    _phases(axes, timeline, end, theme)
    legend(memory, theme)
    return drawing


def _line(
    axes: "Axes",
    timeline: Timeline,
    values: list[int | None],
    colour: str,
    dash: str,
    label: str | None,
) -> None:
    known = [float("nan") if value is None else value / _GB for value in values]
    if any(value is not None for value in values):
        axes.plot(timeline.t_s, known, dash, color=colour, linewidth=1.3, label=label)


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
        if (span.end_s - span.begin_s) / end >= _NARROW:
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
