"""A run on several devices, with workers that are stood in for."""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from device_doubles import pinned
from factories import (
    RecordingWatcher,
    make_config,
    make_replicate,
    make_run,
    make_slot,
    play,
)

from sdbench.devices.assignment import fails_alone
from sdbench.devices.beside import PAIRS
from sdbench.devices.host import Device
from sdbench.devices.lanes import PinnedExecutor
from sdbench.devices.measuring import measuring
from sdbench.errors import StoreError
from sdbench.plan.config import Config
from sdbench.process.executor import Executor, FakeExecutor, Report, Stop, Supervisor, Task
from sdbench.records import Record, Replicate
from sdbench.runner.session import SessionResult, run_session
from sdbench.runs import RunFolder, load_run

Script = Callable[[str, Task, Supervisor], Report | None]


class Workers:
    """Executors of several devices; ``script`` may do something else than end well."""

    def __init__(self, script: Script | None = None) -> None:
        self.tasks: list[tuple[str, Task]] = []
        self._script = script
        self._draw = random.Random(1)

    def open(self, device: Device) -> Executor:
        def run(task: Task, supervise: Supervisor) -> Report:
            self.tasks.append((device.name, task))
            found = None if self._script is None else self._script(device.name, task, supervise)
            if found is not None:
                return found
            return play(task, supervise, pass_s=1.0 + self._draw.uniform(0.0, 0.001))

        return FakeExecutor(run)


def sit(
    root: Path, workers: Workers, config: Config | None = None, count: int = 2, **how: Any
) -> SessionResult:
    """A session on so many devices, of a new run or of the one that is there."""
    devices = pinned(count)
    run = make_run(config or plan_of(8), devices=[device.record for device in devices])
    path = root / run.run_id
    folder = RunFolder.open(path) if path.exists() else RunFolder.create(root, run)
    try:
        return run_session(
            folder,
            folder.before.run,
            workers.open(devices[0]),
            lambda _: RecordingWatcher(),
            measure=measuring(devices, workers.open),
            **how,
        )
    finally:
        folder.close()


def plan_of(replicates: int) -> Config:
    matrix = {"resolution": ["64x64"], "attention_slicing": [False, True]}
    return make_config(matrix=matrix, replicates=replicates, reference={"budget_s": 0})


def the_run(root: Path) -> Any:
    return load_run(next(root.glob("*-test-*")))


def test_a_run_on_several_devices_is_one_ordinary_run(tmp_path: Path) -> None:
    workers = Workers()
    assert sit(tmp_path, workers).end == "complete"
    loaded = the_run(tmp_path)
    planned = [slot.replicate_id for slot in loaded.run.plan.slots]
    assert sorted(entry.replicate_id for entry in loaded.attempts) == sorted(planned)
    assert loaded.warnings == []
    places = {(entry.block, entry.machine_id, entry.placement.device) for entry in loaded.attempts}
    assert len(places) == 8, "a block, its machine and its device"
    assert {device for _, _, device in places} == {"cpu:0", "cpu:1"}
    assert {entry.placement.cores for entry in loaded.attempts} <= {"0", "1"}
    assert {task.environment["OMP_NUM_THREADS"] for _, task in workers.tasks} == {"1"}


def test_one_device_is_tested_alone_and_beside_the_others_first(tmp_path: Path) -> None:
    workers = Workers()
    sit(tmp_path, workers, count=3)
    beside = the_run(tmp_path).run.beside
    assert (beside.verdict, beside.others, beside.device) == ("undisturbed", 2, "cpu:0")
    assert len(beside.alone_s) == len(beside.beside_s) == PAIRS
    tested = [name for name, task in workers.tasks if task.replicate_id == "beside-others"]
    assert Counter(tested)["cpu:0"] == 2 * PAIRS
    assert {"cpu:1", "cpu:2"} <= set(tested)
    kinds = [task.replicate_id == "beside-others" for _, task in workers.tasks]
    own = kinds[kinds.index(True) :]
    assert own == sorted(own, reverse=True), "before the run's own processes"


def test_neighbours_work_only_while_they_are_wanted(tmp_path: Path) -> None:
    """Alone means alone: nothing runs on another device, and beside means that all work."""
    busy: set[str] = set()
    seen: list[frozenset[str]] = []
    turn = threading.Lock()

    def script(name: str, task: Task, supervise: Supervisor) -> Report | None:
        if task.replicate_id != "beside-others":
            return None
        with turn:
            busy.add(name)
            if name == "cpu:0":
                seen.append(frozenset(busy))
        try:
            if name == "cpu:0":
                return play(task, supervise, pass_s=1.0 + 0.001 * len(seen))
            play(task, supervise)
            while (stop := supervise(None, None)) is None:
                threading.Event().wait(0.001)
            return play(task, lambda event, sample: stop)
        finally:
            with turn:
                busy.discard(name)

    sit(tmp_path, Workers(script))
    alone, both = frozenset({"cpu:0"}), frozenset({"cpu:0", "cpu:1"})
    order = itertools.chain.from_iterable(
        (alone, both) if pair % 2 == 0 else (both, alone) for pair in range(PAIRS)
    )
    assert seen == [*order]


def test_a_neighbour_does_not_start_anew_while_the_other_is_timed(tmp_path: Path) -> None:
    """While it imports and loads its device is idle, and an idle neighbour disturbs nobody."""
    workers = Workers()
    sit(tmp_path, workers)
    tested = [one for one in workers.tasks if one[1].replicate_id == "beside-others"]
    measured = {task.timeout_s for name, task in tested if name == "cpu:0"}
    for task in [task for name, task in tested if name == "cpu:1"]:
        assert task.job["sustain_s"] == task.timeout_s > 2 * max(measured)
        assert task.job["passes_within_s"] is None


@pytest.mark.parametrize("failing", ["cpu:0", "cpu:1"])
def test_a_test_that_fails_shows_nothing_and_the_run_goes_on(tmp_path: Path, failing: str) -> None:
    def script(name: str, task: Task, supervise: Supervisor) -> Report | None:
        if task.replicate_id == "beside-others" and name == failing:
            return play(task, supervise, events=[], exit_code=1)
        return None

    assert sit(tmp_path, Workers(script)).end == "complete"
    beside = the_run(tmp_path).run.beside
    assert beside.verdict == "not-shown"
    assert "gave no time" in beside.reason


def test_neighbours_that_do_not_work_all_the_time_acquit_nothing(tmp_path: Path) -> None:
    """They make one process each, and the next one fails while the first device is measured."""
    made: set[str] = set()
    failed = threading.Event()

    def script(name: str, task: Task, supervise: Supervisor) -> Report | None:
        if task.replicate_id != "beside-others":
            return None
        if name != "cpu:0" and name in made:
            failed.set()
            return play(task, supervise, events=[], exit_code=1)
        made.add(name)
        if name == "cpu:0" and made >= {"cpu:1"}:
            assert failed.wait(10.0)
        return None

    sit(tmp_path, Workers(script))
    beside = the_run(tmp_path).run.beside
    assert (beside.verdict, beside.ratio) == ("not-shown", None)
    assert "a process on cpu:1 gave no time" in beside.reason


def test_a_short_run_is_marked_without_a_test(tmp_path: Path) -> None:
    workers = Workers()
    result = sit(tmp_path, workers, plan_of(1))
    assert not any(task.replicate_id == "beside-others" for _, task in workers.tasks)
    assert any("the test would take longer" in words for words in result.summary.warnings)


def test_one_device_has_nobody_to_be_tested_with(tmp_path: Path) -> None:
    workers = Workers()
    result = sit(tmp_path, workers, count=1)
    assert not any("other device" in words for words in result.summary.warnings)
    assert not any(task.replicate_id == "beside-others" for _, task in workers.tasks)
    assert the_run(tmp_path).run.beside is None


@pytest.mark.parametrize("after", range(1, 14, 2))
def test_a_run_that_is_stopped_goes_on_with_each_process_once(tmp_path: Path, after: int) -> None:
    ended = itertools.count(1)

    def stop(name: str, task: Task, supervise: Supervisor) -> Report | None:
        if task.replicate_id == "beside-others" or next(ended) <= after:
            return None
        return play(task, lambda event, sample: Stop("interrupted", "stopped by the user"))

    assert sit(tmp_path, Workers(stop)).end == "interrupted"
    before = {entry.replicate_id: entry.machine_id for entry in the_run(tmp_path).attempts}
    workers = Workers()
    assert sit(tmp_path, workers).end == "complete"
    loaded = the_run(tmp_path)
    counts = Counter(entry.replicate_id for entry in loaded.attempts)
    assert counts == Counter(slot.replicate_id for slot in loaded.run.plan.slots)
    assert not any(task.replicate_id in before for _, task in workers.tasks)
    blocks = {(entry.block, entry.machine_id) for entry in loaded.attempts}
    assert len(blocks) == 8, "what was begun goes on where it was"
    assert loaded.in_flight == []


def test_a_device_that_hangs_leaves_its_blocks_to_the_others(tmp_path: Path) -> None:
    def hang(name: str, task: Task, supervise: Supervisor) -> Report | None:
        if task.replicate_id == "beside-others" or name != "cpu:1":
            return None
        return play(task, supervise, could_not_be_ended=True)

    assert sit(tmp_path, Workers(hang)).end == "stuck"
    loaded = the_run(tmp_path)
    assert {entry.replicate_id for entry in loaded.replicates} == {
        slot.replicate_id for slot in loaded.run.plan.slots
    }
    assert Counter(entry.placement.device for entry in loaded.attempts)["cpu:1"] == 1


def test_a_device_that_fails_alone_does_not_take_what_others_could_measure(tmp_path: Path) -> None:
    """As a GPU that fell off the bus: every process fails at once."""

    def lost(name: str, task: Task, supervise: Supervisor) -> Report | None:
        if task.replicate_id == "beside-others" or name != "cpu:1":
            return None
        done.wait(10.0)  # until the other device has completed each case once
        return play(task, supervise, events=[], exit_code=1)

    done = threading.Event()

    def count(name: str, task: Task, supervise: Supervisor) -> Report | None:
        found = lost(name, task, supervise)
        if name == "cpu:0" and task.replicate_id.endswith((".2", ".3")):
            done.set()
        return found

    assert sit(tmp_path, Workers(count)).end == "device-failed"
    loaded = the_run(tmp_path)
    assert {entry.replicate_id for entry in loaded.attempts} == {
        slot.replicate_id for slot in loaded.run.plan.slots
    }
    failed = [entry.placement.device for entry in loaded.attempts if entry.outcome == "failed"]
    assert failed == ["cpu:1", "cpu:1"]


def test_a_case_that_fails_everywhere_is_no_fault_of_a_device() -> None:
    slots = [make_slot(block=block) for block in range(4)]

    def ended(*outcomes: tuple[str, Any]) -> list[Replicate]:
        return [
            make_replicate(slot, machine_id=machine, outcome=outcome)
            for slot, (machine, outcome) in zip(slots, outcomes, strict=False)
        ]

    assert fails_alone(ended(("x", "ok"), ("y", "crashed"), ("y", "failed")), "y")
    assert not fails_alone(ended(("x", "crashed"), ("y", "crashed"), ("y", "crashed")), "y")
    assert not fails_alone(ended(("x", "ok"), ("y", "crashed")), "y")
    assert not fails_alone(ended(("x", "ok"), ("y", "crashed"), ("y", "ok")), "y")
    assert not fails_alone(ended(("x", "ok"), ("y", "guard"), ("y", "guard")), "y")


def test_a_record_that_cannot_be_written_ends_all_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, written = RunFolder.append, itertools.count()

    def full(self: RunFolder, *records: Record) -> None:
        if any(isinstance(record, Replicate) for record in records) and next(written) > 3:
            raise StoreError("the disk is full")
        append(self, *records)

    monkeypatch.setattr(RunFolder, "append", full)
    workers = Workers()
    with pytest.raises(StoreError, match="the disk is full"):
        sit(tmp_path, workers)
    assert len(the_run(tmp_path).attempts) == 4
    assert threading.active_count() == 1 or not any(
        thread.name.startswith("cpu:") for thread in threading.enumerate()
    )


def test_a_budget_that_is_used_up_ends_all_devices(tmp_path: Path) -> None:
    """A process says that it took longer than the budget, so no second one begins."""
    config = msgspec.structs.replace(plan_of(8), max_minutes=0.05)
    assert sit(tmp_path, Workers(), config).end == "budget"
    loaded = the_run(tmp_path)
    assert 0 < len(loaded.attempts) < len(loaded.run.plan.slots)
    assert "max_minutes" in loaded.run.beside.reason


def test_an_executor_notes_the_cores_that_the_worker_said_it_has() -> None:
    (device,) = pinned(1)
    events = [{"event": "hello", "pid": 1, "cores": [0, 1, 2, 5]}]
    inner = FakeExecutor(lambda task, supervise: play(task, supervise, events=events))
    task = Task("r", "python", {"A": "b"}, {"passes": 1}, "spawn", 1.0)
    report = PinnedExecutor(inner, device).run(task, lambda event, sample: None)
    assert report.placement is not None
    assert (report.placement.device, report.placement.cores) == ("cpu:0", "0-2,5")
    assert inner.tasks[0].environment == {"A": "b", "OMP_NUM_THREADS": "1"}
