"""How far a fleet is, from its folder alone."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdbench.fleet.fleet_file import is_at_work, read_state
from sdbench.words import printable


def status_document(path: Path) -> dict[str, Any]:
    """A fleet's runs and machines.

    Raises:
        UsageError, StoreError: there is no fleet, or it cannot be read.
    """
    fleet, state = read_state(path)
    held = {slot for _, slot in state.held_back()}
    return {
        "fleet": fleet.fleet_id,
        "path": str(path),
        "mode": fleet.mode,
        "at_work": is_at_work(path),
        "complete": state.complete,
        "ended": state.ended,
        "runs": [
            {
                "run": group.run_id,
                "path": str(path / group.run_id),
                "title": group.title,
                "slots": len(group.slots),
                **group.counts(),
                "held_back": len(held & group.slots.keys()),
            }
            for group in state.groups.values()
        ],
        "machines": [
            {
                "machine": name,
                "title": machine.title,
                "run": state.groups[machine.group].run_id,
                "there": bool(machine.processes),
                "slots": [given.slot for given in state.under_way(name)],
                "done": state.done_by(name),
            }
            for name, machine in state.machines.items()
        ],
    }


def show_status(document: dict[str, Any], out: Console) -> None:
    """The same as two tables."""
    work = "a process is working on it" if document["at_work"] else "nobody is working on it"
    whole = "complete" if document["complete"] else "not complete"
    out.print(
        f"Fleet {document['fleet']}, mode {document['mode']}: {whole}; {work}.",
        markup=False,
        soft_wrap=True,
    )
    runs = Table("run", "machines", "done", "given", "waiting", box=None)
    for run in document["runs"]:
        counts = (str(run[key]) for key in ("done", "given", "waiting"))
        runs.add_row(_plain(run["run"]), _plain(run["title"]), *counts)
    out.print(runs)
    machines = Table("machine", "state", "done", "slot", box=None)
    for machine in document["machines"]:
        there = "there" if machine["there"] else "gone"
        slots = _plain(", ".join(machine["slots"]))
        machines.add_row(_plain(machine["title"]), there, str(machine["done"]), slots)
    out.print(machines)


def _plain(text: str) -> str:
    """Text of a file that anybody may have written, for a table."""
    return escape(printable(text))
