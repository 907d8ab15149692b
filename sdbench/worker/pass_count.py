"""When a process has made enough measured passes; asked between passes, never inside one.

The first pass is pass 1, steady passes are those after it (PROTOCOL 2a).
"""

import math
import statistics
import time
from typing import Any, Callable, Optional, Sequence, Union

FEWEST = 3
# A third pass is left out where the process has no time for it.
FEWEST_IN_HASTE = 2
MOST = 64
# From fewer steady passes their scatter is not known.
_FEWEST_TO_KNOW = 5
_KNOWN_TO = 0.005
# Half the 95% interval of a median, in standard deviations over the root of the number of passes:
# a median scatters √(π/2) = 1.2533 times as far as a mean.
_HALF_INTERVAL = 1.96 * 1.2533
# Where an image comes out otherwise every time, each image is kept and compared with the CPU's:
# with more of them than this, disk and comparison cost more than further passes are worth.
_MOST_PICTURES = 8


def why_enough(
    asked: "Union[int, str]",
    times_s: "Sequence[float]",
    *,
    start_s: float,
    left_s: float = math.inf,
    pictures: int = 1,
    sustain_s: float = 0.0,
) -> "Optional[str]":
    """Why no further pass is made; None: one more.

    Args:
        asked: a number of passes, or ``auto``.
        times_s: the measured passes so far, the first included.
        start_s: what the process took until its pipeline was ready.
        left_s: the time that the process has left.
        images: the most different images that an image has come out as.
        sustain_s: steady passes go on for at least so long.
    """
    made = len(times_s)
    if made and math.fsum(times_s[1:]) < sustain_s:
        return "time-limit" if left_s < 2 * times_s[-1] else None
    if asked != "auto":
        return "asked" if made >= int(asked) else None
    if made < FEWEST_IN_HASTE:
        return None
    # The next pass, and the profiling pass after it.
    in_haste = left_s < 2 * times_s[-1]
    if made < FEWEST:
        return "time-limit" if in_haste else None
    steady_s = times_s[1:]
    if math.fsum(steady_s) >= start_s:
        return "start-up-equalled"
    if len(steady_s) >= _FEWEST_TO_KNOW and _is_known(steady_s):
        return "median-known"
    if made >= MOST:
        return "most-passes"
    if pictures >= _MOST_PICTURES:
        return "pictures-vary"
    return "time-limit" if in_haste else None


def _is_known(times_s: "Sequence[float]") -> bool:
    """Whether half the 95% interval of the median is within 0.5% of it."""
    error_s = _HALF_INTERVAL * statistics.stdev(times_s) / math.sqrt(len(times_s))
    return error_s <= _KNOWN_TO * statistics.median(times_s)


class PassCount:
    """The measured passes of a process so far. Made when its pipeline is ready."""

    def __init__(
        self,
        job: "dict[str, Any]",
        began_s: float,
        clock: "Callable[[], float]" = time.perf_counter,
    ) -> None:
        """``began_s`` is when the process began, by ``clock``."""
        self._asked = job["passes"]
        self._within_s = job.get("passes_within_s")
        self._sustain_s = job.get("sustain_s", 0.0)
        self._began_s = began_s
        self._clock = clock
        self._start_s = clock() - began_s
        self._times_s: "list[float]" = []
        self._pictures: "dict[int, set[tuple[str, str]]]" = {}

    @property
    def made(self) -> int:
        """How many there are."""
        return len(self._times_s)

    def note(self, record: "dict[str, Any]") -> None:
        """One more pass."""
        self._times_s.append(record["duration_s"])
        for number, picture in enumerate(record["images"]):
            digests = picture["pixels_sha256"], picture["latents_sha256"]
            self._pictures.setdefault(number, set()).add(digests)

    def why_enough(self) -> "Optional[str]":
        """Why there is no further pass; None: one more."""
        left_s = math.inf
        if self._within_s is not None:
            left_s = self._within_s - (self._clock() - self._began_s)
        return why_enough(
            self._asked,
            self._times_s,
            start_s=self._start_s,
            left_s=left_s,
            pictures=max(map(len, self._pictures.values()), default=0),
            sustain_s=self._sustain_s,
        )
