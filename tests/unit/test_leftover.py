"""What a resumed run still has to do."""

from pathlib import Path
from typing import Any

import pytest
from factories import make_replicate, make_run

from sdbench.records import Replicate
from sdbench.runner.resume import remaining_slots
from sdbench.runs import LoadedRun


def left(attempts: list[dict[str, Any]], *, retry: bool = False) -> tuple[int, int]:
    """How often the first slot, and how often any other one, would be run."""
    run = make_run()
    first = run.plan.slots[0]
    records: list[Replicate] = [
        make_replicate(first, attempt=number, **fields)
        for number, fields in enumerate(attempts, start=1)
    ]
    slots = remaining_slots(LoadedRun(Path("results/x"), run, [], records), retry=retry)
    again = sum(slot.replicate_id == first.replicate_id for slot in slots)
    return again, len(slots) - again


OTHERS = len(make_run().plan.slots) - 1


@pytest.mark.parametrize(
    ("attempts", "again"),
    [
        ([], 1),
        ([{}], 0),
        ([{"slept": True}], 1),  # once more
        ([{"slept": True}, {"slept": True}], 0),  # and no third time
        ([{"slept": True}, {}], 0),
        ([{"outcome": "crashed"}], 0),
    ],
)
def test_what_ended_is_not_run_again_but_what_slept_is_once(
    attempts: list[dict[str, Any]], again: int
) -> None:
    assert left(attempts) == (again, OTHERS)


@pytest.mark.parametrize(
    ("outcome", "again"), [("ok", 0), ("skipped", 0), ("crashed", 1), ("timeout", 1), ("oom", 1)]
)
def test_retry_repeats_what_did_not_end_well(outcome: str, again: int) -> None:
    assert left([{"outcome": outcome}], retry=True) == (again, OTHERS)


def test_what_took_the_machine_down_is_left_alone_in_every_block() -> None:
    fields = {"outcome": "crashed", "machine_restarted": True}
    run = make_run()
    first = run.plan.slots[0]
    same = sum((s.case_id, s.arm) == (first.case_id, first.arm) for s in run.plan.slots)
    assert left([fields]) == (0, OTHERS - (same - 1))
