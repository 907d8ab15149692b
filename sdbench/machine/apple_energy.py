"""Power of Apple's GPUs through ``zeus-apple-silicon``, if it is installed (not yet run on a Mac).

Its ``AppleEnergyMonitor`` reads IOReport, which needs no root. Energy is cumulative, in mJ, so
power is the difference of two readings.
"""

import time
from collections.abc import Callable
from typing import Any

from sdbench.machine.facts import Gpu, Unavailable
from sdbench.machine.gpu import GpuReader, NoGpu

_UNTOLD = Unavailable("macOS tells this to root only")
# Two readings closer than this say more about the clock than about the power.
_SHORTEST_S = 0.05


def open_apple_energy() -> GpuReader:
    """A reader, if the package is installed."""
    try:
        from zeus_apple_silicon import AppleEnergyMonitor
    except ImportError:
        return NoGpu(
            "macOS tells a GPU's power to root only; to read it without: "
            "pip install zeus-apple-silicon"
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
        return Unavailable("the energy monitor names no GPU")

    def read(self) -> Gpu:
        return Gpu(
            power_w=self._power_w(),
            temperature_c=_UNTOLD,
            memory_used_bytes=Unavailable("the GPU shares the machine's memory"),
            memory_total_bytes=Unavailable("the GPU shares the machine's memory"),
            throttled=_UNTOLD,
        )

    def close(self) -> None:
        return None

    def _power_w(self) -> float | Unavailable:
        try:
            energy_mj = self._monitor.get_cumulative_energy().gpu_mj
        except Exception as error:
            return Unavailable(f"zeus-apple-silicon failed ({type(error).__name__})")
        if not isinstance(energy_mj, (int, float)):
            return Unavailable("zeus-apple-silicon knows no GPU energy of this chip")
        now = self._clock()
        before, self._before = self._before, (now, float(energy_mj))
        if before is None or now - before[0] < _SHORTEST_S:
            return Unavailable("power needs two readings some time apart")
        power_w = (energy_mj - before[1]) / 1000 / (now - before[0])
        return power_w if power_w >= 0 else Unavailable("the energy counter ran backwards")
