"""Every clock that a figure comes from, against the kernel's realtime and raw clocks."""

import time
from collections.abc import Mapping

from sdbench.records import InstrumentLine
from sdbench.selftest.judging import Question
from sdbench.selftest.workers import Setup, readings, why_incomplete

_INTERVAL_S = 1.0
_EDGES = 50
_ALLOWED_SHARE = 0.003
_GROUND = "0.3%: time synchronisation may slew a clock by 0.05%, the rest is for reading both ends"
_SOURCES = {"realtime": "CLOCK_REALTIME", "raw": "CLOCK_MONOTONIC_RAW"}
# A timing lasts 10 ms at least, so this is a thousandth of it.
_GRAIN_ALLOWED_S = 1e-5
_SHARED_ALLOWED_S = 0.1


def clock_lines(setup: Setup) -> list[InstrumentLine]:
    """Rates in the parent and in a worker, the shared zero, resolution and cost of a reading."""
    delays: list[float] = []
    first = read_clocks()
    report = setup.start(
        "clocks", lambda read: delays.append(time.monotonic() - read.t), seconds=_INTERVAL_S
    )
    last = read_clocks()
    parent: dict[str, float | None] = {name: last[name] - first[name] for name in first}
    found, missing = readings(report), why_incomplete(report)
    worker = found.get("clocks", {})
    return [
        *rate_lines("parent", parent, None),
        *rate_lines("worker", worker, missing),
        _shared_line(min(delays, key=abs, default=None), missing),
        *grain_lines(found.get("clock-grain", {}), missing),
    ]


def read_clocks() -> dict[str, float]:
    """All clocks at one moment, in seconds: of many readings the one that took least time."""
    best: dict[str, float] = {}
    shortest = float("inf")
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)
    for _ in range(_EDGES):
        values = {"perf_counter_s": time.perf_counter(), "monotonic_s": time.monotonic()}
        values["realtime_s"] = time.clock_gettime(time.CLOCK_REALTIME)
        if raw is not None:
            values["raw_s"] = time.clock_gettime(raw)
        took = time.perf_counter() - values["perf_counter_s"]
        if took < shortest:
            best, shortest = values, took
    return best


def rate_lines(
    where: str, elapsed_s: Mapping[str, float | None], missing: str | None
) -> list[InstrumentLine]:
    """Seconds that passed by each of our clocks against seconds by each of the kernel's."""
    lines = []
    for clock in ("perf_counter", "monotonic"):
        for source, name in _SOURCES.items():
            expected = elapsed_s.get(f"{source}_s")
            question = Question(
                id=f"clock-{where}-{clock.replace('_', '-')}-{source}",
                instrument=f"time.{clock} in the {where}",
                source=name,
                unit="s",
                allowed=None if expected is None else round(_ALLOWED_SHARE * abs(expected), 6),
                ground=_GROUND,
            )
            lines.append(question.compare(elapsed_s.get(f"{clock}_s"), expected, missing=missing))
    return lines


def _shared_line(delay_s: float | None, missing: str | None) -> InstrumentLine:
    """The timeline puts the worker's marks and the parent's samples on one clock."""
    question = Question(
        id="clock-shared",
        instrument="monotonic time at which the worker wrote an event, in the parent's",
        source="monotonic time at which the parent read it",
        unit="s",
        allowed=_SHARED_ALLOWED_S,
        ground="a pipe takes less than 0.1 s; samples are 0.05 s apart",
    )
    return question.compare(delay_s, 0.0, missing=missing)


def grain_lines(grain: Mapping[str, float | None], missing: str | None) -> list[InstrumentLine]:
    """The steps in which the clock moves, and what a reading costs."""
    ground = "10 microseconds are 0.1% of the shortest timing"
    resolution = Question(
        id="clock-resolution",
        instrument="resolution that perf_counter announces",
        source="smallest step seen between two readings",
        unit="s",
        allowed=_GRAIN_ALLOWED_S,
        ground=ground,
    )
    cost = Question(
        id="clock-cost",
        instrument="duration of a reading by perf_counter itself",
        source="CPU time of a reading by the kernel's account of the process",
        unit="s",
        allowed=_GRAIN_ALLOWED_S,
        ground=ground,
    )
    return [
        resolution.compare(grain.get("announced_s"), grain.get("step_s"), missing=missing),
        cost.compare(grain.get("cost_s"), grain.get("cost_cpu_s"), missing=missing),
    ]
