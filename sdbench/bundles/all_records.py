"""Whether the records of a run are all there, once, and in the order that its seed gives."""

from collections.abc import Iterable, Sequence

from sdbench.bundles.opened import Opened
from sdbench.bundles.refusal import RefusedError
from sdbench.plan.order import order_slots, runnable_cases
from sdbench.records import Compared, Record, Replicate, Run, Slot, Started, Withdrawn
from sdbench.runs.checks import MOST_SLOTS
from sdbench.stats import MIN_PROCESSES
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
    _check_order(run, bundle.records, in_any_order=bool(bundle.lines_left_out))
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


def _check_order(run: Run, records: Sequence[Record], *, in_any_order: bool) -> None:
    """No process begins before all earlier ones of the plan have ended, but with a time budget.

    A process whose machine restarted ends its case: it is not begun again. Where several devices
    measured, that holds within each block.
    """
    sequences: dict[object, list[Slot]] = {}
    for slot in run.plan.slots:
        sequences.setdefault(_sequence_of(run, slot), []).append(slot)
    place = {
        slot.replicate_id: (own, at) for own in sequences.values() for at, slot in enumerate(own)
    }
    index = {slot.replicate_id: slot.index for slot in run.plan.slots}
    in_any_order = in_any_order or bool(run.config.get("max_minutes"))
    ever_ended = {record.replicate_id for record in records if isinstance(record, Replicate)}
    ended: set[str] = set()
    begun: set[tuple[str, int]] = set()
    dangerous: set[tuple[str, str]] = set()
    first_left = dict.fromkeys(map(id, sequences.values()), 0)  # the first that has not ended
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
        if isinstance(record, Replicate):
            if (record.replicate_id, record.attempt) not in begun:
                raise RefusedError("record-missing", f"{name} ended and has no record of its start")
            ended.add(record.replicate_id)
            if record.machine_restarted:
                dangerous.add((record.case_id, record.arm))
            continue
        begun.add((record.replicate_id, record.attempt))
        own, at = place[record.replicate_id]
        left = first_left[id(own)]
        while left < at and _is_over(own[left], ended, dangerous):
            left += 1
        first_left[id(own)] = left
        if left < at and not in_any_order:
            missing = own[left].replicate_id
            if missing in ever_ended:
                raise RefusedError(
                    "order", f"{name} began before {shortened(missing)}, which the plan has first"
                )
            raise RefusedError(
                "record-missing",
                f"{name} began, and {shortened(missing)}, which comes before it, has no record "
                "of its end",
            )


def _sequence_of(run: Run, slot: Slot) -> object:
    """What a slot is in the order of: the plan, or of several devices what one of them measures."""
    if not run.devices:
        return None
    whole = run.plan.processes(slot.case_id, slot.arm) >= MIN_PROCESSES
    return slot.block if whole else (slot.block, slot.case_id)


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
    """Comparisons are made in the order of the processes, so none is left out between others."""
    loaded = bundle.recorded
    compared = {entry.replicate_id for entry in loaded.compared}
    missing: str | None = None
    for entry in loaded.replicates:
        if not entry.passes or entry.attempt > 1:
            continue
        if entry.replicate_id not in compared:
            missing = missing or entry.replicate_id
        elif missing is not None:
            raise RefusedError(
                "record-missing",
                f"{shortened(missing)} was not compared with the CPU, and a later one was",
            )
