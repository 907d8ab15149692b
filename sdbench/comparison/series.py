"""Which runs are of one series: the same work, with the same software, on the same machine."""

import hashlib
import json
import math
import statistics
from typing import Any

from sdbench.comparison.rules import system_of
from sdbench.comparison.sides import Figures, Row
from sdbench.schema import Replicate, Run
from sdbench.summary import device_facts

_WORK_KEYS = ("prompts", "steps", "seed", "scheduler", "guidance_scale", "images")
# Variables that say where things are kept. They change neither times nor pictures.
_PLACES = ("SDBENCH_", "HF_HUB_")


def software_of(row: Row) -> list[Any]:
    """All that the yardstick's speed may depend on, but for the machine's state."""
    run, arm = row.run, row.arm
    stack = run.stacks[arm.stack]
    return [
        stack.python,
        stack.packages,
        system_of(run),
        {name: text for name, text in run.environment.items() if not name.startswith(_PLACES)},
        run.preload,
        arm.env,
        arm.hold_bytes,
        device_facts(row.replicates),
    ]


def series_of(row: Row) -> str:
    """A digest that two rows share only if nothing that sdbench knows of differs but the time."""
    run = row.run
    known = [
        software_of(row),
        row.planned.case_id,
        run.model.sha256 or run.model.name,
        {key: run.config.get(key) for key in _WORK_KEYS},
        [run.device, run.machine_id, is_simulated(run, row.replicates), run.plan.start],
    ]
    text = json.dumps(known, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:32]


def is_simulated(run: Run, replicates: list[Replicate]) -> bool:
    """Whether a stand-in made these."""
    return run.simulated or any(entry.simulated for entry in replicates)


def yardsticks_of(row: Row) -> dict[int, Figures]:
    """Seconds of the yardstick by its version, then by block: of processes that ended well."""
    found: dict[int, Figures] = {}
    for entry in row.replicates:
        read = entry.yardstick
        if read is None or entry.block not in row.steady_s:
            continue
        logs = [math.log(value) for value in (read.before_s, read.after_s) if value is not None]
        if logs:
            figures = found.setdefault(read.version, {})
            figures[entry.block] = math.exp(statistics.fmean(logs))
    return found
