"""Preloaded into a Dask worker by the tests: a machine of its own name, whose slots take a moment.

``FLEET_MACHINE`` names the machine, ``FLEET_SLOT_S`` is how long a slot takes. While the file
that ``FLEET_HELD`` names exists, no slot of a worker ends but its first. With ``FLEET_REAL=1``
slots are measured for real, and only the name is made up.
"""

import hashlib
import os
import random
import time
from pathlib import Path
from typing import Any

from factories import as_event, make_report, worker_events

from sdbench import machine
from sdbench.fleet import task
from sdbench.process.executor import FakeExecutor, Report, Stop, Supervisor, Task

_TICK_S = 0.05
_ended: list[str] = []
"""The slots that this worker has made."""


def dask_setup(worker: Any) -> None:
    """Called by Dask in the worker's process."""
    name = hashlib.sha256(os.environ["FLEET_MACHINE"].encode()).hexdigest()[:16]
    machine.machine_id = lambda: name
    if "FLEET_REAL" not in os.environ:
        task.open_executor = lambda: FakeExecutor(play_slowly)


def play_slowly(task_: Task, supervise: Supervisor) -> Report:
    """A process that takes its time, and ends at once on request."""
    events = worker_events(task_)
    stop: Stop | None = None
    if "artifacts" in task_.job:
        until = time.monotonic() + float(os.environ["FLEET_SLOT_S"]) * random.uniform(0.5, 1.5)
        while stop is None and (time.monotonic() < until or _is_held()):
            stop = supervise(None, None)
            time.sleep(_TICK_S)
        killing = os.environ.get("FLEET_KILLING")
        if killing and killing in task_.replicate_id:
            os.kill(os.getpid(), 9)
        _ended.append(task_.replicate_id)
    if stop is not None:
        return make_report([], exit_code=-15, stop=stop)
    for event in events:
        heard = as_event(event)
        if heard is not None:
            supervise(heard, None)
    return make_report(events, wall_s=1.0)


def _is_held() -> bool:
    held = os.environ.get("FLEET_HELD")
    return held is not None and bool(_ended) and Path(held).exists()
