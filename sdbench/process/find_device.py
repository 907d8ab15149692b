"""Which device can be used: asked of the interpreter being measured, in a process of its own."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sdbench.errors import MachineError
from sdbench.process.environment import preload_modules
from sdbench.process.events import DeviceTried, Failed
from sdbench.process.executor import Executor, Task
from sdbench.process.import_failures import explained
from sdbench.records import DeviceKind

_PROBE_TIMEOUT_S = 300.0
_BEST_FIRST: tuple[DeviceKind, ...] = ("mps", "cuda", "cpu")


@dataclass(frozen=True)
class FoundDevice:
    """A device that did a small operation rightly (the CPU is taken at its word)."""

    kind: DeviceKind
    simulated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    memory_bytes: int | None = None
    """What the device recommends at most."""


def find_device(
    wanted: str, interpreter: str, environment: dict[str, str], executor: Executor
) -> FoundDevice:
    """The device asked for, or for ``auto`` the best that works.

    Where nothing but a CPU can be there, torch is not even imported.

    Raises:
        MachineError: the device asked for does not work; says why.
    """
    possible = any(accelerator_possible(kind) for kind in ("mps", "cuda"))
    if not preload_modules(environment) and (
        wanted == "cpu" or (wanted == "auto" and not possible)
    ):
        return FoundDevice("cpu")
    kinds = list(_BEST_FIRST) if wanted == "auto" else [wanted]
    task = Task(
        replicate_id="device-probe",
        interpreter=interpreter,
        environment=environment,
        job={"probe": True, "devices": kinds},
        start="spawn",
        timeout_s=_PROBE_TIMEOUT_S,
        telemetry=False,
    )
    report = executor.run(task, lambda event, sample: None)
    if wanted == "cpu" and (report.exit_code != 0 or report.stop is not None):
        return FoundDevice(
            "cpu"
        )  # an environment that dies while importing is reported by the rows of the run
    reasons = []
    for event in report.events:
        if isinstance(event, DeviceTried):
            if event.available and event.kind in kinds:
                return FoundDevice(
                    kind=cast(DeviceKind, event.kind),
                    simulated=event.simulated,
                    facts=event.facts,
                    memory_bytes=event.recommended_max_bytes,
                )
            reasons.append(str(event.reason))
        elif isinstance(event, Failed):
            if event.phase == "import":
                failure = explained(event, interpreter)
                parts = (f"{failure.sentence}.", failure.cause, failure.remedy)
                raise MachineError(" ".join(part for part in parts if part))
            reasons.append(event.message)
    if not reasons:
        tail = report.stderr_tail.strip().splitlines()
        reasons.append(f"the probe ended with status {report.exit_code}: {' / '.join(tail[-2:])}")
    raise MachineError(f"device {wanted}: {'; '.join(reasons)}")


def accelerator_possible(kind: str) -> bool:
    """Whether a device of that kind could be there at all, told without importing torch."""
    if preload_modules(os.environ):
        return True  # a stand-in may bring any device
    if kind == "mps":
        return sys.platform == "darwin"
    nodes = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    return sys.platform.startswith("linux") and any(Path(node).exists() for node in nodes)
