"""How much memory the process took in each stage of its profiling pass, from the timeline.

Where a device's allocator has no peak counter (mps before torch 2.13, the CPU of a Mac), the
parent's samples and the worker's stage times are joined on the clock they share.
"""

from collections.abc import Sequence

import msgspec

from sdbench.schema import Bytes, Clock, Pass, Stage


class _Point(msgspec.Struct):
    """A line of the timeline; a phase mark has no footprint."""

    t: Clock
    footprint_bytes: Bytes | None = None


def with_sampled_peaks(passes: Sequence[Pass], timeline: Sequence[bytes]) -> list[Pass]:
    """The passes, their stages with the highest footprint sampled in each."""
    if not any(entry.stages for entry in passes):
        return list(passes)
    decoder = msgspec.json.Decoder(_Point)
    points = [
        (point.t, point.footprint_bytes)
        for point in map(decoder.decode, timeline)
        if point.footprint_bytes is not None
    ]
    return [
        msgspec.structs.replace(
            entry, stages=[_with_sampled_peak(stage, points) for stage in entry.stages]
        )
        if entry.stages
        else entry
        for entry in passes
    ]


def _with_sampled_peak(stage: Stage, points: Sequence[tuple[float, int]]) -> Stage:
    begin = stage.begin_t
    if begin is None:
        return stage
    within = [size for t, size in points if begin <= t <= begin + stage.duration_s]
    return msgspec.structs.replace(stage, footprint_peak_bytes=max(within, default=None))
