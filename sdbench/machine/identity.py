"""Which machine this is, without a word that tells whose."""

import ctypes
import hashlib
import os
import sys

from sdbench.machine.facts import or_none
from sdbench.machine.linux.probe import LinuxProbe
from sdbench.machine.live import open_system
from sdbench.machine.system import System


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
        return _sysctl(system, "kern.bootsessionuuid")
    return _stripped(system, "/proc/sys/kernel/random/boot_id")


def _chip(system: System) -> str | None:
    if system.name() == "Darwin":
        return _sysctl(system, "machdep.cpu.brand_string")
    return or_none(LinuxProbe(system).chip())


def _cores(system: System) -> str:
    if not system.simulated:
        return str(os.cpu_count())
    return str(_sysctl(system, "hw.logicalcpu"))


def _own_id(system: System) -> str | None:
    if sys.platform == "darwin" and not system.simulated:
        return _mac_host_uuid()
    return _stripped(system, "/etc/machine-id")


def _sysctl(system: System, name: str) -> str | None:
    return or_none(system.sysctl([name])[name])


def _stripped(system: System, path: str) -> str | None:
    text = or_none(system.read(path))
    return text.strip() or None if text is not None else None


def _mac_host_uuid() -> str | None:
    """gethostuuid(3): the hardware's UUID, without starting ioreg."""
    library = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    uuid = (ctypes.c_uint8 * 16)()
    wait = (ctypes.c_long * 2)(5, 0)  # struct timespec
    return None if library.gethostuuid(uuid, wait) else bytes(uuid).hex()
