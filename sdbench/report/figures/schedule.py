"""Where and when: a lane for each machine, a bar for each slot that it had in hand (Gantt)."""

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sdbench.report.figures.canvas import MOST_ROWS, Theme, label_rows, legend, new_drawing
from sdbench.report.figures.figure import Figure
from sdbench.report.view.model import BarState, LaneBar, Report, Schedule
from sdbench.words import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

# Narrower than this share of all time nothing can be distinguished: bars of a kind become one.
_FINEST = 1 / 500
_HEIGHT, _NARROW_HEIGHT = 0.6, 0.34
_UNITS = ((3 * 60.0, "seconds", 1.0), (3 * 3600.0, "minutes", 60.0))


class _Look(NamedTuple):
    words: str
    colour: str
    hatch: str | None


_LOOKS: dict[BarState, _Look] = {
    "ok": _Look("ok", "good", None),
    "bad": _Look("ended otherwise", "bad", "xxx"),
    "lost": _Look("given again or not counted", "warning", "///"),
    "images": _Look("images compared", "4", "..."),
    "unknown": _Look("under way, or without a record", "soft", None),
}


def schedule_figures(story: Report) -> list[Figure]:
    """One for each schedule of the story."""
    return [
        Figure(
            kind="schedule",
            id=f"schedule-{number}",
            title="Machines over time",
            caption=f"{schedule.sentence}{_left_out(schedule)}",
            description="; ".join(_words(schedule)),
            draw=functools.partial(_draw, schedule),
        )
        for number, schedule in enumerate(story.schedules, start=1)
    ]


def _left_out(schedule: Schedule) -> str:
    if len(schedule.lanes) <= MOST_ROWS:
        return ""
    return f" {MOST_ROWS} of {len(schedule.lanes)} lanes are drawn; the table has them."


def _words(schedule: Schedule) -> Iterator[str]:
    """The lanes in words, as far as somebody would listen."""
    yield f"{duration(schedule.took_s)} from {schedule.began_utc} UTC on"
    for lane in schedule.lanes[:8]:
        counts = [
            f"{count} {look.words}"
            for state, look in _LOOKS.items()
            if (count := lane.count(state))
        ]
        yield f"{lane.name}: {', '.join(counts)}"
    if len(schedule.lanes) > 8:
        yield "…"


def _draw(schedule: Schedule, theme: Theme) -> "Drawing":
    lanes = schedule.lanes[:MOST_ROWS]
    took_s = max(schedule.took_s, 1e-3)
    drawing, (axes,) = new_drawing(theme, 0.95 + theme.row * len(lanes))
    label_rows(axes, [lane.name for lane in lanes], theme)
    unit, per_unit = next(
        ((word, seconds) for most, word, seconds in _UNITS if took_s < most), ("hours", 3600.0)
    )
    for state, look in _LOOKS.items():
        label: str | None = look.words
        for row, lane in enumerate(lanes):
            spans = _merged([bar for bar in lane.bars if bar.state == state], took_s)
            if spans:
                _bars(
                    axes, row, [(a / per_unit, b / per_unit) for a, b in spans], look, label, theme
                )
                label = None
    axes.set_xlim(0, took_s / per_unit * 1.01)
    axes.set_xlabel(f"{unit} since {schedule.began_utc} UTC")
    legend(axes, theme, columns=len(_LOOKS))
    return drawing


def _bars(
    axes: "Axes",
    row: int,
    spans: Sequence[tuple[float, float]],
    look: _Look,
    label: str | None,
    theme: Theme,
) -> None:
    height = _NARROW_HEIGHT if theme.narrow else _HEIGHT
    hatched = look.hatch is not None
    axes.broken_barh(
        [(begin, end - begin) for begin, end in spans],
        (row - height / 2, height),
        facecolor="none" if hatched else theme[look.colour],
        edgecolor=theme[look.colour] if hatched else theme["ground"],
        hatch=look.hatch,
        linewidth=0.8 if hatched else 0.4,
        label=label,
    )


def _merged(bars: Sequence[LaneBar], took_s: float) -> list[tuple[float, float]]:
    """Begin and end of bars in order, wide enough to be seen, too narrow gaps closed."""
    finest = took_s * _FINEST
    spans: list[tuple[float, float]] = []
    for bar in bars:
        end = max(bar.end_s, bar.begin_s + finest)
        if spans and spans[-1][1] - spans[-1][0] < finest * 2 and bar.begin_s <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(spans[-1][1], end)
        else:
            spans.append((bar.begin_s, end))
    return spans
