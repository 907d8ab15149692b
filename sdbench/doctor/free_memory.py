"""How much memory a run could have now, from what doctor has found out."""

from sdbench.doctor.facts import DoctorFacts, TorchFacts
from sdbench.plan.fit import Room
from sdbench.process.room import room_now


def room_of(facts: DoctorFacts) -> Room:
    """The memory that is free for the device that a run would take."""
    kind = facts.expected_device()
    device = facts.torch.device(kind) if isinstance(facts.torch, TorchFacts) else None
    return room_now(
        *(facts.machine, kind, None if device is None else device.memory_bytes, facts.environment),
        limit_bytes=facts.limits.memory_bytes,
    )
