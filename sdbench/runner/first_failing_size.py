"""The first square size at which an image is predicted to fail on a Mac of some memory. Pure.

Two things end it, whichever comes first: the process needs more memory than the Mac has, or an
array of attention scores reaches a limit that Metal is known to fail at
(``knowledge/attention_limits.py``). Neither was tried on a Mac.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sdbench.knowledge.attention_limits import (
    FIRST_ATTENTION,
    Scores,
    unet_scores,
    vae_scores,
)
from sdbench.models.family import family_of
from sdbench.plan.config import Config
from sdbench.plan.fit import MARGIN, Room, judge
from sdbench.plan.predicted_memory import predict_memory, target_of
from sdbench.process.room import RECOMMENDED_SHARE
from sdbench.records import Case, Dtype, ModelInfo, PredictedMemory, PredictedStage

_SIDES = range(512, 4097, 64)


@dataclass(frozen=True)
class FailingSize:
    """Sides in pixels of square images; None: none up to 4,096 is predicted to.

    ``swaps_from`` is where the device needs more than macOS recommends, ``fails_from`` where an
    image is no longer expected: the memory needed is more than the Mac has, or an array of scores
    reaches 2**31 elements. It should be between ``earliest`` (memory needed is higher by the margin
    of all predictions on mps, or an array reaches 2**32 bytes, which was seen to fail up to torch
    2.8) and ``latest`` (lower by it, or 2**32 elements).
    """

    swaps_from: int | None
    fails_from: int | None
    earliest: int | None
    latest: int | None
    reason: str


def first_failing_size(
    config: Config, model: ModelInfo, dtype: Dtype, memory_bytes: int
) -> FailingSize:
    """Of one image with no option set, on a Mac on which nothing else runs."""
    target, room = target_of(model, "mps"), room_of(memory_bytes)
    margin = 1 + MARGIN["mps"]

    def case(side: int) -> Case:
        return Case(resolution=f"{side}x{side}", dtype=dtype)

    def fit(side: int, times: float) -> str:
        demand = judge(_scaled(predict_memory(config, case(side), target), times), room)
        return "unknown" if demand is None else demand.fit

    def scores(side: int) -> Scores:
        return _largest_scores(case(side), model)

    by_memory = _first(lambda side: fit(side, 1) == "fails")
    by_limit = _first(lambda side: scores(side).elements >= 2**31)
    earliest = _smallest(
        _first(lambda side: fit(side, margin) == "fails"),
        _first(lambda side: scores(side).size_bytes >= 2**32),
        by_limit,
    )
    latest = _smallest(
        _first(lambda side: fit(side, 1 / margin) == "fails"),
        _first(lambda side: scores(side).elements >= 2**32),
    )
    fails_from = _smallest(by_memory, by_limit)
    return FailingSize(
        swaps_from=_first(lambda side: fit(side, 1) in ("swaps", "fails")),
        fails_from=fails_from,
        earliest=earliest,
        latest=latest,
        reason=""
        if fails_from is None
        else "memory"
        if fails_from == by_memory
        else "limit of arrays",
    )


def room_of(memory_bytes: int) -> Room:
    """All the memory of a Mac, and what macOS is taken to recommend of it."""
    recommended = RECOMMENDED_SHARE * memory_bytes
    return Room(
        device="mps",
        available_bytes=memory_bytes,
        total_bytes=memory_bytes,
        swap_bytes=math.inf,
        device_free_bytes=recommended,
        device_limit_bytes=1.7 * recommended,
    )


def _first(fails: Callable[[int], bool]) -> int | None:
    return next((side for side in _SIDES if fails(side)), None)


def _smallest(*sides: int | None) -> int | None:
    return min((side for side in sides if side is not None), default=None)


def _scaled(memory: PredictedMemory, times: float) -> PredictedMemory:
    return PredictedMemory(stages=[*_scaled_stages(memory, times)])


def _scaled_stages(memory: PredictedMemory, times: float) -> Iterator[PredictedStage]:
    for one in memory.stages:
        yield PredictedStage(
            stage=one.stage,
            device_bytes=int(times * (one.device_bytes or 0)),
            process_bytes=int(times * one.process_bytes),
        )


def _largest_scores(case: Case, model: ModelInfo) -> Scores:
    """Of the U-Net's first self-attention, with guidance, and of the VAE's attention."""
    name, _ = family_of(model.pipeline_class)
    heads, pixels = FIRST_ATTENTION[name or ""]
    found = unet_scores(case, 1, True, heads, pixels), vae_scores(case, 1)
    return max(found, key=lambda one: one.elements)
