"""Swap and memory pressure against the system's own programs, whose texts are parsed apart here.

None of the parsers of ``sdbench/machine`` is used for the second source: a fault in one of them has
to show.
"""

import os
import re
from collections.abc import Mapping

from sdbench.machine.facts import Unavailable, known, or_none
from sdbench.records import InstrumentLine
from sdbench.selftest.judging import Question
from sdbench.selftest.workers import Setup

_MIB = 1 << 20
_ALLOWED_BYTES = 16 * _MIB
_ALLOWED_SHARE = 0.01
_ALLOWED_PERCENT = 5.0
_NEVER = (
    "both are 0: nothing was swapped since the machine started, so a counter that is stuck at 0 "
    "would look the same"
)
_LEVELS = {1: "normal", 2: "warn", 4: "critical"}
# As they are named in the lines, in our records, and in the second source.
_COUNTERS = {
    "swap-used": ("swap in use", "swap_used_bytes"),
    "swap-in": ("bytes read back from swap since the start", "swapped_in_bytes"),
    "swap-out": ("bytes written to swap since the start", "swapped_out_bytes"),
}

Sizes = Mapping[str, float | None]


def swap_lines(setup: Setup) -> list[InstrumentLine]:
    """Swap in use and its traffic, the pressure level and the free percentage."""
    darwin = setup.system.name() == "Darwin"
    other = _macos_sizes(setup) if darwin else _linux_sizes(setup)
    system, slow = setup.probe.system(), setup.probe.slow()
    own = {name: getattr(system, name) for _, name in _COUNTERS.values()}
    source = "vm_stat and sysctl vm.swapusage" if darwin else "psutil and /proc/vmstat"
    lines = counter_lines(own, other, f"{source}, parsed apart")
    if not darwin:
        reason = "there is no second source of the pressure level on Linux"
        return [*lines, _PRESSURE.unknown(reason)]
    said = setup.system.command(("/usr/bin/memory_pressure", "-Q"))
    percent = parse_free_percent(said.stdout) if known(said) else None
    level = setup.system.sysctl([_LEVEL_NAME])[_LEVEL_NAME]
    return [
        *lines,
        _pressure_line(or_none(slow.pressure), level),
        _FREE_PERCENT.compare(or_none(slow.free_percent), percent),
    ]


_LEVEL_NAME = "kern.memorystatus_vm_pressure_level"
_PRESSURE = Question(
    id="swap-pressure",
    instrument="memory pressure as telemetry reads it",
    source=f"sysctl {_LEVEL_NAME}, parsed apart",
)
_FREE_PERCENT = Question(
    id="swap-free-percent",
    instrument="free percentage of memory as telemetry reads it",
    source="memory_pressure -Q, parsed apart",
    unit="%",
    allowed=_ALLOWED_PERCENT,
    ground="5 points: the two are read one after the other",
)


def counter_lines(own: Sizes, other: Sizes, source: str) -> list[InstrumentLine]:
    """A line for each counter, in bytes."""
    lines = []
    for line_id, (words, name) in _COUNTERS.items():
        expected = other.get(name)
        allowed = max(_ALLOWED_BYTES, _ALLOWED_SHARE * (expected or 0.0))
        question = Question(
            id=line_id,
            instrument=f"{words} as telemetry reads it",
            source=source,
            unit="bytes",
            allowed=allowed,
            ground="16 MiB or 1%: the two are read one after the other",
        )
        measured = own.get(name)
        if measured == 0 and expected == 0:
            lines.append(question.unknown(_NEVER, measured=0.0, expected=0.0))
        elif measured == 0 and expected:
            # However little was swapped: a counter that has not moved at all is stuck.
            exact = Question(
                id=line_id,
                instrument=question.instrument,
                source=source,
                unit="bytes",
                allowed=0.0,
                ground="a counter at 0 where another has moved does not count",
            )
            lines.append(exact.compare(measured, expected))
        else:
            lines.append(question.compare(measured, expected))
    return lines


def _pressure_line(own: str | None, level: str | Unavailable) -> InstrumentLine:
    expected = _LEVELS.get(int(level)) if known(level) and level.strip().isdigit() else None
    if expected is None:
        return _PRESSURE.unknown(f"sysctl does not tell {_LEVEL_NAME}", measured=own)
    return _PRESSURE.compare_words(own, expected)


def _macos_sizes(setup: Setup) -> Sizes:
    said = setup.system.command(("/usr/bin/vm_stat",))
    usage = setup.system.sysctl(["vm.swapusage"])["vm.swapusage"]
    pages = parse_vm_stat(said.stdout) if known(said) else {}
    return {
        "swap_used_bytes": parse_swap_used(usage) if known(usage) else None,
        "swapped_in_bytes": pages.get("Swapins"),
        "swapped_out_bytes": pages.get("Swapouts"),
    }


def parse_vm_stat(text: str) -> dict[str, float]:
    """``vm_stat``'s counters in bytes: pages times the page size in its first line."""
    size = re.search(r"page size of (\d+)", text)
    if size is None:
        return {}
    found = {}
    for line in text.splitlines()[1:]:
        name, _, number = line.partition(":")
        if number.strip().rstrip(".").isdigit():
            found[name.strip('" ')] = float(int(number.strip().rstrip(".")) * int(size[1]))
    return found


def parse_swap_used(text: str) -> float | None:
    """``total = 7168.00M  used = 6119.06M  free = 1048.94M``: the second number, in bytes."""
    found = re.search(r"used = ([0-9]+)[.,]([0-9]+)M", text)
    return None if found is None else float(f"{found[1]}.{found[2]}") * _MIB


def parse_free_percent(text: str) -> float | None:
    """The last line of ``memory_pressure``, in percent."""
    found = re.search(r"free percentage: (\d+)%", text)
    return None if found is None else float(found[1])


def _linux_sizes(setup: Setup) -> Sizes:
    """psutil's swap in use; traffic from ``/proc/vmstat`` in pages."""
    import psutil

    text = setup.system.read("/proc/vmstat")
    pages = dict(re.findall(r"^(pswpin|pswpout) (\d+)$", text, re.M)) if known(text) else {}
    size = os.sysconf("SC_PAGE_SIZE")
    traffic = {name: float(int(count) * size) for name, count in pages.items()}
    return {
        "swap_used_bytes": None if setup.system.simulated else psutil.swap_memory().used,
        "swapped_in_bytes": traffic.get("pswpin"),
        "swapped_out_bytes": traffic.get("pswpout"),
    }
