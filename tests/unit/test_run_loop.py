"""The run loop and a sitting around it, with stand-ins for workers and clocks."""

import contextlib
import json
import signal
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import (
    BOOT,
    FakeBallast,
    FakeClock,
    FakeProbe,
    RecordingWatcher,
    as_event,
    largest_file,
    make_config,
    make_facts,
    make_gates,
    make_loop,
    make_report,
    make_run,
    make_sample,
    make_started,
    make_system,
    pass_event,
    play,
    worker_events,
)

from sdbench import machine
from sdbench.errors import StoreError
from sdbench.plan.config import Config
from sdbench.plan.read_config import load_config
from sdbench.privacy.redact_recorded import hidden_run, shown_run
from sdbench.process.events import Phase
from sdbench.process.executor import FakeExecutor, Report, Stop, Supervisor, Task
from sdbench.process.interrupt import InterruptFlag
from sdbench.records import Run, Session, Started
from sdbench.runner.loop import RunLoop, new_run_id
from sdbench.runner.resume import attempts_so_far, remaining_slots, restart_victims
from sdbench.runner.session import SessionResult, config_of, run_session, with_new_sitting
from sdbench.runs import LoadedRun, RunFolder, load_run

ONE_CASE = {"resolution": ["64x64"]}
POINT = b'{"t":1.5}\n'
"""A sample, as the executor keeps it."""


def carry_out(loop: RunLoop, attempts: dict[str, int] | None = None) -> str:
    """Run all of a loop's slots; how it ended."""
    try:
        return loop.carry_out(loop.run.plan.slots, {} if attempts is None else attempts)
    finally:
        loop.folder.close()


def tasks_of(loop: RunLoop) -> list[Task]:
    """The workers a loop has started."""
    assert isinstance(loop.executor, FakeExecutor)
    return loop.executor.tasks


def outcomes(folder: Path) -> list[str]:
    return [entry.outcome for entry in load_run(folder).attempts]


def sit_once(root: Path, run: Run, executor: FakeExecutor, *, retry: bool = False) -> SessionResult:
    """One sitting over a folder that is there already."""
    folder = RunFolder.open(root / run.run_id)
    try:
        return run_session(folder, run, executor, lambda _: RecordingWatcher(), retry=retry)
    finally:
        folder.close()


def begin(root: Path, config: Config | None = None) -> Run:
    """A run folder with nothing measured yet."""
    run = make_run(config)
    RunFolder.create(root, run).close()
    return run


# --- a whole run ---------------------------------------------------------------------------------


def test_every_slot_is_run_once_in_order_and_recorded(tmp_path: Path) -> None:
    loop = make_loop(tmp_path)
    assert carry_out(loop) == "complete"
    planned = [slot.replicate_id for slot in loop.run.plan.slots]
    assert [task.replicate_id for task in tasks_of(loop)] == planned
    loaded = load_run(loop.folder.path)
    assert [entry.replicate_id for entry in loaded.started] == planned
    assert [entry.replicate_id for entry in loaded.attempts] == planned
    assert {entry.outcome for entry in loaded.attempts} == {"ok"}
    assert loaded.warnings == []


def test_operations_are_counted_once_for_calls_of_the_same_shapes(tmp_path: Path) -> None:
    matrix = {"resolution": ["64x64"], "warmup": [False, True], "batching": ["loop", "batch"]}
    loop = make_loop(tmp_path, config=make_config(matrix=matrix, replicates=2, images=2))
    carry_out(loop)
    counting = [task.job["case"] for task in tasks_of(loop) if task.job["count_flops"]]
    assert sorted(case["batching"] for case in counting) == ["batch", "loop"]
    for entry in load_run(loop.folder.path).replicates:
        assert (entry.flops is not None) == (entry.block == 0), "where it was profiled"


def test_operations_that_an_earlier_run_counted_are_not_counted_again(tmp_path: Path) -> None:
    def counting(run_id: str, config: Config) -> list[bool]:
        loop = make_loop(tmp_path / run_id, config=config)
        carry_out(loop)
        assert all(entry.flops for entry in load_run(loop.folder.path).replicates)
        return [task.job["count_flops"] for task in tasks_of(loop)]

    config = make_config(matrix=ONE_CASE, replicates=1)
    assert counting("first", config) == [True]
    assert counting("second", config) == [False]
    assert counting("third", msgspec.structs.replace(config, steps=3)) == [True]


def test_damaged_count_is_counted_anew(tmp_path: Path, own_cache: Path) -> None:
    config = make_config(matrix=ONE_CASE, replicates=1)
    carry_out(make_loop(tmp_path / "first", config=config))
    (kept,) = (own_cache / "operations").iterdir()
    kept.write_text('{"text_encoder": -1}')
    loop = make_loop(tmp_path / "second", config=config)
    carry_out(loop)
    assert [task.job["count_flops"] for task in tasks_of(loop)] == [True]


def test_count_that_failed_is_tried_by_the_next_process(tmp_path: Path) -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        events = [event for event in worker_events(task) if event["event"] != "counted"]
        return play(task, supervise, events=events)

    config = make_config(matrix={"resolution": ["64x64"], "warmup": [False, True]})
    loop = make_loop(tmp_path, script, config=config)
    carry_out(loop)
    assert [task.job["count_flops"] for task in tasks_of(loop)[:2]] == [True, True]
    assert all(entry.flops is None for entry in load_run(loop.folder.path).replicates)


def test_started_line_is_on_disk_before_the_worker_runs(tmp_path: Path) -> None:
    seen: list[bool] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        in_flight = load_run(loop.folder.path).in_flight
        seen.append([entry.replicate_id for entry in in_flight] == [task.replicate_id])
        return play(task, supervise)

    loop = make_loop(tmp_path, script)
    carry_out(loop)
    assert seen == [True] * 4


def test_record_is_on_disk_before_the_next_worker_runs(tmp_path: Path) -> None:
    recorded: list[int] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        recorded.append(len(load_run(loop.folder.path).attempts))
        return play(task, supervise)

    loop = make_loop(tmp_path, script)
    carry_out(loop)
    assert recorded == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        ({"exit_code": -6}, "crashed"),
        ({"exit_code": -11}, "crashed"),
        ({"exit_code": -9}, "crashed"),
        ({"exit_code": -9, "killed_by_system": True}, "oom"),
        ({"exit_code": 1, "events": []}, "failed"),
        ({"unreadable_lines": 9, "events": [{"event": "nonsense"}]}, "failed"),
    ],
)
def test_run_goes_on_whatever_a_worker_does(
    tmp_path: Path, ending: dict[str, Any], outcome: str
) -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        return play(task, supervise, **ending) if task is first[0] else play(task, supervise)

    class Executor(FakeExecutor):
        def run(self, task: Task, supervise: Supervisor) -> Report:
            first.append(task)
            return super().run(task, supervise)

    first: list[Task] = []
    loop = make_loop(tmp_path)
    loop.executor = Executor(script)
    assert carry_out(loop) == "complete"
    assert outcomes(loop.folder.path) == [outcome, "ok", "ok", "ok"]


def test_task_says_what_to_run(tmp_path: Path) -> None:
    config = make_config(
        matrix=ONE_CASE,
        timeout_s=77,
        seed=5,
        prompts=["a cat", "a dog"],
        arm=[{"name": "old", "env": {"PYTORCH_X": "1"}, "telemetry": False}, {"name": "new"}],
    )
    loop = make_loop(tmp_path, config=config)
    carry_out(loop)
    first, second = tasks_of(loop)[:2]
    assert (first.environment["PYTORCH_X"], first.telemetry) == ("1", False)
    assert "PYTORCH_X" not in second.environment
    assert second.telemetry
    assert first.timeout_s == 77
    assert first.job["prompts"] == ["a cat", "a dog"]
    assert (first.job["seed"], first.job["steps"], first.job["passes"]) == (5, 2, 2)
    assert (first.job["case"]["width"], first.job["case"]["height"]) == (64, 64)
    assert Path(first.job["artifacts"]) == loop.folder.path.absolute()
    json.dumps(first.job, allow_nan=False)  # it goes through a pipe


def test_profiling_pass_is_made_once_a_case_and_arm(tmp_path: Path) -> None:
    loop = make_loop(tmp_path)
    carry_out(loop)
    profiled = [task.replicate_id for task in tasks_of(loop) if task.job["profile"]]
    assert profiled == [slot.replicate_id for slot in loop.run.plan.slots if slot.block == 0]


def test_timeout_follows_what_was_measured(tmp_path: Path) -> None:
    loop = make_loop(
        tmp_path,
        lambda task, supervise: play(task, supervise, wall_s=200.0),
        config=make_config(matrix=ONE_CASE),
        estimate_s=10.0,
    )
    carry_out(loop)
    # The first process made a profiling pass of 1 s besides.
    assert [task.timeout_s for task in tasks_of(loop)] == [300.0, 5 * (200.0 - 1.0)]


def test_state_of_the_machine_is_noted_before_each_process(tmp_path: Path) -> None:
    loop = make_loop(tmp_path)
    carry_out(loop)
    gate = load_run(loop.folder.path).attempts[0].gate
    assert gate.available_bytes == 4_000_000_000
    assert gate.swap_used_bytes == 0
    assert gate.load_1min is not None
    assert gate.free_disk_bytes is not None
    assert gate.free_disk_bytes > 0


def test_first_process_of_a_stack_since_the_machine_started_is_marked(tmp_path: Path) -> None:
    def marks(folder: str, boot_id: str) -> list[bool]:
        loop = make_loop(tmp_path / folder, boot_id=boot_id)
        carry_out(loop)
        return [entry.cold_cache for entry in load_run(loop.folder.path).attempts]

    assert marks("one", "boot-1") == [True, False, False, False]
    assert marks("two", "boot-1") == [False] * 4
    assert marks("three", "boot-2") == [True, False, False, False]


def test_cache_that_cannot_be_written_marks_the_first_process_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SDBENCH_CACHE", str(tmp_path / "file"))
    loop = make_loop(tmp_path)
    carry_out(loop)
    marks = [entry.cold_cache for entry in load_run(loop.folder.path).attempts]
    assert marks == [True, False, False, False]


def test_timeline_is_kept_beside_the_records(tmp_path: Path) -> None:
    loop = make_loop(
        tmp_path, lambda task, supervise: play(task, supervise, timeline=[POINT, POINT])
    )
    carry_out(loop)
    kept = sorted(path.name for path in (loop.folder.path / "telemetry").iterdir())
    assert kept == sorted(f"{slot.replicate_id}.1.jsonl" for slot in loop.run.plan.slots)
    assert (loop.folder.path / "telemetry" / kept[0]).read_bytes() == POINT + POINT


def test_timeline_that_cannot_be_kept_costs_no_record(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, lambda task, supervise: play(task, supervise, timeline=[POINT]))
    (loop.folder.path / "telemetry").write_text("in the way")
    assert carry_out(loop) == "complete"
    assert outcomes(loop.folder.path) == ["ok"] * 4


def test_watcher_is_told_of_slots_and_blocks(tmp_path: Path) -> None:
    watcher = RecordingWatcher()
    loop = make_loop(tmp_path, watcher=watcher)
    carry_out(loop)
    planned = [slot.replicate_id for slot in loop.run.plan.slots]
    assert watcher.begun == planned
    assert [entry.replicate_id for entry in watcher.ended] == planned
    assert watcher.blocks == [(0, planned[:2]), (1, planned)]


def test_watcher_hears_the_phase_and_the_time_left(tmp_path: Path) -> None:
    watcher, clock = RecordingWatcher(), FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        supervise(Phase(name="load"), None)
        clock.advance(4.0)
        supervise(None, None)
        return play(task, supervise, wall_s=10.0)

    loop = make_loop(tmp_path, script, watcher=watcher, clock=clock, estimate_s=10.0)
    carry_out(loop)
    assert watcher.ticks[0] == ("load", 36.0)


def test_time_left_grows_where_the_first_process_takes_longer_than_was_thought(
    tmp_path: Path,
) -> None:
    watcher, clock = RecordingWatcher(), FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        for _ in range(3):
            clock.advance(10.0)
            supervise(None, None)
        return play(task, supervise, wall_s=30.0)

    carry_out(make_loop(tmp_path, script, watcher=watcher, clock=clock, estimate_s=10.0))
    # Three more processes, first thought to take 10 s each.
    assert [left for _, left in watcher.ticks[:3]] == [30.0, 60.0, 90.0]


# --- sleep, guard, budget, interruption ----------------------------------------------------------


def test_process_during_which_the_machine_slept_is_repeated_once_and_both_are_kept(
    tmp_path: Path,
) -> None:
    loop = make_loop(
        tmp_path,
        lambda task, supervise: play(task, supervise, slept=len(tasks_of(loop)) <= 2),
        config=make_config(matrix=ONE_CASE),
    )
    assert carry_out(loop) == "complete"
    kept = [
        (entry.block, entry.attempt, entry.slept) for entry in load_run(loop.folder.path).attempts
    ]
    assert kept == [(0, 1, True), (0, 2, True), (1, 1, False)]


def test_first_look_counts_a_repeated_process_once(tmp_path: Path) -> None:
    watcher = RecordingWatcher()
    loop = make_loop(
        tmp_path,
        lambda task, supervise: play(task, supervise, slept=len(tasks_of(loop)) == 1),
        config=make_config(matrix=ONE_CASE),
        watcher=watcher,
    )
    carry_out(loop)
    assert [len(ids) for _, ids in watcher.blocks] == [1, 2]


def test_guard_stops_the_worker_and_the_run_goes_on(tmp_path: Path) -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        if len(tasks_of(loop)) > 1:
            return play(task, supervise)
        events = worker_events(task)[:6]
        for event in events:
            assert supervise(as_event(event), None) is None
        assert supervise(None, make_sample(swap=0)) is None
        stop = supervise(None, make_sample(swap=5_000_000_000))
        return make_report(events, stop=stop, exit_code=-15)

    loop = make_loop(tmp_path, script)
    assert carry_out(loop) == "complete"
    first = load_run(loop.folder.path).attempts[0]
    assert first.outcome == "guard"
    assert "swap grew by 5.0 GB" in (first.reason or "")
    assert outcomes(loop.folder.path)[1:] == ["ok"] * 3


def test_guard_begins_anew_with_each_worker(tmp_path: Path) -> None:
    stops: list[object] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        # Each worker starts at what the last one left: no growth of its own.
        stops.append(supervise(None, make_sample(swap=len(tasks_of(loop)) * 5_000_000_000)))
        return play(task, supervise)

    loop = make_loop(tmp_path, script)
    carry_out(loop)
    assert stops == [None] * 4


# --- gates, recovery, wear, ballast ---------------------------------------------------------------


def test_process_starts_only_after_the_wait_and_its_record_says_how_long(tmp_path: Path) -> None:
    clock, watcher = FakeClock(), RecordingWatcher()
    looks = [make_facts(thermal="heavy")] * 3 + [make_facts()]
    gates = make_gates(looks, clock, watcher, wait_for=["thermal"])
    loop = make_loop(tmp_path, clock=clock, watcher=watcher, gates=gates)
    assert carry_out(loop) == "complete"
    records = load_run(loop.folder.path).attempts
    assert [entry.gate.waited_s for entry in records] == [3.0, 0.0, 0.0, 0.0]
    assert [entry.gate.flags for entry in records] == [[]] * 4
    assert len(watcher.waited) == 3


def test_machine_that_never_gets_ready_is_measured_and_flagged(tmp_path: Path) -> None:
    clock = FakeClock()
    gates = make_gates([make_facts(thermal="heavy")], clock, wait_for=["thermal"], max_wait_s=60)
    loop = make_loop(tmp_path, clock=clock, gates=gates)
    assert carry_out(loop) == "complete"
    records = load_run(loop.folder.path).attempts
    assert [entry.gate.waited_s for entry in records] == [60.0, 0.0, 0.0, 0.0]
    assert [entry.gate.flags for entry in records] == [["thermal"]] * 4


def test_interruption_during_a_wait_starts_nothing(tmp_path: Path) -> None:
    clock = FakeClock()

    def interrupted() -> bool:
        return clock.now > 1010.0

    gates = make_gates(
        [make_facts(thermal="heavy")], clock, interrupted=interrupted, wait_for=["thermal"]
    )
    loop = make_loop(tmp_path, clock=clock, gates=gates, interrupted=interrupted)
    assert carry_out(loop) == "interrupted"
    assert tasks_of(loop) == []
    assert load_run(loop.folder.path).started == []


def test_wait_counts_into_the_budget_and_leaves_the_process_its_time(tmp_path: Path) -> None:
    clock = FakeClock()
    gates = make_gates([make_facts(thermal="heavy")], clock, wait_for=["thermal"], max_wait_s=600)
    loop = make_loop(
        tmp_path,
        lambda task, supervise: play(task, supervise, clock, pass_s=6.0, wall_s=20.0),
        config=make_config(matrix=ONE_CASE, replicates=2, max_minutes=1),
        clock=clock,
        gates=gates,
        estimate_s=20.0,
    )
    assert carry_out(loop) == "budget"  # 40 s of waiting and 18 of the first process
    (record,) = load_run(loop.folder.path).attempts
    assert (record.outcome, record.gate.waited_s) == ("ok", 40.0)


def after_a_guard_stop(task: Task, supervise: Supervisor, first: str) -> Report:
    if task.replicate_id != first:
        return play(task, supervise)
    stop = supervise(None, make_sample(swap=0)) or supervise(None, make_sample(swap=5_000_000_000))
    return make_report([], stop=stop, exit_code=-15)


def test_after_the_guard_memory_recovers_before_the_next_case(tmp_path: Path) -> None:
    clock, watcher = FakeClock(), RecordingWatcher()
    low = make_facts(available_bytes=100_000_000)
    gates = make_gates([make_facts(), low, low, make_facts()], clock, watcher)
    loop = make_loop(
        tmp_path,
        lambda task, supervise: after_a_guard_stop(
            task, supervise, loop.run.plan.slots[0].replicate_id
        ),
        clock=clock,
        watcher=watcher,
        gates=gates,
    )
    assert carry_out(loop) == "complete"
    assert outcomes(loop.folder.path) == ["guard", "ok", "ok", "ok"]
    assert [reasons for reasons, _, _ in watcher.waited] == [["recovery"], ["recovery"]]


def test_nothing_recovers_for_when_the_last_case_was_stopped(tmp_path: Path) -> None:
    watcher, clock = RecordingWatcher(), FakeClock()
    gates = make_gates([make_facts(), make_facts(available_bytes=1)], clock, watcher)
    loop = make_loop(
        tmp_path,
        lambda task, supervise: after_a_guard_stop(task, supervise, task.replicate_id),
        config=make_config(matrix=ONE_CASE, replicates=1),
        clock=clock,
        watcher=watcher,
        gates=gates,
    )
    assert carry_out(loop) == "complete"
    assert watcher.waited == []


def test_too_much_written_to_swap_ends_the_sitting_and_the_next_goes_on(tmp_path: Path) -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        written = 15_000_000_000 * len(tasks_of(loop))
        stop = supervise(None, make_sample(swapped_out=written))
        return make_report([], stop=stop, exit_code=-15) if stop else play(task, supervise)

    loop = make_loop(tmp_path, script)
    assert carry_out(loop) == "swapped-out"
    loaded = load_run(loop.folder.path)
    assert [entry.outcome for entry in loaded.attempts] == ["ok", "ok", "guard"]
    assert "30.0 GB were written to swap" in (loaded.attempts[2].reason or "")
    assert "guard.max_swapped_out_bytes" in (loaded.attempts[2].reason or "")
    assert len(remaining_slots(loaded, retry=False)) == 1


def test_what_is_written_to_swap_is_recorded_for_each_process(tmp_path: Path) -> None:
    counters = [make_system(swapped_out=size) for size in (10, 17, 20, 20, 20, 20, 20, 21)]
    loop = make_loop(tmp_path, probe=FakeProbe(systems=counters))
    carry_out(loop)
    records = load_run(loop.folder.path).attempts
    assert [entry.swapped_out_bytes for entry in records] == [7, 0, 0, 1]


def test_writes_to_swap_that_the_system_does_not_tell_are_unknown(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, probe=FakeProbe(systems=[make_system(swapped_out=None)]))
    carry_out(loop)
    assert load_run(loop.folder.path).attempts[0].swapped_out_bytes is None


def ballasted(**fields: Any) -> Any:
    """One case with and without memory held, once."""
    return make_config(matrix=ONE_CASE, replicates=1, pressure={"hold_bytes": [0, 2e9]}, **fields)


def test_memory_is_held_while_the_workers_of_its_arm_run(tmp_path: Path) -> None:
    ballasts: list[FakeBallast] = []

    def open_ballast(hold_bytes: int) -> FakeBallast:
        ballasts.append(FakeBallast(hold_bytes))
        return ballasts[-1]

    held: dict[str, list[bool]] = {}

    def script(task: Task, supervise: Supervisor) -> Report:
        held[task.replicate_id] = [ballast.held for ballast in ballasts]
        return play(task, supervise)

    loop = make_loop(tmp_path, script, config=ballasted(), open_ballast=open_ballast)
    assert carry_out(loop) == "complete"
    (slot,) = [slot for slot in loop.run.plan.slots if slot.arm == "current+hold-2GB"]
    assert held[slot.replicate_id] == [True]
    assert [ballast.hold_bytes for ballast in ballasts] == [2_000_000_000]
    assert [ballast.held for ballast in ballasts] == [False]


def test_memory_that_the_guard_forbids_to_hold_makes_the_case_guard(tmp_path: Path) -> None:
    stop = Stop("guard", "swap grew by 3.0 GB, when 1.5 GB of 2.0 GB were held")
    loop = make_loop(
        tmp_path, config=ballasted(), open_ballast=lambda size: FakeBallast(size, stop)
    )
    assert carry_out(loop) == "complete"
    by_arm = {entry.arm: entry for entry in load_run(loop.folder.path).attempts}
    assert by_arm["current"].outcome == "ok"
    assert by_arm["current+hold-2GB"].outcome == "guard"
    assert by_arm["current+hold-2GB"].reason == stop.reason
    assert len(tasks_of(loop)) == 1  # no worker was started beside it


def test_ballast_that_dies_makes_the_case_failed(tmp_path: Path) -> None:
    stop = Stop("ballast", "2.0 GB could not be held")
    loop = make_loop(
        tmp_path, config=ballasted(), open_ballast=lambda size: FakeBallast(size, stop)
    )
    carry_out(loop)
    by_arm = {entry.arm: entry.outcome for entry in load_run(loop.folder.path).attempts}
    assert by_arm == {"current": "ok", "current+hold-2GB": "failed"}


def test_ballast_is_let_go_of_at_once_when_the_guard_acts(tmp_path: Path) -> None:
    ballast = FakeBallast()
    released: list[int] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        if task.replicate_id.split(".")[1] == "current":
            return play(task, supervise)
        supervise(None, make_sample(swap=0))
        stop = supervise(None, make_sample(swap=5_000_000_000))
        released.append(ballast.released)  # before the worker has ended
        return make_report([], stop=stop, exit_code=-15)

    loop = make_loop(tmp_path, script, config=ballasted(), open_ballast=lambda size: ballast)
    carry_out(loop)
    assert released == [1]


def test_ballast_is_let_go_of_when_the_executor_fails(tmp_path: Path) -> None:
    ballast = FakeBallast()

    def script(task: Task, supervise: Supervisor) -> Report:
        raise KeyboardInterrupt

    config = make_config(matrix=ONE_CASE, replicates=1, pressure={"hold_bytes": [2e9]})
    loop = make_loop(tmp_path, script, config=config, open_ballast=lambda size: ballast)
    with pytest.raises(KeyboardInterrupt):
        carry_out(loop)
    assert not ballast.held and ballast.released


def test_process_that_would_end_after_the_budget_is_not_started(tmp_path: Path) -> None:
    clock = FakeClock()
    loop = make_loop(
        tmp_path,
        lambda task, supervise: play(task, supervise, clock, pass_s=12.5, wall_s=25.0),
        config=make_config(matrix=ONE_CASE, replicates=5, max_minutes=1.5),
        clock=clock,
        estimate_s=25.0,
    )
    assert carry_out(loop) == "budget"
    # The first ends at 37.5 s (with its profiling pass), the third at 87.5 s; 90 s are allowed.
    assert outcomes(loop.folder.path) == ["ok"] * 3
    assert load_run(loop.folder.path).in_flight == []


def test_first_process_gets_its_chance_whatever_was_estimated(tmp_path: Path) -> None:
    loop = make_loop(
        tmp_path, config=make_config(matrix=ONE_CASE, max_minutes=1), estimate_s=1000.0
    )
    assert carry_out(loop) == "complete"


def test_first_process_of_a_resumed_sitting_gets_its_chance_too(tmp_path: Path) -> None:
    config = make_config(matrix=ONE_CASE, max_minutes=1)
    loop = make_loop(tmp_path, config=config, estimate_s=65.0)
    loop.replicates.append(load_first_replicate(tmp_path / "other", config))
    carry_out(loop)
    assert len(tasks_of(loop)) > 0


def load_first_replicate(root: Path, config: Config) -> Any:
    """A replicate as an earlier sitting left it."""
    loop = make_loop(root, config=config)
    carry_out(loop)
    return load_run(loop.folder.path).attempts[0]


def test_no_budget_means_no_limit(tmp_path: Path) -> None:
    clock = FakeClock()
    loop = make_loop(
        tmp_path, lambda task, supervise: play(task, supervise, clock, pass_s=1e6), clock=clock
    )
    assert carry_out(loop) == "complete"
    assert outcomes(loop.folder.path) == ["ok"] * 4


def test_case_that_projects_beyond_the_budget_is_skipped_with_the_projection(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    loop = make_loop(
        tmp_path,
        lambda task, supervise: play(task, supervise, clock, pass_s=30.0),
        config=make_config(matrix=ONE_CASE, passes=10, replicates=1, max_minutes=1),
        clock=clock,
    )
    assert carry_out(loop) == "complete"
    (record,) = load_run(loop.folder.path).attempts
    assert (record.outcome, record.projected_s) == ("skipped", 300.0)
    assert "would take 300 s, more than the run's budget of 1 minutes" in (record.reason or "")
    assert len(record.passes) == 1


def test_process_nearly_done_may_exceed_the_budget_a_little(tmp_path: Path) -> None:
    clock = FakeClock()
    loop = make_loop(
        tmp_path,
        lambda task, supervise: play(task, supervise, clock, pass_s=32.0),
        config=make_config(matrix=ONE_CASE, passes=2, replicates=1, max_minutes=1),
        clock=clock,
    )
    carry_out(loop)  # 64 s of passes within 66 s; the profiling pass then ends at 96 s
    (record,) = load_run(loop.folder.path).attempts
    assert len(record.of_kind("measured")) == 2


def test_worker_that_never_ends_its_first_pass_is_stopped_by_the_budget(tmp_path: Path) -> None:
    clock = FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        for _ in range(1000):
            clock.advance(1.0)
            stop = supervise(None, None)
            if stop is not None:
                return make_report([], stop=stop, exit_code=-15, wall_s=clock.now - 1000.0)
        raise AssertionError("never stopped")

    config = make_config(matrix=ONE_CASE, replicates=1, max_minutes=1)
    loop = make_loop(tmp_path, script, config=config, clock=clock)
    carry_out(loop)
    (record,) = load_run(loop.folder.path).attempts
    assert (record.outcome, record.wall_s) == ("skipped", 67.0)
    assert "would take 67 s, more than the run's budget of 1 minutes" in (record.reason or "")
    assert record.projected_s == 67.0


def test_worker_that_came_too_late_is_left_for_the_next_sitting(tmp_path: Path) -> None:
    clock = FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        for _ in range(40):
            clock.advance(1.0)
            stop = supervise(None, None)
            if stop is not None:
                return make_report([], stop=stop, exit_code=-15)
        return play(task, supervise, pass_s=1e-6)

    config = make_config(matrix=ONE_CASE, replicates=2, max_minutes=1)
    loop = make_loop(tmp_path, script, config=config, clock=clock)
    assert carry_out(loop) == "budget"
    loaded = load_run(loop.folder.path)
    assert [entry.outcome for entry in loaded.attempts] == ["ok"]
    assert len(loaded.withdrawn) == 1 and not loaded.in_flight


@pytest.mark.parametrize(
    "changed", [{"duration_s": None}, {"duration_s": "long"}, {"index": "first"}]
)
def test_rubbish_for_a_pass_does_not_end_a_run_with_a_budget(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    rubbish = {**pass_event(), **changed}

    def script(task: Task, supervise: Supervisor) -> Report:
        assert as_event(rubbish) is None  # so the supervisor never hears of it
        supervise(None, None)
        return make_report([rubbish], exit_code=1)

    loop = make_loop(tmp_path, script, config=make_config(matrix=ONE_CASE, max_minutes=5))
    assert carry_out(loop) == "complete"
    attempts = load_run(loop.folder.path).attempts
    assert [(entry.outcome, entry.unreadable_lines) for entry in attempts] == [("failed", 1)] * 2


def test_huge_index_does_not_end_a_run_with_a_budget(tmp_path: Path) -> None:
    rubbish = pass_event(index=-(10**400))
    config = make_config(matrix=ONE_CASE, max_minutes=5)
    loop = make_loop(
        tmp_path, lambda task, supervise: play(task, supervise, events=[rubbish]), config=config
    )
    assert carry_out(loop) == "complete"


def test_interruption_between_processes_starts_no_other(tmp_path: Path) -> None:
    loop = make_loop(tmp_path, interrupted=lambda: True)
    assert carry_out(loop) == "interrupted"
    assert tasks_of(loop) == []


def test_interruption_stops_the_worker_and_keeps_what_was_measured(tmp_path: Path) -> None:
    requested: list[bool] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        if len(tasks_of(loop)) == 2:
            requested.append(True)
        return play(task, supervise)

    loop = make_loop(tmp_path, script, interrupted=lambda: bool(requested))
    assert carry_out(loop) == "interrupted"
    loaded = load_run(loop.folder.path)
    assert [entry.outcome for entry in loaded.attempts] == ["ok"]
    assert len(tasks_of(loop)) == 2
    assert len(remaining_slots(loaded, retry=False)) == 3


def test_worker_that_cannot_be_ended_ends_the_sitting(tmp_path: Path) -> None:
    loop = make_loop(
        tmp_path,
        lambda task, supervise: make_report([], exit_code=None, could_not_be_ended=True),
    )
    assert carry_out(loop) == "stuck"
    assert len(tasks_of(loop)) == 1
    assert len(load_run(loop.folder.path).attempts) == 1


def test_worker_that_cannot_be_ended_is_not_repeated_for_sleep(tmp_path: Path) -> None:
    loop = make_loop(
        tmp_path,
        lambda task, supervise: make_report(
            [], exit_code=None, could_not_be_ended=True, slept=True
        ),
    )
    carry_out(loop)
    assert len(tasks_of(loop)) == 1


def test_disk_that_is_full_ends_the_sitting_and_keeps_the_rest(tmp_path: Path) -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        if len(tasks_of(loop)) == 2:
            size = (loop.folder.path / "records.jsonl").stat().st_size
            disk.enter_context(largest_file(size + 10))
        return play(task, supervise)

    loop = make_loop(tmp_path, script)
    with (
        contextlib.ExitStack() as disk,
        pytest.raises(StoreError, match="earlier measurements are kept"),
    ):
        carry_out(loop)
    assert outcomes(loop.folder.path) == ["ok"]


# --- resume --------------------------------------------------------------------------------------


def test_resume_runs_what_is_left_and_nothing_twice(tmp_path: Path) -> None:
    run = begin(tmp_path)
    calls: list[str] = []

    def dies_in_the_third(task: Task, supervise: Supervisor) -> Report:
        calls.append(task.replicate_id)
        if len(calls) == 4:  # the ceilings are measured after the first, and once a run
            raise KeyboardInterrupt  # as kill -9 does, it leaves no record
        return play(task, supervise)

    with pytest.raises(KeyboardInterrupt):
        sit_once(tmp_path, run, FakeExecutor(dies_in_the_third))
    resumed = FakeExecutor(play)
    sat = sit_once(tmp_path, run, resumed)

    planned = [slot.replicate_id for slot in run.plan.slots]
    assert calls == [planned[0], "ceilings", *planned[1:3]]
    assert [task.replicate_id for task in resumed.tasks] == planned[2:]
    assert [(e.replicate_id, e.attempt) for e in load_run(tmp_path / run.run_id).attempts] == [
        (planned[0], 1),
        (planned[1], 1),
        (planned[2], 2),
        (planned[3], 1),
    ]
    assert (sat.end, sat.summary.exit_code, sat.summary.complete) == ("complete", 0, True)


def test_resume_of_a_complete_run_runs_nothing(tmp_path: Path) -> None:
    run = begin(tmp_path)
    sit_once(tmp_path, run, FakeExecutor(play))
    again = FakeExecutor(play)
    assert sit_once(tmp_path, run, again).end == "complete"
    assert again.tasks == []


def test_crashed_process_is_not_run_again_unless_asked(tmp_path: Path) -> None:
    run = begin(tmp_path)

    def first_crashes(task: Task, supervise: Supervisor) -> Report:
        crash = task.replicate_id == run.plan.slots[0].replicate_id
        return play(task, supervise, exit_code=-11 if crash else 0)

    assert sit_once(tmp_path, run, FakeExecutor(first_crashes)).summary.exit_code == 1
    untouched = FakeExecutor(play)
    sit_once(tmp_path, run, untouched)
    assert untouched.tasks == []
    retried = FakeExecutor(play)
    sat = sit_once(tmp_path, run, retried, retry=True)
    assert [task.replicate_id for task in retried.tasks] == [run.plan.slots[0].replicate_id]
    assert [entry.attempt for entry in load_run(tmp_path / run.run_id).attempts] == [1, 1, 1, 1, 2]
    assert sat.summary.exit_code == 0


def test_what_was_measured_before_informs_the_time_left(tmp_path: Path) -> None:
    run = begin(tmp_path)
    sit_once(tmp_path, run, FakeExecutor(lambda task, s: play(task, s, wall_s=50.0)))
    sat = sit_once(tmp_path, run, FakeExecutor(play))
    assert sat.pace.slot_s(run.plan.slots[0].case_id) == 50.0 - 1.0 / 2  # of two, one profiled


def loaded_with(*records: Any) -> LoadedRun:
    started = [record for record in records if isinstance(record, Started)]
    ended = [record for record in records if not isinstance(record, Started)]
    return LoadedRun(Path("unused"), make_run(), started, ended)


def test_process_under_which_the_machine_restarted_is_a_crash(tmp_path: Path) -> None:
    slot = make_run().plan.slots[1]
    (victim,) = restart_victims(loaded_with(make_started(slot, 3, "before")), "now")
    assert (victim.replicate_id, victim.attempt) == (slot.replicate_id, 3)
    assert victim.outcome == "crashed"
    assert (victim.reason or "").startswith("machine-restarted")


@pytest.mark.parametrize(("before", "now"), [("same", "same"), (None, "now"), ("before", None)])
def test_without_a_known_restart_nobody_is_blamed(before: str | None, now: str | None) -> None:
    assert restart_victims(loaded_with(make_started(boot_id=before)), now) == []


@pytest.mark.skipif(machine.boot_id() is None, reason="this system has no boot id")
def test_resume_after_a_restart_does_not_walk_into_it_again(tmp_path: Path) -> None:
    run = begin(tmp_path)
    victim = run.plan.slots[0]
    folder = RunFolder.open(tmp_path / run.run_id)
    folder.append(make_started(victim, boot_id="before the restart"))
    folder.close()

    executor = FakeExecutor(play)
    sat = sit_once(tmp_path, run, executor)
    # Not in this block, and not in a later one either: what restarted it once may do so again.
    same = {slot.replicate_id for slot in run.plan.slots if slot.case_id == victim.case_id}
    assert not same & {task.replicate_id for task in executor.tasks}
    assert len(executor.tasks) == 1 + len(run.plan.slots) - len(same)  # the ceilings before all
    assert sat.summary.exit_code == 1 and sat.summary.complete

    retried = FakeExecutor(play)
    assert sit_once(tmp_path, run, retried, retry=True).summary.exit_code == 0
    assert {task.replicate_id for task in retried.tasks} == same


@pytest.mark.skipif(machine.boot_id() is None, reason="this system has no boot id")
def test_restart_long_after_a_good_repeat_does_not_undo_it(tmp_path: Path) -> None:
    run = begin(tmp_path)
    folder = RunFolder.open(tmp_path / run.run_id)
    slots = run.plan.slots
    folder.append(make_started(slots[0], 1, "first boot"))  # then the parent was killed
    loop = make_loop(tmp_path / "elsewhere", boot_id="first boot")
    assert carry_out(loop, {slots[0].replicate_id: 1}) == "complete"
    for record in load_run(loop.folder.path).attempts:
        folder.append(make_started(slots[record.slot], record.attempt, "first boot"))
        folder.append(record)
    folder.close()

    sat = sit_once(tmp_path, run, FakeExecutor(play))  # after a restart
    assert sat.summary.outcomes == {"ok": 2}


@pytest.mark.skipif(machine.boot_id() is None, reason="this system has no boot id")
def test_restart_after_a_polite_interruption_is_no_crash(tmp_path: Path) -> None:
    run = begin(tmp_path)
    loop = make_loop(
        tmp_path / "elsewhere",
        boot_id="before the restart",
        interrupted=lambda: bool(tasks_of(loop)),
    )
    assert carry_out(loop) == "interrupted"
    (tmp_path / run.run_id / "records.jsonl").write_bytes(
        (loop.folder.path / "records.jsonl").read_bytes()
    )
    assert sit_once(tmp_path, run, FakeExecutor(play)).summary.exit_code == 0


def test_attempts_are_counted_by_what_was_started() -> None:
    first, second = make_run().plan.slots[:2]
    loaded = loaded_with(make_started(first, 1), make_started(first, 2), make_started(second, 1))
    assert attempts_so_far(loaded) == {first.replicate_id: 2, second.replicate_id: 1}


@pytest.mark.parametrize("name", ["quick", "default", "mps-docs", "full"])
def test_configuration_comes_back_from_a_run_as_it_was(name: str) -> None:
    config = load_config(name)
    run = make_run(config)
    decoded = msgspec.json.decode(msgspec.json.encode(run), type=Run)
    assert config_of(decoded) == config


def test_configuration_with_everything_in_it_comes_back_too() -> None:
    config = make_config(
        case=[{"warmup": True}, {"resolution": "64x64"}],
        exclude=[{"dtype": "float16"}],
        arm=[{"name": "a", "env": {"X": "1"}}, {"name": "b", "telemetry": False}],
        guard={"max_swap_growth_bytes": 1e9, "min_free_disk_bytes": 0},
    )
    decoded = msgspec.json.decode(msgspec.json.encode(make_run(config)), type=Run)
    assert config_of(decoded) == config


def test_configuration_with_pressure_comes_back_from_what_was_written_down() -> None:
    config = make_config(
        arm=[{"name": "a", "env": {"X": "1"}}, {"name": "b"}], pressure={"hold_bytes": [0, 5e7]}
    )
    run = make_run(config)
    assert [arm.name for arm in run.plan.arms][1] == "a+hold-0.05GB"
    for written in (run, hidden_run(run)):  # as it begins, and as resume finds it
        assert config_of(shown_run(written)) == config


def test_run_ids_sort_by_time_and_do_not_collide() -> None:
    early = datetime(2026, 11, 22, 4, 19, 0, tzinfo=timezone.utc)
    late = datetime(2026, 11, 22, 4, 19, 1, tzinfo=timezone.utc)
    assert new_run_id("quick", early, b"\x1f\x2e") == "20261122-041900-quick-1f2e"
    assert new_run_id("quick", early, b"\xff\xff") < new_run_id("quick", late, b"\x00\x00")
    assert new_run_id("quick", early, b"\x00\x01") != new_run_id("quick", early, b"\x00\x02")


# --- Ctrl-C --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_asks_and_the_second_insists(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with InterruptFlag() as flag:
        assert not flag.requested
        signal.raise_signal(number)
        assert flag.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_patient_flag_takes_a_second_signal_as_the_first() -> None:
    with InterruptFlag(patient=True) as flag:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert flag.requested


def test_flag_off_the_main_thread_changes_no_handler() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with InterruptFlag() as flag:
            seen.append((flag.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_handlers_are_restored_when_the_run_fails() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="x"), InterruptFlag():
        raise ValueError("x")
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupted_sitting_says_so_and_is_not_complete(tmp_path: Path) -> None:
    run = begin(tmp_path)

    def script(task: Task, supervise: Supervisor) -> Report:
        signal.raise_signal(signal.SIGINT)
        return play(task, supervise)

    sat = sit_once(tmp_path, run, FakeExecutor(script))
    assert (sat.end, sat.summary.complete) == ("interrupted", False)


def interrupted_in(*replicate_ids: str) -> tuple[FakeExecutor, list[Report]]:
    """Workers that the user interrupts in one of these tasks, and the reports of all."""
    reports: list[Report] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        if task.replicate_id in replicate_ids:
            signal.raise_signal(signal.SIGINT)
        reports.append(play(task, supervise))
        return reports[-1]

    return FakeExecutor(script), reports


def test_interruption_during_the_check_ends_its_worker_and_records_nothing(
    tmp_path: Path,
) -> None:
    run = make_run(make_config(device="mps"), device="mps")
    RunFolder.create(tmp_path, run).close()
    executor, reports = interrupted_in("quick-check")
    sat = sit_once(tmp_path, run, executor)
    assert sat.end == "interrupted"
    assert reports[0].stop == Stop("interrupted", "stopped by the user")
    loaded = load_run(tmp_path / run.run_id)
    assert (loaded.checks, loaded.attempts) == ([], [])


def test_interruption_while_limits_are_measured_records_none_of_them(tmp_path: Path) -> None:
    run = begin(tmp_path, make_config(arm=[{"name": "old"}, {"name": "new"}]))
    executor, reports = interrupted_in("ceilings")
    sat = sit_once(tmp_path, run, executor)
    assert sat.end == "interrupted"
    (report,) = reports
    assert report.stop is not None and report.stop.kind == "interrupted"
    loaded = load_run(tmp_path / run.run_id)
    assert (loaded.ceilings, loaded.attempts) == ([], [])


def test_sitting_is_noted_with_its_clocks() -> None:
    run = with_new_sitting(make_run())
    assert [type(sitting) for sitting in run.sittings] == [Session, Session]
    assert run.sittings[0].boot_id == BOOT
    assert run.sittings[1].boot_id == machine.boot_id()
