"""A child burns one core: its CPU time, and whether it is seen as the load of another program."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from sdbench.machine.cpu import CpuTimes
from sdbench.machine.facts import known
from sdbench.process.events import InstrumentRead
from sdbench.records import InstrumentLine
from sdbench.selftest.judging import Question
from sdbench.selftest.workers import Setup, readings, why_incomplete

_SECONDS = 2.0
_HOLD_S = 0.5
_TICKS_S = 0.05
_ALLOWED_SHARE = 0.05
_BUSY_ALLOWED_SHARE = 0.10

OF_CHILD = Question(
    id="load-child",
    instrument="CPU time of a process as telemetry reads it",
    source="CPU time that the process reads of itself (getrusage)",
    unit="s",
    ground="5%: counters tick 100 times a second, and the two are read one after the other",
)
AS_OTHERS = Question(
    id="load-others",
    instrument="least CPU time of other programs that telemetry must see",
    source="CPU time that the child reads of itself (getrusage)",
    unit="s",
    ground="5%: as above; other programs may only add to it",
)
OF_MACHINE = Question(
    id="load-machine",
    instrument="CPU time of other programs as telemetry reads it",
    source="/proc/stat, parsed apart",
    unit="s",
    ground="10%: the two are read one after the other on a busy machine",
)


@dataclass(frozen=True)
class Reading:
    """CPU time at one moment: of the child and this process as telemetry reads them, and of all
    cores as ``/proc/stat`` has it, in seconds.
    """

    child: CpuTimes | None
    parent: CpuTimes | None
    busy_s: float | None


def load_lines(setup: Setup) -> list[InstrumentLine]:
    """Three lines: the child's own time, its part in the load of others, the machine's load."""
    taken: list[Reading] = []

    def notice(read: InstrumentRead) -> None:
        pid = int(read.values.get("pid") or 0)
        child, parent = (setup.probe.cpu(one, []) for one in (pid, os.getpid()))
        taken.append(Reading(child, parent, _busy_s(setup)))

    report = setup.start("burn", notice, seconds=_SECONDS, hold_s=_HOLD_S)
    found = readings(report)
    used = [found.get(name, {}).get("used_s") for name in ("begins", "ends")]
    return judged(
        used_s=change(used),
        child_s=change(_seconds([one.child for one in taken], _own_s)),
        others_s=others_s([one.parent for one in taken]),
        busy_s=_less(
            change([one.busy_s for one in taken]),
            change(_seconds([one.parent for one in taken], _own_s)),
        ),
        missing=why_incomplete(report),
        machine_source=setup.system.name() == "Linux",
    )


def judged(
    *,
    used_s: float | None,
    child_s: float | None,
    others_s: float | None,
    busy_s: float | None,
    missing: str | None,
    machine_source: bool,
) -> list[InstrumentLine]:
    """The three lines from seconds of CPU time.

    Args:
        used_s: of the child, by itself.
        child_s: of the child, as telemetry reads it.
        others_s: of all programs but this one, as telemetry reads it.
        busy_s: the same from ``/proc/stat``.
    """
    seen = None if others_s is None or used_s is None else min(others_s, used_s)
    machine = _allowing(OF_MACHINE, busy_s, _BUSY_ALLOWED_SHARE)
    return [
        _allowing(OF_CHILD, used_s, _ALLOWED_SHARE).compare(child_s, used_s, missing=missing),
        _allowing(AS_OTHERS, used_s, _ALLOWED_SHARE).compare(seen, used_s, missing=missing),
        machine.compare(others_s, busy_s, missing=missing)
        if machine_source
        else machine.unknown("there is no second source of the machine's CPU time here"),
    ]


def _allowing(question: Question, of_s: float | None, share: float) -> Question:
    allowed = None if of_s is None else round(share * of_s + _TICKS_S, 3)
    return msgspec.structs.replace(question, allowed=allowed)


def change(values: Sequence[float | None]) -> float | None:
    """From the first to the last of two values; None where one is missing."""
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return values[1] - values[0]


def others_s(of_parent: Sequence[CpuTimes | None]) -> float | None:
    """Seconds of CPU time that went to other programs than the one read."""
    busy_s = change(_seconds(of_parent, lambda times: times.total_s - times.idle_s))
    return _less(busy_s, change(_seconds(of_parent, _own_s)))


def _seconds(
    times: Sequence[CpuTimes | None], which: Callable[[CpuTimes], float]
) -> list[float | None]:
    return [None if one is None else which(one) for one in times]


def _own_s(times: CpuTimes) -> float:
    return times.own_s


def _less(busy_s: float | None, own_s: float | None) -> float | None:
    """Without what this process used meanwhile."""
    return None if busy_s is None or own_s is None else busy_s - own_s


def _busy_s(setup: Setup) -> float | None:
    """All cores' time since boot that was not idle, from ``/proc/stat``."""
    text = setup.system.read("/proc/stat")
    if not known(text) or setup.system.simulated:
        return None
    return parse_busy_s(text, os.sysconf("SC_CLK_TCK"))


def parse_busy_s(text: str, ticks_per_s: int) -> float | None:
    """``cpu  user nice system idle iowait irq softirq steal guest guest_nice``, in seconds.

    Guests' time is in user time already (proc_stat(5)).
    """
    found = re.match(r"cpu +((?:[0-9]+ ?)+)", text)
    fields = [int(word) for word in found[1].split()] if found else []
    if len(fields) < 8:
        return None
    return (sum(fields[:8]) - fields[3] - fields[4]) / ticks_per_s
