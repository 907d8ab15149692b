"""What one machine measures whole where several machines share a run."""

from sdbench.records import Plan, Slot
from sdbench.stats import MIN_PROCESSES


def units_of(plan: Plan) -> list[str]:
    """Everything that one machine measures whole, in the order of the plan."""
    return [*dict.fromkeys(unit_of(plan, slot) for slot in plan.slots)]


def unit_of(plan: Plan, slot: Slot) -> str:
    """What one machine measures whole, because it is compared in pairs.

    With enough processes for a verdict that is a block: every case in every variant once. With
    fewer there is no verdict, and only the variants of a case stay together.
    """
    if plan.processes(slot.case_id, slot.arm) >= MIN_PROCESSES:
        return f"{slot.block}"
    return f"{slot.block}/{slot.case_id}"
