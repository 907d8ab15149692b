"""The screen of a fleet: a line a machine on a terminal, else plain lines; never in the way."""

import io
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import make_config, make_picture, make_replicate, make_run
from made_fleets import made_fleet
from rich.console import Console

from sdbench.cli.fleet_screen import Screen
from sdbench.cli.output import console
from sdbench.fleet.fleet_folder import FleetFolder
from sdbench.plan.cost import Pace
from sdbench.records import Compared, Pass, Run, TelemetrySummary
from sdbench.report.terminal.fleet_progress import (
    FleetProgress,
    FleetScreen,
    RunLeft,
    heat_words,
    image_words,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def run_left(run: Run, slot_s: float = 60.0) -> RunLeft:
    cases = Counter(slot.case_id for slot in run.plan.slots)
    return RunLeft(run, Pace(dict.fromkeys(cases, slot_s)), cases)


def progress(machines: int = 2, **fields: Any) -> tuple[FleetProgress, Run, Clock]:
    """Machines that wait, for a run of 8 slots of a minute."""
    run = make_run(make_config(replicates=2, arm=[{"name": "a"}, {"name": "b"}]), **fields)
    clock = Clock()
    made = FleetProgress([run_left(run)], clock)
    for number in range(machines):
        made.joins(f"Apple M2 Pro {number:06x}", run.run_id)
    return made, run, clock


def shown(made: FleetProgress, width: int = 80, height: int = 24) -> list[str]:
    text = io.StringIO()
    out = Console(file=text, width=width, height=height, force_terminal=True, color_system=None)
    out.print(FleetScreen(made.rows(), made.whole()))
    return text.getvalue().splitlines()


def telemetry(**fields: Any) -> TelemetrySummary:
    return TelemetrySummary(samples=1, period_s=0.05, cost_share=0.0, **fields)


# --- what a line says -----------------------------------------------------------------------------


def test_line_has_case_time_left_heat_and_image() -> None:
    made, run, clock = progress()
    first, second = run.plan.slots[0], run.plan.slots[1]
    made.begins("Apple M2 Pro 000000", first.replicate_id)
    clock.now = 20.0
    lines = shown(made, width=100)
    assert lines[0].split() == ["machine", "slot", "run", "heat", "image"]
    assert lines[1].startswith("Apple M2 Pro 000000 ")
    assert "128x128 [a], run 1 of 2" in lines[1]
    assert "40 s" in lines[1]
    assert lines[1].split()[-2:] == ["unknown", "unknown"], "nothing was measured yet"
    assert "waiting" in lines[2]
    assert lines[-1].startswith("0/8 ")
    assert lines[-1].rstrip().endswith("about 4 min left, 2 machines")
    hot = make_replicate(first, telemetry=telemetry(gpu_temperature_peak_c=71.4), wall_s=60.0)
    made.ends("Apple M2 Pro 000000", hot)
    made.begins("Apple M2 Pro 000000", second.replicate_id)
    assert "71 °C" in shown(made)[1]
    assert shown(made)[-1].startswith("1/8 ")


def test_slot_that_takes_longer_than_expected_is_late() -> None:
    made, run, clock = progress(1)
    made.begins("Apple M2 Pro 000000", run.plan.slots[0].replicate_id)
    clock.now = 61.0
    assert " late " in shown(made)[1]


def test_machine_that_vanished_is_first_and_counted() -> None:
    made, run, _ = progress(3)
    made.begins("Apple M2 Pro 000000", run.plan.slots[0].replicate_id)
    made.is_gone("Apple M2 Pro 000002", "vanished", "its worker is gone")
    made.is_gone("tls://10.0.0.9:4711", "left out", "no torch")
    lines = shown(made, width=100)
    assert "its worker is gone" in lines[1]
    assert "no torch" in lines[2]
    assert lines[-1].rstrip().endswith("2 machines, 1 vanished, 1 left out")
    made.joins("Apple M2 Pro 000002", run.run_id)
    assert "vanished" not in shown(made)[-1]


def test_run_without_a_machine_has_no_time_left() -> None:
    made, _, _ = progress(1)
    made.is_gone("Apple M2 Pro 000000", "vanished", "gone")
    assert "time left unknown" in shown(made)[-1]
    assert "waiting for machines" in shown(FleetProgress())[-1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (None, "unknown"),
        ({}, "unknown"),
        ({"thermal_peak": "nominal"}, "nominal"),
        ({"thermal_peak": "heavy", "gpu_temperature_peak_c": 90.0}, "heavy"),
        ({"gpu_temperature_peak_c": 55.5}, "56 °C"),
        ({"gpu_throttled": ["thermal"], "gpu_temperature_peak_c": 90.0}, "slowed"),
    ],
)
def test_heat_is_what_was_measured(fields: dict[str, Any] | None, words: str) -> None:
    found = None if fields is None else telemetry(**fields)
    assert heat_words(make_replicate(telemetry=found)) == words


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ({}, "unknown"),
        ({"black": True}, "black"),
        ({"nan_count": 3}, "NaN"),
        ({"content": "right"}, "as asked"),
        ({"content": "wrong"}, "not as asked"),
    ],
)
def test_image_is_what_its_record_says(picture: dict[str, Any], words: str) -> None:
    one = Pass(kind="measured", index=1, duration_s=1.0, images=[make_picture(**picture)])
    assert image_words(make_replicate(passes=[one])) == words
    assert image_words(make_replicate(passes=[])) == "unknown"


def test_image_is_compared_later() -> None:
    made, run, _ = progress(1)
    slot = run.plan.slots[0]
    made.begins("Apple M2 Pro 000000", slot.replicate_id)
    replicate = make_replicate(slot)
    made.ends("Apple M2 Pro 000000", replicate)
    compared = Compared(
        replicate_id=replicate.replicate_id,
        attempt=1,
        case_id=slot.case_id,
        arm=slot.arm,
        dtype="float32",
        simulated=False,
        verdict="match",
    )
    other = msgspec.structs.replace(compared, replicate_id="another", verdict="broken")
    made.compared([other, compared])
    assert shown(made)[1].rstrip().endswith("same as CPU")


# --- how much of it -------------------------------------------------------------------------------


def test_eighty_columns_hold_it_and_a_machine_keeps_its_number() -> None:
    made, run, _ = progress(1)
    title = "Intel(R) Xeon(R) Platinum 8480+ Processor \x1b[31m abcdef"
    made.joins(title, run.run_id)
    made.begins(title, run.plan.slots[0].replicate_id)
    for width in (80, 200):
        lines = shown(made, width=width)
        assert all(len(line) <= width for line in lines)
        assert any(" abcdef " in line for line in lines)
        assert not any("\x1b" in line for line in lines)


def test_forty_machines_fit_a_terminal_of_24_lines() -> None:
    made, run, _ = progress(40)
    made.begins("Apple M2 Pro 000027", run.plan.slots[0].replicate_id)
    made.is_gone("Apple M2 Pro 000020", "vanished", "gone")
    lines = shown(made)
    assert len(lines) < 24
    assert "000020" in lines[1] and "000027" in lines[2]
    assert "and 20 more" in lines


# --- lines ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    path = made_fleet(tmp_path)
    opened = FleetFolder.open(path)
    yield opened
    opened.close()


def go_through(screen: Screen, folder: FleetFolder, outcome: Any = "ok") -> None:
    """What happens to a machine and one of its slots."""
    (group,) = folder.state.groups.values()
    slot = folder.run_of(group.id).plan.slots[0]
    replicate = make_replicate(slot, outcome=outcome, reason=None if outcome == "ok" else "oh")
    screen.says("Fleet X")
    screen.machine_joins("Mac a1", group.run_id)
    screen.works_on("Mac a1", "checks the device")
    screen.slot_given("Mac a1", slot.replicate_id)
    screen.slot_done("Mac a1", replicate, 1, 8)
    screen.machine_lost("Mac a1", "silent")
    screen.machine_left_out("tls://x", "no torch")


def test_pipe_gets_a_line_for_everything(folder: FleetFolder) -> None:
    text = io.StringIO()
    with Screen(Console(file=text, width=160), folder) as screen:
        go_through(screen, folder)
    (group,) = folder.state.groups.values()
    slot = folder.run_of(group.id).plan.slots[0]
    assert text.getvalue().splitlines() == [
        "Fleet X",
        f"Mac a1 takes part in {group.run_id}",
        f"1 of 8  {slot.replicate_id}  ok  Mac a1",
        "Mac a1: it is not heard of any more",
        "tls://x is left out: no torch",
    ]


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_terminal_that_cannot_be_repainted_gets_the_lines(
    folder: FleetFolder, term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    text = io.StringIO()
    with Screen(Console(file=text, width=80, force_terminal=True), folder) as screen:
        go_through(screen, folder)
    assert len(text.getvalue().splitlines()) == 5
    assert "\x1b[" not in text.getvalue()


def test_terminal_shows_machines_and_keeps_bad_news(
    folder: FleetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    for outcome, kept in (("ok", False), ("crashed", True)):
        text = io.StringIO()
        out = Console(file=text, width=80, height=24, force_terminal=True, highlight=False)
        with Screen(out, folder) as screen:
            go_through(screen, folder, outcome)
            until = time.monotonic() + 30
            while "left out" not in text.getvalue() and time.monotonic() < until:
                time.sleep(0.05)
        assert "8/8" in text.getvalue()
        assert ("1 of 8" in text.getvalue()) == kept
        assert "\x1b[3" not in text.getvalue(), "no colour"


class Stuck(io.StringIO):
    """A terminal that was stopped with Ctrl-S: nothing that is written comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait(60)
        return super().write(text)


def test_stopped_terminal_holds_nobody_up(
    folder: FleetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls return, and so does the end, while the painter still waits."""
    monkeypatch.setattr("sdbench.cli.fleet_screen._LAST_LINES_S", 0.1)
    stuck = Stuck()
    with Screen(Console(file=stuck, width=80), folder) as screen:
        for _ in range(1000):
            go_through(screen, folder)
    assert stuck.getvalue() == ""
    stuck.goes_on.set()
    screen._painter.join(30)
    assert len(stuck.getvalue().splitlines()) == 5000


def test_closed_stream_ends_nothing(folder: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Broken())
    with Screen(console(err=True), folder) as screen:
        go_through(screen, folder)
    assert not screen._painter.is_alive()


def test_ascii_terminal_is_no_reason_to_fail(
    folder: FleetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, encoding="ascii"))
    made, run, _ = progress(1)
    slot = run.plan.slots[0]
    made.begins("Apple M2 Pro 000000", slot.replicate_id)
    hot = make_replicate(slot, telemetry=telemetry(gpu_temperature_peak_c=71.4))
    made.ends("Apple M2 Pro 000000", hot)
    console(err=True).print(FleetScreen(made.rows(), made.whole()))
    assert b"71 C" in raw.getvalue()
    assert raw.getvalue().isascii()
