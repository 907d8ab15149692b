"""Converts a worker's report into a replicate's record. Pure, so every kind of failure can be
tested."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from sdbench.knowledge.failure_causes import (
    fallback_operators,
    gpu_work_failure,
    read_failure,
    without_advice,
)
from sdbench.knowledge.failure_texts import one_line
from sdbench.knowledge.pasted_log import innermost_message, last_line, last_words, root_exception
from sdbench.knowledge.settings_in_force import of_job
from sdbench.knowledge.version_ranges import Versions
from sdbench.plan.config import FEWEST_PASSES
from sdbench.privacy.redact_recorded import redact
from sdbench.process.events import (
    Counted,
    DeviceTried,
    Done,
    Event,
    Failed,
    GroupBegun,
    Hello,
    Loaded,
    MemberEnded,
    PassEnded,
    PassesMade,
    Phase,
    SettingsSeen,
    Stack,
    YardstickRead,
)
from sdbench.process.executor import Report, Stop, Task
from sdbench.records import Gate, Outcome, Pass, Replicate, Slot, Yardstick
from sdbench.runner.stage_memory import with_sampled_ends, with_sampled_peaks
from sdbench.words import signal_name

E = TypeVar("E", bound=msgspec.Struct)

_STOPPED: dict[str, Outcome] = {
    "timeout": "timeout",
    "guard": "guard",
    "budget": "skipped",
    "silent": "failed",
    "flood": "failed",
    "ballast": "failed",
}
_DEATHS: tuple[Outcome, ...] = ("failed", "oom", "crashed")
_RAISED: dict[str, Outcome] = {"oom": "oom", "impossible": "skipped"}


@dataclass(frozen=True)
class _Ending:
    outcome: Outcome
    reason: str | None = None
    signal: str | None = None


def replicate_record(
    slot: Slot,
    attempt: int,
    task: Task,
    report: Report,
    gate: Gate,
    *,
    cold_cache: bool,
    swapped_out_bytes: int | None = None,
    simulated: bool = False,
) -> Replicate:
    """The durable record of one worker."""
    said = _LastEvents(report.events)
    ended = [event for event in report.events if isinstance(event, PassEnded)]
    passes = with_sampled_peaks([event.as_pass() for event in ended], report.timeline)
    passes = with_sampled_ends(passes, [event.t for event in ended], report.timeline)
    made = said.last(PassesMade)
    ending = _ending(report, said, len(passes), _expected_passes(task, made))
    error, device, done = said.last(Failed), said.last(DeviceTried), said.last(Done)
    counted, settings = said.last(Counted), said.last(SettingsSeen)
    group = said.last(GroupBegun)
    stack, hello, loaded = said.last(Stack), said.last(Hello), said.last(Loaded)
    peak = _peak(passes, report)
    cause = None
    if ending.outcome in _DEATHS and report.stop is None:
        crash_text = "" if report.crash_report is None else report.crash_report.message or ""
        cause = read_failure(
            f"{report.stderr_tail}\n{crash_text}",
            None if error is None else error.type,
            None if error is None else error.message,
            ending.signal,
            _versions(task, stack, device),
        )
    return Replicate(
        replicate_id=slot.replicate_id,
        case_id=slot.case_id,
        arm=slot.arm,
        block=slot.block,
        slot=slot.index,
        attempt=attempt,
        outcome=ending.outcome,
        reason=None if ending.reason is None else redact(ending.reason),
        simulated=simulated or (stack is not None and stack.simulated),
        start=report.start,
        cold_cache=cold_cache,
        slept=report.slept,
        started_utc=report.started_utc,
        ended_utc=report.ended_utc,
        wall_s=report.wall_s,
        last_phase=said.phase,
        signal=ending.signal,
        exit_code=report.exit_code,
        exception_type=None if error is None else error.type,
        exception_message=None if error is None else redact(error.message),
        cause=cause,
        crash_report=report.crash_report,
        fallback_operators=fallback_operators(report.stderr_tail),
        projected_s=None if report.stop is None else report.stop.projected_s,
        unreadable_lines=report.unreadable_lines,
        import_s=None if stack is None else stack.import_s,
        load_s=None if loaded is None else loaded.load_s,
        load_peak_bytes=None if loaded is None else loaded.peak_bytes,
        passes=passes,
        passes_stopped=None if made is None else made.stopped,
        yardstick=_yardstick(said.last(YardstickRead)),
        effects={} if settings is None else settings.effects,
        compile_s=None if settings is None else settings.compile_s,
        flops=None if counted is None else counted.flops,
        flops_missing=None if counted is None else counted.reason,
        peak_memory_bytes=peak[0],
        peak_memory_source=peak[1],
        peak_memory_reason=peak[2],
        pss_bytes=None if done is None else done.pss_bytes,
        uss_bytes=None if done is None else done.uss_bytes,
        processes=None if group is None else group.processes,
        swapped_out_bytes=swapped_out_bytes,
        versions={} if stack is None else stack.versions,
        python=None if hello is None else hello.python,
        device={} if device is None else _device_record(device),
        gate=gate,
        telemetry=report.telemetry,
        stdout_tail=redact(report.stdout_tail),
        stderr_tail=redact(report.stderr_tail),
        machine_id=report.machine_id or msgspec.UNSET,
        placement=report.placement or msgspec.UNSET,
    )


class _LastEvents:
    """The last event of each kind."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._last: dict[type[msgspec.Struct], Event] = {type(event): event for event in events}

    def last(self, kind: type[E]) -> E | None:
        found = self._last.get(kind)
        return found if isinstance(found, kind) else None

    @property
    def phase(self) -> str | None:
        """The phase last begun."""
        phase = self.last(Phase)
        return None if phase is None else phase.name


def _yardstick(read: YardstickRead | None) -> Yardstick | None:
    if read is None:
        return None
    reason = None if read.reason is None else redact(read.reason)
    return msgspec.structs.replace(read.as_yardstick(), reason=reason)


def _versions(task: Task, stack: Stack | None, device: DeviceTried | None) -> Versions:
    """What the worker said of its software and its machine before it ended, and its settings."""
    packages = {} if stack is None else stack.versions
    facts = {} if device is None else device.facts
    macos = facts.get("macos")
    name = "Apple Paravirtual device" if facts.get("virtualised") else facts.get("name")
    return Versions(
        torch=packages.get("torch"),
        macos=macos if isinstance(macos, str) else None,
        chip=name if isinstance(name, str) else None,
        dtype=task.job["case"].get("dtype"),
        packages=packages,
        in_force=of_job(task.job, task.environment),
    )


def _device_record(device: DeviceTried) -> dict[str, Any]:
    return {"kind": device.kind, "facts": device.facts, "dtypes": device.dtypes}


def _expected_passes(task: Task, made: PassesMade | None) -> int:
    """How many a worker that has done its job has reported.

    Where the worker decides how many measured passes it makes, it says so in the end.
    """
    job = task.job
    if job["passes"] != "auto" and not job.get("sustain_s"):
        measured = int(job["passes"])
    else:
        measured = FEWEST_PASSES if made is None else made.made
    return measured + bool(job["profile"]) + bool(job["case"]["warmup"])


def _ending(report: Report, said: _LastEvents, passes: int, expected: int) -> _Ending:
    where = f"{said.phase or 'start'}{_member_words(said)}"
    if report.stop is not None:
        return _stopped(report.stop, report, where)
    if report.exit_code is not None and report.exit_code < 0:
        return _killed(report, where)
    error = said.last(Failed)
    if error is not None:
        outcome = _RAISED.get(error.kind, "failed")
        first_line = without_advice(innermost_message(error.message)) or "no message"
        if outcome == "skipped":
            return _Ending(outcome, first_line)
        return _Ending(outcome, f"{error.type} in {where}: {first_line}{_root(report, first_line)}")
    if said.last(Done) is None:
        return _Ending("failed", _without_a_word(report, where))
    if passes != expected:
        return _Ending("failed", f"reported {passes} of {expected} passes")
    unraised = gpu_work_failure(report.stderr_tail)
    if unraised is not None:
        return _Ending("failed", f"the GPU reported an error: {unraised.assertion}")
    return _Ending("ok")


def _member_words(said: _LastEvents) -> str:
    """`` (process 2 of 4)`` where another process than the worker itself ended first."""
    member, group = said.last(MemberEnded), said.last(GroupBegun)
    if member is None or group is None:
        return ""
    return f" (process {member.rank + 1} of {group.processes})"


def _root(report: Report, reported: str) -> str:
    """`` (caused by …)`` where the exception was raised from another one that says more."""
    root = root_exception(report.stderr_tail)
    message = "" if root is None else root.partition(": ")[2]
    return f" (caused by {one_line(root)})" if root and message and message not in reported else ""


def _without_a_word(report: Report, where: str) -> str:
    """Of a worker that ended by itself and reported neither an error nor that it was done."""
    words = last_words(report.stderr_tail) or last_line(report.stderr_tail)
    said = (
        f"; its error output ends with: {one_line(words)}"
        if words
        else ", without any error output"
    )
    return f"ended in {where} with exit status {report.exit_code}{said}"


def _stopped(stop: Stop, report: Report, where: str) -> _Ending:
    reason = f"{stop.reason} (in {where})" if stop.kind == "timeout" else stop.reason
    if report.could_not_be_ended:
        reason += "; the process did not end even after SIGKILL"
    return _Ending(_STOPPED.get(stop.kind, "failed"), reason)


def _killed(report: Report, where: str) -> _Ending:
    assert report.exit_code is not None
    name = signal_name(-report.exit_code)
    if name == "SIGKILL" and report.killed_by_system:
        return _Ending("oom", f"killed by the system for lack of memory in {where}", name)
    words = last_words(report.stderr_tail)
    if words is None and report.crash_report is not None:
        words = report.crash_report.message
    said = f": {one_line(words)}" if words else ""
    return _Ending("crashed", f"ended by {name} in {where}{said}", name)


def _peak(passes: list[Pass], report: Report) -> tuple[int | None, str | None, str | None]:
    """Highest memory while images were made (profiling pass aside), its source, or why not."""
    working = [entry for entry in passes if entry.kind != "profile"]
    counted = [entry for entry in working if entry.peak_bytes is not None]
    if counted:
        highest = max(counted, key=lambda entry: entry.peak_bytes or 0)
        return highest.peak_bytes, highest.peak_source, None
    telemetry = report.telemetry
    if telemetry is not None:
        sampled = telemetry.pass_peak_footprint_bytes or telemetry.peak_footprint_bytes
        if sampled is not None:
            return sampled, telemetry.footprint_source, None
    if working:
        missing = "telemetry was off" if telemetry is None else "its memory could not be sampled"
        return None, None, f"no allocator peak on this environment, and {missing}"
    return None, None, "no pass was made"
