"""Whose work the cores do: this worker's, other programs', nobody's."""

import contextlib
import glob
from collections.abc import Sequence
from dataclasses import dataclass

# Counters tick 100 times per second on each core: within half a second a share is known to 2%.
_LEAST_S = 0.5
# Guests' time is in user time too; waiting for a disk leaves one core free.
_COUNTED_TWICE = ("guest", "guest_nice")
_IDLE = ("idle", "iowait")
_LOOKS = 5


@dataclass(frozen=True)
class CpuTimes:
    """Seconds of all cores together since boot, and a process's since its start."""

    total_s: float
    idle_s: float
    own_s: float
    cores: int
    stolen_s: float | None = None
    """Of a virtual machine: what the host gave to others instead (Linux)."""


@dataclass(frozen=True)
class CpuShares:
    """Of all cores' time between two readings, 0 to 1."""

    others: float
    """Other programs; on a virtual machine also what the host gave to others."""
    idle: float
    stolen: float | None = None
    """The host's share of ``others``; None where it is not told."""


def cpu_times(pid: int, children: Sequence[int]) -> CpuTimes | None:
    """Now, ``own_s`` being of a process and its children; None when it is gone or nothing is told.

    What a child has used that has ended is its parent's.
    """
    import psutil

    try:
        now = psutil.cpu_times()._asdict()
        own_s = _process_s(pid)
    except (psutil.Error, OSError):
        return None
    for child in children:
        with contextlib.suppress(psutil.Error, OSError):
            own_s += _process_s(child)
    return CpuTimes(
        total_s=sum(spent for name, spent in now.items() if name not in _COUNTED_TWICE),
        idle_s=sum(now.get(name, 0.0) for name in _IDLE),
        own_s=own_s,
        cores=psutil.cpu_count() or 1,
        stolen_s=now.get("steal"),
    )


def session_cpu_times(pid: int) -> CpuTimes | None:
    """As :func:`cpu_times`, ``own_s`` being of a process and of all that it ever started (Linux).

    A process that ends between two looks would be missed or counted twice, so it is looked again.
    """
    before = descendants(pid)
    for _ in range(_LOOKS):
        times, after = cpu_times(pid, before), descendants(pid)
        if after == before:
            return times
        before = after
    return None


def descendants(pid: int, proc: str = "/proc") -> list[int]:
    """The processes below a process that still run, whichever of its threads started them
    (Linux)."""
    found: list[int] = []
    for path in sorted(glob.glob(f"{proc}/{pid}/task/*/children")):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            for child in map(int, file.read().split()):
                found += [child, *descendants(child, proc)]
    return found


def _process_s(pid: int) -> float:
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def cpu_shares(first: CpuTimes | None, last: CpuTimes | None) -> CpuShares | None:
    """Between two readings; None where they are missing or too near each other."""
    if first is None or last is None:
        return None
    total_s, idle_s = last.total_s - first.total_s, last.idle_s - first.idle_s
    if total_s < _LEAST_S * last.cores:
        return None
    stolen = None
    if first.stolen_s is not None and last.stolen_s is not None:
        stolen = min(1.0, max(0.0, (last.stolen_s - first.stolen_s) / total_s))
    others_s = total_s - idle_s - (last.own_s - first.own_s)
    return CpuShares(
        others=min(1.0, max(0.0, others_s / total_s)),
        idle=min(1.0, max(0.0, idle_s / total_s)),
        stolen=stolen,
    )
