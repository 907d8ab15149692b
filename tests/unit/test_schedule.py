"""Where and when: a lane for each machine of a fleet, or of a run that machines shared."""

import shutil
from pathlib import Path

import msgspec
import pytest
from factories import make_config, make_replicate, make_run
from made_fleets import MACHINES, at, made_fleet

from sdbench.fleet.given_times import GivenTime, comparing_times, given_times
from sdbench.fleet.ledger import (
    Died,
    Done,
    Ended,
    Event,
    Given,
    Grouped,
    Lost,
    Returned,
    Session,
    UnitSlot,
)
from sdbench.privacy.redact_shared import shared
from sdbench.records import Run
from sdbench.report.export.markdown import markdown_report
from sdbench.report.figures.select import story_figures
from sdbench.report.html import html_report
from sdbench.report.view import build_report
from sdbench.report.view.model import Schedule
from sdbench.report.view.schedule import schedules_of
from sdbench.runs import LoadedRun, list_runs, load_run


def only(runs: list[LoadedRun]) -> Schedule:
    (schedule,) = schedules_of(runs)
    return schedule


def loaded_from(fleet: Path) -> list[LoadedRun]:
    return [load_run(path) for path in list_runs(fleet)]


# --- what became of each give ---------------------------------------------------------------------

GROUPED = Grouped(group="g", run_id="run", title="t", slots=[UnitSlot(id="s", unit="0")])


def timed(*events: Event) -> list[GivenTime]:
    """One event a second."""
    return given_times(
        msgspec.structs.replace(event, at_utc=f"{second}")
        for second, event in enumerate([GROUPED, *events])
    )


def given(give: int, machine: str = "a") -> Given:
    return Given(give=give, group="g", slot="s", machine=machine, process=f"{machine}1")


def lost(machine: str = "a") -> Lost:
    return Lost(machine=machine, process=f"{machine}1", why="gone")


def done(give: int | None, machine: str = "a") -> Done:
    return Done(group="g", slot="s", give=give, machine=machine, outcome="ok")


@pytest.mark.parametrize(
    ("events", "ends"),
    [
        ([given(1), done(1)], [("done", "1", "2")]),
        ([given(1)], [("open", "1", "1")]),
        ([given(1), lost(), given(2, "b"), done(2)], [("gone", "1", "2"), ("done", "3", "4")]),
        # The machine that was not heard of was first after all.
        (
            [given(1), lost(), given(2, "b"), done(1), done(2)],
            [("done", "1", "4"), ("repeated", "3", "5")],
        ),
        ([given(1), lost(), Died(give=1)], [("killed", "1", "2")]),
        ([given(1), Died(give=1)], [("killed", "1", "2")]),
        ([given(1), Returned(give=1, why="x")], [("returned", "1", "2")]),
        ([given(1), done(None), Session()], [("no-client", "1", "2")]),
        ([Died(give=7), Returned(give=7, why="x"), done(7)], []),
    ],
)
def test_every_give_ends_once(events: list[Event], ends: list[tuple[str, str, str]]) -> None:
    assert [(one.end, one.begin_utc, one.end_utc) for one in timed(*events)] == ends


def test_images_are_compared_after_the_last_record_of_a_complete_fleet() -> None:
    def times(*events: Event) -> tuple[str, str] | None:
        return comparing_times(
            msgspec.structs.replace(event, at_utc=f"{second}")
            for second, event in enumerate(events)
        )

    assert times(done(1), Ended(how="complete")) == ("0", "1")
    assert times(done(1), Ended(how="stopped")) is None
    assert times(done(1), Ended(how="stopped"), Session(), Ended(how="complete")) == ("2", "3")
    assert times(Ended(how="complete")) is None


# --- lanes ----------------------------------------------------------------------------------------


def test_lanes_of_a_fleet_have_the_ledgers_times(tmp_path: Path) -> None:
    """The second machine's clock is an hour ahead, and its lane is not."""
    schedule = only(loaded_from(made_fleet(tmp_path, crashed=True)))
    assert [lane.name for lane in schedule.lanes] == ["Test a1a1a1", "Test b2b2b2"]
    first, second = schedule.lanes
    assert [bar.state for bar in first.bars] == ["lost", "ok", "ok", "ok", "ok"]
    assert first.bars[0].words.endswith("its worker was gone; given again")
    assert (first.bars[0].begin_s, first.bars[0].end_s) == (0.0, 4.0)
    assert (first.bars[1].begin_s, second.bars[0].begin_s) == (6.0, 0.0)
    assert [bar.state for bar in second.bars] == ["ok", "ok", "ok", "bad"]
    assert second.bars[-1].words.endswith("run 2 of 2: crashed")
    assert schedule.took_s == 46.0
    assert first.busy_s == 44.0
    assert schedule.sentence == (
        "2 machines, 7 processes ok, 1 ended otherwise, 1 given again or not counted. Times are "
        "those of the machine that ran the fleet, from its ledger."
    )


def test_without_the_fleets_folder_each_machine_has_its_own_clock(tmp_path: Path) -> None:
    (run,) = list_runs(made_fleet(tmp_path))
    moved = tmp_path / "elsewhere" / run.name
    shutil.copytree(run, moved)
    schedule = only([load_run(moved)])
    first, second = schedule.lanes
    assert {bar.state for lane in schedule.lanes for bar in lane.bars} == {"ok"}
    assert (first.bars[0].begin_s, second.bars[0].begin_s) != (0.0, 0.0)
    assert "each machine's own clock" in schedule.sentence


def test_record_that_the_ledger_lacks_has_its_own_clock_and_is_said(tmp_path: Path) -> None:
    """The client was killed between the record and the ledger."""
    fleet = made_fleet(tmp_path)
    lines = (fleet / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'"event":"given"' not in line or b'"give":9' not in line]
    kept = [line for line in kept if b'"give":9,' not in line]
    (fleet / "ledger.jsonl").write_bytes(b"".join(kept))
    schedule = only(loaded_from(fleet))
    assert "1 process not in the ledger: with the times of the machine's own clock." in (
        schedule.sentence
    )


@pytest.mark.parametrize("damage", [b"{}\n{}\n", b'{"event":"died","give":1}\n{"x'])
def test_damaged_ledger_leaves_the_records(tmp_path: Path, damage: bytes) -> None:
    fleet = made_fleet(tmp_path)
    (fleet / "ledger.jsonl").write_bytes(damage)
    schedule = only(loaded_from(fleet))
    assert sum(lane.count("ok") for lane in schedule.lanes) == 8
    assert "each machine's own clock" in schedule.sentence


def test_machines_of_mode_every_are_in_one_picture(tmp_path: Path) -> None:
    runs = loaded_from(made_fleet(tmp_path, "every"))
    assert len(runs) == 2
    schedule = only(runs)
    assert [lane.count("ok") for lane in schedule.lanes] == [8, 8]


def test_ordinary_run_has_no_such_section(tmp_path: Path) -> None:
    run = make_run()
    loaded = LoadedRun(tmp_path, run, [], [make_replicate(slot) for slot in run.plan.slots])
    assert schedules_of([loaded]) == []
    assert 'id="schedule"' not in html_report([loaded])


def shared_run(run: Run, ends_s: list[tuple[float, float]]) -> LoadedRun:
    """Processes from and to these seconds."""
    attempts = [
        make_replicate(slot, machine_id=MACHINES[0], started_utc=at(begin), ended_utc=at(end))
        for slot, (begin, end) in zip(run.plan.slots, ends_s, strict=False)
    ]
    return LoadedRun(Path("x"), run, [], attempts)


def test_long_pause_is_cut_out_and_said() -> None:
    run = make_run(make_config(replicates=2))
    schedule = only([shared_run(run, [(0, 10), (11, 20), (36_000, 36_010)])])
    (lane,) = schedule.lanes
    assert [bar.end_s - bar.begin_s for bar in lane.bars] == [10, 9, 10]
    assert schedule.took_s < 35
    assert "1 pause without any process, 10 h 00 min in all, cut out." in schedule.sentence


def test_times_that_are_none_are_left_out() -> None:
    run = make_run(make_config(replicates=2))
    loaded = shared_run(run, [(0, 10), (11, 20)])
    odd = ["", "x", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-01"]
    for text in odd:
        attempts = [msgspec.structs.replace(loaded.attempts[0], started_utc=text, ended_utc=text)]
        for one in schedules_of([LoadedRun(Path("x"), run, [], attempts)]):
            assert one.took_s == 0.0


def test_page_has_picture_and_table_and_shares_no_ledger(tmp_path: Path) -> None:
    runs = loaded_from(made_fleet(tmp_path))
    page = html_report(runs)
    assert '<section id="schedule"' in page
    assert "Where and when</h2>" in page
    assert 'class="figure schedule"' in page
    assert "given again or not counted" in page
    assert "Every machine in numbers" in page
    figures = markdown_report(build_report(runs), "files").files
    assert {name for name in figures if name.startswith("schedule")} == {
        "schedule-1.png",
        "schedule-1.svg",
    }
    story = build_report(shared(runs))
    assert "each machine's own clock" in story.schedules[0].sentence
    (figure,) = [one for one in story_figures(story) if one.kind == "schedule"]
    assert "Test a1a1a1: 4 ok" in figure.description


def test_many_machines_and_processes_make_a_small_picture() -> None:
    run = make_run(make_config(replicates=2000))
    attempts = [
        make_replicate(
            slot,
            machine_id=f"{number % 60:016x}",
            started_utc=at(number),
            ended_utc=at(number + 30),
        )
        for number, slot in enumerate(run.plan.slots)
    ]
    loaded = LoadedRun(Path("x"), run, [], attempts)
    story = build_report([loaded])
    (figure,) = [one for one in story_figures(story) if one.kind == "schedule"]
    assert "40 of 60 lanes are drawn" in figure.caption
    assert len(figure.inline_svg()) < 1_000_000
