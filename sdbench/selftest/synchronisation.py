"""A long kernel: what the harness times must be the kernel, and not its launch."""

from collections.abc import Mapping

from sdbench.records import DeviceKind, InstrumentLine
from sdbench.selftest.judging import Question
from sdbench.selftest.workers import Setup, readings, why_incomplete

_KERNEL_S = 0.02
_ALLOWED_SHARE = 0.25
_EVENT_ALLOWED_SHARE = 0.05
# By how much the median of the timings may be above the least of them, and how far apart the two
# sides must be to fail in spite of that: a launch is many times shorter than its kernel.
_MOST_UNREST = 1.25
_FAR_APART = 4.0
_GROUND = "25%: the least of 15 timings each; a launch alone takes less than a tenth"


def kernel_lines(setup: Setup) -> list[InstrumentLine]:
    """The synchronised time against a blocking copy, and against the device's timer."""
    report = setup.start("kernel", seconds=_KERNEL_S)
    found = readings(report).get("kernel", {})
    return judged(setup.device, found, why_incomplete(report))


def judged(
    device: DeviceKind, seconds: Mapping[str, float | None], missing: str | None
) -> list[InstrumentLine]:
    """The lines from the timings that the worker reported."""
    copied, twice, event = (seconds.get(f"{name}_s") for name in ("copied", "twice", "event"))
    synchronised = seconds.get("synchronised_s")
    ours = "time of a long kernel between two calls of the device's synchronisation"
    unrest = seconds.get("unrest")

    def answer(question: Question, expected: float | None) -> InstrumentLine:
        line = question.compare(synchronised, expected, missing=missing)
        if line.status != "fail" or unrest is None or unrest <= _MOST_UNREST:
            return line
        if synchronised and expected and 1 / _FAR_APART < synchronised / expected < _FAR_APART:
            return question.unknown(
                "other programs disturbed the timings", measured=synchronised, expected=expected
            )
        return line

    lines = [
        answer(
            Question(
                id="sync-kernel",
                instrument=ours,
                source="time until the kernel's result was copied to the host",
                unit="s",
                allowed=_share(copied, _ALLOWED_SHARE),
                ground=_GROUND,
            ),
            copied,
        )
    ]
    if device == "cuda":
        return [
            *lines,
            answer(
                Question(
                    id="clock-device-event",
                    instrument=ours,
                    source="the device's own event timer",
                    unit="s",
                    allowed=_share(event, _EVENT_ALLOWED_SHARE),
                    ground="5%: the launch and the wait at the end are in one of the two",
                ),
                event,
            ),
        ]
    half = None if twice is None else twice / 2
    return [
        *lines,
        answer(
            Question(
                id="clock-device-repeat",
                instrument=ours,
                source="half of the time of a kernel twice as long",
                unit="s",
                allowed=_share(half, _ALLOWED_SHARE),
                ground=_GROUND,
            ),
            half,
        ),
    ]


def _share(of_s: float | None, share: float) -> float | None:
    return None if of_s is None else round(share * of_s, 6)
