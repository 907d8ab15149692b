"""Runs that go on until every comparison is decided: plan, looks, stops, resume, what is said."""

import io
import random
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

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

from sdbench.analysis.run_summary import summary_of
from sdbench.comparison import compare_axis
from sdbench.errors import ConfigError
from sdbench.plan.config import Config, Looks, UntilDecided
from sdbench.plan.order import axis_to_decide, make_plan, with_blocks
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.records import InterimAnalysis, InterimCase, Run
from sdbench.report.terminal.progress import ScreenWatcher
from sdbench.runner.loop import RunLoop
from sdbench.runner.resume import remaining_slots, undecided
from sdbench.runner.session import SessionResult, config_of, run_session
from sdbench.runner.until_decided import UntilDecided as Decider
from sdbench.runs import RunFolder, load_run
from sdbench.stats import DEFAULT_THRESHOLD, LOOKS

ARMS = [{"name": "old"}, {"name": "new"}]
Script = Callable[[Task, Supervisor], Report]


def decided_by(**settings: Any) -> Config:
    """Two variants and one small case, until decided."""
    document = {"matrix": {"resolution": ["64x64"]}, "arm": ARMS, "until_decided": settings}
    return make_config(**document)


def timed(new: float = 1.0, noise: float = 0.002, **report: Any) -> Script:
    """Workers whose passes take about 1 s, and so many times as long in the variant ``new``."""

    def script(task: Task, supervise: Supervisor) -> Report:
        slow = new if ".new." in task.replicate_id else 1.0
        scatter = random.Random(task.replicate_id).gauss(0, noise)
        return play(task, supervise, pass_s=slow * (1 + scatter), **report)

    return script


def begin(root: Path, config: Config) -> Run:
    run = make_run(config)
    RunFolder.create(root, run).close()
    return run


def sit_once(
    root: Path, run: Run, script: Script
) -> tuple[SessionResult, FakeExecutor, RecordingWatcher]:
    """One sitting over what is on disk."""
    path = root / run.run_id
    executor, watcher = FakeExecutor(script), RecordingWatcher()
    folder = RunFolder.open(path)
    try:
        return (
            run_session(folder, load_run(path).run, executor, lambda _: watcher),
            executor,
            watcher,
        )
    finally:
        folder.close()


def ran(*executors: FakeExecutor) -> list[str]:
    """The processes of the plan, without what is measured beside it."""
    return [task.replicate_id for each in executors for task in each.tasks if "passes" in task.job]


# --- configuration and plan ----------------------------------------------------------------------


def test_configuration_knows_the_looks_and_the_threshold_of_the_statistics() -> None:
    assert typing.get_args(Looks) == LOOKS
    assert UntilDecided().threshold == DEFAULT_THRESHOLD
    assert UntilDecided().max_processes == LOOKS[-1]


def test_plan_begins_with_the_blocks_of_the_first_look() -> None:
    plan = make_plan(decided_by(), "cpu")
    assert max(slot.block for slot in plan.slots) == 2
    assert plan.start == "spawn"  # verdicts follow, however few "replicates" says


def test_longer_plan_keeps_every_slot_that_it_has() -> None:
    config = make_config(arm=ARMS, until_decided={})
    plan = make_plan(config, "cpu")
    for blocks in LOOKS:
        longer = with_blocks(plan, blocks, config.seed)
        assert longer.slots[: len(plan.slots)] == plan.slots
        assert [slot.index for slot in longer.slots] == [*range(4 * blocks)]
        plan = longer
    fixed = make_plan(make_config(arm=ARMS, replicates=21), "cpu")
    assert plan.slots == fixed.slots


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_processes": 4}, "until_decided.max_processes: expected 3 or 5 or 8 or 13 or 21"),
        ({"threshold": 0}, "until_decided.threshold: expected a share above 0"),
        ({"threshold": float("nan")}, "until_decided.threshold: expected a share above 0"),
        ({"most": 5}, "until_decided.most: unknown key"),
    ],
)
def test_wrong_settings_are_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decided_by(**settings)


@pytest.mark.parametrize(
    ("document", "axis"),
    [
        ({"arm": ARMS}, "arm"),
        ({"matrix": {"attention_slicing": [False, True]}}, "attention_slicing"),
        ({"arm": ARMS, "matrix": {"warmup": [False, True]}}, "arm"),
        ({"case": [{}, {"batching": "batch"}], "images": 2}, "batching"),
    ],
)
def test_what_is_compared_is_what_the_plan_has_several_of(
    document: dict[str, Any], axis: str
) -> None:
    config = make_config(**document, until_decided={})
    assert axis_to_decide(config, make_plan(config, "cpu")) == axis


@pytest.mark.parametrize(
    ("document", "by", "message"),
    [
        ({"matrix": {"resolution": ["64x64"]}}, "auto", "nothing to compare"),
        ({"case": [{}, {"warmup": True, "batching": "batch"}], "images": 2}, "auto", "nothing"),
        ({"arm": ARMS}, "stack", "expected one of arm, resolution, got 'stack'"),
        ({"arm": ARMS}, "colour", "expected one of arm, resolution, got 'colour'"),
        (
            {"matrix": {"warmup": [False, True], "attention_slicing": [False, True]}},
            "auto",
            "expected which to compare: attention_slicing, warmup",
        ),
    ],
)
def test_nothing_and_too_much_to_compare_are_said_before_anything_runs(
    document: dict[str, Any], by: str, message: str
) -> None:
    config = make_config(**document, until_decided={"by": by})
    with pytest.raises(ConfigError, match=message):
        axis_to_decide(config, make_plan(config, "cpu"))


def test_configuration_comes_back_from_a_run() -> None:
    config = decided_by(by="arm", max_processes=8, threshold=0.05)
    run = make_run(config)
    assert config_of(msgspec.json.decode(msgspec.json.encode(run), type=Run)) == config


# --- a sitting -----------------------------------------------------------------------------------


def test_clear_difference_ends_it_at_the_first_look(tmp_path: Path) -> None:
    run = begin(tmp_path, decided_by(by="arm"))
    sat, executor, watcher = sit_once(tmp_path, run, timed(1.2))
    assert (sat.end, sat.summary.complete, len(ran(executor))) == ("complete", True, 6)
    ((looked, next_s, at_most_s),) = watcher.looks
    assert [(case.verdict, case.open) for case in looked.cases] == [("slower", False)]
    assert (looked.next_look, next_s, at_most_s) == (None, 0.0, 0.0)
    loaded = load_run(tmp_path / run.run_id)
    assert loaded.looks == sat.summary.looks == summary_of(loaded).looks == [looked]


def test_open_case_is_measured_on_to_the_next_look_and_the_next(tmp_path: Path) -> None:
    run = begin(tmp_path, decided_by(by="arm", max_processes=8))
    sat, executor, watcher = sit_once(tmp_path, run, timed(1.03, noise=0.01))
    assert [look.blocks for look, _, _ in watcher.looks] == [3, 5, 8]
    assert [look.next_look for look, _, _ in watcher.looks] == [5, 8, None]
    assert all(look.cases[0].open for look, _, _ in watcher.looks)
    loaded = load_run(tmp_path / run.run_id)
    assert loaded.run.plan.slots == with_blocks(run.plan, 8, 0).slots
    planned = [slot.replicate_id for slot in loaded.run.plan.slots]
    assert ran(executor) == planned
    assert (sat.end, sat.summary.complete) == ("complete", True)


def half_decided(task: Task, supervise: Supervisor) -> Report:
    """64x64 is close and stays open; 128x128 is half as slow again."""
    close = task.replicate_id.startswith("64x64")
    return timed(1.03 if close else 1.5, noise=0.01)(task, supervise)


def test_only_what_is_open_is_measured_on(tmp_path: Path) -> None:
    config = make_config(arm=ARMS, until_decided={"by": "arm", "max_processes": 5})
    run = begin(tmp_path, config)
    _, executor, watcher = sit_once(tmp_path, run, half_decided)
    assert sorted(case.open for case in watcher.looks[0][0].cases) == [False, True]
    assert len(ran(executor)) == 3 * 4 + 2 * 2
    assert all(name.startswith("64x64") for name in ran(executor)[12:])
    slots = load_run(tmp_path / run.run_id).run.plan.slots
    assert [slot.index for slot in slots] == [*range(16)]


def test_what_was_decided_early_is_judged_by_the_blocks_it_has(tmp_path: Path) -> None:
    config = make_config(arm=ARMS, until_decided={"by": "arm", "max_processes": 5})
    run = begin(tmp_path, config)
    sit_once(tmp_path, run, half_decided)
    cases = compare_axis([load_run(tmp_path / run.run_id)], "arm").cases
    found = {case.case_id.partition("-")[0]: (case.verdict, case.n) for case in cases}
    last = load_run(tmp_path / run.run_id).looks[-1]
    assert last.blocks == 5
    assert [case.verdict for case in last.cases if case.case_id.startswith("128x128")] == ["slower"]
    assert found["128x128"] == ("slower", (3, 3))
    assert found["64x64"][1] == (5, 5)


def test_side_of_a_decided_comparison_that_goes_on_for_another_one_changes_nothing_there(
    tmp_path: Path,
) -> None:
    """``old`` is measured on for ``near``; the comparison with ``far`` keeps its three blocks."""

    def script(task: Task, supervise: Supervisor) -> Report:
        arm = task.replicate_id.split(".")[-2:][0]
        scatter = random.Random(task.replicate_id).gauss(0, 0.01)
        return play(task, supervise, pass_s={"far": 1.5, "near": 1.03}.get(arm, 1) + scatter)

    arms = [{"name": "old"}, {"name": "near"}, {"name": "far"}]
    matrix = {"resolution": ["64x64"]}
    config = make_config(matrix=matrix, arm=arms, until_decided={"by": "arm", "max_processes": 5})
    run = begin(tmp_path, config)
    _, executor, _ = sit_once(tmp_path, run, script)
    assert len(ran(executor)) == 3 * 3 + 2 * 2
    cases = compare_axis([load_run(tmp_path / run.run_id)], "arm").cases
    assert {case.new: case.n for case in cases} == {"near": (5, 5), "far": (3, 3)}
    assert {case.new: case.verdict for case in cases}["far"] == "slower"


def test_time_left_is_told_until_the_next_look_and_at_most(tmp_path: Path) -> None:
    run = begin(tmp_path, decided_by(by="arm"))
    _, _, watcher = sit_once(tmp_path, run, timed(1.03, noise=0.01, wall_s=10.0))
    _, next_s, at_most_s = watcher.looks[0]
    slot_s = 10 - 1 / 3  # one of three made a profiling pass of 1 s, and no further one does
    assert next_s == pytest.approx(2 * 2 * slot_s, rel=0.01)
    assert at_most_s == pytest.approx(18 * 2 * slot_s, rel=0.01)


def test_case_that_crashes_keeps_nobody_waiting(tmp_path: Path) -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        code = -11 if ".new." in task.replicate_id else 0
        return play(task, supervise, exit_code=code)

    run = begin(tmp_path, decided_by(by="arm"))
    sat, executor, watcher = sit_once(tmp_path, run, script)
    assert (sat.end, len(ran(executor))) == ("complete", 6)
    ((looked, _, _),) = watcher.looks
    assert [(case.reason, case.open) for case in looked.cases] == [("crashed-in-new", False)]


def test_axis_of_a_run_is_decided_like_arms(tmp_path: Path) -> None:
    def script(task: Task, supervise: Supervisor) -> Report:
        scatter = random.Random(task.replicate_id).gauss(0, 0.002)
        sliced = "sliced" in task.replicate_id
        return play(task, supervise, pass_s=(0.8 if sliced else 1.0) * (1 + scatter))

    matrix = {"resolution": ["64x64"], "attention_slicing": [False, True]}
    config = make_config(matrix=matrix, until_decided={"by": "attention_slicing"})
    run = begin(tmp_path, config)
    _, _, watcher = sit_once(tmp_path, run, script)
    (case,) = watcher.looks[0][0].cases
    assert (case.base, case.new, case.verdict) == ("false", "true", "faster")


# --- limits and interruption ---------------------------------------------------------------------


def loop_over(root: Path, config: Config, script: Script, **fields: Any) -> RunLoop:
    loop = make_loop(root, script, config=config, **fields)
    loop.further = Decider(loop).further
    return loop


def test_time_budget_holds_over_all_looks(tmp_path: Path) -> None:
    clock = FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        scatter = random.Random(task.replicate_id).gauss(0, 0.01)
        return play(task, supervise, clock, pass_s=10 * (1 + scatter))

    config = msgspec.structs.replace(decided_by(by="arm", threshold=0.0001), max_minutes=3)
    loop = loop_over(tmp_path, config, script, clock=clock, estimate_s=20.0)
    assert loop.carry_out(loop.run.plan.slots, {}) == "budget"
    loop.folder.close()
    assert isinstance(loop.executor, FakeExecutor)
    assert 6 < len(ran(loop.executor)) <= 10
    assert isinstance(loop.watcher, RecordingWatcher)
    assert loop.watcher.looks[0][2] <= 180 - 6 * 20 + 10  # at most: what is left of the budget
    assert undecided(load_run(loop.folder.path))


def test_resumed_run_goes_on_where_it_stood_and_looks_where_it_would_have(tmp_path: Path) -> None:
    config = decided_by(by="arm", max_processes=5)
    whole = begin(tmp_path / "whole", config)
    _, uninterrupted, once = sit_once(tmp_path / "whole", whole, timed(1.03, noise=0.01))

    def stops(task: Task, supervise: Supervisor) -> Report:
        if len(ran(first)) == 8:  # in the fourth block, after the look
            raise KeyboardInterrupt
        return timed(1.03, noise=0.01)(task, supervise)

    run = begin(tmp_path / "twice", config)
    path = tmp_path / "twice" / run.run_id
    first = FakeExecutor(stops)
    folder = RunFolder.open(path)
    with pytest.raises(KeyboardInterrupt):
        run_session(folder, run, first, lambda _: RecordingWatcher())
    folder.close()
    loaded = load_run(path)
    assert undecided(loaded)
    assert [look.blocks for look in loaded.looks] == [3]
    assert len(remaining_slots(loaded, retry=False)) == 3

    sat, second, watcher = sit_once(tmp_path / "twice", run, timed(1.03, noise=0.01))
    assert ran(first)[:7] + ran(second) == ran(uninterrupted)
    assert [look.blocks for look, _, _ in watcher.looks] == [5]
    assert load_run(path).looks == [look for look, _, _ in once.looks]
    assert sat.summary.complete
    assert not undecided(load_run(path))


def test_run_killed_between_the_last_process_and_the_look_is_looked_at_on_resume(
    tmp_path: Path,
) -> None:
    run = begin(tmp_path, decided_by(by="arm", max_processes=5))
    folder = RunFolder.open(tmp_path / run.run_id)
    for slot in run.plan.slots:
        scatter = random.Random(slot.replicate_id).gauss(0, 0.01)
        folder.append(make_replicate(slot, times=(2.0, 1 + scatter)))
    folder.close()
    loaded = load_run(tmp_path / run.run_id)
    assert not remaining_slots(loaded, retry=False)
    assert undecided(loaded)
    _, executor, watcher = sit_once(tmp_path, run, timed(noise=0.01))
    assert [look.blocks for look, _, _ in watcher.looks] == [3, 5]
    assert len(ran(executor)) == 4


def test_resume_of_a_decided_run_looks_at_nothing_new(tmp_path: Path) -> None:
    run = begin(tmp_path, decided_by(by="arm"))
    sit_once(tmp_path, run, timed(1.2))
    before = (tmp_path / run.run_id / "records.jsonl").read_bytes()
    sat, executor, _ = sit_once(tmp_path, run, timed(1.2))
    assert (sat.end, ran(executor)) == ("complete", [])
    assert (tmp_path / run.run_id / "records.jsonl").read_bytes() == before
    assert not undecided(load_run(tmp_path / run.run_id))


# --- compare -------------------------------------------------------------------------------------


def test_comparison_takes_the_last_look_and_not_what_came_after_it(tmp_path: Path) -> None:
    """Else stopping by hand would be a look of its own."""

    def script(task: Task, supervise: Supervisor) -> Report:
        if task.replicate_id.endswith(".4"):
            raise KeyboardInterrupt
        new = 3.0 if task.replicate_id.endswith(".3") else 1.03
        return timed(new, noise=0.01)(task, supervise)

    run = begin(tmp_path, decided_by(by="arm"))
    with pytest.raises(KeyboardInterrupt):
        sit_once(tmp_path, run, script)
    loaded = load_run(tmp_path / run.run_id)
    assert max(entry.block for entry in loaded.attempts) == 3
    comparison = compare_axis([loaded], "arm")
    (case,) = comparison.cases
    assert case.n == (3, 3)
    assert case.ratio == pytest.approx(loaded.looks[-1].cases[0].ratio)
    assert comparison.confidence == pytest.approx(0.99)
    assert any("looked at after 3 processes" in note for note in comparison.summary.notes)


# --- the screen ----------------------------------------------------------------------------------


def test_screen_says_what_is_decided_what_is_open_and_for_how_long() -> None:
    def looked_case(case_id: str, verdict: Any, reason: str | None, is_open: bool) -> InterimCase:
        return InterimCase(
            case_id=case_id,
            arm=None,
            base="old",
            new="new",
            ratio=1.021,
            verdict=verdict,
            reason=reason,
            open=is_open,
        )

    cases = [
        looked_case("a", "slower", None, False),
        looked_case("b", "inconclusive", "interval-too-wide", True),
        looked_case("c", "inconclusive", "crashed-in-new", False),
    ]
    looked = InterimAnalysis(blocks=3, by="arm", threshold=0.03, cases=cases, next_look=5)
    console = Console(file=io.StringIO(), width=200)
    watcher = ScreenWatcher(make_run(), console, "results/x")
    watcher.looked(looked, 120.0, 900.0)
    watcher.looked(msgspec.structs.replace(looked, blocks=21, next_look=None), 0.0, 0.0)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[:4] == [
        "look after 3 processes, by arm: 1 of 3 decided (1 slower)",
        "  open: b (old → new), ×1.021 so far",
        "  no verdict, however many follow: c (old → new) – the new side crashed",
        "  goes on to 5 processes: about 2 min, and 15 min at most in all.",
    ]
    assert lines[4].endswith("1 of 3 decided (1 slower); this was the last analysis")
