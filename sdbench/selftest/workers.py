"""Starts the workers of the selftest and gives back what they read."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sdbench.machine import MemoryProbe, System
from sdbench.process.events import Event, InstrumentRead
from sdbench.process.executor import Executor, Report, Stop, Task
from sdbench.process.sampler import Sample
from sdbench.records import DeviceKind, StackInfo

_LIMIT_S = 120.0
# Threads that wait for each other where another program has a core make a pass ten times slower.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Setup:
    """What the instruments are tested with: the same objects as a run measures with."""

    stack: StackInfo
    environment: dict[str, str]
    device: DeviceKind
    executor: Executor
    probe: MemoryProbe
    system: System
    limit_s: float = _LIMIT_S
    deadline: float = math.inf
    """When the selftest has to be over, on the monotonic clock."""

    @property
    def interpreter(self) -> str:
        """The interpreter of the workers."""
        return self.stack.interpreter

    def within(self, limit_s: float) -> float:
        """The limit of a worker in seconds, or what is left until the deadline if that is less."""
        return max(1.0, min(limit_s, self.deadline - time.monotonic()))

    def start(
        self,
        part: str,
        notice: Callable[[InstrumentRead], None] = lambda read: None,
        *,
        limit_s: float | None = None,
        **job: Any,
    ) -> Report:
        """Run one part in a worker to its end; ``notice`` gets each reading as it comes."""

        def supervise(event: Event | None, sample: Sample | None) -> Stop | None:
            if isinstance(event, InstrumentRead):
                notice(event)
            return None

        return self.executor.run(self.task(part, limit_s=limit_s, **job), supervise)

    def task(self, part: str, *, limit_s: float | None = None, **job: Any) -> Task:
        """One part as a task."""
        return Task(
            replicate_id=f"selftest-{part}",
            interpreter=self.interpreter,
            environment=self.environment,
            job={"selftest": part, "device": self.device, **job},
            start="spawn",
            timeout_s=self.within(limit_s or self.limit_s),
            telemetry=False,
        )


def readings(report: Report) -> dict[str, dict[str, float | None]]:
    """The values of each reading of a worker, by name; the last one of a name counts."""
    return {
        event.name: event.values for event in report.events if isinstance(event, InstrumentRead)
    }


def why_incomplete(report: Report) -> str | None:
    """Why a worker did not do its part to the end; None where it did."""
    if report.stop is not None:
        return f"the worker was ended: {report.stop.reason}"
    if report.exit_code != 0:
        tail = report.stderr_tail.strip().splitlines()
        words = f": {tail[-1][:200]}" if tail else ""
        return f"the worker ended with status {report.exit_code}{words}"
    return None
