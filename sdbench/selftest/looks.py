"""All instruments in turn, within five minutes; each failure is looked at a second time."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from sdbench import __version__
from sdbench.machine import machine_id
from sdbench.records import InstrumentLine, Selftest
from sdbench.selftest.clocks import clock_lines
from sdbench.selftest.deaths import death_lines
from sdbench.selftest.device_work import device_lines
from sdbench.selftest.judging import confirmed
from sdbench.selftest.memory_counters import host_lines
from sdbench.selftest.other_load import load_lines
from sdbench.selftest.pictures import picture_lines
from sdbench.selftest.sleep import sleep_lines
from sdbench.selftest.swap import swap_lines
from sdbench.selftest.telemetry_cost import cost_lines, sensor_lines
from sdbench.selftest.workers import Setup

LIMIT_S = 300.0

Look = Callable[[Setup], list[InstrumentLine]]


@dataclass(frozen=True)
class Instrument:
    """A group of lines that are answered together.

    ``prefixes`` begin their ids, ``expected_s`` is about how long a look takes.
    """

    prefixes: tuple[str, ...]
    what: str
    look: Look
    expected_s: float


INSTRUMENTS = (
    Instrument(("clock",), "clocks", clock_lines, 3),
    Instrument(("memory-host",), "memory of the host", host_lines, 5),
    Instrument(("load",), "other load", load_lines, 3),
    Instrument(("death",), "deaths of workers", death_lines, 25),
    Instrument(
        ("memory-device", "sync"), "memory and synchronisation of the device", device_lines, 15
    ),
    Instrument(("picture",), "the comparison of images", picture_lines, 60),
    Instrument(("telemetry",), "sensors", sensor_lines, 5),
    Instrument(("swap",), "swap and memory pressure", swap_lines, 2),
    Instrument(("sleep",), "sleep", sleep_lines, 3),
    # Last, because it takes the longest where the machine is busy.
    Instrument(("telemetry",), "the cost of telemetry", cost_lines, 60),
)


def run_selftest(
    setup: Setup,
    *,
    simulated: bool,
    notice: Callable[[str], None] = lambda what: None,
    instruments: tuple[Instrument, ...] = INSTRUMENTS,
    limit_s: float = LIMIT_S,
) -> Selftest:
    """Answer all lines. ``notice`` is called with the name of what is looked at now.

    An instrument for which no time is left is one unknown line.
    """
    began = time.monotonic()
    made_utc = datetime.now(timezone.utc).isoformat(timespec="seconds")
    lines: list[InstrumentLine] = []
    durations_s: dict[str, float] = {}
    for instrument in instruments:
        left_s = limit_s - (time.monotonic() - began)
        if left_s < instrument.expected_s:
            lines += _no_time(instrument)
            continue
        notice(instrument.what)
        started = time.monotonic()
        found = instrument.look(dataclasses.replace(setup, deadline=began + limit_s))
        took_s = time.monotonic() - started
        if any(line.status == "fail" for line in found) and left_s > 2 * took_s:
            notice(f"{instrument.what}, a second time")
            found = confirmed(found, instrument.look(setup))
        lines += found
        durations_s[instrument.what] = time.monotonic() - started
    return Selftest(
        made_utc=made_utc,
        sdbench=__version__,
        machine_id=machine_id(),
        device=setup.device,
        simulated=simulated,
        duration_s=time.monotonic() - began,
        lines=lines,
        durations_s=durations_s,
    )


def _no_time(instrument: Instrument) -> list[InstrumentLine]:
    return [
        InstrumentLine(
            id=f"{prefix}-all",
            status="unknown",
            instrument=instrument.what,
            source="",
            reason="no time was left of the five minutes",
        )
        for prefix in instrument.prefixes
    ]
