"""Shares of a host's cores, one for each device that is measured at the same time. Pure."""

import itertools
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sdbench.errors import UsageError
from sdbench.words import counted

_RANGE = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
# More than any host has; a longer range is no list of CPUs.
_MOST_CPUS = 1 << 16


@dataclass(frozen=True)
class Share:
    """Logical CPUs for one device, and the number of cores that they are."""

    cpus: tuple[int, ...]
    threads: int


def parse_cpulist(text: str) -> tuple[int, ...]:
    """CPUs of a list as the kernel writes it: ``0-3,8`` is 0, 1, 2, 3, 8. Empty: none.

    Raises:
        ValueError: it is not such a list.
    """
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise ValueError(f"not a list of CPUs: {text[:80]!r}")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 0 <= last - first < _MOST_CPUS:
            raise ValueError(f"not a list of CPUs: {text[:80]!r}")
        cpus.update(range(first, last + 1))
    return tuple(sorted(cpus))


def cpulist(cpus: Iterable[int]) -> str:
    """CPUs as the kernel writes them: ``0-3,8``."""
    # Numbers that follow one another differ from their places by the same amount.
    runs = itertools.groupby(enumerate(sorted(cpus)), key=lambda pair: pair[1] - pair[0])
    ranges = ([cpu for _, cpu in run] for _, run in runs)
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in ranges)


def equal_shares(
    allowed: Collection[int],
    siblings: Iterable[Collection[int]],
    near: Sequence[Collection[int]],
) -> list[Share]:
    """A share of the cores for each device; no CPU is in two, and all have the same number of
    cores, so that one device is like another.

    Args:
        allowed: logical CPUs that this process may use.
        siblings: logical CPUs of each core (hyper-threads), which stay together.
        near: for each device the CPUs of its NUMA node; empty where that is not known.

    A device gets cores of its node where every device's node is known and has a core for each of
    its devices. Otherwise the cores of the whole host are divided.

    Raises:
        UsageError: there are fewer CPUs than devices.
    """
    cores = _cores(allowed, siblings)
    if len(cores) < len(near):
        cores = [(cpu,) for cpu in sorted(allowed)]
    if len(cores) < len(near):
        raise UsageError(
            f"--devices: {counted(len(near), 'device')} need a core each, and sdbench may use "
            f"{counted(len(allowed), 'core')}"
        )
    nodes = [frozenset(cpus) & frozenset(allowed) for cpus in near]
    if not _serve(nodes, cores):
        nodes = [frozenset(allowed)] * len(near)
    size = min(len(_within(node, cores)) // nodes.count(node) for node in set(nodes))
    taken: dict[frozenset[int], int] = {}
    shares = []
    for node in nodes:
        first = taken.get(node, 0)
        own = _within(node, cores)[first : first + size]
        taken[node] = first + size
        shares.append(Share(tuple(sorted(itertools.chain(*own))), len(own)))
    return shares


def _cores(allowed: Collection[int], siblings: Iterable[Collection[int]]) -> list[tuple[int, ...]]:
    """The cores as their CPUs that may be used, in the order of their first CPU."""
    known = {tuple(sorted({*cpus} & {*allowed})) for cpus in siblings} - {()}
    alone = {*allowed} - {*itertools.chain(*known)}
    return sorted([*known, *((cpu,) for cpu in alone)])


def _within(node: frozenset[int], cores: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [core for core in cores if node.issuperset(core)]


def _serve(nodes: Sequence[frozenset[int]], cores: Sequence[tuple[int, ...]]) -> bool:
    """Whether each node has a core for each of its devices and shares none with another node."""
    apart = all(one.isdisjoint(other) for one, other in itertools.combinations({*nodes}, 2))
    return apart and all(len(_within(node, cores)) >= nodes.count(node) for node in {*nodes})
