"""``--devices`` of ``run``, and what ``resume`` makes of it."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.errors import UsageError
from sdbench.plan.config import Config
from sdbench.records import Plan, Run
from sdbench.report.terminal.lines import say_plain
from sdbench.words import counted, duration, size

if TYPE_CHECKING:
    from rich.console import Console

    from sdbench.devices.host import Device
    from sdbench.runner.prepare import Prepared
    from sdbench.runner.session import Measure


def device_wanted(devices: str | None, device: str | None) -> str | None:
    """``--device`` as ``--devices`` implies it.

    Raises:
        UsageError: ``--devices`` names none, or the two contradict each other.
    """
    if devices is None:
        return device
    from sdbench.devices.names import parse_devices

    kind = parse_devices(devices).kind
    if kind is not None and device not in (None, "auto", kind):
        raise UsageError(f"--devices {devices}: contradicts --device {device}")
    return device if kind is None else kind


def chosen_devices(devices: str | None, prepared: "Prepared") -> "list[Device]":
    """The devices that ``--devices`` names; empty without it.

    Raises:
        UsageError, MachineError: as of :func:`~sdbench.devices.host.find_devices`.
    """
    if devices is None:
        return []
    from sdbench.devices.host import check_config, find_devices, this_host

    found = find_devices(devices, prepared.device.kind, this_host())
    check_config(prepared.config, found)
    return found


def devices_again(run: Run, config: Config) -> "list[Device]":
    """The devices of a run that is resumed; empty where it names none.

    Raises:
        UsageError, MachineError: as of :func:`~sdbench.devices.host.find_again`.
    """
    if not run.devices:
        return []
    from sdbench.devices.host import check_config, find_again, this_host

    found = find_again(run, this_host())
    check_config(config, found)
    return found


def measure_on(devices: "Sequence[Device]") -> "Measure | None":
    """What measures on these devices; None: the run's own device alone does."""
    if not devices:
        return None
    from sdbench.devices.measuring import measuring

    return measuring(devices)


def devices_document(devices: "Sequence[Device]") -> dict[str, Any]:
    """The devices as ``--dry-run --json`` has them."""
    return {"devices": [msgspec.to_builtins(one.record) for one in devices]} if devices else {}


def device_lines(devices: "Sequence[Device]", plan: Plan, run_s: float) -> list[str]:
    """What measures at the same time, and how long that takes, in words.

    ``run_s`` is what the run takes on one device.
    """
    if not devices:
        return []
    lines = [f"{one.name}: {one.record.title}, cores {one.record.cores}" for one in devices]
    if len(devices) == 1:
        return lines
    from sdbench.plan.units import units_of

    units = len(units_of(plan))
    busy = min(units, len(devices))
    longest = math.ceil(units / len(devices)) / units * run_s if units else 0.0
    lines.append(
        f"{counted(units, 'block')} of processes, each on one device: about {duration(longest)} "
        "to measure, after a test of whether the devices disturb one another"
    )
    if busy < len(devices):
        lines.append(
            f"{counted(len(devices) - busy, 'device')} will be idle: more blocks are measured with "
            f"--set replicates={len(devices)}"
        )
    return lines


def show_devices(prepared: "Prepared", devices: "Sequence[Device]", out: "Console") -> None:
    """Say what measures at the same time; nothing without ``--devices``."""
    for line in device_lines(devices, prepared.plan, prepared.estimate.duration_s):
        say_plain(out, line, lead="devices: ")
    memory = prepared.memory
    worst = None if memory.worst is None else memory.demands[memory.worst]
    if prepared.device.kind != "cpu" or len(devices) < 2 or worst is None:
        return
    together = len(devices) * worst.peak_bytes
    if worst.free_bytes is not None and together > worst.free_bytes:
        words = f"together they take up to {size(together)}, and {size(worst.free_bytes)} are free"
        say_plain(out, words, lead="warning: ", style="yellow")
