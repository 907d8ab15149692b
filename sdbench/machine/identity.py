"""Which machine this is, without a word that tells whose."""

import ctypes
import hashlib
import os
import sys
from typing import Any

from sdbench.machine.facts import or_none
from sdbench.machine.linux import LinuxProbe
from sdbench.machine.live import open_system
from sdbench.machine.probe import probe_identity
from sdbench.machine.system import System


def identify() -> dict[str, Any]:
    """Chip, cores, memory and system: what a comparison of machines needs; no host or user name.

    What is not known is None.
    """
    system = open_system()
    found = probe_identity(system)
    mac = found.system == "Darwin"
    facts = {
        "system": found.system,
        "release": or_none(found.os_version if mac else system.release()),
        "architecture": or_none(found.architecture),
        "chip": or_none(found.chip),
        "cores_physical": or_none(found.cores_physical) or or_none(found.cores_logical),
        "cores_logical": or_none(found.cores_logical),
        "memory_bytes": or_none(found.memory_bytes),
    }
    if mac:
        facts["model"] = or_none(found.model)
        facts["build"] = or_none(found.os_build)
        facts["gpu_cores"] = or_none(found.gpu_cores)
        facts["translated"] = or_none(found.translated)
    return facts


def machine_id() -> str:
    """A digest that tells machines apart and cannot be turned back into a serial number.

    It covers the system's own identifier, so two equal machines differ; where there is none (a
    recording has none) it covers chip and cores only. Memory is left out: some virtual machines
    grow it as it is used.
    """
    system = open_system()
    parts = ["sdbench", _own_id(system) or "", system.name(), _chip(system) or "", _cores(system)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def boot_id() -> str | None:
    """Changes with every start of the machine; None where the system has no such thing."""
    system = open_system()
    if system.name() == "Darwin":
        return or_none(system.sysctl("kern.bootsessionuuid"))
    return _stripped(system, "/proc/sys/kernel/random/boot_id")


def _chip(system: System) -> str | None:
    if system.name() == "Darwin":
        return or_none(system.sysctl("machdep.cpu.brand_string"))
    return or_none(LinuxProbe(system).chip())


def _cores(system: System) -> str:
    if not system.simulated:
        return str(os.cpu_count())
    return str(or_none(system.sysctl("hw.logicalcpu")))


def _own_id(system: System) -> str | None:
    if sys.platform == "darwin" and not system.simulated:
        return _mac_host_uuid()
    return _stripped(system, "/etc/machine-id")


def _stripped(system: System, path: str) -> str | None:
    text = or_none(system.read(path))
    return text.strip() or None if text is not None else None


def _mac_host_uuid() -> str | None:
    """gethostuuid(3): the hardware's UUID, without starting ioreg."""
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    uuid = (ctypes.c_uint8 * 16)()
    wait = (ctypes.c_long * 2)(5, 0)  # struct timespec
    return None if library.gethostuuid(uuid, wait) else bytes(uuid).hex()
