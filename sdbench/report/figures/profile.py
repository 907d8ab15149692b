"""What profiling passes tell: where time goes, and how latents part from the CPU's."""

import math
from typing import TYPE_CHECKING

from sdbench.report.figures.canvas import (
    Theme,
    label_rows,
    legend,
    new_drawing,
    shortened,
    time_axis,
)
from sdbench.report.figures.figure import Figure
from sdbench.report.view.efficiency_words import rate_words
from sdbench.report.view.model import DivergenceCurve, RunReport, StageRow
from sdbench.words import counted, seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

_ROW, _NARROW_ROW = 0.34, 0.5
_DASHES = ("-", "--", "-.", ":")
_POINTS = "osD^vP*X"
# A stage narrower than that share of the longest bar has no room for a number.
_ROOM_FOR_TEXT = 0.09


def stages_figure(run: RunReport, prefix: str) -> Figure | None:
    """None where no process was profiled."""
    if not run.stages:
        return None
    longest = max(run.stages, key=lambda row: row.total_s)
    words = ", ".join(f"{stage.words} {stage.share:.0%}" for stage in longest.stages)
    return Figure(
        kind="stages",
        id=f"{prefix}-stages",
        title="Where the time of a pass goes",
        caption="From a separate profiling pass, with the device synchronised between stages.",
        description=f"{longest.name}, {seconds(longest.total_s)} in the profiled pass: {words}.",
        draw=lambda theme: _draw_stages(run.stages, theme),
    )


def _draw_stages(rows: list[StageRow], theme: Theme) -> "Drawing":
    row_height = _NARROW_ROW if theme.narrow else _ROW
    drawing, (axes,) = new_drawing(theme, 0.95 + row_height * len(rows))
    names = [f"{row.name}: {seconds(row.total_s)}" if theme.narrow else row.name for row in rows]
    label_rows(axes, names, theme, lines=False)
    order = list(dict.fromkeys(stage.words for row in rows for stage in row.stages))
    looks = [("1", ""), ("2", "///"), ("3", "\\\\\\"), ("line", ""), ("4", "---")]
    most = max(row.total_s for row in rows)
    for number, words in enumerate(order):
        colour, hatch = looks[number % len(looks)]
        labelled = False
        for place, row in enumerate(rows):
            begin = 0.0
            for stage in row.stages:
                if stage.words == words:
                    axes.barh(
                        place,
                        stage.seconds,
                        left=begin,
                        height=0.4 if theme.narrow else 0.62,
                        color=theme[colour],
                        edgecolor=theme["ground"],
                        hatch=hatch,
                        linewidth=0.5,
                        label=None if labelled else words,
                    )
                    labelled = True
                    if stage.seconds / most > _ROOM_FOR_TEXT:
                        axes.text(
                            begin + stage.seconds / 2,
                            place,
                            f"{stage.share:.0%}",
                            ha="center",
                            va="center",
                            fontsize=8,
                            color=theme["ink"],
                            bbox={
                                "facecolor": theme["ground"],
                                "edgecolor": "none",
                                "pad": 1,
                                "alpha": 0.85,
                            },
                        )
                begin += stage.seconds
    for place, row in enumerate([] if theme.narrow else rows):
        axes.text(
            row.total_s + 0.01 * most,
            place,
            f" {seconds(row.total_s)}{_efficiency(row)}",
            va="center",
            fontsize=8,
            color=theme["ink"],
        )
    unit = "seconds of the profiled pass: one image, in a batch all of them"
    time_axis(axes, [most], "seconds of the profiled pass" if theme.narrow else unit, theme)
    axes.set_xscale("linear")
    room = 1.02 if theme.narrow else 1.6 if any(map(_efficiency, rows)) else 1.25
    axes.set_xlim(0, most * room)
    legend(axes, theme, columns=5)
    return drawing


def _efficiency(row: StageRow) -> str:
    if row.flops_per_s is None:
        return ""
    if row.share_of_ceiling is None:
        return f" · {rate_words(row.flops_per_s)}"
    share = f", {row.share_of_ceiling:.0%} of matrix products'"
    return f" · {rate_words(row.flops_per_s)}{share}"


def divergence_figure(run: RunReport, prefix: str) -> Figure | None:
    """None where nothing was compared with the CPU step by step."""
    curves = [curve for curve in run.divergence if any(curve.step)]
    if not curves:
        return None
    worst = curves[0]
    last = next((value for value in reversed(worst.rel_l2)), None)
    away = "not finite" if last is None else f"{last:.1e}"
    return Figure(
        kind="divergence",
        id=f"{prefix}-divergence",
        title="Difference of the latents from the CPU's, step by step",
        caption="Dashed grey is the difference that rounding explains; × is not a number.",
        description=f"{counted(len(curves), 'case')}. {worst.name} ends {away} away (relative L2).",
        draw=lambda theme: _draw_divergence(curves, theme),
    )


def _draw_divergence(curves: list[DivergenceCurve], theme: Theme) -> "Drawing":
    from matplotlib.ticker import FuncFormatter, NullFormatter

    drawing, (axes,) = new_drawing(theme, 3.0)
    floors: set[tuple[tuple[int, ...], tuple[float | None, ...]]] = set()
    highest = max((value for curve in curves for value in curve.rel_l2 if value), default=1.0)
    for number, curve in enumerate(curves):
        floor = tuple(curve.step), tuple(curve.allowed_rel_l2)
        if floor not in floors and any(curve.allowed_rel_l2):
            axes.plot(
                curve.step,
                [_above_zero(value) for value in curve.allowed_rel_l2],
                "--",
                color=theme["soft"],
                linewidth=1,
                label=None if floors else "allowed for rounding",
            )
            floors.add(floor)
        colour = theme[str(number % 5 + 1)]
        axes.plot(
            curve.step,
            [_above_zero(value) for value in curve.rel_l2],
            _DASHES[number // 5 % len(_DASHES)],
            marker=_POINTS[number % len(_POINTS)],
            markersize=3.6,
            color=colour,
            linewidth=1.2,
            label=shortened(curve.name, 40) + (": identical" if _identical(curve) else ""),
        )
        broken = [
            step for step, value in zip(curve.step, curve.rel_l2, strict=True) if value is None
        ]
        axes.plot(broken, [highest * 2] * len(broken), "x", color=colour, markersize=5)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=theme["line"], linewidth=0.5)
    axes.set_xlabel("denoising step (0: the noise)")
    axes.set_ylabel("relative L2 distance")
    legend(axes, theme, columns=1 if theme.narrow else 2 if len(curves) > 1 else 3)
    return drawing


def _identical(curve: DivergenceCurve) -> bool:
    """To the bit after every step that was looked at: nothing to draw on a logarithmic axis."""
    return all(distance == 0 for distance in curve.rel_l2)


def _above_zero(value: float | None) -> float:
    """A logarithmic axis has no zero: identical is not drawn, nor is what is not finite."""
    return value if value else math.nan
