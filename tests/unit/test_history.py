"""One case over time."""

import io
from typing import Any

import pytest
from factories import make_stack
from measured_runs import changed, measured, one_case, steady, two_arms
from rich.console import Console

from sdbench.comparison import History, history_of
from sdbench.errors import UsageError
from sdbench.report.terminal.case_history import render_history
from sdbench.runs import LoadedRun

MINE = "mine"


def on(day: int, seconds: float = 1.0, torch: str = "2.0.0", **fields: Any) -> LoadedRun:
    """A run of this machine on a day of January."""
    given = {
        "machine_id": MINE,
        "run_id": f"run-{day}",
        "created_utc": f"2026-01-{day:02}T10:00:00.000+00:00",
        "stacks": {"current": make_stack(torch=torch, diffusers="0.31.0")},
    }
    config, noise = fields.pop("config_of", None), fields.pop("noise", 0.005)
    return changed(measured(steady(seconds, noise, seed=day), config=config), **{**given, **fields})


def shown(history: History) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    render_history(history, console)
    return console.export_text()


def test_runs_of_this_machine_are_listed_by_date_with_their_versions() -> None:
    runs = [on(3, torch="2.5.1"), on(1, torch="1.13.1"), on(2, machine_id="another")]
    history = history_of(runs, MINE)
    assert [(entry.run_id, entry.versions["torch"]) for entry in history.runs] == [
        ("run-1", "1.13.1"),
        ("run-3", "2.5.1"),
    ]
    text = shown(history)
    assert "2026-01-01 10:00 │ run-1" in text
    assert "1.13.1" in text


def test_case_of_most_runs_is_shown_without_one_named() -> None:
    often, rare = on(1), on(2, config_of=one_case(matrix={"resolution": ["128x128", "64x64"]}))
    assert history_of([rare, often], MINE).case.resolution == "64x64"
    assert history_of([rare, often], MINE, "128").case.resolution == "128x128"


@pytest.mark.parametrize(
    ("wanted", "words"), [("999", "no case called '999'"), ("64x64-", "2 cases called '64x64-'")]
)
def test_case_must_be_one(wanted: str, words: str) -> None:
    matrix = {"resolution": ["64x64"], "attention_slicing": [False, True]}
    with pytest.raises(UsageError) as caught:
        history_of([on(1, config_of=one_case(matrix=matrix))], MINE, wanted)
    assert words in str(caught.value)
    assert "64x64 sliced" in str(caught.value)


def test_no_run_of_this_machine_is_said() -> None:
    with pytest.raises(UsageError, match="sdbench run"):
        history_of([on(1, machine_id="another")], MINE)


def test_plot_puts_the_fastest_left_and_the_slowest_right() -> None:
    lines = shown(history_of([on(1, 1.0), on(2, 1.5), on(3, 2.0)], MINE)).splitlines()
    dots = [line.index("●") for line in lines if "●" in line]
    assert len(dots) == 3
    assert dots[0] < dots[1] < dots[2]
    assert abs((dots[1] - dots[0]) - (dots[2] - dots[1])) <= 1


def test_plot_shows_the_interval_around_the_time() -> None:
    text = shown(history_of([on(1, 1.0), on(2, 1.5, noise=0.1)], MINE))
    assert "─●─" in text.splitlines()[-1]


def test_other_work_has_a_scale_of_its_own() -> None:
    longer = on(2, 50.0)
    longer = changed(longer, config=longer.run.config | {"steps": 50})
    text = shown(history_of([on(1), longer], MINE))
    assert "64x64: synthetic/tiny, 2 steps, on cpu" in text
    assert "64x64: synthetic/tiny, 50 steps, on cpu" in text


def test_arms_have_lines_of_their_own() -> None:
    history = history_of([on(1, config_of=two_arms())], MINE)
    assert [entry.arm for entry in history.runs] == ["old", "new"]
    assert "│ old" in shown(history)


def test_simulated_run_is_marked_and_not_in_the_plot() -> None:
    lines = shown(history_of([on(1), on(2, 9.0, simulated=True)], MINE)).splitlines()
    assert "(simulated)" in lines[-1]
    assert "●" not in lines[-1]
    assert "●" in lines[-2]


def test_run_that_measured_nothing_is_a_line_with_its_outcome() -> None:
    crashed = on(1)
    crashed.attempts.clear()
    (entry,) = history_of([crashed], MINE).runs
    assert (entry.outcome, entry.latency_s.median) == ("skipped", None)
    assert "skipped" in shown(history_of([crashed], MINE))


def test_of_many_runs_the_last_are_shown_on_the_scale_of_all() -> None:
    history = history_of([on(1, 5.0), on(2, 1.0), on(3, 2.0)], MINE)
    console = Console(width=160, record=True, file=io.StringIO())
    render_history(history, console, most=2)
    text = console.export_text()
    assert text.startswith("1 earlier line: --all shows them")
    assert "run-1" not in text and "run-2" in text and "run-3" in text
    assert "5.0" in text.splitlines()[2]


def test_three_runs_under_the_same_conditions_tell_how_far_runs_differ() -> None:
    same = [on(day, seconds) for day, seconds in enumerate((1.0, 1.05, 0.95), start=1)]
    (spread,) = history_of([*same, on(9, 3.0, torch="1.13.1")], MINE).spreads
    assert spread.runs == 3
    assert spread.log_sd == pytest.approx(0.05, rel=0.1)
    assert spread.least_ratio == pytest.approx(1.03 * 1.36, rel=0.05)  # t of 2 degrees: 4.3
    words = shown(history_of(same, MINE))
    assert "The 3 runs with torch 2.0.0 under the same conditions scatter by 5." in words
    assert history_of(same[:2], MINE).spreads == []


def test_runs_without_a_verdicts_processes_tell_nothing_of_the_drift() -> None:
    few = one_case(replicates=2)
    assert history_of([on(day, config_of=few) for day in (1, 2, 3)], MINE).spreads == []


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_id_release_or_time_of_a_history_is_cut_off(width: int) -> None:
    run_id = "20261122-155401-torch-1-vs-2-0a65"
    history = history_of([on(1, run_id=run_id), on(2, run_id="20261123-155401-default-63bc")], MINE)
    out = io.StringIO()
    render_history(history, Console(file=out, width=width))
    shown = out.getvalue()
    assert run_id in shown and "…" not in shown
    assert ("●" in shown) is (width == 200), "the plot is what a narrow screen goes without"
