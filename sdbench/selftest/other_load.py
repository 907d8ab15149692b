"""A child burns one core: its CPU time, and whether it is seen as the load of another program."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass
class _Look:
    """Readings at the beginning and the end of the burning."""

    of_child: list[CpuTimes | None] = field(default_factory=list)
    of_parent: list[CpuTimes | None] = field(default_factory=list)
    machine_busy_s: list[float | None] = field(default_factory=list)


def load_lines(setup: Setup) -> list[InstrumentLine]:
    """Three lines: the child's own time, its part in the load of others, the machine's load."""
    look = _Look()

    def notice(read: InstrumentRead) -> None:
        pid = int(read.values.get("pid") or 0)
        look.of_child.append(setup.probe.cpu(pid, []))
        look.of_parent.append(setup.probe.cpu(os.getpid(), []))
        look.machine_busy_s.append(_busy_s(setup))

    report = setup.start("burn", notice, seconds=_SECONDS, hold_s=_HOLD_S)
    found = readings(report)
    begins, ends = (found.get(name, {}).get("used_s") for name in ("begins", "ends"))
    used_s = None if begins is None or ends is None else ends - begins
    own = [None if one is None else one.own_s for one in look.of_child]
    return judged(
        used_s=used_s,
        child_s=_change(own),
        others_s=others_s(look.of_parent),
        busy_s=_less(_change(look.machine_busy_s), look.of_parent),
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


def _change(values: Sequence[float | None]) -> float | None:
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    return values[1] - values[0]


def others_s(readings_of_parent: Sequence[CpuTimes | None]) -> float | None:
    """Seconds of CPU time that went to other programs than the one read."""
    if len(readings_of_parent) != 2:
        return None
    first, last = readings_of_parent
    if first is None or last is None:
        return None
    total, idle = last.total_s - first.total_s, last.idle_s - first.idle_s
    return total - idle - (last.own_s - first.own_s)


def _less(busy_s: float | None, of_parent: Sequence[CpuTimes | None]) -> float | None:
    """Without what this process used meanwhile."""
    own = _change([None if one is None else one.own_s for one in of_parent])
    return None if busy_s is None or own is None else busy_s - own


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
