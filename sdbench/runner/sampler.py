"""Telemetry of one worker: cheap values often, dear ones seldom, and never more than they may cost.

It is read by the parent between waits on the worker's pipe; nothing here waits or spins.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from sdbench.machine import MemoryProbe, SystemMemory
from sdbench.schema import TelemetrySummary

# 20 a second catches the VAE's peak, which lasts some 100 ms on fast machines.
PERIOD_S = 0.05
# Beyond this share of one core the rate is halved: on two cores a busy parent slows torch's
# kernels down many times over.
MAX_COST_SHARE = 0.005
_SLOWEST_PERIOD_S = 1.6
_CHILDREN_EVERY_S = 1.0
_SMOOTHING = 0.2


@dataclass(frozen=True)
class Sample:
    """One reading. ``t`` is the system-wide monotonic clock, which the worker's marks share."""

    t: float
    footprint_bytes: int | None
    system: SystemMemory


@dataclass
class Sampler:
    """Samples one process until told to stop."""

    probe: MemoryProbe
    pid: int
    ignored_pid: int | None = None
    """The watchdog: a child that is not the worker's weight."""
    clock: Callable[[], float] = time.monotonic
    cpu_clock: Callable[[], float] = time.thread_time
    period_s: float = PERIOD_S
    lines: list[bytes] = field(default_factory=list)
    _cost_s: float = 0.0
    _total_cost_s: float = 0.0
    _samples: int = 0
    _first: Sample | None = None
    _last: Sample | None = None
    _peak_footprint: int | None = None
    _pass_peak: int | None = None
    _in_pass: bool = False
    _least_available: int | None = None
    _children: list[int] = field(default_factory=list)
    _children_at: float = float("-inf")

    def take(self) -> Sample:
        """Read everything once and adapt the rate to what that cost."""
        began = self.cpu_clock()
        now = self.clock()
        if now - self._children_at >= _CHILDREN_EVERY_S:
            self._children_at = now
            self._children = [
                child for child in self.probe.children(self.pid) if child != self.ignored_pid
            ]
        sample = Sample(now, self._footprint(), self.probe.system())
        self._keep(sample)
        self._adapt(self.cpu_clock() - began)
        return sample

    def mark(self, phase: str, t: float) -> None:
        """Put a phase's beginning into the timeline."""
        self._in_pass = phase == "prime" or phase.startswith("pass ")
        self.lines.append(msgspec.json.encode({"t": t, "phase": phase}) + b"\n")

    def summary(self) -> TelemetrySummary:
        """The timeline in a few numbers."""
        if self._first is None or self._last is None:
            return TelemetrySummary(samples=0, period_s=self.period_s, cost_share=0.0)
        first, last = self._first.system, self._last.system
        elapsed = max(self._last.t - self._first.t, self.period_s)
        return TelemetrySummary(
            samples=self._samples,
            period_s=self.period_s,
            cost_share=self._total_cost_s / elapsed,
            peak_footprint_bytes=self._peak_footprint,
            pass_peak_footprint_bytes=self._pass_peak,
            footprint_source=self.probe.footprint_source,
            swap_start_bytes=first.swap_used_bytes,
            swap_delta_bytes=_difference(last.swap_used_bytes, first.swap_used_bytes),
            swap_in_bytes=_difference(last.swapped_in_bytes, first.swapped_in_bytes),
            swap_out_bytes=_difference(last.swapped_out_bytes, first.swapped_out_bytes),
            min_available_bytes=self._least_available,
        )

    def _footprint(self) -> int | None:
        own = self.probe.footprint_bytes(self.pid)
        if own is None:
            return None
        return own + sum(self.probe.footprint_bytes(child) or 0 for child in self._children)

    def _keep(self, sample: Sample) -> None:
        self._samples += 1
        self._first = self._first or sample
        self._last = sample
        if sample.footprint_bytes is not None:
            self._peak_footprint = max(self._peak_footprint or 0, sample.footprint_bytes)
            if self._in_pass:
                self._pass_peak = max(self._pass_peak or 0, sample.footprint_bytes)
        available = sample.system.available_bytes
        if available is not None:
            least = self._least_available
            self._least_available = available if least is None else min(least, available)
        self.lines.append(msgspec.json.encode(_line(sample)) + b"\n")

    def _adapt(self, cost_s: float) -> None:
        self._total_cost_s += cost_s
        smoothed = self._cost_s + _SMOOTHING * (cost_s - self._cost_s) if self._cost_s else cost_s
        self._cost_s = smoothed
        if smoothed > MAX_COST_SHARE * self.period_s and self.period_s < _SLOWEST_PERIOD_S:
            self.period_s *= 2


def _line(sample: Sample) -> dict[str, float | int | None]:
    system = sample.system
    return {
        "t": round(sample.t, 4),
        "footprint_bytes": sample.footprint_bytes,
        "available_bytes": system.available_bytes,
        "swap_used_bytes": system.swap_used_bytes,
        "swapped_in_bytes": system.swapped_in_bytes,
        "swapped_out_bytes": system.swapped_out_bytes,
    }


def _difference(later: int | None, earlier: int | None) -> int | None:
    return None if later is None or earlier is None else later - earlier
