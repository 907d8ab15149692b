"""A GPU's state, where something tells without root."""

from typing import Protocol

from sdbench.machine.facts import Gpu, Unavailable, all_unavailable


class GpuReader(Protocol):
    """Reads one GPU."""

    def names(self) -> list[str] | Unavailable:
        """All GPUs, the one that is read first."""

    def read(self) -> Gpu:
        """Its state now, without starting a process."""

    def energy_j(self) -> dict[str, float] | Unavailable:
        """Cumulative energy in joules of each part that is counted, ``gpu`` among them."""

    def close(self) -> None:
        """Let go of what is held open."""


class NoGpu:
    """Nothing can be read, for this reason."""

    def __init__(self, reason: str) -> None:
        self._reason = Unavailable(reason)

    def names(self) -> list[str] | Unavailable:
        return self._reason

    def read(self) -> Gpu:
        return all_unavailable(Gpu, self._reason)

    def energy_j(self) -> dict[str, float] | Unavailable:
        return self._reason

    def close(self) -> None:
        return None
