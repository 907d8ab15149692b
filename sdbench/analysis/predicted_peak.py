"""Predicted against measured memory of a case. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from sdbench.records import PredictedMemory, Replicate

LARGE_ERROR = 0.10
"""A prediction that is off by a larger share is reported."""
# Sources that count the whole process; all others count what the device's allocator holds.
_OF_THE_PROCESS = ("rss", "phys-footprint", "pss")


@dataclass(frozen=True)
class PredictedPeak:
    """The highest memory of a case, as predicted and as measured, loading included.

    Both are of the same memory: the process's or the device's, whichever was measured.
    ``reason`` says why one of them is None.
    """

    predicted_bytes: int | None = None
    measured_bytes: int | None = None
    reason: str | None = None

    @property
    def error(self) -> float | None:
        """Predicted over measured, minus 1: -0.2 is a prediction that was 20% too low."""
        return prediction_error(self.predicted_bytes, self.measured_bytes)


def prediction_error(predicted_bytes: int | None, measured_bytes: int | None) -> float | None:
    """As :attr:`PredictedPeak.error`; None where either is not known."""
    if predicted_bytes is None or not measured_bytes:
        return None
    return predicted_bytes / measured_bytes - 1


def predicted_peak(
    memory: PredictedMemory | None, replicates: Sequence[Replicate]
) -> PredictedPeak:
    """The predicted peak of a case compared with the highest that was measured.

    A process that died has not shown how much it would have taken, so it counts for nothing. Where
    the memory of loading was not measured, it is left out of the prediction as well.
    """
    ended = [entry for entry in replicates if entry.outcome == "ok"]
    highest = max(ended, key=_measured_bytes, default=None)
    if highest is None or highest.peak_memory_bytes is None:
        reason = "no process completed" if highest is None else highest.peak_memory_reason
        predicted = None if memory is None else memory.worst.peak_bytes
        return PredictedPeak(predicted, None, reason)
    measured = _measured_bytes(highest)
    if memory is None:
        return PredictedPeak(None, measured, "nothing was predicted")
    of_process = highest.peak_memory_source in _OF_THE_PROCESS
    predicted = max(
        stage.process_bytes if of_process else stage.peak_bytes
        for stage in memory.stages
        if stage.stage != "load" or highest.load_peak_bytes is not None
    )
    return PredictedPeak(predicted, measured)


def _measured_bytes(replicate: Replicate) -> int:
    return max(replicate.peak_memory_bytes or 0, replicate.load_peak_bytes or 0)
