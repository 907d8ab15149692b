"""The search goes on after a death, a hang and a failure, and ends where it must."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from factories import (
    Called,
    FakeClock,
    as_event,
    call_events,
    make_call,
    make_config,
    make_judged,
    make_model,
    make_report,
)
from rich.console import Console

from sdbench.errors import MachineError
from sdbench.localise import search as localise
from sdbench.localise.search import Found, Search, locate
from sdbench.process.executor import Executor, FakeExecutor, Report, Stop, Supervisor, Task
from sdbench.process.find_device import FoundDevice
from sdbench.process.operator_calls import OperatorCall
from sdbench.records import Case
from sdbench.report.terminal.search_progress import left_seconds

CALLS = [make_call(index, f"aten::op{index}") for index in range(5)]
END = {"event": "localised", "t": 1.0, "skipped": {"views": 3}, "notes": []}
STACK = {"event": "stack", "t": 0.5, "versions": {}, "simulated": True}


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(
        config=make_config(),
        case=Case(resolution="64x64", batching="batch"),
        device=FoundDevice("mps"),
        dtype="float32",
        model=make_model(path=str(tmp_path)),
        interpreter=sys.executable,
        environment={},
    )


def run(search: Search, script: Callable[[Task, Supervisor], Report]) -> tuple[Found, list[Task]]:
    executor = FakeExecutor(script)
    return locate(search, executor, lambda share: None, lambda: False), executor.tasks


def begun(call: OperatorCall) -> dict[str, Any]:
    event: dict[str, Any] = call_events(call)[0]
    return event


def dying_in(*indices: int, **report: Any) -> Callable[[Task, Supervisor], Report]:
    """Workers that end in these calls unless they are told to leave them out."""

    def script(task: Task, supervise: Supervisor) -> Report:
        events = [STACK]
        for call in CALLS[task.job["first"] :]:
            if call.signature in task.job["avoid"]:
                continue
            if call.index in indices:
                defaults = {"exit_code": -6, "stderr_tail": "failed assertion `total bytes'"}
                return make_report([*events, begun(call)], **{**defaults, **report})
            events += call_events(call)
        return make_report([*events, END])

    return script


def test_healthy_device_needs_one_worker(search: Search) -> None:
    found, tasks = run(search, dying_in())
    assert found.complete and found.simulated and found.skipped == {"views": 3}
    assert [entry.status for entry in found.judged] == ["compared"] * 5
    assert len(tasks) == 1


def test_job_is_a_pass_in_float32_with_the_type_under_test_beside_it(search: Search) -> None:
    _, (task,) = run(search, dying_in())
    assert (task.job["case"]["dtype"], task.job["compute_dtype"]) == ("float32", "float32")
    assert (task.job["case"]["width"], task.job["device"]) == (64, "mps")
    assert task.telemetry is False


def test_call_that_ends_the_process_is_noted_and_the_rest_goes_on(search: Search) -> None:
    found, tasks = run(search, dying_in(1, 3))
    assert [task.job["first"] for task in tasks] == [0, 2, 4]
    assert tasks[2].job["avoid"] == [CALLS[1].signature, CALLS[3].signature]
    assert {entry.call.index: entry.status for entry in found.judged} == {
        0: "compared",
        1: "crashed",
        2: "compared",
        3: "crashed",
        4: "compared",
    }
    crash = next(entry for entry in found.judged if entry.call.index == 1)
    assert crash.reason is not None and crash.reason.startswith("ended by SIGABRT")
    assert found.complete


def test_call_that_does_not_come_back_is_noted(search: Search) -> None:
    stop = Stop("timeout", "no end after 120 s")
    found, _ = run(search, dying_in(2, exit_code=-9, stop=stop))
    hung = next(entry for entry in found.judged if entry.call.index == 2)
    assert (hung.status, hung.reason) == ("hung", "no end after 120 s")


def test_too_many_deaths_end_the_search_with_what_is_known(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localise, "_MOST_DEATHS", 2)
    found, tasks = run(search, dying_in(0, 1, 2, 3, 4))
    assert len(tasks) == 3 and not found.complete
    assert [entry.status for entry in found.judged] == ["crashed"] * 3


def test_error_on_the_device_is_a_failure_of_the_call(search: Search) -> None:
    events = call_events(CALLS[0], None, error="RuntimeError: no /home/somebody/kernel")
    found, _ = run(search, lambda task, supervise: make_report([*events, END]))
    (entry,) = found.judged
    assert entry.status == "failed" and entry.beyond
    assert "somebody" not in (entry.reason or "")


def test_what_only_the_cpu_has_is_no_call(search: Search) -> None:
    events = call_events(CALLS[0], None, left_out=True)
    found, _ = run(search, lambda task, supervise: make_report([*events, END]))
    assert found.judged == [] and found.complete


@pytest.mark.parametrize(
    ("events", "report", "words"),
    [
        (
            [{"event": "error", "t": 1.0, "type": "OSError", "message": "no", "phase": "load"}],
            {"exit_code": 1},
            "OSError in load: no",
        ),
        ([], {"exit_code": -11}, "ended by SIGSEGV"),
        ([], {"exit_code": 0}, "ended with exit status 0"),
        ([begun(CALLS[0])], {"stop": Stop("guard", "swap grew")}, "swap grew"),
    ],
)
def test_death_outside_a_call_is_told(
    search: Search, events: list[Any], report: dict[str, Any], words: str
) -> None:
    with pytest.raises(MachineError, match=words):
        run(search, lambda task, supervise: make_report(events, **report))


def test_user_may_stop_it(search: Search) -> None:
    asked: list[Stop | None] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        asked.append(supervise(None, None))
        return make_report([*call_events(CALLS[0])], exit_code=-15, stop=asked[0])

    found = locate(search, FakeExecutor(script), lambda share: None, lambda: True)
    assert asked[0] is not None and asked[0].kind == "interrupted"
    assert found.interrupted and not found.complete


def test_only_the_call_on_the_device_is_timed(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localise, "CALL_LIMIT_S", -1.0)
    stops: list[str | None] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        begins, ends = (as_event(event) for event in call_events(CALLS[0]))
        for event in (None, begins, None, ends, None):
            stop = supervise(event, None)
            stops.append(None if stop is None else stop.kind)
        return make_report([*call_events(CALLS[0]), END])

    run(search, script)
    assert stops == [None, "timeout", "timeout", None, None]


def test_progress_is_the_share_of_the_pass(search: Search) -> None:
    shares: list[float] = []

    def script(task: Task, supervise: Supervisor) -> Report:
        supervise(None, None)
        supervise(as_event(begun(make_call(0, share=0.25))), None)
        return make_report([END])

    locate(search, FakeExecutor(script), shares.append, lambda: False)
    assert shares == [0.0, 0.25]


def test_time_left_does_not_count_what_came_before_the_first_share() -> None:
    # 100 s of imports, then a percent a second.
    first = (100.0, 0.01)
    assert left_seconds(first, (101.0, 0.02)) is None
    assert left_seconds(first, (109.0, 0.10)) == pytest.approx(90.0)
    assert left_seconds(first, (199.0, 1.0)) == 0


@pytest.mark.parametrize(
    ("terminal", "apart_s", "shown"),
    [
        (False, 20.0, ["25% done", "50% done, about 40 s left", "50% done, about 80 s left"]),
        (False, 19.0, ["25% done", "50% done, about 76 s left"]),
        (True, 1.0, ["25% done", "50% done, about 2 s left", "50% done, about 4 s left"]),
    ],
)
def test_screen_shows_the_share_done_and_the_time_left(
    search: Search,
    call: Called,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    apart_s: float,
    shown: list[str],
) -> None:
    """A line every 20 s at most; on a terminal a bar that is painted every second."""
    clock, text = FakeClock(), io.StringIO()

    def located(
        search: Search, executor: Executor, showing: Callable[[float], None], *_: object
    ) -> Found:
        for share in (0.0, 0.25, 0.50, 0.1):  # after a death a worker begins at 0 again
            clock.advance(apart_s)
            showing(share)
        return Found(judged=[], interrupted=True)

    monkeypatch.setattr("sdbench.cli.localise.prepare_search", lambda *_: search)
    monkeypatch.setattr("sdbench.cli.localise.locate", located)
    for module in ("cli.localise", "report.terminal.search_progress"):
        monkeypatch.setattr(f"sdbench.{module}.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(
        "sdbench.report.terminal.search_progress.time", SimpleNamespace(monotonic=clock)
    )
    monkeypatch.setattr(
        "sdbench.cli.localise.console",
        lambda err: Console(file=text, width=160, force_terminal=terminal),
    )
    assert call("localise", "--model", "synthetic/tiny")[0] == 130
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text.getvalue()).splitlines()
    painted = [words for line in lines for words in re.findall(r"\d+% done.*", line)]
    assert [*dict.fromkeys(painted)] == shown
    assert any(line.startswith("25% done") for line in lines) != terminal


def test_search_that_the_user_stopped_writes_nothing(
    search: Search, call: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdbench.cli.localise.prepare_search", lambda *_: search)
    monkeypatch.setattr(
        "sdbench.cli.localise.locate",
        lambda *_: Found(judged=[make_judged(CALLS[0], 50.0)], interrupted=True),
    )
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("localise", "--model", "synthetic/tiny")
    assert (code, out) == (130, "")
    assert list(tmp_path.glob("sdbench-localise-*")) == []
