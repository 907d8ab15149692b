"""What ``--devices`` says, and which of a host's devices that is. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sdbench.errors import UsageError
from sdbench.machine.gpu.nvml import ListedGpu
from sdbench.records import DeviceKind
from sdbench.words import counted, size

ALL = "all"
_EXPECTED = (
    "expected all, or devices of one kind with commas between them: cuda:0,cuda:1 or cpu:0,cpu:1"
)
_NAME = re.compile(r"(cuda|cpu):([0-9]{1,3})")


@dataclass(frozen=True)
class Wanted:
    """The devices that somebody names; both None for ``all``."""

    kind: DeviceKind | None = None
    numbers: tuple[int, ...] | None = None


def parse_devices(text: str) -> Wanted:
    """``all``, or names of devices.

    Raises:
        UsageError: it is neither.
    """
    if text.strip() == ALL:
        return Wanted()
    found = [_NAME.fullmatch(name.strip()) for name in text.split(",")]
    names = [match for match in found if match is not None]
    if len(names) < len(found) or len({match[1] for match in names}) > 1:
        raise UsageError(f"--devices {text}: {_EXPECTED}")
    numbers = tuple(int(match[2]) for match in names)
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--devices {text}: a device is named twice")
    return Wanted("cuda" if names[0][1] == "cuda" else "cpu", numbers)


def choose_gpus(wanted: Wanted, gpus: Sequence[ListedGpu]) -> list[tuple[int, ListedGpu]]:
    """The GPUs that are wanted, with their numbers among those that CUDA shows.

    Raises:
        UsageError: there is no such GPU, or they may not be in one comparison.
    """
    numbers = range(len(gpus)) if wanted.numbers is None else wanted.numbers
    beyond = [number for number in numbers if number >= len(gpus)]
    if beyond or not numbers:
        there = ", ".join(f"cuda:{number}" for number in range(len(gpus))) or "none"
        missing = ", ".join(f"cuda:{number}" for number in beyond) or "a GPU"
        raise UsageError(f"--devices: {missing} is not here; this host has {there}")
    chosen = [(number, gpus[number]) for number in numbers]
    divided = [f"cuda:{number}" for number, gpu in chosen if gpu.divided]
    if divided:
        raise UsageError(
            f"--devices: {', '.join(divided)} is divided by MIG, and parts of a GPU are not "
            "measured at the same time; name GPUs that are not"
        )
    models: dict[tuple[str, int], list[int]] = {}
    for number, gpu in chosen:
        models.setdefault((gpu.name, round(gpu.memory_bytes / 2**30)), []).append(number)
    if len(models) > 1:
        groups = [
            f"{','.join(f'cuda:{number}' for number in group)} "
            f"({name}, {size(gpus[group[0]].memory_bytes)})"
            for (name, _), group in models.items()
        ]
        first = ",".join(f"cuda:{number}" for number in next(iter(models.values())))
        raise UsageError(
            "--devices: GPUs of several models may not be in one comparison: "
            f"{'; '.join(groups)}; name those of one, as in --devices {first}"
        ).then_with(f"--devices {first}")
    return chosen


def core_groups(wanted: Wanted, nodes: int) -> int:
    """Into how many groups the cores are divided: one a NUMA node, or as many as are named.

    Raises:
        UsageError: the groups are not numbered from 0 without gaps, or there is one node only.
    """
    if wanted.numbers is None:
        if nodes < 2:
            raise UsageError(
                "--devices all: this host has one CPU device, because its cores are one NUMA node; "
                "divide them as in --devices cpu:0,cpu:1, or run without --devices"
            )
        return nodes
    count = len(wanted.numbers)
    if sorted(wanted.numbers) != [*range(count)]:
        expected = ",".join(f"cpu:{number}" for number in range(count))
        raise UsageError(
            f"--devices: {counted(count, 'group')} of cores are named {expected}: each is an equal "
            "share of the cores"
        )
    return count
