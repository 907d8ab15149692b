"""What the machine is and how it is doing. A probe returns data, or None where it cannot tell."""

from sdbench.machine.identity import boot_id, identify, machine_id
from sdbench.machine.memory import MemoryProbe, SystemMemory, open_memory_probe

__all__ = [
    "MemoryProbe",
    "SystemMemory",
    "boot_id",
    "identify",
    "machine_id",
    "open_memory_probe",
]
