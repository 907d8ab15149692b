"""The devices of this host as a run pins its workers to them."""

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sdbench import machine
from sdbench.devices.cores import Share, cpulist, equal_shares, parse_cpulist
from sdbench.devices.names import Wanted, choose_gpus, core_groups, parse_devices
from sdbench.errors import MachineError, UsageError
from sdbench.machine.facts import Unavailable
from sdbench.machine.gpu.nvml import VISIBLE, ListedGpu, list_gpus
from sdbench.plan.config import Config
from sdbench.records import DeviceKind, PinnedDevice, Run

THREADS = "OMP_NUM_THREADS"
"""The number of threads of torch's CPU operators, where nobody sets another."""
_SYS = Path("/sys")


@dataclass(frozen=True)
class Device:
    """A device, the CPUs for its workers, and the GPU that they see."""

    record: PinnedDevice
    cpus: tuple[int, ...]
    gpu_uuid: str | None = None

    @property
    def name(self) -> str:
        """``cuda:1``."""
        return self.record.name

    @property
    def machine_id(self) -> str:
        """What the statistics take for a machine."""
        return self.record.machine_id

    def environment(self, task: dict[str, str]) -> dict[str, str]:
        """A worker's environment on this device: it sees no other GPU."""
        pinned = {} if self.gpu_uuid is None else {VISIBLE: self.gpu_uuid}
        return {THREADS: str(self.record.threads), **task, **pinned}


@dataclass(frozen=True)
class Host:
    """What a kernel and a driver say of a host, as far as devices are chosen by it."""

    allowed: frozenset[int]
    """Logical CPUs that this process may use."""
    siblings: list[tuple[int, ...]] = field(default_factory=list)
    nodes: list[tuple[int, ...]] = field(default_factory=list)
    """CPUs of each NUMA node that has some."""
    near: Callable[[str], tuple[int, ...]] = lambda bus_id: ()
    """CPUs of the node of a device on the PCI bus; empty where the kernel does not say."""
    gpus: Callable[[], list[ListedGpu] | Unavailable] = list_gpus
    machine_id: str = field(default_factory=machine.machine_id)


def this_host(sys: Path = _SYS) -> Host:
    """This host.

    Raises:
        UsageError: its system cannot pin a process to cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise UsageError("--devices: this system cannot pin processes to cores; Linux can")
    return Host(
        allowed=frozenset(os.sched_getaffinity(0)),
        siblings=_lists(f"{sys}/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list"),
        nodes=_lists(f"{sys}/devices/system/node/node[0-9]*/cpulist"),
        near=lambda bus_id: _list(f"{sys}/bus/pci/devices/{bus_id}/local_cpulist"),
    )


def _lists(pattern: str) -> list[tuple[int, ...]]:
    return [cpus for path in sorted(glob.glob(pattern)) if (cpus := _list(path))]


def _list(path: str) -> tuple[int, ...]:
    try:
        return parse_cpulist(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return ()


def find_devices(text: str, kind: DeviceKind, host: Host) -> list[Device]:
    """The devices that ``--devices`` names, each with its share of the cores.

    ``kind`` is the device of the run.

    Raises:
        UsageError: this host does not have them, or they may not be in one comparison.
        MachineError: the GPUs cannot be listed.
    """
    wanted = parse_devices(text)
    if kind == "mps":
        raise UsageError("--devices: a Mac has one GPU; run without --devices")
    if wanted.kind not in (None, kind):
        raise UsageError(f"--devices {text}: the device of this run is {kind}")
    return _gpus(wanted, host) if kind == "cuda" else _groups(wanted, host)


def find_again(run: Run, host: Host) -> list[Device]:
    """The devices of a run that is resumed.

    Raises:
        MachineError: they are not as they were.
    """
    names = ",".join(device.name for device in run.devices)
    try:
        found = find_devices(names, run.device, host)
    except UsageError as error:
        raise MachineError(f"{run.run_id} was begun on {names}: {error}") from error
    for before, now in zip(run.devices, found, strict=True):
        if before.machine_id != now.machine_id:
            raise MachineError(
                f"{run.run_id}: {before.name} is another device now; start a new run"
            )
        if before.cores != now.record.cores:
            raise MachineError(
                f"{run.run_id}: {before.name} had the cores {before.cores}, and would have "
                f"{now.record.cores} now; start a new run"
            )
    return found


def check_config(config: Config, devices: Sequence[Device]) -> None:
    """Refuse what cannot be measured on several devices at the same time.

    Raises:
        UsageError: it cannot.
    """
    if config.until_decided is not None:
        raise UsageError(
            f"--devices: {config.name} goes on until decided (until_decided), and several devices "
            "carry out a fixed plan; remove it"
        )
    if len(devices) > 1 and config.pressure.hold_bytes:
        raise UsageError(
            "--devices: pressure.hold_bytes holds memory for one process at a time; remove "
            "[pressure], or name one device"
        )
    given = config.matrix.batching if config.matrix is not None else ()
    batchings = (*given, *(case.batching for case in config.case or ()))
    if "split" in batchings and any(one.gpu_uuid is not None for one in devices):
        raise UsageError(
            '--devices: batching = "split" needs all GPUs in each process, and with --devices a '
            "process has one; measure it without --devices"
        )
    for arm in config.arm:
        if VISIBLE in arm.env:
            raise UsageError(
                f"--devices: variant {arm.name} sets {VISIBLE}, which --devices decides"
            )


def _gpus(wanted: Wanted, host: Host) -> list[Device]:
    listed = host.gpus()
    if isinstance(listed, Unavailable):
        raise MachineError(f"--devices: the GPUs cannot be listed: {listed.unavailable}")
    chosen = choose_gpus(wanted, listed)
    shares = equal_shares(host.allowed, host.siblings, [host.near(gpu.bus_id) for _, gpu in chosen])
    return [
        Device(
            _record(host, f"cuda:{number}", gpu.name, gpu.uuid, share, gpu.bus_id),
            share.cpus,
            gpu.uuid,
        )
        for (number, gpu), share in zip(chosen, shares, strict=True)
    ]


def _groups(wanted: Wanted, host: Host) -> list[Device]:
    count = core_groups(wanted, len(host.nodes))
    near: Iterable[tuple[int, ...]] = host.nodes if len(host.nodes) == count else [()] * count
    shares = equal_shares(host.allowed, host.siblings, [*near])
    numbers = range(count) if wanted.numbers is None else wanted.numbers
    found = []
    for number in numbers:
        share, name = shares[number], f"cpu:{number}"
        title = f"{share.threads} of the cores"
        found.append(Device(_record(host, name, title, name, share), share.cpus))
    return found


def _record(
    host: Host, name: str, title: str, unique: str, share: Share, bus_id: str | None = None
) -> PinnedDevice:
    """``unique`` is of this device alone on the host."""
    text = f"sdbench device\n{host.machine_id}\n{unique}"
    return PinnedDevice(
        name=name,
        title=title,
        machine_id=hashlib.sha256(text.encode()).hexdigest()[:16],
        cores=cpulist(share.cpus),
        threads=share.threads,
        bus_id=bus_id,
    )
