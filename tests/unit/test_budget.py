"""A time budget is spent on verdicts: the order of what is left, passes, what is said of it."""

import dataclasses
import io
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest
from factories import (
    FakeClock,
    RecordingWatcher,
    make_config,
    make_loop,
    make_replicate,
    make_run,
    play,
)
from rich.console import Console

from sdbench.comparison import compare_axis
from sdbench.plan.cost import Pace
from sdbench.plan.order import affordable, order_slots, put_off_again
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.records import Slot
from sdbench.report.terminal.progress import ScreenWatcher
from sdbench.runner.resume import remaining_slots, with_put_off_again
from sdbench.runs import load_run

CASES = ["base", "sliced", "batch"]
THREE_CASES = [{}, {"attention_slicing": True}, {"warmup": True}]
AFTER_BLOCK_0 = order_slots(CASES, ["current"], 3, seed=0)[3:]


def rows(slots: Sequence[Slot]) -> list[tuple[str, int]]:
    return [(slot.case_id, slot.block) for slot in slots]


# --- the order, pure -----------------------------------------------------------------------------


def test_budget_for_everything_puts_nothing_off() -> None:
    assert affordable(AFTER_BLOCK_0, CASES, lambda _: 10.0, 60.0) == AFTER_BLOCK_0


def test_short_budget_takes_as_many_cases_to_a_verdict_as_it_can() -> None:
    now = affordable(AFTER_BLOCK_0, CASES, lambda _: 10.0, 55.0)
    assert now == [slot for slot in AFTER_BLOCK_0 if slot.case_id != "batch"]
    assert [block for _, block in rows(now)] == [1, 1, 2, 2]


def test_case_too_long_for_the_budget_gives_its_place_to_the_next() -> None:
    costs_s = {"base": 10.0, "sliced": 30.0, "batch": 10.0}
    now = affordable(AFTER_BLOCK_0, CASES, costs_s.__getitem__, 55.0)
    assert {case for case, _ in rows(now)} == {"base", "batch"}


def test_budget_for_one_case_only_compares_nothing_and_changes_nothing() -> None:
    assert affordable(AFTER_BLOCK_0, CASES, lambda _: 10.0, 25.0) == AFTER_BLOCK_0


def test_one_case_in_two_arms_can_be_compared() -> None:
    slots = order_slots(CASES, ["old", "new"], 3, seed=0)[6:]
    now = affordable(slots, CASES, lambda _: 10.0, 45.0)
    assert {(slot.case_id, slot.arm) for slot in now} == {("base", "old"), ("base", "new")}


def test_what_has_its_verdict_may_become_more_precise() -> None:
    slots = order_slots(CASES, ["current"], 5, seed=0)[3:]
    assert affordable(slots, CASES, lambda _: 10.0, 60.0) == slots


def test_plan_without_anything_put_off_stays_as_it_is() -> None:
    plan = make_run(make_config(case=THREE_CASES, replicates=3, images=2)).plan
    done = {slot.replicate_id for slot in plan.slots[:5]}  # stopped in the second block
    left = {slot.replicate_id for slot in plan.slots} - done
    assert put_off_again(plan, done, left, 0) is plan


def test_case_that_is_never_run_again_is_not_put_off() -> None:
    """The machine restarted under it; every resume would plan further blocks of all others."""
    plan = make_run(make_config(case=THREE_CASES, replicates=3, images=2)).plan
    dangerous = plan.slots[0].case_id
    done = {slot.replicate_id for slot in plan.slots if slot.case_id != dangerous}
    assert put_off_again(plan, done, set(), 0) is plan


# --- in a run ------------------------------------------------------------------------------------


def test_run_whose_budget_is_short_ends_with_a_verdict_and_gets_the_others_when_resumed(
    tmp_path: Path,
) -> None:
    clock = FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        sliced = "sliced" in task.replicate_id
        wobble = 0.001 * (len(task.replicate_id) + int(task.replicate_id[-1]) ** 2)
        began = clock()
        pass_s = (3.0 if sliced else 2.0) + wobble
        at = datetime(2026, 1, 2, tzinfo=timezone.utc) + timedelta(seconds=began)
        report = play(task, supervise, clock, pass_s=pass_s, wall_s=10.0)
        clock.advance(10.0 - (clock() - began))
        return dataclasses.replace(report, started_utc=at.isoformat(timespec="milliseconds"))

    def judged() -> dict[str, tuple[int, int]]:
        loaded = load_run(loop.folder.path)
        return {
            axis: case.n
            for axis in ("attention_slicing", "warmup")
            for case in compare_axis([loaded], axis).cases
            if case.ratio
        }

    config = make_config(case=THREE_CASES, replicates=3, max_minutes=1.2, passes=2, steps=2)
    loop = make_loop(tmp_path, script, config=config, clock=clock, estimate_s=10.0)
    assert loop.carry_out(loop.run.plan.slots, {}) == "budget"
    assert isinstance(loop.executor, FakeExecutor)
    done = [task.replicate_id for task in loop.executor.tasks]
    assert len(done) == 7
    assert not any("primed" in name for name in done[3:])
    assert judged() == {"attention_slicing": (3, 3), "warmup": (3, 1)}

    run = with_put_off_again(loop.run, load_run(loop.folder.path))
    loop.folder.write_run(run)
    loop.run, loop.config = run, msgspec.structs.replace(config, max_minutes=0)
    slots = remaining_slots(load_run(loop.folder.path), retry=False)
    assert [slot.block for slot in slots] == [3, 3, 3, 4, 4, 4]
    assert len({slot.index for slot in run.plan.slots}) == len(run.plan.slots)
    assert loop.carry_out(slots, {}) == "complete"
    loop.folder.close()
    assert judged() == {"attention_slicing": (5, 5), "warmup": (3, 3)}


def test_block_measured_on_one_side_after_the_next_one_on_the_other_does_not_count(
    tmp_path: Path,
) -> None:
    """A machine that grew slower meanwhile would make the later side look slower."""
    times = {("old", 0): 0, ("new", 0): 1, ("old", 1): 2, ("old", 2): 3, ("new", 1): 4}
    times |= {("new", 2): 5, ("old", 3): 6, ("new", 3): 7}
    arms = [{"name": "old"}, {"name": "new"}]
    config = make_config(matrix={"resolution": ["64x64"]}, arm=arms, replicates=4)
    loop = make_loop(tmp_path, config=config)
    for slot in sorted(loop.run.plan.slots, key=lambda slot: times[slot.arm, slot.block]):
        at = times[slot.arm, slot.block]
        loop.folder.append(make_replicate(slot, started_utc=f"2026-01-02T03:04:0{at}.000+00:00"))
    loop.folder.close()
    (case,) = compare_axis([load_run(loop.folder.path)], "arm").cases
    assert case.n == (3, 3)  # without block 1; block 2 was measured in order


def test_passes_are_not_cut_short_for_processes_that_do_not_fit_anyway(tmp_path: Path) -> None:
    clock = FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        clock.advance(20.0)
        return play(task, supervise, wall_s=20.0)

    config = make_config(matrix={"resolution": ["64x64"]}, replicates=8, max_minutes=1)
    loop = make_loop(tmp_path, script, config=config, clock=clock, estimate_s=20.0)
    loop.carry_out(loop.run.plan.slots, {})
    loop.folder.close()
    assert isinstance(loop.executor, FakeExecutor)
    shares_s = [task.job["passes_within_s"] for task in loop.executor.tasks]
    assert len(shares_s) == 3
    assert min(shares_s) >= 19.0


# --- what is said --------------------------------------------------------------------------------


def test_first_figure_is_told_once_and_not_at_the_end_of_the_pass_itself(tmp_path: Path) -> None:
    watcher = RecordingWatcher()

    def script(task: Task, supervise: Supervisor) -> Report:
        report = play(task, supervise)
        assert watcher.figures == [] or len(loop.replicates) > 0
        supervise(None, None)
        return report

    loop = make_loop(tmp_path, script, watcher=watcher)
    loop.carry_out(loop.run.plan.slots, {})
    loop.folder.close()
    ((replicate_id, pass_s, _),) = watcher.figures
    assert replicate_id == loop.run.plan.slots[0].replicate_id
    assert pass_s == 1.0


def test_time_that_a_first_process_alone_takes_is_not_expected_of_later_ones() -> None:
    slots = order_slots(["base"], ["current"], 4, seed=0)
    pace = Pace({"base": 100.0})
    profiled = make_replicate(slots[0], wall_s=50.0, import_s=30.0)
    pace.note(profiled)
    assert pace.slot_s("base") == 50.0
    pace.note(make_replicate(slots[1], wall_s=25.0, import_s=5.0))
    pace.note(make_replicate(slots[2], wall_s=25.0, import_s=5.0))
    assert pace.slot_s("base") == pytest.approx(25.0)
    assert pace.remaining_s(slots[3:]) == pytest.approx(25.0)


def test_screen_corrects_the_announced_time_after_the_first_block() -> None:
    text = io.StringIO()
    run = make_run()
    screen = ScreenWatcher(run, Console(file=text, width=160), "results/x")
    replicates = [make_replicate(slot) for slot in run.plan.slots if slot.block == 0]
    with screen:
        screen.first_figure(run.plan.slots[0], 2.0, 41.0)
        screen.block_ends(0, replicates, 130.0, 270.0)
        screen.block_ends(1, replicates, 260.0, 140.0)
    lines = text.getvalue()
    assert "first figure, after 41 s: 2 s per image" in lines
    assert lines.count("Took 2 min so far; by these times about 4 min more to measure") == 1
    assert "7 min in all" in lines
