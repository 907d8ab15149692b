"""What remains of a run that was stopped, killed or interrupted by a restart of the machine."""

from collections import Counter

import msgspec

from sdbench.plan.order import put_off_again
from sdbench.records import Replicate, Run, Slot
from sdbench.runs import LoadedRun


def remaining_slots(loaded: LoadedRun, *, retry: bool) -> list[Slot]:
    """The slots of a run that still have to be run; finished ones count whatever their outcome.

    A case under which the machine restarted is not run again in any block, and one that slept is
    run once more. With ``retry`` everything that did not complete is run again.
    """
    slept = Counter(entry.replicate_id for entry in loaded.attempts if entry.slept)
    finished, dangerous = set(), set()
    for replicate in loaded.replicates:
        if retry and replicate.outcome not in ("ok", "skipped"):
            continue
        if replicate.machine_restarted:
            dangerous.add((replicate.case_id, replicate.arm))
        if not (replicate.slept and slept[replicate.replicate_id] == 1):
            finished.add(replicate.replicate_id)
    return [
        slot
        for slot in loaded.run.plan.slots
        if slot.replicate_id not in finished and (slot.case_id, slot.arm) not in dangerous
    ]


def with_put_off_again(run: Run, loaded: LoadedRun) -> Run:
    """The run as it is resumed: what a budget had put off is paired with the others anew.

    One that goes on until it is decided plans further blocks at its looks.
    """
    if run.config.get("until_decided") or not run.config.get("max_minutes"):
        return run
    tried = {entry.replicate_id for entry in loaded.started}
    tried |= {entry.replicate_id for entry in loaded.attempts}
    # (A case under which the machine restarted is not put off: it is not run again.)
    left = {slot.replicate_id for slot in remaining_slots(loaded, retry=False)}
    plan = put_off_again(run.plan, tried, left - tried, int(run.config["seed"]))
    return msgspec.structs.replace(run, plan=plan)


def undecided(loaded: LoadedRun) -> bool:
    """Whether a run that goes on until it is decided has not had its last look."""
    if not loaded.run.config.get("until_decided"):
        return False
    return not loaded.looks or loaded.looks[-1].next_look is not None


def restart_victims(loaded: LoadedRun, boot_id: str | None) -> list[Replicate]:
    """Records for processes under which the machine itself restarted.

    They are not run again by themselves: what took the machine down once may do so again.
    """
    victims = []
    for entry in loaded.in_flight:
        if boot_id is None or entry.boot_id is None or entry.boot_id == boot_id:
            continue
        victims.append(
            Replicate(
                replicate_id=entry.replicate_id,
                case_id=entry.case_id,
                arm=entry.arm,
                block=entry.block,
                slot=entry.slot,
                attempt=entry.attempt,
                outcome="crashed",
                reason="machine-restarted: the computer restarted while this ran",
                machine_restarted=True,
                simulated=loaded.run.simulated,
                start=loaded.run.plan.start,
                started_utc=entry.started_utc,
                ended_utc=entry.started_utc,
                wall_s=0.0,
            )
        )
    return victims


def attempts_so_far(loaded: LoadedRun) -> dict[str, int]:
    """The number of the last attempt by replicate id."""
    attempts: dict[str, int] = {}
    for entry in loaded.started:
        attempts[entry.replicate_id] = max(attempts.get(entry.replicate_id, 0), entry.attempt)
    return attempts
