"""Predicted against measured time of an image. Pure."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from sdbench.records import PredictedTime, Run

Score = Literal["inside", "faster", "slower"]


class ScoredTime(msgspec.Struct, frozen=True, kw_only=True):
    """The time of an image that was predicted before the run, and the one that was measured.

    ``inside``: the measured one is within the interval of the prediction; ``faster`` and ``slower``
    are outside.
    """

    predicted: PredictedTime
    image_s: float
    score: Score

    @property
    def ratio(self) -> float:
        """Measured over predicted: 1.2 took 20% longer than predicted."""
        return self.image_s / self.predicted.image_s


def score_time(
    predicted: PredictedTime | None, run: Run, pass_s: float | None, *, virtual: bool
) -> ScoredTime | None:
    """How a prediction did, by the seconds of a steady pass.

    None where nothing was predicted or measured, and for a stand-in or a virtual Mac, whose times
    are no Mac's.
    """
    images = run.config.get("images")
    if predicted is None or pass_s is None or not isinstance(images, int) or images < 1:
        return None
    if run.simulated or virtual or run.identity("virtual") is True:
        return None
    image_s = pass_s / images
    score: Score = "inside"
    if image_s < predicted.low_s:
        score = "faster"
    elif image_s > predicted.high_s:
        score = "slower"
    return ScoredTime(predicted=predicted, image_s=image_s, score=score)


def share_inside(scored: Iterable[ScoredTime]) -> float | None:
    """The share of predictions whose interval held; None of no predictions."""
    held = [one.score == "inside" for one in scored]
    return sum(held) / len(held) if held else None
