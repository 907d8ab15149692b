"""From a worker's report to a replicate's record: pure, so every kind of death can be tested."""

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from sdbench.runner.executor import Report, Stop, Task
from sdbench.schema import Gate, Outcome, Pass, Replicate, Slot
from sdbench.store.privacy import redact

_STOPPED: dict[str, Outcome] = {
    "timeout": "timeout",
    "guard": "guard",
    "budget": "skipped",
    "silent": "failed",
    "flood": "failed",
}
_RAISED: dict[str, Outcome] = {"oom": "oom", "impossible": "skipped"}


@dataclass(frozen=True)
class _Ending:
    outcome: Outcome
    reason: str | None = None
    signal: str | None = None


def replicate_record(
    slot: Slot, attempt: int, task: Task, report: Report, gate: Gate, *, cold_cache: bool
) -> Replicate:
    """The durable record of one worker."""
    events = _Events(report.events)
    passes, unreadable_passes = _passes(events)
    ending = _ending(report, events, len(passes), _expected_passes(task))
    error = events.last("error")
    device = events.last("device")
    stack = events.last("stack")
    peak = _peak(passes, report)
    return Replicate(
        replicate_id=slot.replicate_id,
        case_id=slot.case_id,
        arm=slot.arm,
        block=slot.block,
        slot=slot.index,
        attempt=attempt,
        outcome=ending.outcome,
        reason=None if ending.reason is None else redact(ending.reason),
        simulated=bool(stack.get("simulated", False)),
        start=report.start,
        cold_cache=cold_cache,
        slept=report.slept,
        started_utc=report.started_utc,
        ended_utc=report.ended_utc,
        wall_s=report.wall_s,
        last_phase=events.last("phase").get("name"),
        signal=ending.signal,
        exit_code=report.exit_code,
        exception_type=error.get("type"),
        exception_message=None if "message" not in error else redact(str(error["message"])),
        projected_s=None if report.stop is None else report.stop.projected_s,
        unreadable_lines=report.unreadable_lines + unreadable_passes,
        import_s=stack.get("import_s"),
        load_s=events.last("loaded").get("load_s"),
        passes=passes,
        peak_memory_bytes=peak[0],
        peak_memory_source=peak[1],
        peak_memory_reason=peak[2],
        versions=stack.get("versions", {}),
        python=events.last("hello").get("python"),
        device={key: device[key] for key in ("kind", "facts", "dtypes") if key in device},
        gate=gate,
        telemetry=report.telemetry,
        stdout_tail=redact(report.stdout_tail),
        stderr_tail=redact(report.stderr_tail),
    )


class _Events:
    """The last event of each name."""

    def __init__(self, events: Iterable[dict[str, Any]]) -> None:
        self.all = list(events)
        self._last = {event["event"]: event for event in self.all}

    def last(self, name: str) -> dict[str, Any]:
        return self._last.get(name, {})


def _passes(events: _Events) -> tuple[list[Pass], int]:
    """The passes reported, and how many reports were not passes."""
    passes, unreadable = [], 0
    for event in events.all:
        if event["event"] != "pass":
            continue
        try:
            passes.append(msgspec.convert(event, Pass))
        except msgspec.ValidationError:
            unreadable += 1
    return passes, unreadable


def _expected_passes(task: Task) -> int:
    job = task.job
    return int(job["passes"]) + bool(job["profile"]) + bool(job["case"]["warmup"])


def _ending(report: Report, events: _Events, passes: int, expected: int) -> _Ending:
    where = events.last("phase").get("name") or "start"
    if report.stop is not None:
        return _stopped(report.stop, report, where)
    if report.exit_code is not None and report.exit_code < 0:
        return _killed(report, where)
    error = events.last("error")
    if error:
        outcome = _RAISED.get(str(error.get("kind")), "failed")
        text = str(error.get("message", "")).strip().splitlines()
        first_line = text[0] if text else "no message"
        prefix = "" if outcome == "skipped" else f"{error.get('type')} in {where}: "
        return _Ending(outcome, f"{prefix}{first_line}")
    if not events.last("done"):
        return _Ending("failed", f"ended in {where} with status {report.exit_code}, saying nothing")
    if passes != expected:
        return _Ending("failed", f"reported {passes} of {expected} passes")
    return _Ending("ok")


def _stopped(stop: Stop, report: Report, where: str) -> _Ending:
    reason = f"{stop.reason} (in {where})" if stop.kind == "timeout" else stop.reason
    if report.could_not_be_ended:
        reason += "; the process did not even end on SIGKILL"
    return _Ending(_STOPPED.get(stop.kind, "failed"), reason)


def _killed(report: Report, where: str) -> _Ending:
    assert report.exit_code is not None
    name = _signal_name(-report.exit_code)
    if name == "SIGKILL" and report.killed_by_system:
        return _Ending("oom", f"killed by the system for lack of memory in {where}", name)
    return _Ending("crashed", f"ended by {name} in {where}", name)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _peak(passes: list[Pass], report: Report) -> tuple[int | None, str | None, str | None]:
    """Highest memory while pictures were made (profiling pass aside), its source, or why not."""
    working = [entry for entry in passes if entry.kind != "profile"]
    counted = [entry for entry in working if entry.peak_bytes is not None]
    if counted:
        highest = max(counted, key=lambda entry: entry.peak_bytes or 0)
        return highest.peak_bytes, highest.peak_source, None
    telemetry = report.telemetry
    if telemetry is not None and telemetry.peak_footprint_bytes is not None:
        return telemetry.peak_footprint_bytes, telemetry.footprint_source, None
    if working:
        return None, None, "no allocator peak on this stack, and telemetry was off"
    return None, None, "no pass was made"
