"""Energy of a process's steady passes, from cumulative counters read at their edges.

A counter misses nothing between two readings, as power samples do. It is read twice a process, by
the parent, while the worker begins its first steady pass and after it has ended the last one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sdbench.machine.facts import Unavailable
from sdbench.records import Energy

SHORTEST_S = 10.0
"""Counters move in steps of up to 0.1 s (seen with NVML): 1% of such a window."""
# The processor is busy importing, and the memory with it; the GPU has nothing to do.
_IDLE_WHILE_IMPORTING = ("gpu", "gpu_sram")


@dataclass(frozen=True)
class _Reading:
    t: float
    joules: dict[str, float] | Unavailable


@dataclass
class EnergyMeter:
    """Follows the phases of one process."""

    read: Callable[[], dict[str, float] | Unavailable]
    clock: Callable[[], float] = time.monotonic
    _importing: _Reading | None = None
    _imported: _Reading | None = None
    _begun: _Reading | None = None
    _ended: _Reading | None = None
    _passes: int = 0
    _power: list[tuple[float, float]] = field(default_factory=list)

    def mark(self, phase: str) -> None:
        """A phase begins."""
        if phase == "import" and self._importing is None:
            self._importing = self._reading()
        elif phase == "load":
            self._imported = self._reading()
        elif phase.startswith("pass "):
            if phase != "pass 1":  # the first is not steady
                self._begun = self._begun or self._reading()
                self._passes += 1
        elif self._begun is not None and self._ended is None:
            self._ended = self._reading()

    def note_power(self, t: float, gpu_power_w: float) -> None:
        """A sample of the GPU's power, to hold the counter against."""
        self._power.append((t, gpu_power_w))

    def summary(self) -> Energy:
        """What the steady passes took; ``reason`` says why there is no figure."""
        if self._begun is None or self._ended is None:
            return Energy(reason="there were no steady passes to their end")
        window_s = self._ended.t - self._begun.t
        used = _used(self._begun, self._ended)
        if isinstance(used, Unavailable):
            return Energy(window_s=window_s, passes=self._passes, reason=used.unavailable)
        if window_s < SHORTEST_S:
            reason = f"the steady passes lasted {window_s:.1f} s; {SHORTEST_S:g} are needed"
            return Energy(window_s=window_s, passes=self._passes, reason=reason)
        return Energy(
            window_s=window_s,
            passes=self._passes,
            joules=used,
            idle_w=self._idle_w(),
            sampled_gpu_j=self._sampled_j(self._begun.t, self._ended.t),
        )

    def _reading(self) -> _Reading:
        return _Reading(self.clock(), self.read())

    def _idle_w(self) -> dict[str, float]:
        """Power while the process imported, of what had nothing to do meanwhile."""
        if self._importing is None or self._imported is None:
            return {}
        lasted_s = self._imported.t - self._importing.t
        used = _used(self._importing, self._imported)
        if isinstance(used, Unavailable) or lasted_s < SHORTEST_S:
            return {}
        return {name: used[name] / lasted_s for name in _IDLE_WHILE_IMPORTING if name in used}

    def _sampled_j(self, begin_t: float, end_t: float) -> float | None:
        """The power samples of the window, as if each stood for an equal part of it."""
        inside = [power_w for t, power_w in self._power if begin_t <= t <= end_t]
        return sum(inside) / len(inside) * (end_t - begin_t) if inside else None


def _used(first: _Reading, last: _Reading) -> dict[str, float] | Unavailable:
    """Joules between two readings, of the counters that both have."""
    for reading in (first, last):
        if isinstance(reading.joules, Unavailable):
            return reading.joules
    assert isinstance(first.joules, dict) and isinstance(last.joules, dict)
    used = {
        name: last.joules[name] - before
        for name, before in first.joules.items()
        if name in last.joules
    }
    if any(joules < 0 for joules in used.values()):
        return Unavailable("an energy counter ran backwards")
    return used
