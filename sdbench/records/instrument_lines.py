"""What ``sdbench selftest`` found: each instrument compared with a second source on one machine."""

from typing import Literal

import msgspec

from sdbench.records.case import DeviceKind
from sdbench.records.numbers import Seconds

InstrumentStatus = Literal["pass", "fail", "unknown"]
VoidedFigure = Literal[
    "times",
    "footprint",
    "allocator",
    "driver",
    "gpu_memory",
    "available",
    "swap",
    "pressure",
    "thermal",
    "load",
    "temperature",
    "power",
    "pictures",
    "deaths",
    "sleep",
]
"""Figures that are unknown where an instrument they rest on has failed (``runs/voided.py``)."""


class InstrumentLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One instrument and one independent source of the same fact.

    ``measured`` is what the instrument says and ``expected`` what the source says, in ``unit``
    (words where the fact is no number). They may differ by ``allowed``, for the reason in
    ``ground``. ``reason`` says why the line is unknown, or what to know of a failed one.
    """

    id: str
    status: InstrumentStatus
    instrument: str
    source: str
    measured: float | str | None = None
    expected: float | str | None = None
    unit: str = ""
    allowed: float | None = None
    ground: str = ""
    reason: str | None = None


class Selftest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All lines of one selftest, and where and when it was made.

    ``durations_s`` says how long each group of instruments took.
    """

    made_utc: str
    sdbench: str
    machine_id: str
    device: DeviceKind
    simulated: bool
    duration_s: Seconds
    lines: list[InstrumentLine]
    durations_s: dict[str, Seconds] = {}

    @property
    def failed(self) -> list[str]:
        """The ids of the failed lines."""
        return [line.id for line in self.lines if line.status == "fail"]
