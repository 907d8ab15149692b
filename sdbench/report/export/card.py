"""One picture to post: what was measured, on what, with intervals, 1200 × 630 pixels (PNG).

All its words are in the file's ``Description``, for who does not see it and for programs.
"""

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sdbench import __version__
from sdbench.comparison import Comparison
from sdbench.errors import UsageError
from sdbench.report.figures.canvas import Theme, legend, outside, plain, shortened
from sdbench.report.figures.comparisons import chosen_ratios, draw_ratios
from sdbench.report.figures.figure import LIGHT, style
from sdbench.report.figures.overview import bar_words, chosen_bars, draw_bars
from sdbench.report.pictures.gallery import Entry, thumbnail_of
from sdbench.report.view import Report, RunReport, Tone
from sdbench.report.view.comparison_words import case_name, ratio_interval_words, ratio_words
from sdbench.report.view.first_screen import answers_of, date_words
from sdbench.report.view.summary_words import interval_words
from sdbench.runs import LoadedRun
from sdbench.words import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.text import Text

WIDTH_PIXELS, HEIGHT_PIXELS = 1200, 630
_DPI = 150
_MOST_ROWS = 8
_WORST: tuple[Tone, ...] = ("bad", "warning", "unknown", "good")
_LEFT, _RIGHT = 0.03, 0.97
_SIGNS: dict[Tone, tuple[str, str]] = {
    "good": ("✓", "good"),
    "warning": ("!", "warning"),
    "bad": ("✕", "bad"),
    "unknown": ("?", "soft"),
}


def card_png(runs: Sequence[LoadedRun], story: Report) -> bytes:
    """The picture of a run, or of the comparison of several.

    Raises:
        UsageError: the runs cannot be compared.
    """
    comparison = next(iter(story.comparisons.shown), None)
    if comparison is not None and not chosen_ratios(comparison, 1)[0]:
        comparison = None  # no ratio may be shown
    if len(runs) > 1 and comparison is None:
        why = [*(one.summary.sentence for one in story.comparisons.shown)]
        words = " ".join([*why, *story.comparisons.refused]) or "nothing to compare"
        raise UsageError(f"-f card: {words}")
    # Of several runs the one that is least healthy stands for all.
    run = min(story.runs, key=_health)
    thumbnail = thumbnail_of(runs[story.runs.index(run)], run)
    data = io.BytesIO()
    metadata = {
        "Title": title_of(run, comparison),
        "Description": "\n".join(words_of(run, comparison)),
        "Software": f"Written by sdbench {__version__}",
    }
    with style():
        drawing = _draw(run, comparison, thumbnail)
        drawing.savefig(data, format="png", dpi=_DPI, metadata=metadata)
    return data.getvalue()


def _health(run: RunReport) -> tuple[int, int]:
    """The worst first: by tone, then by how much is wrong or missing."""
    return _WORST.index(run.headline.tone), -len([*run.diagnosis.missing, *run.findings])


def title_of(run: RunReport, comparison: Comparison | None) -> str:
    """The answer in one line; that nothing of it is real goes first."""
    if comparison is not None:
        answers = answers_of(comparison)
        words = "; ".join(f"{one.new}: {one.change}" for one in answers)
        words += f" against {answers[0].base}" if answers else ""
    else:
        words = "; ".join(
            f"{answer.cell.name}: {bar_words(answer.cell)}"
            for answer in run.headline.answers
            if answer.purpose == "one image"
        )
    simulated = "SIMULATED: " if run.summary.simulated else ""
    return simulated + printable(words or "No steady pass was measured")


def words_of(run: RunReport, comparison: Comparison | None) -> list[str]:
    """Everything the picture says, line by line."""
    lines = [
        title_of(run, comparison),
        run.diagnosis.headline,
        " · ".join(run.headline.subject),
        *(f"{mark.word} – {mark.sentence}" for mark in run.marks),
    ]
    if comparison is not None:
        cases, _ = chosen_ratios(comparison, _MOST_ROWS)
        lines += [
            f"{case_name(case)}: {ratio_words(case.ratio)} "
            f"({ratio_interval_words(case.ci99 or case.ci95)}), {case.verdict}"
            for case in cases
        ]
    else:
        lines += [
            f"{cell.name}: {bar_words(cell)} ({interval_words(cell.ci95)}), {cell.picture_words}"
            for cell in chosen_bars(run.cells, _MOST_ROWS)
        ]
    return [printable(line) for line in [*lines, *_footer(run, comparison)]]


def _footer(run: RunReport, comparison: Comparison | None) -> list[str]:
    left_out = ""
    if comparison is not None:
        cases, of = chosen_ratios(comparison, _MOST_ROWS)
        left_out = f"{len(cases)} of {of} cases" if len(cases) < of else ""
    else:
        shown = len(chosen_bars(run.cells, _MOST_ROWS))
        of = sum(cell.seconds_per_picture is not None for cell in run.cells)
        left_out = f"{shown} of {of} cases" if shown < of else ""
    words = [date_words(run.created_utc), f"run {run.summary.run_id}", f"sdbench {__version__}"]
    return [" · ".join([*words, *([left_out] if left_out else [])])]


def _draw(run: RunReport, comparison: Comparison | None, thumbnail: Entry | None) -> "Drawing":
    from matplotlib.figure import Figure as Drawing

    theme = Theme(LIGHT)
    size = (WIDTH_PIXELS / _DPI, HEIGHT_PIXELS / _DPI)
    drawing = Drawing(size, _DPI, facecolor=theme["ground"])
    _line(drawing, 0.945, title_of(run, comparison), theme["ink"], 17, bold=True)
    sign, colour = _SIGNS[run.headline.tone]
    _line(drawing, 0.855, f"{sign} {run.diagnosis.headline}", theme[colour], 8.5)
    _line(drawing, 0.80, " · ".join(run.headline.subject), theme["soft"], 8)
    marks = " · ".join(mark.word for mark in run.marks)
    (footer,) = _footer(run, comparison)
    _line(drawing, 0.035, f"{marks} · {footer}" if marks else footer, theme["soft"], 7.5)
    right = _RIGHT if thumbnail is None else 0.77
    axes = drawing.add_axes((0.3, 0.25, 0.3, 0.4))
    plain(axes, theme)
    if comparison is not None:
        draw_ratios(axes, chosen_ratios(comparison, _MOST_ROWS)[0], comparison.threshold, theme)
    elif cells := chosen_bars(run.cells, _MOST_ROWS):
        draw_bars(axes, cells, theme)
    if axes.get_legend_handles_labels()[0]:
        legend(axes, theme)
    _fit(axes, (_LEFT, 0.1, right, 0.755))
    if thumbnail is not None and thumbnail.device is not None:
        _picture(drawing, thumbnail, theme)
    return drawing


def _line(
    drawing: "Drawing", up: float, words: str, colour: str, points: float, *, bold: bool = False
) -> "Text":
    """A line across the card: smaller where it is long, cut where that is not enough."""
    words = printable(words)
    text = drawing.text(
        _LEFT, up, words, color=colour, fontsize=points, fontweight="bold" if bold else "normal",
        va="center",
    )  # fmt: skip
    room = (_RIGHT - _LEFT) * WIDTH_PIXELS
    smallest = 0.7 * points
    while text.get_window_extent().width > room and points > smallest:
        points -= 0.5
        text.set_fontsize(points)
    wide = text.get_window_extent().width
    if wide > room:
        text.set_text(shortened(words, int(len(words) * room / wide) - 1))
    return text


def _fit(axes: "Axes", box: tuple[float, float, float, float]) -> None:
    """Into left, bottom, right, top, everything around the panel included."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawing = axes.get_figure(root=True)
    assert drawing is not None
    renderer = FigureCanvasAgg(drawing).get_renderer()
    left, bottom, right, top = box
    for _ in range(2):  # another width has other ticks
        west, east, above, below = outside(axes, renderer)
        wide, tall = right - left - west - east, top - bottom - above - below
        axes.set_position((left + west, bottom + below, max(wide, 0.1), max(tall, 0.1)))


def _picture(drawing: "Drawing", entry: Entry, theme: Theme) -> None:
    """One that the run made, and how it compares with the CPU's."""
    from PIL import Image

    assert entry.device is not None
    data = base64.b64decode(entry.device.uri.partition(",")[2])
    axes = drawing.add_axes((0.8, 0.36, 0.17, 0.17 * WIDTH_PIXELS / HEIGHT_PIXELS))
    with Image.open(io.BytesIO(data)) as image:
        axes.imshow(image.convert("RGB"), interpolation="lanczos")
    axes.set_axis_off()
    sign, colour = _SIGNS[entry.tone]
    words = shortened(f"{sign} {entry.verdict_words}", 30)
    drawing.text(0.885, 0.31, words, color=theme[colour], fontsize=8, ha="center", va="center")
