"""Folders of fleets that never were: two machines, of which one vanished on the way.

Times are always the same. The second machine's own clock is an hour ahead.
"""

import datetime
from pathlib import Path

import msgspec
from factories import make_config, make_replicate, make_run, make_started

from sdbench import __version__
from sdbench.fleet.fleet_file import FleetPlan, Mode, write_fleet
from sdbench.fleet.ledger import (
    Done,
    Ended,
    Event,
    Given,
    Grouped,
    Lost,
    Seen,
    Session,
    UnitSlot,
)
from sdbench.fleet.ledger_file import LedgerFile
from sdbench.fleet.messages import Plan
from sdbench.plan.units import unit_of
from sdbench.records import Outcome, Run, Slot
from sdbench.runs import RunFolder

FLEET_ID = "20260405-101112-fleet-made-0001"
BEGAN = datetime.datetime(2026, 4, 5, 10, 11, 12, tzinfo=datetime.timezone.utc)
MACHINES = ("a1" * 8, "b2" * 8)
_SLOT_S = 10.0


def at(seconds: float, machine: str = MACHINES[0]) -> str:
    """So many seconds after the fleet began, by a machine's own clock."""
    ahead = 3600.0 if machine == MACHINES[1] else 0.0
    return (BEGAN + datetime.timedelta(seconds=seconds + ahead)).isoformat(timespec="milliseconds")


def made_fleet(root: Path, mode: Mode = "split", *, crashed: bool = False) -> Path:
    """The folder of a complete fleet; the first slot was given twice, because its machine vanished.

    With ``crashed`` the last process of each run crashed.
    """
    config = make_config(replicates=2, arm=[{"name": "a"}, {"name": "b"}])
    path = root / FLEET_ID
    path.mkdir(parents=True)
    plan = Plan(sdbench=__version__, config=config)
    write_fleet(path, FleetPlan(fleet_id=FLEET_ID, created_utc=at(0), mode=mode, plan=plan))
    groups = ("kind",) if mode == "split" else tuple(f"kind-{name}" for name in MACHINES)
    own = {"kind": "c3" * 8} | dict(
        zip((f"kind-{name}" for name in MACHINES), MACHINES, strict=True)
    )
    ledger = LedgerFile(path)

    def note(seconds: float, *events: Event) -> None:
        ledger.note([msgspec.structs.replace(event, at_utc=at(seconds)) for event in events])

    note(0, Session())
    runs, folders = {}, {}
    for number, group in enumerate(groups):
        run = make_run(
            config,
            run_id=f"20260405-10111{number}-made-000{number}",
            machine_id=own[group],
            created_utc=at(0),
            environment={},
        )
        runs[group], folders[group] = run, RunFolder.create(path, run)
        note(0.0, _grouped(group, run))
    for number, name in enumerate(MACHINES):
        group = groups[number % len(groups)]
        note(0.5, Seen(machine=name, group=group, process=f"p{number}", title=f"Test {name[:6]}"))
    give, now = 0, dict.fromkeys(MACHINES, 1.0)
    for group in groups:
        slots = runs[group].plan.slots
        for number, slot in enumerate(slots):
            name = MACHINES[number % 2] if mode == "split" else own[group]
            process = f"p{MACHINES.index(name)}"
            give += 1
            given = Given(
                give=give, group=group, slot=slot.replicate_id, machine=name, process=process
            )
            note(now[name], given)
            if give == 1:
                now[name] += 4.0
                note(now[name], Lost(machine=name, process=process, why="gone"))
                note(now[name] + 1, Seen(machine=name, group=group, process=process, title="Test"))
                now[name] += 2.0
                give += 1
                note(now[name], msgspec.structs.replace(given, give=give))
            outcome: Outcome = "crashed" if crashed and number == len(slots) - 1 else "ok"
            _record(folders[group], slot, name, now[name], outcome)
            now[name] += _SLOT_S
            done = Done(
                group=group, slot=slot.replicate_id, give=give, machine=name, outcome=outcome
            )
            note(now[name], done)
    note(max(now.values()) + 5.0, Ended(how="complete"))
    ledger.flush()
    ledger.close()
    for folder in folders.values():
        folder.close()
    return path


def _grouped(group: str, run: Run) -> Grouped:
    slots = [
        UnitSlot(id=slot.replicate_id, unit=unit_of(run.plan, slot)) for slot in run.plan.slots
    ]
    return Grouped(group=group, run_id=run.run_id, title=f"Test {group[-6:]}", slots=slots)


def _record(folder: RunFolder, slot: Slot, name: str, begin_s: float, outcome: Outcome) -> None:
    began, ended = at(begin_s + 0.5, name), at(begin_s + _SLOT_S - 0.5, name)
    replicate = make_replicate(
        slot,
        machine_id=name,
        started_utc=began,
        ended_utc=ended,
        wall_s=_SLOT_S - 1,
        outcome=outcome,
    )
    folder.append(make_started(slot), replicate)
