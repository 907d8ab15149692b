"""How many measured passes a process makes where that is left to it, and what follows from it."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import (
    START_S,
    FakeClock,
    make_config,
    make_loop,
    make_model,
    make_pass,
    make_picture,
    make_replicate,
    make_report,
    make_run,
    make_slot,
    make_task,
    play,
    summarise,
    worker_events,
)
from measured_runs import kept, measured, one_case
from rich.console import Console
from test_outcome import record_of

from sdbench.analysis.data_frames import replicate_rows
from sdbench.analysis.run_summary import CaseSummary, summary_of
from sdbench.cli import main
from sdbench.plan.config import FEWEST_PASSES, FEWEST_PASSES_IN_HASTE, MOST_PASSES, Config
from sdbench.plan.cost import estimate_passes, estimate_slot, passes_within_s
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.plan.order import make_plan
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.records import Arm, Replicate, Run, Slot
from sdbench.report.html import html_report
from sdbench.report.terminal.tables import render_summary
from sdbench.report.view import build_report
from sdbench.report.view.build import build_run_report
from sdbench.report.view.correctness_words import pass_words
from sdbench.report.view.passes import passes_sentence, replicate_words
from sdbench.repro.case_script import case_script
from sdbench.runner.session import config_of
from sdbench.runs import load_run
from sdbench.words import ranges
from sdbench.worker import pass_count
from sdbench.worker.pass_count import PassCount, why_enough

ONE_CASE = {"resolution": ["64x64"]}
SD15 = make_model("synthetic/sd15", bytes_on_disk=2_132_470_614)


def uneven(count: int, scatter: float, steady_s: float = 1.0) -> list[float]:
    """A first pass of twice the time, then passes up and down by a share."""
    return [2 * steady_s, *(steady_s * (1 + scatter * (-1) ** n) for n in range(count - 1))]


def test_parent_and_worker_have_the_same_limits() -> None:
    here = FEWEST_PASSES, FEWEST_PASSES_IN_HASTE, MOST_PASSES
    assert here == (pass_count.FEWEST, pass_count.FEWEST_IN_HASTE, pass_count.MOST)


@pytest.mark.parametrize(
    ("times_s", "options", "expected"),
    [
        ([], {"start_s": 0.0}, None),
        ([9.0, 9.0], {"start_s": 0.0}, None),  # three at least, however long they are
        ([9.0, 9.0, 9.0], {"start_s": 15.0}, "start-up-equalled"),
        ([9.0, 9.0, 9.0], {"start_s": 18.0}, "start-up-equalled"),
        ([9.0, 9.0, 9.0], {"start_s": 18.1}, None),
        ([90.0, 1.0, 1.0], {"start_s": 50.0}, None),  # the first pass does not count
        (uneven(5, 0.0), {"start_s": 50.0}, None),  # four steady passes say too little
        (uneven(6, 0.0), {"start_s": 50.0}, "median-known"),
        # 1.96 · 1.2533 · s / √n of 0.5%: s is 1.6% of the median at n = 63
        (uneven(20, 0.02), {"start_s": 50.0}, None),
        (uneven(63, 0.015), {"start_s": 500.0}, "median-known"),
        (uneven(63, 0.02), {"start_s": 500.0}, None),
        (uneven(64, 0.02), {"start_s": 500.0}, "most-passes"),
        (uneven(9, 0.1), {"start_s": 50.0, "pictures": 7}, None),
        (uneven(9, 0.1), {"start_s": 50.0, "pictures": 8}, "pictures-vary"),
        (uneven(9, 0.1), {"start_s": 50.0, "left_s": 1.7}, "time-limit"),
        (uneven(9, 0.1), {"start_s": 50.0, "left_s": 2.3}, None),
        ([9.0], {"start_s": 0.0, "left_s": 0.0}, None),  # one steady pass at least
        ([9.0, 9.0], {"start_s": 0.0, "left_s": 17.0}, "time-limit"),
        ([9.0, 9.0], {"start_s": 0.0, "left_s": 18.0}, None),
    ],
)
def test_a_process_goes_on_until(
    times_s: list[float], options: dict[str, Any], expected: str | None
) -> None:
    assert why_enough("auto", times_s, **options) == expected


@pytest.mark.parametrize("asked", [1, 2, 5, 100])
def test_a_number_is_a_number(asked: int) -> None:
    options: dict[str, Any] = {"start_s": 0.0, "left_s": 0.0, "pictures": 99}
    assert why_enough(asked, [1.0] * (asked - 1), **options) is None
    assert why_enough(asked, [1.0] * asked, **options) == "asked"


def counted(clock: FakeClock, job: dict[str, Any], pass_s: float, vary: bool = False) -> Any:
    """A process with a start-up of 20 s and passes that take this long: passes made, and why."""
    began_s = clock()
    clock.advance(20.0)
    count = PassCount(job, began_s, clock)
    while (stopped := count.why_enough()) is None:
        clock.advance(pass_s)
        scatter = 1 + 0.1 * (-1) ** count.made
        name = str(count.made if vary else 0)
        pictures = [{"pixels_sha256": name, "latents_sha256": "b"}]
        count.note({"duration_s": pass_s * scatter, "images": pictures})
    return count.made, stopped


@pytest.mark.parametrize(
    ("job", "pass_s", "expected"),
    [
        ({"passes": "auto"}, 20.0, (3, "start-up-equalled")),  # SD 1.5 on an M1
        ({"passes": "auto"}, 0.5, (41, "start-up-equalled")),
        ({"passes": "auto"}, 0.1, (64, "most-passes")),
        ({"passes": "auto", "passes_within_s": 30.0}, 0.5, (20, "time-limit")),
        ({"passes": "auto", "passes_within_s": 30.0}, 20.0, (2, "time-limit")),
        ({"passes": 5, "passes_within_s": 30.0}, 20.0, (5, "asked")),
    ],
)
def test_start_up_is_what_the_process_took_until_its_pipeline_was_ready(
    job: dict[str, Any], pass_s: float, expected: tuple[int, str]
) -> None:
    made, stopped = counted(FakeClock(), job, pass_s)
    assert stopped == expected[1]
    assert made == pytest.approx(expected[0], abs=2)


def test_pictures_that_never_repeat_end_it_while_all_of_them_are_kept() -> None:
    assert counted(FakeClock(), {"passes": "auto"}, 0.5, vary=True) == (8, "pictures-vary")


# --- configuration, estimate, record -------------------------------------------------------------


def test_auto_is_a_value_and_a_number_stays_possible() -> None:
    assert make_config(passes="auto").passes == "auto"
    assert make_config(passes=5).passes == 5
    assert (make_config(passes="auto").fewest_passes, make_config(passes=5).fewest_passes) == (2, 5)
    run = make_run(make_config(passes="auto"))
    decoded = msgspec.json.decode(msgspec.json.encode(run), type=Run)
    assert config_of(decoded).passes == "auto"


def test_estimate_of_auto_is_three_passes_or_what_the_start_up_allows() -> None:
    config, case = make_config(passes="auto", steps=20), make_run().plan.cases[0].case
    large = msgspec.structs.replace(case, resolution="512x512")
    assert estimate_passes(config, large, SD15, "cpu", 2, "spawn") == 3
    many = estimate_passes(config, case, SD15, "cuda", 8, "spawn")
    assert 3 < estimate_passes(config, case, SD15, "cuda", 8, "fork") < many < 64
    few = msgspec.structs.replace(config, steps=1)
    assert estimate_passes(few, case, SD15, "cuda", 8, "spawn") == 64
    three = msgspec.structs.replace(config, passes=3)
    assert estimate_slot(config, large, SD15, "cpu", 2, "spawn") == pytest.approx(
        estimate_slot(three, large, SD15, "cpu", 2, "spawn")
    )


@pytest.mark.parametrize(
    ("own_s", "remaining_s", "left_s", "expected"),
    [
        (10.0, 100.0, None, 225.0),
        (10.0, 100.0, 1000.0, 100.0),
        (10.0, 10.0, 1000.0, 225.0),
        (10.0, 100.0, 50.0, 5.0),
        (0.0, 0.0, 50.0, 225.0),
    ],
)
def test_passes_end_in_time_for_the_limit_and_for_the_processes_after(
    own_s: float, remaining_s: float, left_s: float | None, expected: float
) -> None:
    assert passes_within_s(300.0, own_s, remaining_s, left_s) == expected


def test_record_says_how_many_and_why() -> None:
    task = make_task("auto", profile=True)
    record = record_of(make_report(worker_events(task, pass_s=1.0)), task)
    assert (record.outcome, record.passes_stopped) == ("ok", "start-up-equalled")
    assert len(record.of_kind("measured")) == 5  # 4 s of steady passes, 3.5 s of start-up
    assert record_of(make_report(worker_events(make_task()))).passes_stopped == "asked"


def test_a_pass_that_was_not_reported_is_missed() -> None:
    task = make_task("auto")
    events = worker_events(task, pass_s=1.0)
    events.remove(next(event for event in events if event["event"] == "pass"))
    record = record_of(make_report(events), task)
    assert (record.outcome, record.reason) == ("failed", "reported 4 of 5 passes")


def test_a_process_that_died_does_not_say_why_it_stopped() -> None:
    task = make_task("auto")
    events = [event for event in worker_events(task) if event["event"] not in ("passes", "done")]
    record = record_of(make_report(events, exit_code=-6), task)
    assert (record.outcome, record.passes_stopped) == ("crashed", None)


def made_by(loop: Any) -> list[tuple[int, str | None]]:
    """Passes of each process, and why no more."""
    return [
        (len(entry.of_kind("measured")), entry.passes_stopped)
        for entry in load_run(loop.folder.path).attempts
    ]


def carried_out(
    root: Path, pass_s: float, config: Config, **options: Any
) -> tuple[list[Task], list[tuple[int, str | None]]]:
    """The tasks of a loop whose workers make passes of so many seconds, and what they made."""
    clock = FakeClock()

    def script(task: Task, supervise: Supervisor) -> Report:
        clock.advance(START_S)
        return play(task, supervise, clock, pass_s=pass_s)

    loop = make_loop(root, script, config=config, clock=clock, **options)
    try:
        assert loop.carry_out(loop.run.plan.slots, {}) == "complete"
    finally:
        loop.folder.close()
    assert isinstance(loop.executor, FakeExecutor)
    return loop.executor.tasks, made_by(loop)


def test_on_a_slow_machine_nothing_changes(tmp_path: Path) -> None:
    """A simulated M1, passes of 20 s: the plan, its order and its passes are those of 3 passes."""
    auto, three = (make_config(passes=passes, replicates=3) for passes in ("auto", 3))
    assert make_plan(auto, "mps") == make_plan(three, "mps")
    sides = [carried_out(tmp_path / str(c.passes), 20.0, c, estimate_s=75.0) for c in (auto, three)]
    ids = [[task.replicate_id for task in tasks] for tasks, _ in sides]
    assert ids[0] == ids[1]
    assert [task.timeout_s for task in sides[0][0]] == [task.timeout_s for task in sides[1][0]]
    assert sides[0][1] == [(3, "start-up-equalled")] * 6
    assert sides[1][1] == [(3, "asked")] * 6
    case = make_run().plan.cases[0].case
    large = msgspec.structs.replace(case, resolution="512x512", dtype="float16")
    for name in ("default", "mps-docs", "full"):
        assert estimate_passes(shipped_for_its_model(name), large, SD15, "mps", 8, "spawn") == 3


def test_a_budget_too_small_for_three_passes_gets_two(tmp_path: Path) -> None:
    """As ``default`` has made on an M1 so far: 20 minutes for 15 processes."""
    config = make_config(passes="auto", replicates=15, matrix=ONE_CASE, max_minutes=20)
    _, made = carried_out(tmp_path, 30.0, config, estimate_s=95.0)
    assert len(made) == 15  # with three passes each, four would have had no time
    assert (2, "time-limit") in made


def test_short_passes_leave_time_for_the_processes_after_them(tmp_path: Path) -> None:
    config = make_config(passes="auto", replicates=20, matrix=ONE_CASE, max_minutes=2)
    _, made = carried_out(tmp_path, 0.6, config, estimate_s=8.0)
    assert [stopped for _, stopped in made] == ["time-limit"] * 20 or len(made) == 20
    assert all(count >= 3 for count, _ in made)


def test_a_short_timeout_ends_the_passes_in_time(tmp_path: Path) -> None:
    config = make_config(passes="auto", matrix=ONE_CASE, timeout_s=8)
    tasks, made = carried_out(tmp_path, 0.5, config)
    assert tasks[0].job["passes_within_s"] == 6.0
    assert made[0] == (4, "time-limit")  # 5.5 s, and time for the profiling pass


# --- what is said of it --------------------------------------------------------------------------


def timed(times: list[float], block: int = 0, **fields: Any) -> Replicate:
    passes = [make_pass(time, index) for index, time in enumerate(times, start=1)]
    return make_replicate(make_slot(block=block), passes=passes, **fields)


def row_of(*replicates: Replicate) -> CaseSummary:
    run = make_run(make_config(passes="auto", matrix=ONE_CASE, replicates=len(replicates)))
    return summarise(run, replicates, "x").cases[0]


def test_summary_says_how_many_and_why() -> None:
    row = row_of(
        timed([2.0, 1.0, 1.0], 1, passes_stopped="start-up-equalled"),
        timed([2.0] + [1.0] * 6, 0, passes_stopped="median-known"),
        timed([2.0, 1.0, 1.0], 2, passes_stopped="start-up-equalled"),
    )
    assert row.passes_made == [7, 3, 3]
    assert row.passes_stopped == {"start-up-equalled": 2, "median-known": 1}
    assert row.latency_s.n == 3  # each process counts once, however many passes it made


def test_nine_of_ten_passes_from_64_steady_ones_on() -> None:
    times = [1.0 + index / 1000 for index in range(33)]
    assert row_of(timed(times), timed(times[1:], 1)).p90_s is None  # 63 steady ones
    both = row_of(timed(times), timed(times, 1))
    assert both.p90_s == pytest.approx(1.029, abs=0.001)
    assert row_of(timed(times), timed(times, 1, outcome="crashed")).p90_s is None


def test_words() -> None:
    run = make_run(make_config(passes="auto", matrix=ONE_CASE))
    known = timed([2.0] + [1.0] * 6, 0, passes_stopped="median-known")
    slow = timed([2.0, 1.0, 1.0], 1, passes_stopped="start-up-equalled")
    assert replicate_words(known) == "7 measured passes (their median is known to 0.5%)"
    assert replicate_words(timed([1.0])) == "1 measured pass"
    assert passes_sentence(summarise(run, [known, slow], "x")) == (
        "Processes made 3 to 7 passes. Why no more: their median is known to 0.5% (1), the steady "
        "passes lasted as long as the start-up (1)."
    )
    asked = [timed([2.0, 1.0], block, passes_stopped="asked") for block in (0, 1)]
    assert passes_sentence(summarise(run, asked, "x")) is None


def test_screens_say_how_many_passes_were_made_and_why_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def known(slot: Slot) -> dict[str, Any]:
        passes = [make_pass(1.0, index) for index in range(1, 6)]
        return {"passes": passes, "passes_stopped": "median-known"}

    loaded = measured(config=one_case(2), fields=known)
    sentence = "Processes made 5 passes. Why no more: their median is known to 0.5% (2)."
    assert main(["show", str(kept(tmp_path, loaded))]) == 0
    (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("passes "))
    assert line.removeprefix("passes").strip() == sentence
    text = io.StringIO()
    render_summary(summary_of(loaded), Console(file=text, width=160))
    assert sentence in text.getvalue().splitlines()


def test_many_passes_alike_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = [make_picture(pixels_sha256="c" * 64)]

    def many(slot: Slot) -> dict[str, Any]:
        times = [2.0, *(1.0 + index / 100 for index in range(39))]
        passes = [make_pass(time, index) for index, time in enumerate(times, start=1)]
        passes[20] = make_pass(1.5, 21, images=odd)
        return {"passes": passes, "passes_stopped": "median-known"}

    path = kept(tmp_path, measured(config=one_case(1), fields=many))
    assert main(["show", str(path), "64x64"]) == 0
    out = capsys.readouterr().out
    assert "40 measured passes (their median is known to 0.5%)" in out
    assert "measured 1 " in out and "measured 2 to 20" in out and "measured 22 to 40" in out
    assert "measured 21 " in out and "cccccccc" in out, "a pass that differs stands for itself"
    assert "1.09 s (1–1.18 s)" in out


def test_numbers_in_a_row_are_ranges() -> None:
    assert ranges([1, 2, 5, 6, 7, 9]) == "1, 2, 5 to 7, 9"
    assert ranges([]) == ""
    assert pass_words([0, *range(1, 65)]) == "1 to 64, profile"


def test_script_of_a_bug_report_makes_as_many_passes_as_a_process_did() -> None:
    run = make_run(make_config(passes="auto"))
    script = case_script(run, run.plan.cases[0].case, Arm(), passes=7)
    assert "for number in range(1, 7 + 1):" in script


def test_report_says_how_many_and_why(tmp_path: Path) -> None:
    def many(slot: Slot) -> dict[str, Any]:
        passes = [make_pass(1.0, index) for index in range(1, 5 + slot.block)]
        return {"passes": passes, "passes_stopped": "start-up-equalled"}

    loaded = measured(config=one_case(3, passes="auto"), fields=many)
    story = build_run_report(loaded)
    assert [one.passes_stopped for one in story.cells[0].processes] == ["start-up-equalled"] * 3
    (line,) = [line.about for line in story.method if line.what == "seconds per image"]
    assert "; 4 to 6 passes per process (a process goes on from 3 to 64 passes" in line
    text = html_report([loaded], build_report([loaded]))
    assert "the steady passes lasted as long as the start-up" in text
    rows = [*replicate_rows(loaded, summary_of(loaded))]
    assert [(row["passes_made"], row["passes_stopped"]) for row in rows] == [
        (count, "start-up-equalled") for count in (4, 5, 6)
    ]
