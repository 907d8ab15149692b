"""A long kernel: what the harness times must be the kernel, and not its launch."""

from collections.abc import Mapping

from sdbench.records import DeviceKind, InstrumentLine
from sdbench.selftest.judging import Question
from sdbench.selftest.workers import Setup, readings, why_incomplete

_KERNEL_S = 0.1
_ALLOWED_SHARE = 0.25
_EVENT_ALLOWED_SHARE = 0.05
_GROUND = "25%: the least of seven timings each; a launch alone takes less than a tenth"


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
    lines = [
        Question(
            id="sync-kernel",
            instrument=ours,
            source="time until the kernel's result was copied to the host",
            unit="s",
            allowed=_share(copied, _ALLOWED_SHARE),
            ground=_GROUND,
        ).compare(synchronised, copied, missing=missing)
    ]
    if device == "cuda":
        return [
            *lines,
            Question(
                id="clock-device-event",
                instrument=ours,
                source="the device's own event timer",
                unit="s",
                allowed=_share(event, _EVENT_ALLOWED_SHARE),
                ground="5%: the launch and the wait at the end are in one of the two",
            ).compare(synchronised, event, missing=missing),
        ]
    half = None if twice is None else twice / 2
    return [
        *lines,
        Question(
            id="clock-device-repeat",
            instrument=ours,
            source="half of the time of a kernel twice as long",
            unit="s",
            allowed=_share(half, _ALLOWED_SHARE),
            ground=_GROUND,
        ).compare(synchronised, half, missing=missing),
    ]


def _share(of_s: float | None, share: float) -> float | None:
    return None if of_s is None else round(share * of_s, 6)
