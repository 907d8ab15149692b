"""Devices for tests of several devices at once."""

import os

import msgspec

from sdbench.devices.host import Device
from sdbench.records import PinnedDevice


def devices_of(count: int) -> list[PinnedDevice]:
    return [
        PinnedDevice(name=f"cuda:{n}", title="H200", machine_id=f"m{n}", cores=f"{n}", threads=1)
        for n in range(count)
    ]


def pinned(count: int) -> list[Device]:
    """Devices that share whatever core the tests have."""
    cpu = min(os.sched_getaffinity(0))
    records = [
        msgspec.structs.replace(one, name=f"cpu:{n}") for n, one in enumerate(devices_of(count))
    ]
    return [Device(record, (cpu,)) for record in records]
