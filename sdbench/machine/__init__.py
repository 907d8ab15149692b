"""What the machine is and how it is doing. A probe returns data, or says why it cannot."""

from sdbench.machine.facts import MachineFacts, SlowReading, Unavailable, or_none
from sdbench.machine.identity import boot_id, machine_id
from sdbench.machine.live import LiveSystem, open_system
from sdbench.machine.memory import MemoryProbe, SystemMemory
from sdbench.machine.recording import RecordedFacts, RecordedSystem
from sdbench.machine.sampling import open_memory_probe
from sdbench.machine.snapshot import probe_machine
from sdbench.machine.system import System

__all__ = [
    "LiveSystem",
    "MachineFacts",
    "MemoryProbe",
    "RecordedFacts",
    "RecordedSystem",
    "SlowReading",
    "System",
    "SystemMemory",
    "Unavailable",
    "boot_id",
    "machine_id",
    "open_memory_probe",
    "open_system",
    "or_none",
    "probe_machine",
]
