"""The time of an image before anything has run: work over the rate a device is expected to reach.
Pure.

The rate is the chip's published peak times the share of it that public reports of the same family
of models in the same precision reached. The share's spread among the reports gives the interval: a
t prediction interval on logarithms, into which nine of ten further machines should fall if they
differ as the reports do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sdbench.plan.config import Config, steps_made
from sdbench.plan.cost import CALL_FLOOR_S, ImageWork, work_flops
from sdbench.records import Case, ModelInfo, PredictedTime
from sdbench.stats import log_t_prediction

CONFIDENCE = 0.9
"""The share of further machines that an interval is made for."""


@dataclass(frozen=True)
class Reached:
    """The share of the peak that reports reached: the mean, and where one more is expected."""

    share: float
    low: float
    high: float
    reports: int


@dataclass(frozen=True)
class ExpectedRate:
    """Operations per second that a device is expected to reach, and what that rests on."""

    flops_per_s: float
    low: float
    high: float
    basis: str


def reached_by(shares: Sequence[float]) -> Reached | None:
    """Of the shares that single reports reached; None of fewer than three, which show no spread."""
    found = log_t_prediction(shares, CONFIDENCE)
    return None if found is None else Reached(*found, reports=len(shares))


def share_of_peak(work: ImageWork, steps: int | None, seconds: float, peak: float) -> float:
    """What share of ``peak`` operations per second a report reached.

    ``steps`` is None where ``seconds`` are those of one step, else the steps of the whole image.
    """
    flops = work.step_flops if steps is None else work.image_flops(steps)
    return flops / (seconds * peak)


def predict_time(
    config: Config, case: Case, model: ModelInfo, rate: ExpectedRate
) -> PredictedTime | None:
    """Seconds of an image in a steady pass.

    None where the time is not that of the arithmetic: a step shorter than the least that a call of
    the denoiser takes, and settings for which there is no report (:func:`is_plain`).
    """
    work = work_flops(config, case, model)
    if work.step_flops / rate.flops_per_s < CALL_FLOOR_S["mps"] or not is_plain(case):
        return None
    flops = work.image_flops(steps_made(config, case))
    return PredictedTime(
        image_s=flops / rate.flops_per_s,
        low_s=flops / rate.high,
        high_s=flops / rate.low,
        basis=rate.basis,
    )


def is_plain(case: Case) -> bool:
    """Whether the public reports are of such a case: none of the settings that change the work, and
    one image at a time."""
    free = {"resolution", "warmup", "dtype", "scheduler", "steps", "guidance_scale"}
    usual = msgspec.structs.asdict(Case())
    changed = {name for name, value in msgspec.structs.asdict(case).items() if value != usual[name]}
    return changed <= free
