"""The worker's part in ``sdbench selftest``: it reads its clocks, takes memory, computes, or dies.

Each part reports raw readings. Nothing is judged here: the parent compares them with its own
sources (``sdbench/selftest``).
"""

import time
from typing import TYPE_CHECKING, Any, Callable, Dict

if TYPE_CHECKING:
    from .channel import Channel

_EDGES = 50
_STEPS_SOUGHT = 200
_COST_CALLS = 20_000


def take_part(job: "Dict[str, Any]", channel: "Channel", begin: "Callable[[str], None]") -> None:
    """Do the part that the job names."""
    part = job["selftest"]
    begin(part)
    _PARTS[part](job, channel)


def _clocks(job: "Dict[str, Any]", channel: "Channel") -> None:
    first = read_clocks()
    time.sleep(job["seconds"])
    last = read_clocks()
    elapsed = {name: last[name] - first[name] for name in first}
    channel.send("instrument", name="clocks", values=elapsed)
    channel.send("instrument", name="clock-grain", values=clock_grain())


def read_clocks() -> "Dict[str, float]":
    """All clocks at one moment, in seconds: of many readings the one that took least time."""
    best: "Dict[str, float]" = {}
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


def clock_grain() -> "Dict[str, float]":
    """Announced resolution, smallest step seen, and cost of a reading by itself and CPU time."""
    smallest = float("inf")
    for _ in range(_STEPS_SOUGHT):
        first = later = time.perf_counter()
        while later == first:
            later = time.perf_counter()
        smallest = min(smallest, later - first)
    began, began_cpu = time.perf_counter(), time.process_time()
    for _ in range(_COST_CALLS):
        time.perf_counter()
    return {
        "announced_s": time.get_clock_info("perf_counter").resolution,
        "step_s": smallest,
        "cost_s": (time.perf_counter() - began) / _COST_CALLS,
        "cost_cpu_s": (time.process_time() - began_cpu) / _COST_CALLS,
    }


_PARTS: "Dict[str, Callable[[Dict[str, Any], Channel], None]]" = {"clocks": _clocks}
