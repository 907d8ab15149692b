"""The memory that a run could use now, from the facts of doctor."""

from sdbench.doctor.facts import DoctorFacts, TorchFacts
from sdbench.plan.fit import Room
from sdbench.process.room import room_now


def room_of(facts: DoctorFacts) -> Room:
    """The free memory of the device that a run would use."""
    kind = facts.expected_device()
    device = facts.torch.device(kind) if isinstance(facts.torch, TorchFacts) else None
    return room_now(
        *(facts.machine, kind, None if device is None else device.memory_bytes, facts.environment),
        limit_bytes=facts.limits.memory_bytes,
        virtual_gpu=device is not None and device.is_paravirtual,
    )
