"""Which figures a report has."""

from sdbench.report.figures.figure import Figure
from sdbench.report.story.records import RunStory, Story


def run_figures(run: RunStory, prefix: str = "run-1") -> list[Figure]:
    """Of one run, in the order of the report; what has nothing to show is left out.

    ``prefix`` begins every id, so that several runs fit into one page or folder.
    """
    return []


def story_figures(story: Story) -> list[Figure]:
    """Of several runs together: comparisons, the history."""
    return []
