"""Telemetry of one worker: cheap counters often, expensive ones seldom, within a CPU budget.

It is read by the parent between waits on the worker's pipe; nothing here waits, spins or starts a
process.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sdbench.machine import MemoryProbe, SystemMemory
from sdbench.machine.cpu import CpuTimes, cpu_shares
from sdbench.machine.facts import SlowReading, known
from sdbench.process.energy import EnergyMeter
from sdbench.process.slow_readings import TimedReading, extremes
from sdbench.records import TelemetrySummary

# 20 a second catches the VAE's peak, which lasts some 100 ms on fast machines.
PERIOD_S = 0.05
# Levels of pressure and heat change over seconds; a GPU's counters cost a driver call each.
SLOW_PERIOD_S = 1.0
# Beyond this share of one core the dearer of the two rates is halved: on two cores a busy parent
# slows torch's kernels down many times over.
MAX_COST_SHARE = 0.005
_SLOWEST_PERIOD_S = 1.6
_SLOWEST_SLOW_PERIOD_S = 16.0
_CHILDREN_EVERY_S = 1.0
_SMOOTHING = 0.2


@dataclass(frozen=True)
class Sample:
    """One reading. ``t`` is the system-wide monotonic clock, which the worker's marks share."""

    t: float
    footprint_bytes: int | None
    system: SystemMemory
    slow: SlowReading | None = None
    """The expensive values, where it was their turn."""


@dataclass
class MachineSampler:
    """Reads the machine alone: what the guard sees where no worker is sampled."""

    probe: MemoryProbe
    clock: Callable[[], float] = time.monotonic
    _slow_at: float = float("-inf")

    def take(self) -> Sample:
        """Read the machine's memory, and the expensive values when it is their turn."""
        now = self.clock()
        slow = None
        if now - self._slow_at >= SLOW_PERIOD_S:
            self._slow_at = now
            slow = self.probe.slow()
        return Sample(now, None, self.probe.system(), slow)


@dataclass
class _Rate:
    """How often something is read, and what a reading costs (smoothed)."""

    period_s: float
    slowest_s: float
    _cost_s: float = 0.0

    def note(self, cost_s: float) -> None:
        last = self._cost_s
        self._cost_s = last + _SMOOTHING * (cost_s - last) if last else cost_s

    @property
    def share(self) -> float:
        """Of one core."""
        return self._cost_s / self.period_s

    def halve(self) -> None:
        self.period_s = min(2 * self.period_s, self.slowest_s)


@dataclass
class Sampler:
    """Samples one process until told to stop."""

    probe: MemoryProbe
    pid: int
    ignored_pid: int | None = None
    """The watchdog: a child that is not the worker's weight."""
    clock: Callable[[], float] = time.monotonic
    cpu_clock: Callable[[], float] = time.thread_time
    lines: list[bytes] = field(default_factory=list)
    _often: _Rate = field(default_factory=lambda: _Rate(PERIOD_S, _SLOWEST_PERIOD_S))
    _seldom: _Rate = field(default_factory=lambda: _Rate(SLOW_PERIOD_S, _SLOWEST_SLOW_PERIOD_S))
    _slow_at: float = float("-inf")
    _slow: list[TimedReading] = field(default_factory=list)
    _total_cost_s: float = 0.0
    _samples: int = 0
    _first: Sample | None = None
    _last: Sample | None = None
    _peak_footprint: int | None = None
    _pass_peak: int | None = None
    _in_pass: bool = False
    _cpu_before: CpuTimes | None = None
    _cpu_after: CpuTimes | None = None
    _least_available: int | None = None
    _children: list[int] = field(default_factory=list)
    _children_at: float = float("-inf")
    _energy: EnergyMeter = field(init=False)

    def __post_init__(self) -> None:
        self._energy = EnergyMeter(self.probe.energy_j, self.clock)

    @property
    def period_s(self) -> float:
        """Seconds from one sample to the next."""
        return self._often.period_s

    def take(self) -> Sample:
        """Read everything that is due and adapt the rates to what that cost."""
        began = self.cpu_clock()
        now = self.clock()
        if now - self._children_at >= _CHILDREN_EVERY_S:
            self._children_at = now
            self._children = [
                child for child in self.probe.children(self.pid) if child != self.ignored_pid
            ]
        footprint, system = self._footprint(), self.probe.system()
        often = self.cpu_clock()
        slow = self._take_slow(now)
        sample = Sample(now, footprint, system, slow)
        read = self.cpu_clock()
        self._keep(sample)
        ended = self.cpu_clock()
        if slow is not None:
            self._seldom.note(read - often)
        self._often.note(often - began + ended - read)
        self._total_cost_s += ended - began
        if self._often.share + self._seldom.share > MAX_COST_SHARE:
            max(self._often, self._seldom, key=lambda rate: rate.share).halve()
        return sample

    def mark(self, phase: str, t: float) -> None:
        """Put a phase's beginning into the timeline."""
        self._energy.mark(phase)
        was_in_pass = self._in_pass
        self._in_pass = phase == "prime" or phase.startswith("pass ")
        if phase == "pass 1":
            self._cpu_before = self._cpu()
        elif was_in_pass and not self._in_pass:
            self._cpu_after = self._cpu()
        self.lines.append(msgspec.json.encode({"t": t, "phase": phase}) + b"\n")

    def summary(self) -> TelemetrySummary:
        """The timeline in a few numbers."""
        if self._first is None or self._last is None:
            return TelemetrySummary(samples=0, period_s=self.period_s, cost_share=0.0)
        first, last = self._first.system, self._last.system
        shares = cpu_shares(self._cpu_before, self._cpu_after)
        found = extremes(self._slow)
        if shares is None:
            found["unavailable"]["other_cpu_share"] = "the passes were too short, or did not end"
        elapsed = max(self._last.t - self._first.t, self.period_s)
        return TelemetrySummary(
            samples=self._samples,
            period_s=self.period_s,
            slow_period_s=self._seldom.period_s,
            cost_share=self._total_cost_s / elapsed,
            peak_footprint_bytes=self._peak_footprint,
            pass_peak_footprint_bytes=self._pass_peak,
            footprint_source=self.probe.footprint_source,
            swap_start_bytes=first.swap_used_bytes,
            swap_delta_bytes=_difference(last.swap_used_bytes, first.swap_used_bytes),
            swap_in_bytes=_difference(last.swapped_in_bytes, first.swapped_in_bytes),
            swap_out_bytes=_difference(last.swapped_out_bytes, first.swapped_out_bytes),
            min_available_bytes=self._least_available,
            other_cpu_share=None if shares is None else shares.others,
            idle_cpu_share=None if shares is None else shares.idle,
            energy=self._energy.summary(),
            stolen_cpu_share=None if shares is None else shares.stolen,
            **found,
        )

    def _cpu(self) -> CpuTimes | None:
        return self.probe.cpu(self.pid, self._children)

    def _footprint(self) -> int | None:
        own = self.probe.footprint_bytes(self.pid)
        if own is None:
            return None
        return own + sum(self.probe.footprint_bytes(child) or 0 for child in self._children)

    def _take_slow(self, now: float) -> SlowReading | None:
        if now - self._slow_at < self._seldom.period_s:
            return None
        self._slow_at = now
        return self.probe.slow()

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
        if sample.slow is not None:
            self._slow.append(TimedReading(sample.slow, self._in_pass))
            if known(sample.slow.gpu.power_w):
                self._energy.note_power(sample.t, sample.slow.gpu.power_w)
        self.lines.append(msgspec.json.encode(_line(sample)) + b"\n")


def _line(sample: Sample) -> dict[str, Any]:
    system, slow = sample.system, sample.slow
    line: dict[str, Any] = {
        "t": round(sample.t, 4),
        "footprint_bytes": sample.footprint_bytes,
        "available_bytes": system.available_bytes,
        "swap_used_bytes": system.swap_used_bytes,
        "swapped_in_bytes": system.swapped_in_bytes,
        "swapped_out_bytes": system.swapped_out_bytes,
    }
    if slow is None:
        return line
    slow_values = {
        "pressure": slow.pressure,
        "thermal": slow.thermal,
        "free_percent": slow.free_percent,
        "compressor_bytes": slow.compressor_bytes,
        "gpu_power_w": slow.gpu.power_w,
        "gpu_temperature_c": slow.gpu.temperature_c,
        "gpu_memory_used_bytes": slow.gpu.memory_used_bytes,
        "gpu_throttled": slow.gpu.throttled,
    }
    # What is not known says so once, in the summary.
    return line | {name: fact for name, fact in slow_values.items() if known(fact)}


def _difference(later: int | None, earlier: int | None) -> int | None:
    return None if later is None or earlier is None else later - earlier
