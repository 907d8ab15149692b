"""A worker takes 512 MiB and gives it back: each counter of memory must move by that much."""

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdbench.machine.facts import known
from sdbench.process.events import InstrumentRead
from sdbench.process.executor import Report
from sdbench.records import InstrumentLine
from sdbench.selftest.judging import Question, all_unknown
from sdbench.selftest.workers import Setup, why_incomplete

MIB = 1 << 20
TAKEN_BYTES = 512 * MIB
_ROUNDS = 3
_HOLD_S = 0.4
_HOLD_MACOS_S = 2.0  # footprint takes a good part of a second there
_LEAST_FREE_BYTES = 4 * TAKEN_BYTES
_OWN_ALLOWED_BYTES = 32 * MIB
_MACHINE_ALLOWED_BYTES = 128 * MIB
_LEVEL_SHARE = 0.02
PLATEAUS = ("before", "held", "returned")
_ORDERED = "the 512 MiB that the worker was ordered to take"
_OWN_GROUND = "32 MiB: blocks of the allocator and what the worker itself needs meanwhile"
_MACHINE_GROUND = "128 MiB: other programs take and give back memory meanwhile"


@dataclass
class Plateaus:
    """All counters at each report of the worker, by its name (``before-0``, ``held-0``, …)."""

    by_name: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def change(self, counter: str, begin: str, end: str) -> float | None:
        """By how much a counter moved from one plateau to the next, the median of the rounds."""
        moved = [
            last - first
            for number in range(_ROUNDS)
            if (first := self._value(f"{begin}-{number}", counter)) is not None
            and (last := self._value(f"{end}-{number}", counter)) is not None
        ]
        return statistics.median(moved) if moved else None

    def level(self, counter: str) -> float | None:
        """A counter while the memory is held, the median of the rounds."""
        levels = [self._value(f"held-{number}", counter) for number in range(_ROUNDS)]
        there = [level for level in levels if level is not None]
        return statistics.median(there) if there else None

    def _value(self, name: str, counter: str) -> float | None:
        return self.by_name.get(name, {}).get(counter)


def host_lines(setup: Setup) -> list[InstrumentLine]:
    """Host memory, of a worker that does not import torch."""
    asked = host_questions(setup.device == "cpu", setup.system.name())
    return watch_memory(setup, "memory", asked, where="host")[0]


def watch_memory(
    setup: Setup, part: str, asked: "list[MovedBy]", *, where: str, **job: Any
) -> tuple[list[InstrumentLine], Report | None]:
    """The lines of a worker that takes memory and gives it back, and its report.

    No worker is started, and there is no report, where too little memory is free.
    """
    free = setup.probe.system().available_bytes
    if free is not None and free < _LEAST_FREE_BYTES:
        words = f"only {free / 1e6:.0f} MB are free: not enough to take some"
        return all_unknown([one.question for one in asked], words), None
    hold_s = _HOLD_MACOS_S if setup.system.name() == "Darwin" else _HOLD_S
    found, late = Plateaus(), 0

    def notice(read: InstrumentRead) -> None:
        nonlocal late
        if read.name.split("-")[0] not in PLATEAUS:
            return
        values = {**read.values, **counters_of(setup, int(read.values.get("pid") or 0))}
        if time.monotonic() > read.t + hold_s:
            late += 1  # the worker may have moved on
        else:
            found.by_name[read.name] = values

    report = setup.start(
        part, notice, where=where, bytes=TAKEN_BYTES, rounds=_ROUNDS, hold_s=hold_s, **job
    )
    missing = why_incomplete(report)
    if missing is None and late:
        missing = f"the machine was too busy: {late} readings came too late"
    if missing is None and where == "device":
        said = (event.reason for event in report.events if isinstance(event, InstrumentRead))
        missing = next(said, None)
    return [one.answer(found, missing) for one in asked], report


def counters_of(setup: Setup, pid: int) -> dict[str, float | None]:
    """Our own counters and the second sources', now."""
    own = setup.probe.system().available_bytes
    used = setup.probe.slow().gpu.memory_used_bytes if setup.device == "cuda" else None
    values: dict[str, float | None] = {
        "footprint_bytes": setup.probe.footprint_bytes(pid),
        "available_bytes": own,
        "other_available_bytes": _other_available(),
        "gpu_used_bytes": used if used is not None and known(used) else None,
    }
    return {**values, "other_footprint_bytes": _other_footprint(setup, pid)}


def _other_available() -> int | None:
    """What psutil calls available; None where it fails, as older releases do on macOS 27
    (giampaolo/psutil#2978)."""
    import psutil

    try:
        return int(psutil.virtual_memory().available)
    except (RuntimeError, OSError):
        return None


def _other_footprint(setup: Setup, pid: int) -> int | None:
    """Linux: psutil's RSS. macOS: what the program ``footprint`` prints."""
    import psutil

    if setup.system.name() == "Darwin":
        said = setup.system.command(
            ("/usr/bin/footprint", "-f", "bytes", "--noCategories", "-p", str(pid))
        )
        return parse_footprint(said.stdout) if known(said) else None
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return None


def parse_footprint(text: str) -> int | None:
    """``footprint -f bytes``: the figure behind ``Footprint:`` or ``phys_footprint:``, in bytes.

    The form is that of its manual page; no recording of it was at hand.
    """
    found = re.search(r"footprint:\s*([0-9]{1,18})\s*B\b", text, re.IGNORECASE)
    return None if found is None else int(found[1])


@dataclass(frozen=True)
class MovedBy:
    """A question with the two numbers of its answer.

    ``referee`` is a counter of a second source: where it moved otherwise than ordered, too, other
    programs are the likely cause, and the line is unknown. So it is where the expected number is
    smaller than ``least``: a counter that stands still would agree with it.
    """

    question: Question
    measured: Callable[[Plateaus], float | None]
    expected: Callable[[Plateaus], float | None]
    referee: Callable[[Plateaus], float | None] | None = None
    least: float = 0.0

    def answer(self, found: Plateaus, missing: str | None) -> InstrumentLine:
        """The line."""
        sides = self.measured(found), self.expected(found)
        if sides[1] is not None and self._disturbed(found, sides[1]):
            return self.question.unknown(
                "other programs took or gave back memory meanwhile",
                measured=sides[0],
                expected=sides[1],
            )
        return self.question.compare(*sides, missing=missing)

    def _disturbed(self, found: Plateaus, expected: float) -> bool:
        moved = None if self.referee is None else self.referee(found)
        otherwise = moved is not None and abs(moved - expected) > (self.question.allowed or 0.0)
        return otherwise or abs(expected) < self.least


def _ordered(sign: int) -> Callable[[Plateaus], float | None]:
    return lambda found: float(sign * TAKEN_BYTES)


def _moved(counter: str, begin: str, end: str) -> Callable[[Plateaus], float | None]:
    return lambda found: found.change(counter, begin, end)


def _taken(
    line_id: str, instrument: str, counter: str, *, begin: str = "before", end: str = "held"
) -> MovedBy:
    question = Question(
        id=line_id,
        instrument=f"{instrument}, change while memory is taken",
        source=_ORDERED,
        unit="bytes",
        allowed=_OWN_ALLOWED_BYTES,
        ground=_OWN_GROUND,
    )
    return MovedBy(question, _moved(counter, begin, end), _ordered(1))


def _returned(line_id: str, instrument: str, counter: str) -> MovedBy:
    question = Question(
        id=line_id,
        instrument=f"{instrument}, change while memory is given back",
        source=f"{_ORDERED} and then to give back",
        unit="bytes",
        allowed=_OWN_ALLOWED_BYTES,
        ground=_OWN_GROUND,
    )
    return MovedBy(question, _moved(counter, "held", "returned"), _ordered(-1))


def host_questions(peak_is_of_host: bool, system: str) -> list[MovedBy]:
    """The lines about the host's memory."""
    darwin = system == "Darwin"
    footprint = "process footprint as telemetry samples it"
    other = "the program footprint" if darwin else "psutil's RSS of the same process"
    asked = [
        _taken("memory-host-footprint", footprint, "footprint_bytes"),
        _returned("memory-host-footprint-returned", footprint, "footprint_bytes"),
        MovedBy(
            Question(
                id="memory-host-footprint-source",
                instrument=footprint,
                source=other,
                unit="bytes",
                allowed=_LEVEL_SHARE * TAKEN_BYTES,
                ground="2% of what is held: the two are read one after the other",
            ),
            lambda found: found.level("footprint_bytes"),
            lambda found: found.level("other_footprint_bytes"),
        ),
        MovedBy(
            Question(
                id="memory-host-free",
                instrument="available memory of the machine, change while memory is taken",
                source=_ORDERED,
                unit="bytes",
                allowed=_MACHINE_ALLOWED_BYTES,
                ground=_MACHINE_GROUND,
            ),
            _moved("available_bytes", "before", "held"),
            _ordered(-1),
            _moved("other_available_bytes", "before", "held"),
        ),
        MovedBy(
            Question(
                id="memory-host-free-source",
                instrument="available memory of the machine, change while memory is taken",
                source="psutil.virtual_memory().available",
                unit="bytes",
                allowed=_OWN_ALLOWED_BYTES,
                ground="32 MiB: the two are read one after the other",
            ),
            _moved("available_bytes", "before", "held"),
            _moved("other_available_bytes", "before", "held"),
            least=2 * _OWN_ALLOWED_BYTES,
        ),
    ]
    if peak_is_of_host and not darwin:
        peak = "peak of the process's resident memory"
        asked.append(_taken("memory-host-peak", peak, "peak_bytes", end="returned"))
    return asked


def device_questions(device: str) -> list[MovedBy]:
    """The lines about the memory of a device with an allocator of its own."""
    asked = [
        _taken("memory-device-allocator", "allocator's counter", "allocated_bytes"),
        _returned("memory-device-allocator-returned", "allocator's counter", "allocated_bytes"),
        _taken("memory-device-driver", "driver's counter", "driver_bytes"),
        _returned("memory-device-driver-returned", "driver's counter", "driver_bytes"),
        _taken("memory-device-peak", "peak of the allocator", "peak_bytes", end="returned"),
    ]
    if device == "mps":
        asked.append(_taken("memory-device-footprint", "process footprint", "footprint_bytes"))
    else:
        asked.append(_taken("memory-device-used", "memory in use by NVML", "gpu_used_bytes"))
    return asked
