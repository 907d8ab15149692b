"""Which machine this is, without a word that tells whose."""

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

_COMMAND_LIMIT_S = 5.0
_SYSCTL = "/usr/sbin/sysctl"


def identify() -> dict[str, Any]:
    """Chip, cores, memory and system: what a comparison of machines needs; no host or user name."""
    import psutil

    facts: dict[str, Any] = {
        "system": platform.system(),
        "release": platform.mac_ver()[0] if sys.platform == "darwin" else platform.release(),
        "architecture": platform.machine(),
        "chip": _chip(),
        "cores_physical": psutil.cpu_count(logical=False) or os.cpu_count(),
        "cores_logical": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }
    if sys.platform == "darwin":
        facts["model"] = _sysctl("hw.model")
        facts["build"] = _sysctl("kern.osversion")
    return facts


def machine_id() -> str:
    """A digest that tells machines apart and cannot be turned back into a serial number.

    It covers the system's own identifier, so two equal machines differ; where there is none it
    covers chip and cores only. Memory is left out: some virtual machines grow it as it is used.
    """
    own = _mac_host_uuid() if sys.platform == "darwin" else _read("/etc/machine-id")
    parts = ["sdbench", own or "", platform.system(), _chip() or "", str(os.cpu_count())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def boot_id() -> str | None:
    """Changes with every start of the machine; None where the system has no such thing."""
    if sys.platform == "darwin":
        return _sysctl("kern.bootsessionuuid")
    return _read("/proc/sys/kernel/random/boot_id")


def _chip() -> str | None:
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip() or None
    return platform.processor() or None


def _mac_host_uuid() -> str | None:
    """gethostuuid(3): the hardware's UUID, without starting ioreg."""
    system = ctypes.CDLL("/usr/lib/libSystem.B.dylib")
    uuid = (ctypes.c_uint8 * 16)()
    wait = (ctypes.c_long * 2)(5, 0)  # struct timespec
    return None if system.gethostuuid(uuid, wait) else bytes(uuid).hex()


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _sysctl(name: str) -> str | None:
    try:
        done = subprocess.run(
            [_SYSCTL, "-n", name],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
