"""Workers that are ordered to die: each must be recorded as what it was, and leave nothing."""

import contextlib
import time
from dataclasses import dataclass

from sdbench.process.events import InstrumentRead
from sdbench.records import Gate, InstrumentLine, Replicate, Slot
from sdbench.runner.replicate import replicate_record
from sdbench.selftest.judging import Question
from sdbench.selftest.workers import Setup

_CHILD_S = 60
_HANG_LIMIT_S = 5.0
_LIMIT_S = 90.0
_GONE_WITHIN_S = 5.0
_CASE = {"passes": 0, "profile": False, "case": {"warmup": False, "dtype": "float32"}}


@dataclass(frozen=True)
class Death:
    """A way to die, by the worker's name for it, and how it must be recorded."""

    how: str
    recorded: str
    limit_s: float = _LIMIT_S


DEATHS = (
    Death("killed", "crashed, SIGKILL"),
    Death("aborted", "crashed, SIGABRT"),
    Death("hung", "timeout", _HANG_LIMIT_S),
    Death("raised", "failed, ValueError"),
    Death("out-of-memory", "oom, MemoryError"),
    Death("out-of-device-memory", "oom"),
)
LEFT_BEHIND = Question(
    id="death-left-behind",
    instrument="processes that a run expects to be left of dead workers",
    source="children of the dead workers that psutil still finds",
    unit="processes",
    allowed=0.0,
    ground="a process that is left over takes memory and time from the next one",
)
CRASH_REPORT = Question(
    id="death-crash-report",
    instrument="signal in the crash report that was found by its process id",
    source="the death that the worker was ordered to die: aborted",
)


def death_lines(setup: Setup) -> list[InstrumentLine]:
    """One line for each death, one for what is left behind, one for the crash report."""
    lines: list[InstrumentLine] = []
    children: list[int] = []
    aborted: Replicate | None = None
    for death in DEATHS:
        named = len(children)
        record = _die(setup, death, children)
        lines.append(judged(death, record, ordered=len(children) > named))
        if death.how == "aborted":
            aborted = record
    left = float(len(_still_there(children))) if len(children) == len(DEATHS) else None
    lines.append(LEFT_BEHIND.compare(0.0, left, missing="not every worker named its child"))
    return [*lines, _crash_report_line(setup, aborted)]


def judged(death: Death, record: Replicate, *, ordered: bool) -> InstrumentLine:
    """Whether the record says how the worker died.

    ``ordered``: it came as far as its order; if not, it ended otherwise or its time was too short.
    """
    question = Question(
        id=f"death-{death.how}",
        instrument="outcome in the record of a worker",
        source=f"the death that it was ordered to die: {death.how}",
    )
    if not ordered:
        words = f"the worker ended before it was to die: {record.reason or record.outcome}"
        return question.unknown(words, expected=death.recorded)
    said: str = record.outcome
    if "," in death.recorded:
        said = f"{said}, {record.signal or record.exception_type}"
    return question.compare_words(said, death.recorded)


def _die(setup: Setup, death: Death, children: list[int]) -> Replicate:
    def notice(read: InstrumentRead) -> None:
        child = read.values.get("child_pid")
        if child is not None:
            children.append(int(child))

    job = {"how": death.how, "child_s": _CHILD_S, **_CASE}
    report = setup.start("die", notice, limit_s=death.limit_s, **job)
    return replicate_record(
        Slot(index=0, block=0, case_id="selftest", arm="selftest"),
        1,
        setup.task("die", limit_s=death.limit_s, **job),
        report,
        Gate(),
        cold_cache=False,
    )


def _still_there(pids: list[int]) -> list[int]:
    """Those that run after some seconds; a zombie has ended."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _runs(pid: int) -> bool:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return bool(process.name() == "sleep" and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _crash_report_line(setup: Setup, aborted: Replicate | None) -> InstrumentLine:
    if setup.system.name() != "Darwin":
        return CRASH_REPORT.unknown("only macOS writes crash reports")
    if aborted is None or aborted.crash_report is None:
        return CRASH_REPORT.unknown("macOS wrote no crash report in time")
    return CRASH_REPORT.compare_words(aborted.crash_report.signal, "SIGABRT")
