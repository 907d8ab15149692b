"""Whether the records of a run are all there, once, and in the order that its seed gives.

Where several machines share a run (``sdbench fleet``, ``run --devices``), each process names its
machine. They carry out the plan side by side, so the order is that of each machine within a unit
(:func:`~sdbench.plan.units.unit_of`), and the run has to be complete: which process was left out of
an incomplete one, and why, cannot be found out.
"""

import itertools
from collections.abc import Iterable, Sequence

from sdbench.bundles.format import MACHINE_ID
from sdbench.bundles.opened import Opened
from sdbench.bundles.refusal import RefusedError
from sdbench.plan.order import order_slots, runnable_cases
from sdbench.plan.units import unit_of
from sdbench.records import Compared, Record, Replicate, Run, Slot, Started, Withdrawn
from sdbench.runs.checks import MOST_SLOTS
from sdbench.words import shortened


def check_records(bundle: Opened, fewest_processes: int) -> None:
    """Compare plan and records with what the plan's seed and its carrying out allow.

    ``fewest_processes`` are the blocks that the configuration plans at first.

    Raises:
        RefusedError: order, record-missing, record-duplicate.
    """
    run = bundle.recorded.run
    _check_once(bundle.records)
    _check_plan(run, fewest_processes)
    in_any_order = bool(bundle.lines_left_out or run.config.get("max_minutes"))
    _check_begun(run, bundle.records)
    if machines_of(bundle.recorded.attempts):
        if not in_any_order:
            _check_units(run, bundle.recorded.attempts)
    elif not in_any_order:
        _check_order(run, bundle.records)
    _check_passes(bundle.recorded.attempts)
    if not bundle.lines_left_out:
        _check_compared(bundle)


def _check_once(records: Iterable[Record]) -> None:
    """Each process starts, ends and is withdrawn once an attempt, and no comparison is repeated."""
    seen: set[object] = set()
    for record in records:
        if isinstance(record, Compared):
            key: object = record.replicate_id, record.attempt, repr(record)
        elif isinstance(record, Started | Replicate | Withdrawn):
            key = type(record), record.replicate_id, record.attempt
        else:
            continue
        if key in seen:
            what = f"{shortened(record.replicate_id)}, attempt {record.attempt}"
            raise RefusedError("record-duplicate", f"{what}: the same record is there twice")
        seen.add(key)


def _check_plan(run: Run, fewest_processes: int) -> None:
    """The slots are those that the seed gives; later blocks keep the order of their block."""
    plan = run.plan
    arms = [arm.name for arm in plan.arms]
    cases = runnable_cases(plan.cases)
    blocks = max([fewest_processes, *(slot.block + 1 for slot in plan.slots)])
    if len(cases) * len(arms) * blocks > MOST_SLOTS:
        raise RefusedError("order", f"its seed gives more than {MOST_SLOTS:,} processes")
    wanted = order_slots(cases, arms, blocks, int(run.config["seed"]))
    first = len(cases) * len(arms) * fewest_processes
    place = {slot.replicate_id: slot.index for slot in wanted}
    before: Slot | None = None
    for slot in plan.slots:
        fits = before is None or slot.index > before.index
        if slot.index < first:
            fits = fits and slot == wanted[slot.index]
        elif before is not None and before.block == slot.block and before.index >= first:
            fits = fits and place[slot.replicate_id] > place[before.replicate_id]
        if not fits or slot.replicate_id not in place:
            raise RefusedError(
                "order",
                f"the plan's slot {slot.index} is {shortened(slot.replicate_id)}, which does not "
                "follow from the seed",
            )
        before = slot
    planned = {slot.index for slot in plan.slots}
    if not run.config.get("max_minutes") and not planned.issuperset(range(first)):
        raise RefusedError("record-missing", "the plan lacks processes that its seed gives")


def machines_of(attempts: Sequence[Replicate]) -> set[str]:
    """The machines that share a run, as its processes name them; none of one machine's run.

    Raises:
        RefusedError: schema, where only some processes name one, or one has another name than
            sdbench gives.
    """
    found = {entry.machine_id for entry in attempts}
    named = {machine for machine in found if isinstance(machine, str)}
    if named and len(named) < len(found):
        raise RefusedError("schema", "some processes name their machine, and others do not")
    for machine in named:
        if MACHINE_ID.fullmatch(machine) is None:
            raise RefusedError(
                "schema",
                f"machine_id of a process: expected m- and 16 digits, got {shortened(machine)!r}",
            )
    return named


def _check_begun(run: Run, records: Sequence[Record]) -> None:
    """Processes have the places that the plan gives them, and begin before they end."""
    index = {slot.replicate_id: slot.index for slot in run.plan.slots}
    begun: set[tuple[str, int]] = set()
    for record in records:
        if not isinstance(record, Started | Replicate):
            continue
        name = shortened(record.replicate_id)
        if record.slot != index[record.replicate_id]:
            raise RefusedError(
                "order",
                f"{name} says it was slot {record.slot}, the plan has it at "
                f"{index[record.replicate_id]}",
            )
        if isinstance(record, Started):
            begun.add((record.replicate_id, record.attempt))
        elif (record.replicate_id, record.attempt) not in begun:
            raise RefusedError("record-missing", f"{name} ended and has no record of its start")


def _check_order(run: Run, records: Sequence[Record]) -> None:
    """No process begins before all earlier ones of the plan have ended.

    A process whose machine restarted ends its case: it is not begun again.
    """
    place = {slot.replicate_id: number for number, slot in enumerate(run.plan.slots)}
    ever_ended = {record.replicate_id for record in records if isinstance(record, Replicate)}
    ended: set[str] = set()
    dangerous: set[tuple[str, str]] = set()
    left = 0  # the first slot that has not ended
    for record in records:
        if isinstance(record, Replicate):
            ended.add(record.replicate_id)
            if record.machine_restarted:
                dangerous.add((record.case_id, record.arm))
        if not isinstance(record, Started):
            continue
        name, at = shortened(record.replicate_id), place[record.replicate_id]
        while left < at and _is_over(run.plan.slots[left], ended, dangerous):
            left += 1
        if left < at:
            missing = run.plan.slots[left].replicate_id
            if missing in ever_ended:
                raise RefusedError(
                    "order", f"{name} began before {shortened(missing)}, which the plan has first"
                )
            raise RefusedError(
                "record-missing",
                f"{name} began, and {shortened(missing)}, which comes before it, has no record "
                "of its end",
            )


def _check_units(run: Run, attempts: Sequence[Replicate]) -> None:
    """Every process of a shared run ended, and each machine kept the plan's order within a unit.

    A process that is repeated comes later.
    """
    slots = {slot.replicate_id: slot for slot in run.plan.slots}
    ended: set[str] = set()
    latest: dict[tuple[object, str], Slot] = {}
    for entry in attempts:
        if entry.replicate_id in ended:
            continue
        ended.add(entry.replicate_id)
        slot = slots[entry.replicate_id]
        key = entry.machine_id, unit_of(run.plan, slot)
        before = latest.get(key)
        if before is not None and before.index > slot.index:
            raise RefusedError(
                "order",
                f"{shortened(before.replicate_id)} was measured before "
                f"{shortened(slot.replicate_id)}, which the plan has first, on the same machine",
            )
        latest[key] = slot
    dangerous = {(entry.case_id, entry.arm) for entry in attempts if entry.machine_restarted}
    for slot in run.plan.slots:
        if not _is_over(slot, ended, dangerous):
            raise RefusedError(
                "record-missing",
                f"{shortened(slot.replicate_id)} has no record of its end, and a run of several "
                "machines is accepted only when it is complete",
            )


def _is_over(slot: Slot, ended: set[str], dangerous: set[tuple[str, str]]) -> bool:
    return slot.replicate_id in ended or (slot.case_id, slot.arm) in dangerous


def _check_passes(attempts: Iterable[Replicate]) -> None:
    """Measured passes are numbered from 1 without a gap; a process makes one of the other kinds."""
    for entry in attempts:
        name = shortened(entry.replicate_id)
        measured = [one.index for one in entry.of_kind("measured")]
        if measured != [*range(1, 1 + len(measured))]:
            raise RefusedError("record-missing", f"{name}: a measured pass is missing")
        if len(entry.of_kind("prime")) > 1 or len(entry.of_kind("profile")) > 1:
            raise RefusedError("record-duplicate", f"{name}: a pass is there twice")


def _check_compared(bundle: Opened) -> None:
    """Comparisons are made in the order of the processes, so none is left out between others.

    Machines that share a run compare one case after the other, several at a time.
    """
    loaded = bundle.recorded
    compared = {entry.replicate_id for entry in loaded.compared}
    shared = bool(machines_of(loaded.attempts))
    entries = [entry for entry in loaded.replicates if entry.passes and entry.attempt == 1]
    if shared:
        entries.sort(key=lambda entry: entry.case_id)
    for _, group in itertools.groupby(entries, lambda entry: shared and entry.case_id):
        missing: str | None = None
        for entry in group:
            if entry.replicate_id not in compared:
                missing = missing or entry.replicate_id
            elif missing is not None:
                raise RefusedError(
                    "record-missing",
                    f"{shortened(missing)} was not compared with the CPU, and a later one was",
                )
