"""How much memory a process could have now, from the machine's facts and the device's."""

import math
from collections.abc import Mapping

from sdbench.knowledge.memory_limits import high_watermark
from sdbench.machine.facts import MachineFacts, or_none
from sdbench.plan.fit import Room
from sdbench.records import DeviceKind

# What Metal recommends at most is known in a process with torch only. Macs of 8 to 32 GB report two
# thirds of their memory, larger ones three quarters.
RECOMMENDED_SHARE = 2 / 3
# A virtual Mac's GPU, whatever Metal recommends: seen were a working set of about 5 GB and a
# largest array of 3.76 GB (kornia PR#4160). 3.5 GB are taken for safe, and 3 GB for one array; a
# process that takes less than that altogether has no larger array.
VIRTUAL_MAC_LIMIT_BYTES = 3.5e9
VIRTUAL_MAC_FREE_BYTES = 3.0e9


def room_now(
    facts: MachineFacts,
    device: DeviceKind,
    device_memory_bytes: int | None,
    environment: Mapping[str, str],
    *,
    limit_bytes: int | None = None,
    held_bytes: int = 0,
    virtual_gpu: bool = False,
) -> Room:
    """The memory that is free now.

    Args:
        facts: of the machine; of a recording, nothing is asked of this machine.
        device_memory_bytes: what the device says it has, on mps what it recommends at most.
        environment: of the worker, whose variables set the limit of the mps allocator.
        limit_bytes: what a container allows of the machine's memory; None: all of it.
        held_bytes: what another process of the run holds meanwhile.
        virtual_gpu: torch says that the GPU is a virtual machine's.
    """
    available, total = or_none(facts.memory.available_bytes), or_none(facts.identity.memory_bytes)
    totals = [size for size in (total, limit_bytes) if size is not None]
    free, limit = _device_room(facts, device, device_memory_bytes, environment)
    if device == "mps" and (virtual_gpu or on_virtual_mac(facts)):
        free = min(VIRTUAL_MAC_FREE_BYTES, math.inf if free is None else free)
        limit = min(VIRTUAL_MAC_LIMIT_BYTES, math.inf if limit is None else limit)
    return Room(
        device=device,
        available_bytes=None if available is None else max(0, available - held_bytes),
        total_bytes=min(totals, default=None),
        swap_bytes=_free_swap_bytes(facts),
        device_free_bytes=free,
        device_limit_bytes=limit,
    )


def on_virtual_mac(facts: MachineFacts) -> bool:
    """Whether the machine is known to be a virtual Mac."""
    return facts.identity.system == "Darwin" and facts.identity.virtual is True


def room_without_torch(facts: MachineFacts, environment: Mapping[str, str]) -> Room:
    """The memory that is free now of the device that a run would probably take."""
    identity = facts.identity
    if identity.system == "Darwin" and or_none(identity.architecture) == "arm64":
        total = or_none(identity.memory_bytes)
        limit = or_none(facts.memory.gpu_limit_bytes)
        recommended = limit or (None if total is None else int(RECOMMENDED_SHARE * total))
        return room_now(facts, "mps", recommended, environment)
    on_gpu = identity.system != "Darwin" and or_none(facts.gpu.memory_total_bytes) is not None
    return room_now(facts, "cuda" if on_gpu else "cpu", None, environment)


def swap_room_bytes(system: str | None) -> int | None:
    """All the swap there is; None on macOS, which makes more as it is needed."""
    if system == "Darwin":
        return None
    import psutil

    return int(psutil.swap_memory().total)


def _free_swap_bytes(facts: MachineFacts) -> float:
    """None of it where a recording does not say how much there was."""
    if facts.identity.system == "Darwin":
        return math.inf
    used = or_none(facts.memory.swap_used_bytes)
    if facts.simulated or used is None:
        return 0
    return max(0, (swap_room_bytes(facts.identity.system) or 0) - used)


def _device_room(
    facts: MachineFacts,
    device: DeviceKind,
    device_memory_bytes: int | None,
    environment: Mapping[str, str],
) -> tuple[float | None, float | None]:
    """What is free on the device, and where its allocator refuses."""
    if device == "mps":
        recommended = device_memory_bytes
        if recommended is None:
            return None, None
        ratio = high_watermark(environment)
        return recommended, recommended * ratio if ratio else None
    if device == "cuda":
        total = or_none(facts.gpu.memory_total_bytes) or device_memory_bytes
        used = or_none(facts.gpu.memory_used_bytes)
        # What is in use on the GPU is not known everywhere; its size alone promises nothing.
        return None if total is None or used is None else total - used, total
    return None, None
