"""The ledger under whatever order of events: every slot is recorded exactly once."""

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbench.errors import StoreError
from sdbench.fleet.ledger import (
    MOST_DEATHS,
    MOST_LOSSES,
    Died,
    Done,
    Event,
    Given,
    Grouped,
    Ledger,
    Lost,
    Returned,
    Seen,
    Session,
    UnitSlot,
    WhyLost,
)
from sdbench.fleet.ledger_file import LEDGER_FILE, LedgerFile, read_events


def grouped(slots: int = 3, group: str = "g", units: int | None = None) -> Grouped:
    """A plan; ``units``: so many slots share a unit, None: each has one of its own."""
    names = [
        UnitSlot(id=f"s{number}", unit=f"{number if units is None else number // units}")
        for number in range(slots)
    ]
    return Grouped(group=group, run_id=f"run-{group}", title="Mac", slots=names)


def seen(machine: str = "a", process: str | None = None, group: str = "g") -> Seen:
    return Seen(machine=machine, group=group, process=process or f"{machine}1")


def lost(machine: str = "a", why: str = "gone") -> Lost:
    return Lost(machine=machine, process=f"{machine}1", why=why)  # type: ignore[arg-type]


def give(ledger: Ledger, machine: str = "a") -> Given:
    """Give a machine what it is offered."""
    offer = ledger.offer(machine)
    assert offer is not None
    (process,) = ledger.machines[machine].processes
    event = Given(
        give=ledger.next_give, group=offer[0], slot=offer[1], machine=machine, process=process
    )
    ledger.apply(event)
    return event


def done(event: Given) -> Done:
    return Done(
        group=event.group, slot=event.slot, give=event.give, machine=event.machine, outcome="ok"
    )


def test_a_machine_gets_one_slot_at_a_time_and_each_slot_once() -> None:
    ledger = Ledger([grouped(2), seen("a"), seen("b")])
    first, second = give(ledger, "a"), give(ledger, "b")
    assert {first.slot, second.slot} == {"s0", "s1"}
    assert ledger.offer("a") is None
    ledger.apply(done(first))
    assert ledger.offer("a") is None
    assert not ledger.complete
    ledger.apply(done(second))
    assert ledger.complete


def test_slot_of_a_vanished_machine_is_given_again_behind_all_others() -> None:
    ledger = Ledger([grouped(3), seen("a"), seen("b")])
    first = give(ledger, "a")
    ledger.apply(lost("a"))
    assert ledger.offer("a") is None
    slots = []
    while (offer := ledger.offer("b")) is not None:
        slots.append(offer[1])
        ledger.apply(done(give(ledger, "b")))
    assert slots == ["s1", "s2", first.slot]


def test_first_record_wins_whoever_has_it() -> None:
    ledger = Ledger([grouped(1), seen("a"), seen("b")])
    paused = give(ledger, "a")
    ledger.apply(lost("a", "silent"))
    other = give(ledger, "b")
    ledger.apply(done(paused))  # it was only paused
    ledger.apply(done(other))
    group = ledger.groups["g"]
    assert (group.slots["s0"].by, ledger.done_by("a"), ledger.done_by("b")) == ("a", 1, 0)
    assert group.counts() == {"waiting": 0, "given": 0, "done": 1}


def test_case_that_kills_its_worker_twice_has_crashed_and_is_not_given_again() -> None:
    ledger = Ledger([grouped(1), seen("b")])
    for process in ("a1", "a2"):
        assert ledger.crashed() == []
        ledger.apply(seen("a", process))
        event = give(ledger, "a")
        ledger.apply(Lost(machine="a", process=process, why="gone"))
        ledger.apply(Died(give=event.give))
        ledger.apply(Died(give=event.give))  # reported again by the next process
    assert MOST_DEATHS == 2
    assert ledger.offer("b") is None
    ((group, slot, last),) = ledger.crashed()
    assert (group, slot, last.process) == ("g", "s0", "a2")
    assert ledger.held_back() == []


def test_machines_that_vanish_are_no_crash_but_hold_a_slot_back() -> None:
    ledger = Ledger([grouped(1)])
    for number in range(MOST_LOSSES):
        ledger.apply(seen(f"m{number}"))
        give(ledger, f"m{number}")
        ledger.apply(lost(f"m{number}"))
    ledger.apply(seen("last"))
    assert ledger.offer("last") is None
    assert (ledger.crashed(), ledger.held_back()) == ([], [("g", "s0")])
    ledger.apply(Session())
    ledger.apply(seen("last", "last2"))
    assert ledger.offer("last") == ("g", "s0")


def test_lost_scheduler_counts_against_no_slot() -> None:
    ledger = Ledger([grouped(1)])
    for _ in range(MOST_LOSSES + 1):
        ledger.apply(seen("a"))
        give(ledger)
        ledger.apply(lost("a", "scheduler"))
    assert ledger.held_back() == []


def test_slots_of_a_unit_stay_with_their_machine_while_it_is_there() -> None:
    ledger = Ledger([grouped(4, units=2), seen("a"), seen("b"), seen("c")])
    first, second = give(ledger, "a"), give(ledger, "b")
    assert (first.slot, second.slot) == ("s0", "s2")
    assert ledger.offer("c") is None, "both units have a machine"
    ledger.apply(done(first))
    assert ledger.offer("a") == ("g", "s1")
    ledger.apply(lost("a"))
    assert ledger.offer("c") == ("g", "s1")


def test_machines_of_another_group_get_nothing_of_this_one() -> None:
    ledger = Ledger([grouped(1, "g"), grouped(1, "h"), seen("a"), seen("b", group="h")])
    assert ledger.offer("b") == ("h", "s0")
    ledger.apply(done(give(ledger, "a")))
    assert ledger.offer("b") == ("h", "s0")
    assert ledger.offer("a") is None


def test_slot_that_came_back_is_given_again_at_once_and_blames_nobody() -> None:
    ledger = Ledger([grouped(1), seen("a")])
    for _ in range(5):
        ledger.apply(Returned(give=give(ledger).give, why="interrupted"))
    assert ledger.offer("a") == ("g", "s0")


class _World:
    """Machines that do what chance says, and a client that keeps a ledger of it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.events: list[Event] = []
        self.ledger = Ledger()
        self.records: Counter[str] = Counter()
        self.running: list[Given] = []
        """What some process still works at, wanted or not."""
        self.processes = 0
        self.tell(grouped(self.chance.randint(1, 12), units=self.chance.choice([None, 1, 3])))

    def tell(self, event: Event) -> None:
        self.events.append(event)
        self.ledger.apply(event)

    def join(self, machine: str) -> None:
        if not (self.ledger.machines.get(machine) and self.ledger.machines[machine].processes):
            self.processes += 1
            self.tell(seen(machine, f"{machine}-{self.processes}"))

    def offer_all(self) -> None:
        for machine in [*self.ledger.machines]:
            offer = self.ledger.offer(machine)
            if offer is not None:
                process = min(self.ledger.machines[machine].processes)
                event = Given(
                    give=self.ledger.next_give,
                    group=offer[0],
                    slot=offer[1],
                    machine=machine,
                    process=process,
                )
                self.tell(event)
                self.running.append(event)

    def finish(self, event: Given) -> None:
        """A result arrives: it is recorded unless there is one."""
        self.running.remove(event)
        if not self.ledger.is_done(event.group, event.slot):
            self.records[event.slot] += 1
        self.tell(done(event))

    def harm(self) -> None:
        kind = self.chance.choice(["pause", "kill", "scheduler", "client", "return"])
        if kind == "client":
            self.running.clear()
            self.tell(Session())
            return
        if kind == "scheduler":
            for machine, known in self.ledger.machines.items():
                for process in sorted(known.processes):
                    self.tell(Lost(machine=machine, process=process, why="scheduler"))
            self.running.clear()
            return
        if not self.running:
            return
        event = self.chance.choice(self.running)
        if kind == "return":
            self.running.remove(event)
            self.tell(Returned(give=event.give, why="interrupted"))
            return
        why: WhyLost = "silent" if kind == "pause" else "gone"
        self.tell(Lost(machine=event.machine, process=event.process, why=why))
        if kind == "kill":
            self.running.remove(event)
            if self.chance.random() < 0.7:
                self.tell(Died(give=event.give))
                for group, slot, last in self.ledger.crashed():
                    self.records[slot] += 1
                    self.tell(Done(group=group, slot=slot, give=last.give, outcome="crashed"))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_every_slot_is_recorded_exactly_once_whatever_happens(seed: int) -> None:
    world = _World(seed)
    for _ in range(world.chance.randint(5, 80)):
        world.join(world.chance.choice("abcd"))
        world.offer_all()
        if world.running and world.chance.random() < 0.5:
            world.finish(world.chance.choice(world.running))
        if world.chance.random() < 0.4:
            world.harm()
        open_slots = [
            given.slot for name in world.ledger.machines for given in world.ledger.under_way(name)
        ]
        assert len(open_slots) == len({*open_slots}), "nobody measures what another one measures"
    for _ in range(100):  # calm at last: whatever was held back is tried again
        world.tell(Session())
        world.running.clear()
        world.join("a")
        world.offer_all()
        for event in [*world.running]:
            world.finish(event)
        if world.ledger.complete:
            break
    slots = world.ledger.groups["g"].slots
    assert world.records == Counter(dict.fromkeys(slots, 1))
    assert world.ledger.complete
    again = Ledger(world.events)
    assert {slot.id: (slot.state, slot.by) for slot in again.groups["g"].slots.values()} == {
        slot.id: (slot.state, slot.by) for slot in slots.values()
    }


def test_replayed_file_gives_the_same_state(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path)
    file.note([grouped(2), seen("a")])
    assert read_events(tmp_path) == []
    file.flush()
    event = give(Ledger(read_events(tmp_path)))
    file.note([event, done(event)])
    file.flush()
    file.close()
    again = LedgerFile(tmp_path)
    assert again.state.groups["g"].counts() == {"waiting": 1, "given": 0, "done": 1}
    assert again.state.next_give == 2
    again.close()


@pytest.mark.parametrize("torn", [b'{"event":"do', b"\xff\xfe", b"{"])
def test_line_that_a_crash_has_torn_was_never_acted_on(tmp_path: Path, torn: bytes) -> None:
    file = LedgerFile(tmp_path)
    file.note([grouped(1)])
    file.flush()
    file.close()
    with open(tmp_path / LEDGER_FILE, "ab") as text:
        text.write(torn)
    again = LedgerFile(tmp_path)
    again.note([seen("a")])
    again.flush()
    again.close()
    assert Ledger(read_events(tmp_path)).offer("a") == ("g", "s0")


def test_ledger_with_a_wrong_line_in_the_middle_is_not_trusted(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path)
    file.note([grouped(1)])
    file.flush()
    file.close()
    with open(tmp_path / LEDGER_FILE, "ab") as text:
        text.write(b'{"event":"rubbish"}\n{"event":"session"}\n')
    with pytest.raises(StoreError, match="line 2: not an event of a fleet"):
        read_events(tmp_path)
