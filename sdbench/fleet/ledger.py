"""Which slot is where: a state machine that forgets nothing and counts nothing twice.

A slot is ``waiting``, ``given`` or ``done``. Every change is an event; the state follows from the
events alone, so replaying the file gives the state again. :class:`Ledger` is pure;
:class:`~sdbench.fleet.ledger_file.LedgerFile` has events on the disk before they are acted on.

The rules:

- The first record of a slot wins, whoever measured it; later ones are ignored.
- A slot whose machine vanished is given again. It counts against nobody.
- A machine says itself, with ``died``, that its worker process was killed while it measured. A
  slot that has killed its worker process twice is not given again: its case crashed.
- A slot under which :data:`MOST_LOSSES` machines vanished for good is held back until the fleet is
  resumed: nobody knows whether it took them down.
- The slots of a unit (what is compared in pairs) go to one machine, as long as it is there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

MOST_DEATHS = 2
"""So often may a slot kill its worker process."""
MOST_LOSSES = 3
"""Under so many vanished machines a slot is held back."""

SlotState = Literal["waiting", "given", "done"]
WhyLost = Literal["gone", "silent", "scheduler"]
"""``gone``: its worker left; ``silent``: it sent nothing for too long; ``scheduler``: unknown,
because the scheduler itself was lost."""


_Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    at_utc: str = ""


class UnitSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot by its replicate id, and the unit whose slots one machine measures."""

    id: str
    unit: str


class Grouped(_Event, frozen=True, kw_only=True, tag="grouped"):
    """A plan to carry out: in mode ``split`` by the machines of a kind, else by one machine."""

    group: str
    run_id: str
    title: str
    slots: list[UnitSlot]


class Seen(_Event, frozen=True, kw_only=True, tag="seen"):
    """A worker process of a machine is there; ``title`` names the machine for people."""

    machine: str
    group: str
    process: str
    title: str = ""


class Lost(_Event, frozen=True, kw_only=True, tag="lost"):
    """A worker process is not there any more, or cannot be heard of."""

    machine: str
    process: str
    why: WhyLost


class Given(_Event, frozen=True, kw_only=True, tag="given"):
    """A slot was handed to a worker process; ``give`` numbers that, from 1."""

    give: _Number
    group: str
    slot: str
    machine: str
    process: str


class Died(_Event, frozen=True, kw_only=True, tag="died"):
    """A machine found that its worker process had been killed while it measured."""

    give: _Number


class Returned(_Event, frozen=True, kw_only=True, tag="returned"):
    """A slot came back without a record, through no fault of its own; ``why`` in words."""

    give: _Number
    why: str


class Done(_Event, frozen=True, kw_only=True, tag="done"):
    """The record of a slot is in the run folder of its group.

    ``give`` is None where the record was found when the fleet was resumed.
    """

    group: str
    slot: str
    give: _Number | None = None
    machine: str | None = None
    outcome: str = ""


class Session(_Event, frozen=True, kw_only=True, tag="session"):
    """The fleet was begun or resumed: what was given before is not heard of again."""


class Ended(_Event, frozen=True, kw_only=True, tag="ended"):
    """The fleet's client ended in an orderly way, and how."""

    how: str


Event = Grouped | Seen | Lost | Given | Died | Returned | Done | Session | Ended


@dataclass
class _Slot:
    id: str
    unit: str
    state: SlotState = "waiting"
    open: set[int] = field(default_factory=set)
    """Gives that are under way."""
    deaths: int = 0
    losses: int = 0
    by: str | None = None
    outcome: str = ""


@dataclass
class Group:
    """A plan, and how far it is."""

    id: str
    run_id: str
    title: str
    slots: dict[str, _Slot]
    waiting: dict[str, _Slot] = field(default_factory=dict)
    """Those that wait, in the order in which they are given."""
    owner: dict[str, str] = field(default_factory=dict)
    """The machine that a unit belongs to."""
    done: int = 0

    def counts(self) -> dict[SlotState, int]:
        """How many slots are in each state."""
        waiting = len(self.waiting)
        given = len(self.slots) - waiting - self.done
        return {"waiting": waiting, "given": given, "done": self.done}


@dataclass
class _Machine:
    group: str
    title: str
    processes: set[str] = field(default_factory=set)
    """Those that are there."""


@dataclass
class _Give:
    event: Given
    state: Literal["open", "lost", "over"] = "open"
    why_lost: WhyLost | None = None
    died: bool = False


class Ledger:
    """The state after some events."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.groups: dict[str, Group] = {}
        self.machines: dict[str, _Machine] = {}
        self.ended: str | None = None
        self._gives: dict[int, _Give] = {}
        self._open: dict[str, dict[int, Given]] = defaultdict(dict)
        """Gives that are under way, by machine."""
        self._done_by: Counter[str | None] = Counter()
        self._left = 0
        self._last_give = 0
        for event in events:
            self.apply(event)

    # --- what may be asked ------------------------------------------------------------------------

    @property
    def next_give(self) -> int:
        """The number of the next give."""
        return self._last_give + 1

    @property
    def complete(self) -> bool:
        """Whether there is a plan and every slot of every plan is done."""
        return bool(self.groups) and not self._left

    def is_done(self, group: str, slot: str) -> bool:
        """Whether a record of the slot is kept."""
        return self.groups[group].slots[slot].state == "done"

    def offer(self, machine: str) -> tuple[str, str] | None:
        """The slot that a machine should get now, as group and slot; None: nothing for it.

        A machine that measures something gets nothing more.
        """
        known = self.machines.get(machine)
        if known is None or not known.processes or self._open[machine]:
            return None
        group = self.groups[known.group]
        free: _Slot | None = None
        for slot in group.waiting.values():
            if slot.deaths >= MOST_DEATHS or slot.losses >= MOST_LOSSES:
                continue
            owner = group.owner.get(slot.unit)
            if owner == machine:
                return group.id, slot.id
            if free is None and (owner is None or not self.machines[owner].processes):
                free = slot
        return None if free is None else (group.id, free.id)

    def under_way(self, machine: str) -> list[Given]:
        """What a machine was given and has not answered, as far as it is there."""
        return [*self._open[machine].values()]

    def done_by(self, machine: str) -> int:
        """How many records of slots are a machine's."""
        return self._done_by[machine]

    def crashed(self) -> list[tuple[str, str, Given]]:
        """Slots that are not given again because they killed their worker, with their last give."""
        found = []
        for group in self.groups.values():
            for slot in group.slots.values():
                if slot.state != "done" and slot.deaths >= MOST_DEATHS:
                    gives = [give.event for give in self._gives_of(group.id, slot.id) if give.died]
                    found.append((group.id, slot.id, gives[-1]))
        return found

    def held_back(self) -> list[tuple[str, str]]:
        """Slots that wait for the fleet to be resumed, as group and slot."""
        return [
            (group.id, slot.id)
            for group in self.groups.values()
            for slot in group.slots.values()
            if slot.state != "done" and slot.losses >= MOST_LOSSES and slot.deaths < MOST_DEATHS
        ]

    def give(self, number: int) -> Given | None:
        """A give by its number."""
        found = self._gives.get(number)
        return None if found is None else found.event

    # --- what happens -----------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Change the state as an event says."""
        if isinstance(event, Grouped):
            self._group(event)
        elif isinstance(event, Seen):
            group = self.groups[event.group].id
            known = self.machines.setdefault(event.machine, _Machine(group, event.title))
            known.processes.add(event.process)
        elif isinstance(event, Lost):
            self._lose(event)
        elif isinstance(event, Given):
            self._give(event)
        elif isinstance(event, Died):
            self._died(event.give)
        elif isinstance(event, Returned):
            self._close_give(event.give)
        elif isinstance(event, Done):
            self._done(event)
        elif isinstance(event, Session):
            self._begin_session()
        else:
            self.ended = event.how

    def _group(self, event: Grouped) -> None:
        if event.group in self.groups:
            return
        slots = {entry.id: _Slot(entry.id, entry.unit) for entry in event.slots}
        self.groups[event.group] = Group(event.group, event.run_id, event.title, slots, dict(slots))
        self._left += len(slots)

    def _give(self, event: Given) -> None:
        self._last_give = max(self._last_give, event.give)
        self._gives[event.give] = _Give(event)
        self._open[event.machine][event.give] = event
        group = self.groups[event.group]
        slot = group.slots[event.slot]
        group.owner[slot.unit] = event.machine
        if slot.state != "done":
            slot.state = "given"
            slot.open.add(event.give)
            group.waiting.pop(slot.id, None)

    def _lose(self, event: Lost) -> None:
        known = self.machines.get(event.machine)
        if known is not None:
            known.processes.discard(event.process)
        for number, given in [*self._open[event.machine].items()]:
            if given.process == event.process:
                self._lose_give(number, event.why)

    def _lose_give(self, number: int, why: WhyLost) -> None:
        give = self._gives[number]
        give.state, give.why_lost = "lost", why
        self._wait_again(number, lost=why != "scheduler")

    def _died(self, number: int) -> None:
        give = self._gives.get(number)
        if give is None or give.died or give.state == "over":
            return
        give.died = True
        slot = self.groups[give.event.group].slots[give.event.slot]
        slot.deaths += 1
        if give.state == "lost" and give.why_lost != "scheduler":
            slot.losses -= 1  # it did not vanish: it was killed
        elif give.state == "open":
            self._wait_again(number, lost=False)
        give.state = "over"

    def _close_give(self, number: int) -> None:
        give = self._gives.get(number)
        if give is not None and give.state != "over":
            was_open = give.state == "open"
            give.state = "over"
            if was_open:
                self._wait_again(number, lost=False)

    def _wait_again(self, number: int, *, lost: bool) -> None:
        """A slot waits again unless somebody else has it; behind all others, with its unit's rest
        after it: ``verify`` checks that a machine keeps the plan's order within a unit."""
        give = self._gives[number].event
        self._open[give.machine].pop(number, None)
        group = self.groups[give.group]
        slot = group.slots[give.slot]
        slot.open.discard(number)
        slot.losses += lost
        if slot.state == "given" and not slot.open:
            slot.state = "waiting"
            group.waiting[slot.id] = slot
            for one in [one for one in group.slots.values() if one.unit == slot.unit]:
                if group.waiting.pop(one.id, None):
                    group.waiting[one.id] = one

    def _done(self, event: Done) -> None:
        group = self.groups[event.group]
        slot = group.slots[event.slot]
        if event.give is not None and event.give in self._gives:
            give = self._gives[event.give]
            give.state = "over"
            self._open[give.event.machine].pop(event.give, None)
            slot.open.discard(event.give)
        if slot.state == "done":
            return
        slot.state, slot.by, slot.outcome = "done", event.machine, event.outcome
        group.waiting.pop(slot.id, None)
        group.done += 1
        self._done_by[event.machine] += 1
        self._left -= 1

    def _begin_session(self) -> None:
        """What was under way is nobody's; what was held back is tried again."""
        self.ended = None
        for machine in self.machines.values():
            machine.processes.clear()
        for open_gives in self._open.values():
            for number in [*open_gives]:
                self._lose_give(number, "scheduler")
        for group in self.groups.values():
            for slot in group.slots.values():
                slot.losses = 0

    def _gives_of(self, group: str, slot: str) -> Iterator[_Give]:
        for give in self._gives.values():
            if (give.event.group, give.event.slot) == (group, slot):
                yield give
