"""Derives from the timeline how much memory the process used in each stage and after each pass.

Where a device's allocator has no peak counter (mps before torch 2.13, the CPU of a Mac), the
parent's samples and the worker's stage times are joined on the clock they share.
"""

from collections.abc import Sequence

import msgspec

from sdbench.records import Bytes, Clock, Pass, Stage


class _Point(msgspec.Struct):
    """A line of the timeline; a phase mark has no footprint."""

    t: Clock
    footprint_bytes: Bytes | None = None


def with_sampled_peaks(passes: Sequence[Pass], timeline: Sequence[bytes]) -> list[Pass]:
    """The passes, their stages with the highest footprint sampled in each."""
    if not any(entry.stages for entry in passes):
        return list(passes)
    points = _points(timeline)
    return [
        msgspec.structs.replace(
            entry, stages=[_with_sampled_peak(stage, points) for stage in entry.stages]
        )
        if entry.stages
        else entry
        for entry in passes
    ]


def with_sampled_ends(
    passes: Sequence[Pass], told_t: Sequence[float], timeline: Sequence[bytes]
) -> list[Pass]:
    """The passes, each with the footprint last sampled before it was told of, at ``told_t``.

    The clock is the one they share; 0 where a worker has not given it. A sample that is as old as
    the pass before it says nothing of a pass.
    """
    points = _points(timeline)
    found, since = [], 0.0
    for entry, until in zip(passes, told_t, strict=True):
        within = [size for t, size in points if since < t <= until]
        found.append(msgspec.structs.replace(entry, footprint_bytes=within[-1] if within else None))
        since = until
    return found


def _points(timeline: Sequence[bytes]) -> list[tuple[float, int]]:
    decoder = msgspec.json.Decoder(_Point)
    return [
        (point.t, point.footprint_bytes)
        for point in map(decoder.decode, timeline)
        if point.footprint_bytes is not None
    ]


def _with_sampled_peak(stage: Stage, points: Sequence[tuple[float, int]]) -> Stage:
    begin = stage.begin_t
    if begin is None:
        return stage
    within = [size for t, size in points if begin <= t <= begin + stage.duration_s]
    return msgspec.structs.replace(stage, footprint_peak_bytes=max(within, default=None))
