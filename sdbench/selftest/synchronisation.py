"""A long kernel: what the harness times must be the kernel, and not its launch."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdbench.process.executor import Report
from sdbench.records import DeviceKind, InstrumentLine
from sdbench.selftest.judging import Question
from sdbench.selftest.workers import readings, why_incomplete

KERNEL_S = 0.02
# By how much the median of the timings may be above the least of them, and how far apart the two
# sides must be to fail in spite of that: a launch is many times shorter than its kernel.
_MOST_UNREST = 1.25
_FAR_APART = 4.0
_OURS = "time of a long kernel between two calls of the device's synchronisation"
_GROUND = "25%: the least of 15 timings each; a launch alone takes less than a tenth"


@dataclass(frozen=True)
class SecondSource:
    """What the synchronised time is compared with; ``reading`` is its name in the worker's values.

    ``times`` is how many times as long as ours it must be, ``share`` how far apart they may be.
    """

    id: str
    words: str
    reading: str
    times: float = 1.0
    share: float = 0.25
    ground: str = _GROUND


_COPY = SecondSource(
    "sync-kernel", "time until the kernel's result was copied to the host", "copied_s"
)
_EVENT = SecondSource(
    "clock-device-event",
    "the device's own event timer",
    "event_s",
    share=0.05,
    ground="5%: the launch and the wait at the end are in one of the two",
)
_TWICE = SecondSource(
    "clock-device-repeat", "half of the time of a kernel twice as long", "twice_s", times=2.0
)


def kernel_lines(device: DeviceKind, report: Report) -> list[InstrumentLine]:
    """The synchronised time against a blocking copy, and against the device's timer."""
    found = readings(report).get("kernel", {})
    return judged(device, found, why_incomplete(report))


def judged(
    device: DeviceKind, seconds: Mapping[str, float | None], missing: str | None
) -> list[InstrumentLine]:
    """The lines from the timings that the worker reported."""
    sources = (_COPY, _EVENT if device == "cuda" else _TWICE)
    return [_line(source, seconds, missing) for source in sources]


def _line(
    source: SecondSource, seconds: Mapping[str, float | None], missing: str | None
) -> InstrumentLine:
    ours, other, unrest = (
        seconds.get(name) for name in ("synchronised_s", source.reading, "unrest")
    )
    expected = None if other is None else other / source.times
    question = Question(
        id=source.id,
        instrument=_OURS,
        source=source.words,
        unit="s",
        allowed=None if expected is None else round(source.share * expected, 6),
        ground=source.ground,
    )
    line = question.compare(ours, expected, missing=missing)
    if line.status != "fail" or unrest is None or unrest <= _MOST_UNREST:
        return line
    if ours and expected and 1 / _FAR_APART < ours / expected < _FAR_APART:
        words = "other programs disturbed the timings"
        return question.unknown(words, measured=ours, expected=expected)
    return line
