"""Which machines are of one kind: only their results may be in one comparison."""

import hashlib

import msgspec

from sdbench.fleet.messages import as_document
from sdbench.records import Run

_FACTS = (
    *("system", "release", "build", "architecture", "chip", "model"),
    *("cores_physical", "cores_logical", "gpu_cores", "translated"),
)


def kind_of(run: Run) -> str:
    """A digest of everything that may change times or images and is not the machine itself.

    Hardware, system, device, interpreters and packages, variables, model, settings and plan. Memory
    counts in whole GiB: some virtual machines report a few bytes more or less.
    """
    memory_bytes = run.machine.get("memory_bytes")
    deciding = {
        "machine": {name: run.machine.get(name) for name in _FACTS},
        "memory_gib": None if memory_bytes is None else round(memory_bytes / 2**30),
        "gpu": run.identity("gpus"),
        "device": run.device,
        "simulated": run.simulated,
        "stacks": {
            name: {"python": stack.python, **stack.packages} for name, stack in run.stacks.items()
        },
        "environment": {
            name: text
            for name, text in run.environment.items()
            if not name.startswith(("SDBENCH_", "HF_HUB_"))
        },
        "preload": run.preload,
        "model": [run.model.title, run.model.sha256],
        "config": {**run.config, "arm": None},
        "arms": [msgspec.structs.replace(arm, stack="") for arm in run.plan.arms],
        "start": run.plan.start,
        "slots": [slot.replicate_id for slot in run.plan.slots],
        "sdbench": run.sdbench,
    }
    text = msgspec.json.encode(as_document(deciding), order="sorted")
    return hashlib.sha256(text).hexdigest()[:16]


def title_of(run: Run) -> str:
    """A machine in words: ``Apple M2 Pro a1b2c3``."""
    chip = str(run.machine.get("chip") or run.machine.get("model") or "machine")
    return f"{chip} {run.machine_id[:6]}"
