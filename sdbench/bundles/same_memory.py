"""Whether recorded memory is what passes and timelines have."""

from sdbench.bundles.opened import Opened, timeline_of
from sdbench.bundles.refusal import RefusedError
from sdbench.records import Replicate
from sdbench.words import shortened


def check_memory(bundle: Opened) -> None:
    """A process's peak is the highest of its passes, and none is below what was sampled.

    Raises:
        RefusedError: implausible.
    """
    for entry in bundle.recorded.attempts:
        if entry.why_voided("footprint") is None and entry.peak_memory_bytes is not None:
            _check_peak(entry)
        if entry.telemetry is None:
            continue
        points = timeline_of(bundle.members, bundle.recorded, entry)
        footprints = [one.footprint_bytes for one in points if one.footprint_bytes is not None]
        recorded = entry.telemetry.peak_footprint_bytes
        if recorded is not None and footprints and max(footprints) > recorded:
            raise _implausible(entry, "its timeline has more memory than its recorded peak")
        free = [one.available_bytes for one in points if one.available_bytes is not None]
        least = entry.telemetry.min_available_bytes
        if least is not None and free and min(free) < least:
            raise _implausible(entry, "its timeline has less free memory than was recorded")


def _check_peak(entry: Replicate) -> None:
    peaks = [one.peak_bytes for one in entry.passes if one.kind != "profile"]
    counted = [peak for peak in peaks if peak is not None]
    if counted and entry.peak_memory_bytes != max(counted):
        raise _implausible(entry, "its peak of memory is not the highest of its passes")


def _implausible(entry: Replicate, reason: str) -> RefusedError:
    return RefusedError("implausible", f"{shortened(entry.replicate_id)}: {reason}")
