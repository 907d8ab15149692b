"""Which records are of a run: those that name it, are of its plan, and were made on its device."""

import msgspec

from sdbench.records import (
    Compared,
    MatmulRate,
    Preflight,
    Record,
    Replicate,
    Run,
    Started,
    Withdrawn,
)


class Belonging:
    """Asked of every record that is read; files of several runs get mixed by hand."""

    def __init__(self, run: Run) -> None:
        plan = run.plan
        self._names = (run.run_id, msgspec.UNSET)  # an older sdbench wrote no name
        self._device = run.device
        self._processes = {slot.replicate_id: (slot.case_id, slot.arm) for slot in plan.slots}
        self._arms = {arm.name for arm in plan.arms}
        self._cases = {planned.case_id for planned in plan.cases}

    def has(self, record: Record) -> bool:
        """Whether it names the run, the plan has what it is about, and its device made it."""
        if record.run_id not in self._names:
            return False
        if isinstance(record, (Started, Replicate, Compared)):
            return self._has_process(record)
        if isinstance(record, Withdrawn):
            return record.replicate_id in self._processes
        if isinstance(record, Preflight):
            return record.device == self._device
        if isinstance(record, MatmulRate):
            return record.device == self._device and record.arm in self._arms
        return all(case.case_id in self._cases for case in record.cases)

    def _has_process(self, record: Started | Replicate | Compared) -> bool:
        if self._processes.get(record.replicate_id) != (record.case_id, record.arm):
            return False
        if isinstance(record, Compared):
            return True
        if not record.replicate_id.endswith(f".{record.block}"):
            return False
        return isinstance(record, Started) or self._made_here(record)

    def _made_here(self, record: Replicate) -> bool:
        """Whether the device that the worker told is the run's; one that died early told none."""
        reported: object = record.device.get("kind", self._device)
        return reported == self._device
