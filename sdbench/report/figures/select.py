"""Which figures a report has: few, and none without anything to show."""

from sdbench.report.figures.comparisons import comparison_figure, history_figure
from sdbench.report.figures.figure import Figure
from sdbench.report.figures.latency import latency_figure
from sdbench.report.figures.matrix import matrix_figure
from sdbench.report.figures.memory import timeline_figures
from sdbench.report.figures.overview import overview_figure
from sdbench.report.figures.profile import divergence_figure, stages_figure
from sdbench.report.figures.schedule import schedule_figures
from sdbench.report.figures.sustained import sustained_figures
from sdbench.report.figures.tradeoff import tradeoff_figure
from sdbench.report.view.model import Report, RunReport


def run_figures(run: RunReport, prefix: str = "run-1") -> list[Figure]:
    """Of one run, in the order of the report.

    ``prefix`` begins every id, so that several runs fit into one page or folder.
    """
    found = [
        overview_figure(run, prefix),
        matrix_figure(run, prefix),
        tradeoff_figure(run, prefix),
        latency_figure(run, prefix),
        *sustained_figures(run, prefix),
        *timeline_figures(run, prefix),
        divergence_figure(run, prefix),
        stages_figure(run, prefix),
    ]
    return [figure for figure in found if figure is not None]


def story_figures(story: Report) -> list[Figure]:
    """Of several runs together: comparisons in the story's order, the history, then where and when
    machines that shared a run or a fleet worked."""
    found: list[Figure | None] = [
        comparison_figure(comparison, number)
        for number, comparison in enumerate(story.comparisons.shown, start=1)
    ]
    found.append(None if story.history is None else history_figure(story.history))
    found += schedule_figures(story)
    return [figure for figure in found if figure is not None]
