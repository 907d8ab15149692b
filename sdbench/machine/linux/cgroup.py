"""Linux: control groups that give us less memory than the machine has (containers, systemd)."""

import re

import msgspec

from sdbench.machine.facts import Unavailable
from sdbench.machine.system import Read


class LimitedCgroup(msgspec.Struct, frozen=True):
    """A control group that gives us less memory than the machine has (containers, systemd)."""

    limit_bytes: int
    usage_path: str
    stat_path: str
    stat_key: str
    """File cache that is not in use counts as usage, but can be had at once."""
    stalls_path: str | None

    def available_bytes(self, read: Read) -> int | None:
        """What is left of the limit."""
        usage, stat = read(self.usage_path), read(self.stat_path)
        if isinstance(usage, Unavailable) or not usage.strip().isdigit():
            return None
        cache = None if isinstance(stat, Unavailable) else _stat_value(stat, self.stat_key)
        return max(0, self.limit_bytes - int(usage) + (cache or 0))


def _stat_value(stat: str, key: str) -> int | None:
    found = re.search(rf"^{key} ([0-9]{{1,20}})$", stat, re.MULTILINE)
    return int(found[1]) if found else None


def limited_cgroups(
    read: Read, memory_bytes: int | None, proc: str = "/proc", sys: str = "/sys"
) -> list[LimitedCgroup]:
    """The control groups, from our own up to the root, whose limit is below the machine's memory.

    Version 2 and version 1 of control groups; in a container its own group is mounted as the root.
    """
    membership = read(f"{proc}/self/cgroup")
    if isinstance(membership, Unavailable):
        return []
    root, path, version = f"{sys}/fs/cgroup", "/", 2
    for line in membership.splitlines():
        _, _, controllers_and_path = line.partition(":")
        controllers, _, own = controllers_and_path.partition(":")
        if "memory" in controllers.split(","):
            root, path, version = f"{sys}/fs/cgroup/memory", own, 1
            break
        if not controllers:
            path = own
    parts = [part for part in path.split("/") if part and part != ".."]
    folders = [f"{root}/{'/'.join(parts[:depth])}".rstrip("/") for depth in range(len(parts) + 1)]
    found = [_limited(read, folder, version) for folder in reversed(folders)]
    most = memory_bytes or 1 << 62
    return [group for group in found if group is not None and group.limit_bytes < most]


def _limited(read: Read, folder: str, version: int) -> LimitedCgroup | None:
    limit = read(f"{folder}/{'memory.max' if version == 2 else 'memory.limit_in_bytes'}")
    if isinstance(limit, Unavailable) or not limit.strip().isdigit():
        return None
    if version == 2:
        return LimitedCgroup(
            limit_bytes=int(limit),
            usage_path=f"{folder}/memory.current",
            stat_path=f"{folder}/memory.stat",
            stat_key="inactive_file",
            stalls_path=f"{folder}/memory.pressure",
        )
    return LimitedCgroup(
        limit_bytes=int(limit),
        usage_path=f"{folder}/memory.usage_in_bytes",
        stat_path=f"{folder}/memory.stat",
        stat_key="total_inactive_file",
        stalls_path=None,
    )


def available_bytes(
    meminfo: dict[bytes, int], cgroups: list[LimitedCgroup], read: Read
) -> int | None:
    """Memory that can be had without swapping: the machine's, or less where a cgroup limits it."""
    left = [cgroup.available_bytes(read) for cgroup in cgroups]
    reported = [amount for amount in (meminfo.get(b"MemAvailable"), *left) if amount is not None]
    return min(reported, default=None)
