"""Which device measures which process next, by the rules of a fleet's ledger.

A device is the ledger's machine, and nothing is written: what was measured is in the run folder.
"""

import threading
from collections.abc import Iterable, Sequence

from sdbench.fleet.ledger import (
    Done,
    Event,
    Given,
    Grouped,
    Ledger,
    Lost,
    Returned,
    Seen,
    UnitSlot,
)
from sdbench.plan.units import unit_of
from sdbench.records import Outcome, Replicate, Run, Slot

MOST_FAILURES = 2
"""A device gets no more after so many processes in a row that failed there alone."""
_BAD: frozenset[Outcome] = frozenset({"failed", "crashed", "oom", "timeout"})
_GROUP = "run"
# A thread that waits looks so often whether the others have ended.
_WAIT_S = 0.5


def fails_alone(replicates: Iterable[Replicate], machine: str) -> bool:
    """Whether the last processes of a device failed, and each case completed on another one.

    A GPU that is lost fails at once, so it would otherwise take what the others could measure.
    """
    own: list[Replicate] = []
    completed: set[tuple[str, str]] = set()
    for entry in replicates:
        if entry.machine_id == machine:
            own.append(entry)
        elif entry.outcome == "ok":
            completed.add((entry.case_id, entry.arm))
    last = own[-MOST_FAILURES:]
    return len(last) == MOST_FAILURES and all(
        entry.outcome in _BAD and (entry.case_id, entry.arm) in completed for entry in last
    )


class Assignment:
    """Hands out what is left of a run; for several threads."""

    def __init__(
        self, run: Run, machines: Sequence[str], left: Sequence[Slot], before: Iterable[Replicate]
    ) -> None:
        """``machines`` are ids of devices, ``before`` what was recorded in earlier sessions."""
        self._slots = {slot.replicate_id: slot for slot in run.plan.slots}
        self._changed = threading.Condition()
        self._closed = False
        units = [
            UnitSlot(id=name, unit=unit_of(run.plan, slot)) for name, slot in self._slots.items()
        ]
        self._ledger = Ledger(
            [
                Grouped(group=_GROUP, run_id=run.run_id, title="", slots=units),
                *(Seen(machine=name, group=_GROUP, process=name) for name in machines),
            ]
        )
        to_do = {slot.replicate_id for slot in left}
        for replicate in before:
            if isinstance(replicate.machine_id, str) and replicate.machine_id in machines:
                self._take_up(replicate, again=replicate.replicate_id in to_do)
        for name in self._slots:
            if name not in to_do and not self._ledger.is_done(_GROUP, name):
                self._apply(Done(group=_GROUP, slot=name))

    def take(self, machine: str) -> Slot | None:
        """The next process for a device; waits while only another one may get what is left.

        None: there is nothing left for it, or the assignment was closed.
        """
        with self._changed:
            while not (self._closed or self._ledger.complete):
                slot = self.take_now(machine)
                if slot is not None:
                    return slot
                self._changed.wait(_WAIT_S)
            return None

    def take_now(self, machine: str) -> Slot | None:
        """The next process for a device; None: there is nothing for it at the moment."""
        with self._changed:
            offer = self._ledger.offer(machine)
            if offer is None:
                return None
            self._give(machine, offer[1])
            return self._slots[offer[1]]

    def end(self, machine: str, *, recorded: bool) -> None:
        """The process that a device was given has ended; without a record it is given again."""
        with self._changed:
            for given in self._ledger.under_way(machine):
                if recorded:
                    self._apply(
                        Done(group=_GROUP, slot=given.slot, give=given.give, machine=machine)
                    )
                else:
                    self._apply(Returned(give=given.give, why="not measured"))
            self._changed.notify_all()

    def lose(self, machine: str) -> None:
        """A device measures no more: the others measure what is left of its blocks."""
        with self._changed:
            self._apply(Lost(machine=machine, process=machine, why="gone"))
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def complete(self) -> bool:
        """Whether everything is recorded."""
        with self._changed:
            return self._ledger.complete

    def left(self) -> list[Slot]:
        """What nobody has been given yet."""
        with self._changed:
            waiting = self._ledger.groups[_GROUP].waiting
            return [self._slots[name] for name in waiting]

    def done_and_total(self) -> tuple[int, int]:
        """How many processes are recorded, and how many there are."""
        with self._changed:
            return self._ledger.groups[_GROUP].done, len(self._slots)

    def _take_up(self, replicate: Replicate, *, again: bool) -> None:
        """A block stays on the device that measured a part of it."""
        name = replicate.replicate_id
        if name not in self._slots or self._ledger.is_done(_GROUP, name):
            return
        machine = str(replicate.machine_id)
        number = self._give(machine, name)
        if again:
            self._apply(Returned(give=number, why="measured again"))
        else:
            self._apply(Done(group=_GROUP, slot=name, give=number, machine=machine))

    def _give(self, machine: str, slot: str) -> int:
        number = self._ledger.next_give
        self._apply(Given(give=number, group=_GROUP, slot=slot, machine=machine, process=machine))
        return number

    def _apply(self, event: Event) -> None:
        self._ledger.apply(event)
