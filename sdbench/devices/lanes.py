"""A lane: one device, and the thread in which its workers are started, watched and recorded.

The thread may use the device's share of the cores alone, and what it starts inherits that, so a
worker is pinned before its first instruction.
"""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sdbench import machine
from sdbench.devices.cores import cpulist
from sdbench.devices.host import Device
from sdbench.machine import MemoryProbe
from sdbench.process.events import Hello
from sdbench.process.executor import Executor, Report, Supervisor, Task
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import Placement

T = TypeVar("T")
OpenExecutor = Callable[[Device], Executor]


def open_executor(device: Device) -> Executor:
    """Runs the processes of a device."""
    return ProcessExecutor(pinned_probe(device))


def pinned_probe(device: Device) -> MemoryProbe:
    """Reads the device's own GPU; what this session does on other devices is no foreign load."""
    probe = machine.open_memory_probe(device.gpu_uuid)
    probe.session_pid = os.getpid()
    return probe


class PinnedExecutor:
    """Runs workers that see one device, and notes in their reports where they ran."""

    def __init__(self, executor: Executor, device: Device) -> None:
        self._executor = executor
        self._device = device

    def run(self, task: Task, supervise: Supervisor) -> Report:
        """Run one worker to its end."""
        environment = self._device.environment(task.environment)
        report = self._executor.run(dataclasses.replace(task, environment=environment), supervise)
        seen = [event.cores for event in report.events if isinstance(event, Hello) and event.cores]
        report.machine_id = self._device.machine_id
        report.placement = Placement(
            device=self._device.name,
            cores=cpulist(seen[-1]) if seen else self._device.record.cores,
        )
        return report

    def close(self) -> None:
        """End whatever is kept between workers."""
        self._executor.close()


class Lane:
    """One device at work."""

    def __init__(self, device: Device, open_one: OpenExecutor = open_executor) -> None:
        self.device = device
        self.executor = PinnedExecutor(open_one(device), device)
        self._thread = ThreadPoolExecutor(
            1, device.name, initializer=os.sched_setaffinity, initargs=(0, device.cpus)
        )

    def do(self, work: Callable[[], T]) -> "Future[T]":
        """Begin something in the lane's thread, after what it does already."""
        return self._thread.submit(work)

    def close(self) -> None:
        """End what is kept between workers, and then the thread, which they would not outlive."""
        self.do(self.executor.close)
        self._thread.shutdown()
