"""All there is to know of a machine at one moment, whichever platform it is."""

from pathlib import Path
from typing import Protocol

import msgspec

from sdbench.machine.facts import (
    NOT_RECORDED,
    Identity,
    MachineFacts,
    Memory,
    Power,
    Thermal,
    Unavailable,
    all_unavailable,
)
from sdbench.machine.gpu.open import open_gpu
from sdbench.machine.gpu.reader import NoGpu
from sdbench.machine.linux.probe import LinuxProbe
from sdbench.machine.macos.probe import MacProbe
from sdbench.machine.system import System


class PlatformProbe(Protocol):
    """One platform's way to the facts."""

    def identity(self) -> Identity: ...
    def memory(self) -> Memory: ...
    def power(self) -> Power: ...
    def thermal(self) -> Thermal | Unavailable: ...
    def load_1min(self) -> float | Unavailable: ...


def probe_machine(system: System, folder: Path) -> MachineFacts:
    """Everything; ``folder`` is where free disk is asked for. Some tenths of a second on a Mac."""
    gpu = NoGpu(NOT_RECORDED.unavailable) if system.simulated else open_gpu(system.name())
    try:
        probe: PlatformProbe
        if system.name() == "Darwin":
            probe = MacProbe(system)
        elif system.name() == "Linux":
            probe = LinuxProbe(system, gpu.names())
        else:
            probe = UnknownProbe(system)
        return MachineFacts(
            simulated=system.simulated,
            identity=probe.identity(),
            memory=probe.memory(),
            power=probe.power(),
            thermal=probe.thermal(),
            gpu=gpu.read(),
            scheduling=system.scheduling(),
            load_1min=probe.load_1min(),
            free_disk_bytes=system.free_disk_bytes(folder),
        )
    finally:
        gpu.close()


class UnknownProbe:
    """A platform that sdbench has no probes for."""

    def __init__(self, system: System) -> None:
        self._system = system
        name = system.name()
        self._why = Unavailable(f"sdbench has no probes for {name}") if name else NOT_RECORDED

    def identity(self) -> Identity:
        """The name of the system and of the architecture, no more."""
        return msgspec.structs.replace(
            all_unavailable(Identity, self._why),
            system=self._system.name(),
            architecture=self._system.machine() or self._why,
        )

    def memory(self) -> Memory:
        return all_unavailable(Memory, self._why)

    def power(self) -> Power:
        return all_unavailable(Power, self._why)

    def thermal(self) -> Thermal | Unavailable:
        return self._why

    def load_1min(self) -> float | Unavailable:
        return self._why
