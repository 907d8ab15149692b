"""Power and energy of Apple's chips through ``zeus-apple-silicon``, if it is installed.

No Mac has run this yet.
Its ``AppleEnergyMonitor`` reads IOReport, which needs no root. Energy is cumulative, in mJ, so
power is the difference of two readings.
"""

import time
from collections.abc import Callable
from typing import Any

from sdbench.machine.facts import Gpu, Unavailable
from sdbench.machine.gpu.reader import GpuReader, NoGpu

_UNTOLD = Unavailable("macOS reports this to root only")
# The cores' own counters are part of cpu_total_mj.
_DOMAINS = {
    "cpu": "cpu_total_mj",
    "gpu": "gpu_mj",
    "gpu_sram": "gpu_sram_mj",
    "dram": "dram_mj",
    "ane": "ane_mj",
}
# Two readings closer than this say more about the clock than about the power.
_SHORTEST_S = 0.05


def open_apple_energy() -> GpuReader:
    """A reader, if the package is installed."""
    try:
        from zeus_apple_silicon import AppleEnergyMonitor
    except ImportError:
        return NoGpu(
            "macOS reports the power of a GPU to root only; to read it without root: pip install "
            "zeus-apple-silicon"
        )
    try:
        return AppleEnergy(AppleEnergyMonitor())
    except Exception as error:
        return NoGpu(f"zeus-apple-silicon does not work here ({type(error).__name__})")


class AppleEnergy:
    """Mean power of the GPU since the reading before."""

    def __init__(self, monitor: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._monitor = monitor
        self._clock = clock
        self._before: tuple[float, float] | None = None

    def names(self) -> list[str] | Unavailable:
        return Unavailable("the energy monitor does not list a GPU")

    def read(self) -> Gpu:
        return Gpu(
            power_w=self._power_w(),
            temperature_c=_UNTOLD,
            memory_used_bytes=Unavailable("the GPU shares the machine's memory"),
            memory_total_bytes=Unavailable("the GPU shares the machine's memory"),
            throttled=_UNTOLD,
        )

    def energy_j(self) -> dict[str, float] | Unavailable:
        try:
            metrics = self._monitor.get_cumulative_energy()
        except Exception as error:
            return Unavailable(f"zeus-apple-silicon failed ({type(error).__name__})")
        reported = {name: getattr(metrics, key, None) for name, key in _DOMAINS.items()}
        joules = {name: mj / 1000 for name, mj in reported.items() if isinstance(mj, (int, float))}
        return joules or Unavailable("zeus-apple-silicon does not report energy for this chip")

    def close(self) -> None:
        return None

    def _power_w(self) -> float | Unavailable:
        energy = self.energy_j()
        if isinstance(energy, Unavailable):
            return energy
        if "gpu" not in energy:
            return Unavailable("zeus-apple-silicon does not report GPU energy for this chip")
        energy_j = energy["gpu"]
        now = self._clock()
        before, self._before = self._before, (now, energy_j)
        if before is None or now - before[0] < _SHORTEST_S:
            return Unavailable("power needs two readings at different times")
        power_w = (energy_j - before[1]) / (now - before[0])
        return power_w if power_w >= 0 else Unavailable("the energy counter ran backwards")
