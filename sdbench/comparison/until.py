"""Whether a run that goes on until it is decided may stop (PROTOCOL 12)."""

import dataclasses

from sdbench.comparison.examine import examine
from sdbench.comparison.sides import pairs_of_axis
from sdbench.stats import DEFAULT_THRESHOLD, Look, look_at
from sdbench.store import LoadedRun


def look_after(
    loaded: LoadedRun, axis: str, blocks: int, threshold: float = DEFAULT_THRESHOLD
) -> Look:
    """Judge an axis (or ``arm``) of a run by its first blocks, and say when to look again.

    What cannot be judged however many blocks follow (a side crashed, heat on one side) keeps
    nobody waiting. ``compare`` later judges such a run with the same 99% intervals, which it knows
    by ``until_decided`` in the run's configuration.

    Raises:
        UsageError: the run does not have the axis.
        ValueError: this many blocks is no time to look (see ``LOOKS``).
    """
    so_far = [entry for entry in loaded.attempts if entry.block < blocks]
    pairs = pairs_of_axis(dataclasses.replace(loaded, attempts=so_far), axis)
    examined = [examine(pair) for pair in pairs]
    estimates = [entry.ratios["steady"] for entry in examined if not entry.void("steady")]
    return look_at(estimates, blocks, threshold)
