"""What is on the screen while nothing runs."""

import io

import pytest
from factories import make_replicate, make_run
from rich.console import Console

from sdbench.report.terminal.progress import ScreenWatcher


def watcher(terminal: bool = False) -> tuple[ScreenWatcher, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, width=160, force_terminal=terminal)
    return ScreenWatcher(make_run(), console, "results/x"), text


def test_wait_is_told_once_with_its_reason_and_its_end() -> None:
    screen, text = watcher()
    with screen:
        for waited_s in (0.0, 1.0, 2.0):
            screen.waits(["thermal", "battery"], waited_s, 60.0)
    assert text.getvalue().splitlines() == [
        "waiting because of a hot machine and a battery below 20%, 60 s at most"
    ]


def test_process_that_went_well_is_a_line_where_output_is_piped_and_none_on_a_terminal() -> None:
    words = "[1/4] 128x128, run 1 of 2: ok, 1 s per image"
    for terminal in (False, True):
        screen, text = watcher(terminal)
        slot = screen._run.plan.slots[0]
        with screen:
            screen.slot_begins(slot, 0, 4, 10.0)
            screen.slot_ends(make_replicate(slot), 1, 4)
        assert (words in text.getvalue()) != terminal


@pytest.mark.parametrize(
    ("stopped", "words"),
    [
        (None, ""),
        ("asked", ""),
        ("median-known", ", 2 measured passes (their median is known to 0.5%)"),
    ],
)
def test_why_no_more_passes_were_made_is_said_unless_so_many_were_asked_for(
    stopped: str | None, words: str
) -> None:
    screen, text = watcher()
    slot = screen._run.plan.slots[0]
    with screen:
        screen.slot_begins(slot, 0, 4, 10.0)
        screen.slot_ends(make_replicate(slot, passes_stopped=stopped), 1, 4)
    (line,) = text.getvalue().splitlines()
    assert line == f"[1/4] 128x128, run 1 of 2: ok, 1 s per image{words}"


def test_wait_for_another_reason_is_told_anew() -> None:
    screen, text = watcher()
    with screen:
        screen.waits(["thermal", "pressure"], 0.0, 60.0)
        screen.waits(["thermal"], 10.0, 60.0)
        screen.waits(["recovery"], 0.0, 60.0)
    assert text.getvalue().splitlines() == [
        "waiting because of a hot machine and memory pressure, 60 s at most",
        "waiting because of a hot machine, 50 s at most",
        "waiting because of memory that has not recovered, 60 s at most",
    ]


def test_stop_by_the_guard_is_told_in_plain_words() -> None:
    screen, text = watcher()
    run = make_run()
    slot = run.plan.slots[0]
    with screen:
        screen.slot_begins(slot, 0, 4, 10.0)
        screen.slot_ends(make_replicate(slot, outcome="guard", reason="swap grew by 5.0 GB"), 1, 4)
    assert "stopped to protect your machine – swap grew by 5.0 GB" in text.getvalue()
