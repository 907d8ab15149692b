"""Timelines: what was sampled while a process ran, a file of JSON lines for each process."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from sdbench.files.access import MIB, read_inside
from sdbench.records import Pressure

# Only the worker's own words: a file of a run is not looked at again before it is shared.
_Phase = Annotated[
    str,
    msgspec.Meta(pattern=r"^(?:import|device|load|prime|pass [0-9]{1,5}|profile|yardstick|end)\Z"),
]


SERIES = ("footprint_bytes", "available_bytes", "swap_used_bytes")
"""What is drawn of a timeline."""
# Twice as many points, a lowest and a highest each: about what 700 pixels can show.
_BUCKETS = 240


class TimelinePoint(msgspec.Struct, kw_only=True):
    """A line of a timeline: a sample, or the beginning of a phase. Clock as everywhere, seconds."""

    t: float
    phase: _Phase | None = None
    footprint_bytes: int | None = None
    available_bytes: int | None = None
    swap_used_bytes: int | None = None
    swapped_in_bytes: int | None = None
    swapped_out_bytes: int | None = None
    pressure: Pressure | None = None
    thermal: str | None = None
    free_percent: float | None = None
    compressor_bytes: int | None = None
    gpu_power_w: Annotated[float, msgspec.Meta(ge=0, le=100_000)] | None = None
    gpu_temperature_c: Annotated[float, msgspec.Meta(ge=-100, le=1000)] | None = None
    gpu_memory_used_bytes: int | None = None


def read_timeline(folder: Path, name: str, most_bytes: int = 64 * MIB) -> list[TimelinePoint]:
    """The lines in the order of the file; none where there is no file (the record says why).

    A line that cannot be read is left out. An hour at 20 Hz is 12 MB.
    """
    try:
        data = read_inside(folder, "telemetry", name, most_bytes=most_bytes)
    except OSError:
        return []
    decoder, points = msgspec.json.Decoder(TimelinePoint), []
    for line in data.splitlines():
        try:
            points.append(decoder.decode(line))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
    return points


def thinned(samples: Sequence[TimelinePoint]) -> list[TimelinePoint]:
    """Of each stretch of time the ends of every series, so that no peak is lost."""
    if len(samples) <= 2 * _BUCKETS:
        return list(samples)
    length = -(-len(samples) // _BUCKETS)
    kept: list[TimelinePoint] = []
    for start in range(0, len(samples), length):
        bucket = samples[start : start + length]
        chosen = {0}
        for name in SERIES:
            values = [getattr(one, name) for one in bucket]
            known = [value for value in values if value is not None]
            if known:
                chosen |= {values.index(min(known)), values.index(max(known))}
        kept += [bucket[index] for index in sorted(chosen)]
    return [*kept, samples[-1]]
