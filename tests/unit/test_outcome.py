"""Every way a worker can end, and the record made of it."""

import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from factories import make_report, make_slot, make_task, pass_event, worker_events

from sdbench.process.executor import Report, Stop, StopKind, Task
from sdbench.records import CrashReport, Gate, Replicate, TelemetrySummary, Yardstick
from sdbench.runner.replicate import replicate_record


def record_of(report: Report, task: Task | None = None) -> Replicate:
    return replicate_record(
        make_slot(), 1, task or make_task(), report, Gate(load_1min=0.5), cold_cache=True
    )


def events_until(name: str) -> list[dict[str, Any]]:
    """What a worker had told when it entered a phase."""
    events = worker_events(make_task())
    for index, event in enumerate(events):
        if event["event"] == "phase" and event["name"] == name:
            return events[: index + 1]
    raise KeyError(name)


def test_worker_that_did_all_it_should_is_ok() -> None:
    record = record_of(make_report(worker_events(make_task(), pass_s=2.5)))
    assert (record.outcome, record.reason, record.exit_code) == ("ok", None, 0)
    assert [entry.duration_s for entry in record.of_kind("measured")] == [2.5, 2.5]
    assert (record.import_s, record.load_s, record.last_phase) == (3.0, 0.5, "end")
    assert record.versions == {"torch": "2.0.0"}
    assert record.device == {"kind": "cpu", "facts": {}, "dtypes": ["float32"]}
    assert record.cold_cache
    assert record.gate.load_1min == 0.5


def test_counted_operations_are_recorded_or_why_not() -> None:
    events = worker_events(make_task())
    flops = {
        "text_encoder": 1,
        "vae_encode": 4,
        "denoising": 2,
        "vae_decode": 3,
        "measured_pass": 20,
    }
    counted = [*events[:-1], {"event": "counted", "flops": flops}, events[-1]]
    record = record_of(make_report(counted))
    assert msgspec.to_builtins(record.flops) == flops and record.flops_missing is None
    missing = [
        *events[:-1],
        {"event": "counted", "flops": None, "reason": "no counter"},
        events[-1],
    ]
    record = record_of(make_report(missing))
    assert (record.outcome, record.flops, record.flops_missing) == ("ok", None, "no counter")


def test_yardstick_is_recorded_or_why_not() -> None:
    events = worker_events(make_task())
    assert record_of(make_report(events)).yardstick is None  # of an older worker
    read = {"event": "yardstick", "version": 1, "before_s": 0.01, "after_s": 0.011}
    record = record_of(make_report([*events[:-1], read, events[-1]]))
    assert record.yardstick == Yardstick(version=1, before_s=0.01, after_s=0.011)
    failed = {**read, "after_s": None, "reason": f"no kernel in {Path.home()}/x"}
    record = record_of(make_report([*events[:-1], failed, events[-1]]))
    assert record.outcome == "ok"
    assert record.yardstick is not None
    assert (record.yardstick.after_s, record.yardstick.reason) == (None, "no kernel in ~/x")
    impossible = {**read, "before_s": 0}
    record = record_of(make_report([*events[:-1], impossible, events[-1]]))
    assert (record.yardstick, record.unreadable_lines) == (None, 1)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            (
                "MPS backend out of memory (MPS allocated: 6.42 MiB, other allocations: 0 bytes, "
                "max allowed: 6.48 MiB). Tried to allocate 72.00 KiB on private pool. Use "
                "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory "
                "allocations (may cause system failure)."
            ),
            "72.00 KiB on private pool.",
        ),
        (
            (
                "The operator 'aten::silu' is not currently implemented for the MPS device. If you "
                "want this op to be added in priority during the prototype phase of this feature, "
                "please comment on https://github.com/pytorch/pytorch/issues/77764."
            ),
            "'aten::silu' is not currently implemented for the MPS device.",
        ),
    ],
)
def test_reason_leaves_out_what_torch_advises(message: str, reason: str) -> None:
    error = {"event": "error", "type": "RuntimeError", "message": message, "kind": "oom"}
    record = record_of(make_report([*events_until("load"), error], exit_code=1))
    assert (record.reason or "").startswith("RuntimeError in load: ")
    assert (record.reason or "").endswith(reason)
    assert record.exception_message == message


def test_gpu_error_that_torch_did_not_raise_is_a_failure() -> None:
    """torch before 2.15 leaves it on stderr and goes on with what the failed work left undone."""
    told = (
        "Error: command buffer exited with error status.\n\tThe Metal Performance Shaders "
        "operations encoded on it may not have completed.\n\tError:\n\t(null)\n\tImpacting "
        "Interactivity (0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)\n"
    )
    record = record_of(make_report(worker_events(make_task()), stderr_tail=told))
    assert record.outcome == "failed"
    assert (record.reason or "").startswith("the GPU reported an error: Impacting Interactivity")
    assert record.cause is not None and record.cause.kind == "metal-watchdog"
    warned = make_report(worker_events(make_task()), stderr_tail="UserWarning: GPU memory\n")
    assert record_of(warned).outcome == "ok"


@pytest.mark.parametrize(
    "number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL, signal.SIGBUS, signal.SIGILL]
)
def test_death_by_signal_is_a_crash_with_its_name_and_phase(number: signal.Signals) -> None:
    report = make_report(events_until("pass 1"), exit_code=-number, stderr_tail="assertion failed")
    record = record_of(report)
    assert (record.outcome, record.signal, record.exit_code) == ("crashed", number.name, -number)
    assert record.reason == f"ended by {number.name} in pass 1"
    assert record.last_phase == "pass 1"
    assert record.stderr_tail == "assertion failed"


def test_crash_before_the_first_word_is_a_crash_in_start() -> None:
    record = record_of(make_report([], exit_code=-signal.SIGABRT))
    assert (record.outcome, record.reason) == ("crashed", "ended by SIGABRT in start")
    assert record.last_phase is None


def test_signal_without_a_name_is_still_told() -> None:
    assert record_of(make_report([], exit_code=-200)).signal == "signal 200"


def test_kill_by_the_system_for_lack_of_memory_is_out_of_memory() -> None:
    report = make_report(events_until("load"), exit_code=-signal.SIGKILL, killed_by_system=True)
    record = record_of(report)
    assert (record.outcome, record.signal) == ("oom", "SIGKILL")
    assert record.reason == "killed by the system for lack of memory in load"


def test_another_signal_while_the_system_killed_somebody_else_is_a_crash() -> None:
    report = make_report([], exit_code=-signal.SIGSEGV, killed_by_system=True)
    assert record_of(report).outcome == "crashed"


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [("exception", "failed"), ("oom", "oom"), ("impossible", "skipped"), ("unavailable", "failed")],
)
def test_exception_is_recorded_by_its_kind(kind: str, outcome: str) -> None:
    error = {"event": "error", "type": "ValueError", "message": "bad\nvalue", "kind": kind}
    record = record_of(make_report([*events_until("load"), error], exit_code=1))
    assert record.outcome == outcome
    assert (record.exception_type, record.exception_message) == ("ValueError", "bad\nvalue")
    expected = "bad" if kind == "impossible" else "ValueError in load: bad"
    assert record.reason == expected


def test_exception_without_a_message_has_a_reason_all_the_same() -> None:
    error = {"event": "error", "type": "KeyError", "message": "", "kind": "exception"}
    record = record_of(make_report([*events_until("load"), error], exit_code=1))
    assert record.reason == "KeyError in load: no message"


def raised(message: str, stderr_tail: str = "") -> Replicate:
    error = {"event": "error", "type": "RuntimeError", "message": message, "kind": "exception"}
    report = make_report([*events_until("import"), error], exit_code=1, stderr_tail=stderr_tail)
    return record_of(report)


def test_reason_of_a_failed_lazy_import_is_its_innermost_message() -> None:
    record = raised(
        "Failed to import a.b because of the following error (look up to see its traceback):\n"
        "cannot import name 'cached_download' from 'huggingface_hub' (/x/__init__.py)"
    )
    assert record.reason == (
        "RuntimeError in import: cannot import name 'cached_download' from 'huggingface_hub' "
        "(/x/__init__.py)"
    )
    assert record.cause is not None and record.cause.kind == "hub-cached-download"


def test_reason_names_the_root_of_a_chain() -> None:
    tail = (
        "Traceback (most recent call last):\n"
        '  File "/x/a.py", line 1, in <module>\n    import b\n'
        "ValueError: numpy.dtype size changed, may indicate binary incompatibility.\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/x/c.py", line 2, in load\n    raise RuntimeError("no") from error\n'
        "RuntimeError: cannot load the pipeline\n"
    )
    record = raised("cannot load the pipeline", tail)
    assert record.reason == (
        "RuntimeError in import: cannot load the pipeline (caused by ValueError: numpy.dtype size "
        "changed, may indicate binary incompatibility.)"
    )
    assert record.cause is not None and record.cause.kind == "numpy-2"
    assert raised("cannot load", "").reason == "RuntimeError in import: cannot load"


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (
            " 10%|█  | 2/20 [00:01<00:09]Assertion failed: (vals.isSplat()), function f\n",
            "Assertion failed: (vals.isSplat()), function f",
        ),
        (
            "/x/MPSGraphExecutable.mm:3532: failed assertion `Error: MLIR pass manager failed'",
            "MPSGraphExecutable.mm:3532: failed assertion `Error: MLIR pass manager failed'",
        ),
    ],
)
def test_reason_of_an_abort_keeps_the_last_words(tail: str, words: str) -> None:
    record = record_of(
        make_report(events_until("pass 1"), exit_code=-signal.SIGABRT, stderr_tail=tail)
    )
    assert record.reason == f"ended by SIGABRT in pass 1: {words}"
    assert record.cause is not None and not record.cause.generic


@pytest.mark.parametrize(
    ("tail", "message", "said"),
    [
        ("", "failed assertion `rank must be 4'", ": failed assertion `rank must be 4'"),
        ("", None, ""),
        ("x.mm:7: failed assertion `rank'", "of Metal", ": x.mm:7: failed assertion `rank'"),
    ],
)
def test_reason_of_an_abort_is_in_the_crash_report_where_the_worker_wrote_none(
    tail: str, message: str | None, said: str
) -> None:
    report = make_report(
        events_until("pass 1"),
        exit_code=-signal.SIGABRT,
        stderr_tail=tail,
        crash_report=CrashReport(signal="SIGABRT", message=message),
    )
    assert record_of(report).reason == f"ended by SIGABRT in pass 1{said}"


def test_end_without_an_event_tells_the_last_line_of_the_error_output() -> None:
    report = make_report(events_until("import"), exit_code=3, stderr_tail="odd\nlicence expired\n")
    assert record_of(report).reason == (
        "ended in import with status 3; its error output ends with: licence expired"
    )


def test_remedy_does_not_advise_what_the_case_had_already() -> None:
    message = "MPS backend out of memory (MPS allocated: 5.05 GB, other allocations: 2.29 GB)"
    error = {"event": "error", "kind": "oom", "type": "RuntimeError", "message": message}

    def remedy(**case: Any) -> str:
        task = make_task()
        task.job["images"] = 2
        task.job["case"] |= case
        report = make_report([*events_until("pass 2"), error], exit_code=1)
        cause = record_of(report, task).cause
        assert cause is not None
        return cause.remedy

    wanted = remedy(dtype="float32", batching="batch")
    assert "float16" not in wanted  # on the CPU it is slow, and no way out
    assert "batching = loop" in wanted and "VAE tiling" in wanted
    had = remedy(dtype="float32", vae_tiling=True)
    assert "Use a smaller resolution; close other programs." in had


def test_cause_depends_on_the_versions_that_the_worker_told() -> None:
    tail = (
        "error: input types 'tensor<1x77x1xf16>' and 'tensor<1xf32>' are not broadcast compatible"
    )
    events = events_until("pass 1")  # torch 2.0.0
    record = record_of(make_report(events, exit_code=-signal.SIGABRT, stderr_tail=tail))
    assert record.cause is not None and "LayerNorm" in record.cause.sentence
    for event in events:
        if event["event"] == "stack":
            event["versions"] = {"torch": "2.6.0"}
    record = record_of(make_report(events, exit_code=-signal.SIGABRT, stderr_tail=tail))
    assert record.cause is not None and "LayerNorm" not in record.cause.sentence
    assert record.cause.confidence


@pytest.mark.parametrize(
    ("kind", "outcome", "reason"),
    [
        ("timeout", "timeout", "because (in pass 2)"),
        ("guard", "guard", "because"),
        ("budget", "skipped", "because"),
        ("silent", "failed", "because"),
        ("flood", "failed", "because"),
    ],
)
def test_worker_that_was_stopped_says_why(kind: StopKind, outcome: str, reason: str) -> None:
    report = make_report(
        events_until("pass 2"), exit_code=-signal.SIGTERM, stop=Stop(kind, "because", 70.0)
    )
    record = record_of(report)
    assert (record.outcome, record.reason, record.signal) == (outcome, reason, None)
    assert record.projected_s == 70.0
    assert len(record.passes) == 1


def test_worker_that_could_not_be_ended_is_told() -> None:
    report = make_report([], exit_code=None, stop=Stop("timeout", "late"), could_not_be_ended=True)
    record = record_of(report)
    assert record.outcome == "timeout"
    assert "did not even end on SIGKILL" in (record.reason or "")


def test_silent_end_is_a_failure_with_the_status() -> None:
    record = record_of(make_report(events_until("import"), exit_code=3))
    assert (record.outcome, record.reason) == (
        "failed",
        "ended in import with status 3, saying nothing",
    )


@pytest.mark.parametrize(("profile", "warmup"), [(True, False), (False, True), (True, True)])
def test_passes_that_are_missing_are_a_failure(profile: bool, warmup: bool) -> None:
    task = make_task(profile=profile, warmup=warmup)
    assert record_of(make_report(worker_events(task)), task).outcome == "ok"
    short = make_report(worker_events(make_task()))
    expected = 2 + profile + warmup
    assert record_of(short, task).reason == f"reported 2 of {expected} passes"
    assert record_of(short, task).outcome == "failed"


def test_pass_that_is_no_pass_is_counted_and_the_rest_kept() -> None:
    events = worker_events(make_task())
    rubbish = [{"event": "pass"}, {**pass_event(), "duration_s": "long"}]
    record = record_of(make_report([*events[:-1], *rubbish, events[-1]], unreadable_lines=3))
    assert record.unreadable_lines == 3 + 2
    assert len(record.passes) == 2


def test_simulated_device_marks_the_record() -> None:
    events = worker_events(make_task())
    events[2] = {**events[2], "simulated": True}
    assert record_of(make_report(events)).simulated


def test_peak_is_the_allocators_where_it_tells() -> None:
    events = worker_events(make_task())
    events[7] |= {"peak_bytes": 300, "peak_source": "cuda-allocated"}
    events[9] |= {"peak_bytes": 200, "peak_source": "cuda-allocated"}
    telemetry = TelemetrySummary(
        samples=1, period_s=0.1, cost_share=0.0, peak_footprint_bytes=999, footprint_source="rss"
    )
    record = record_of(make_report(events, telemetry=telemetry))
    assert (record.peak_memory_bytes, record.peak_memory_source) == (300, "cuda-allocated")


def test_peak_of_the_profiling_pass_does_not_count() -> None:
    task = make_task(profile=True)
    events = worker_events(task)
    for event in events:
        if event["event"] == "pass":
            event |= {"peak_bytes": 900 if event["kind"] == "profile" else 100}
            event |= {"peak_source": "cuda-allocated"}
    assert record_of(make_report(events), task).peak_memory_bytes == 100


def test_peak_is_the_footprint_where_the_stack_has_no_counter() -> None:
    telemetry = TelemetrySummary(
        samples=1, period_s=0.1, cost_share=0.0, peak_footprint_bytes=999, footprint_source="rss"
    )
    record = record_of(make_report(worker_events(make_task()), telemetry=telemetry))
    assert (record.peak_memory_bytes, record.peak_memory_source) == (999, "rss")


def test_unknown_peak_is_none_with_a_reason() -> None:
    record = record_of(make_report(worker_events(make_task())))
    assert (record.peak_memory_bytes, record.peak_memory_source) == (None, None)
    assert (
        record.peak_memory_reason == "no allocator peak on this environment, and telemetry was off"
    )
    unsampled = TelemetrySummary(samples=0, period_s=0.1, cost_share=0.0)
    record = record_of(make_report(worker_events(make_task()), telemetry=unsampled))
    assert record.peak_memory_bytes is None
    assert record.peak_memory_reason == (
        "no allocator peak on this environment, and its memory could not be sampled"
    )
    assert record_of(make_report([])).peak_memory_reason == "no pass was made"


def test_record_holds_no_token_of_the_workers_words() -> None:
    token = "hf_abcdefghijklmnopqrstuvwxyz012345"
    error = {"event": "error", "type": "OSError", "message": f"401 {token}", "kind": "exception"}
    report = make_report([error], exit_code=1, stdout_tail=token, stderr_tail=token)
    assert token.encode() not in msgspec.json.encode(record_of(report))


@pytest.mark.parametrize(
    "rubbish",
    [
        {"event": "loaded", "load_s": "soon"},
        {"event": "phase", "name": ["pass", 1]},
        {"event": "stack", "versions": "2.0", "import_s": 1.0},
        {"event": "hello", "pid": 1, "python": 3.11},
        {"event": "error", "type": 5, "message": "x"},
        {**pass_event(), "duration_s": float("nan")},
    ],
    ids=["load", "phase", "stack", "hello", "error", "pass"],
)
def test_record_of_rubbish_can_be_read_again(rubbish: dict[str, Any]) -> None:
    record = record_of(make_report([rubbish], exit_code=-9))
    assert record.unreadable_lines == 1
    assert msgspec.json.decode(msgspec.json.encode(record), type=Replicate).outcome == "crashed"


def test_message_with_an_undecodable_file_name_can_be_written() -> None:
    error = {"event": "error", "type": "OSError", "message": "no file 'a\udcff'", "kind": "x"}
    record = record_of(make_report([error], exit_code=1))
    assert record.unreadable_lines == 0
    kept = msgspec.json.decode(msgspec.json.encode(record), type=Replicate)
    assert (kept.exception_type, kept.exception_message) == ("OSError", "no file 'a?'")
