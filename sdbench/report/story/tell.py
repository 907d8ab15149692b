"""From loaded runs to a story: reads what runs have kept, then lays it out."""

from collections.abc import Sequence

from sdbench.report.story.records import Story
from sdbench.store import LoadedRun


def tell(runs: Sequence[LoadedRun]) -> Story:
    """The story of one run, or of several with their comparison first."""
    raise NotImplementedError
