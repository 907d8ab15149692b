"""Short ways to the records and stand-ins that unit tests need; every default can be overridden."""

import contextlib
import json
import math
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sdbench import machine
from sdbench.analysis.run_summary import RunSummary, summary_of
from sdbench.localise.ranking import JudgedCall, Status
from sdbench.machine import MachineFacts, MemoryProbe, SlowReading, SystemMemory, Unavailable
from sdbench.machine.cpu import CpuTimes
from sdbench.machine.facts import Gpu, Identity, Memory, Power, Scheduling, all_unavailable
from sdbench.models.catalogue import SYNTHETIC
from sdbench.plan.config import Config
from sdbench.plan.cost import Pace
from sdbench.plan.order import make_plan
from sdbench.plan.read_config import parse_config
from sdbench.process.events import DECODER, Event
from sdbench.process.executor import FakeExecutor, Report, Stop, Supervisor, Task
from sdbench.process.operator_calls import OperatorCall, OperatorDifference
from sdbench.process.sampler import Sample
from sdbench.process.streams import EventLines
from sdbench.records import (
    Case,
    Compared,
    InterimAnalysis,
    MatmulRate,
    ModelInfo,
    Pass,
    PassKind,
    Picture,
    Preflight,
    Replicate,
    Run,
    Session,
    Slot,
    StackInfo,
    Started,
    WaitReason,
)
from sdbench.runner.gates import Gates
from sdbench.runner.loop import RunLoop
from sdbench.runs import LoadedRun, RunFolder
from sdbench.worker.pass_count import why_enough

UTC = "2026-01-02T03:04:05.000+00:00"
BOOT = "boot-of-the-tests"
Script = Callable[[Task, Supervisor], Report]
"""What a stand-in for a worker does."""
Called = Callable[..., tuple[int, str, str]]
"""A call of the command line: exit code, standard output, standard error."""


class FakeClock:
    """A monotonic clock that moves only when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class FakeProbe(MemoryProbe):
    """Plays back what a machine's counters said; the last value stays."""

    systems: list[SystemMemory] = field(default_factory=list)
    footprints: dict[int, int] = field(default_factory=dict)
    child_pids: list[int] = field(default_factory=list)
    footprint_source: str = "rss"
    readings: list[SlowReading] = field(default_factory=lambda: [make_slow()])
    cpu_readings: list[CpuTimes] = field(default_factory=list)

    def cpu(self, pid: int, children: Sequence[int]) -> CpuTimes | None:
        return self.cpu_readings.pop(0) if self.cpu_readings else None

    def system(self) -> SystemMemory:
        if not self.systems:
            return make_system()
        return self.systems.pop(0) if len(self.systems) > 1 else self.systems[0]

    def footprint_bytes(self, pid: int) -> int | None:
        return self.footprints.get(pid)

    def children(self, pid: int) -> list[int]:
        return list(self.child_pids)

    def out_of_memory_kills(self) -> int | None:
        return 0

    def slow(self) -> SlowReading:
        return self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]


@dataclass
class RecordingWatcher:
    """Notes what it was told, as words."""

    begun: list[str] = field(default_factory=list)
    checks: list[Preflight] = field(default_factory=list)
    ended: list[Replicate] = field(default_factory=list)
    blocks: list[tuple[int, list[str]]] = field(default_factory=list)
    ticks: list[tuple[str | None, float]] = field(default_factory=list)
    waited: list[tuple[list[WaitReason], float, float]] = field(default_factory=list)
    looks: list[tuple[InterimAnalysis, float, float]] = field(default_factory=list)
    figures: list[tuple[str, float, float]] = field(default_factory=list)
    times: list[tuple[float, float]] = field(default_factory=list)

    def __enter__(self) -> "RecordingWatcher":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def checked(self, check: Preflight) -> None:
        self.checks.append(check)

    def slot_begins(self, slot: Slot, done: int, total: int, remaining_s: float) -> None:
        self.begun.append(slot.replicate_id)

    def waits(self, reasons: list[WaitReason], waited_s: float, limit_s: float) -> None:
        self.waited.append((reasons, waited_s, limit_s))

    def tick(self, phase: str | None, remaining_s: float) -> None:
        self.ticks.append((phase, remaining_s))

    def compares(self, doing: str, remaining_s: float) -> None:
        self.ticks.append((doing, remaining_s))

    def slot_ends(self, replicate: Replicate, done: int, total: int) -> None:
        self.ended.append(replicate)

    def looked(self, looked: InterimAnalysis, next_s: float, at_most_s: float) -> None:
        self.looks.append((looked, next_s, at_most_s))

    def first_figure(self, slot: Slot, pass_s: float, elapsed_s: float) -> None:
        self.figures.append((slot.replicate_id, pass_s, elapsed_s))

    def block_ends(
        self, block: int, replicates: list[Replicate], elapsed_s: float, remaining_s: float
    ) -> None:
        self.times.append((elapsed_s, remaining_s))
        self.blocks.append((block, [entry.replicate_id for entry in replicates]))


def make_system(
    available: int | None = 4_000_000_000,
    swap: int | None = 0,
    swapped_in: int | None = 0,
    swapped_out: int | None = 0,
) -> SystemMemory:
    return SystemMemory(available, swap, swapped_in, swapped_out)


def make_sample(
    t: float = 0.0,
    footprint: int | None = 1_000_000,
    slow: SlowReading | None = None,
    **system: Any,
) -> Sample:
    return Sample(t, footprint, make_system(**system), slow)


UNTOLD = Unavailable("the tests do not tell")


def make_slow(**facts: Any) -> SlowReading:
    """A healthy machine without a GPU that tells anything; keys of the GPU begin with ``gpu_``."""
    gpu = {name.removeprefix("gpu_"): facts.pop(name) for name in [*facts] if name[:4] == "gpu_"}
    defaults: dict[str, Any] = {
        "pressure": "normal",
        "thermal": "nominal",
        "free_percent": UNTOLD,
        "compressor_bytes": UNTOLD,
        "gpu": msgspec.structs.replace(all_unavailable(Gpu, UNTOLD), **gpu),
    }
    return SlowReading(**{**defaults, **facts})


def make_facts(**facts: Any) -> MachineFacts:
    """A healthy desktop; keys may be of the facts, its memory or its power."""
    parts: dict[str, Any] = {
        "identity": msgspec.structs.replace(
            all_unavailable(Identity, UNTOLD), system="Linux", cores_logical=2
        ),
        "memory": msgspec.structs.replace(
            all_unavailable(Memory, UNTOLD),
            available_bytes=4_000_000_000,
            pressure="normal",
            swap_used_bytes=0,
        ),
        "power": Power(source="ac", battery_percent=UNTOLD, low_power_mode=False),
        "scheduling": Scheduling(nice=0, background=False),
    }
    for name, part in parts.items():
        own = {key: facts.pop(key) for key in part.__struct_fields__ if key in facts}
        parts[name] = msgspec.structs.replace(part, **own)
    defaults: dict[str, Any] = {
        "simulated": False,
        "thermal": "nominal",
        "gpu": all_unavailable(Gpu, UNTOLD),
        "load_1min": 0.5,
        "free_disk_bytes": 100_000_000_000,
    }
    return MachineFacts(**{**defaults, **parts, **facts})


def make_gates(
    looks: Sequence[MachineFacts] = (),
    clock: FakeClock | None = None,
    watcher: RecordingWatcher | None = None,
    interrupted: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> Gates:
    """Gates that see these facts in turn, the last for ever; sleeping moves the clock."""
    left, clock = [*looks] or [make_facts()], clock or FakeClock()
    return Gates(
        settings=parse_config({"gate": settings}, "test.toml").gate,
        look=lambda: left.pop(0) if len(left) > 1 else left[0],
        min_free_disk_bytes=10e9,
        waiting=(watcher or RecordingWatcher()).waits,
        interrupted=interrupted,
        clock=clock,
        sleep=clock.advance,
    )


@dataclass
class FakeBallast:
    """Notes what became of it; ``stop`` is why it cannot be taken."""

    hold_bytes: int = 0
    stop: Stop | None = None
    held: bool = False
    released: int = 0

    def take(self, supervise: Supervisor) -> Stop | None:
        self.held = self.stop is None
        return self.stop

    def release(self) -> None:
        self.held = False
        self.released += 1


def make_config(**document: Any) -> Config:
    """Two small cases, two blocks, one image; keys given replace these."""
    defaults: dict[str, Any] = {
        "name": "test",
        "model": "synthetic/tiny",
        "device": "cpu",
        "steps": 2,
        "guidance_scale": 7.5,
        "scheduler": "ddim",
        "images": 1,
        "passes": 2,
        "replicates": 2,
        "start": "spawn",
        "guard": {"min_free_disk_bytes": 0},
        "reference": {"budget_s": 0},
    }
    if "case" not in document:
        defaults["matrix"] = {"resolution": ["64x64", "128x128"]}
    return parse_config({**defaults, **document}, "test.toml")


def make_model(name: str = "synthetic/tiny", **fields: Any) -> ModelInfo:
    defaults: dict[str, Any] = {
        "path": "/models/tiny",
        "sha256": SYNTHETIC[name].sha256 if name in SYNTHETIC else "0" * 64,
        "pipeline_class": "StableDiffusionPipeline",
        "bytes_on_disk": 5_311_766,
        "trained": False,
    }
    return ModelInfo(name=name, **{**defaults, **fields})


def make_stack(**packages: str) -> StackInfo:
    return StackInfo(interpreter=sys.executable, python="3.11.0", packages=packages)


def make_run(config: Config | None = None, **fields: Any) -> Run:
    """A run as ``run.json`` would hold it, planned for the CPU."""
    config = config or make_config()
    defaults: dict[str, Any] = {
        "run_id": "20260102-030405-test-abcd",
        "label": None,
        "created_utc": UTC,
        "sdbench": "0.1.0",
        "device": "cpu",
        "simulated": False,
        "config": msgspec.json.decode(msgspec.json.encode(config)) | {"allow_pickle": False},
        "plan": make_plan(config, "cpu", memory_bytes=8_000_000_000),
        "model": make_model(),
        "stacks": {arm.stack: make_stack(torch="2.0.0") for arm in config.arm},
        "machine": {"chip": "Test", "cores_physical": 2, "memory_bytes": 8_000_000_000},
        "machine_id": machine.machine_id(),
        "environment": {},
        "preload": [],
        "sittings": [Session(started_utc=UTC, monotonic_s=1.0, boot_id=BOOT)],
    }
    return Run(**{**defaults, **fields})


SMALL_CASE = Case(resolution="64x64").case_id
"""A case that :func:`make_config` plans."""


def make_slot(case_id: str = SMALL_CASE, **fields: Any) -> Slot:
    defaults: dict[str, Any] = {"index": 0, "block": 0, "arm": "current"}
    return Slot(case_id=case_id, **{**defaults, **fields})


def make_picture(**fields: Any) -> Picture:
    defaults: dict[str, Any] = {
        "pixels_sha256": "a" * 64,
        "latents_sha256": "b" * 64,
        "nan_count": 0,
        "inf_count": 0,
        "latents_nonfinite_count": 0,
        "minimum": 0.0,
        "maximum": 1.0,
        "mean": 0.5,
        "deviation": 0.2,
        "black": False,
        "flat": False,
    }
    return Picture(**{**defaults, **fields})


def make_pass(
    duration_s: float = 1.0, index: int = 1, kind: PassKind = "measured", **fields: Any
) -> Pass:
    return Pass(
        kind=kind, index=index, duration_s=duration_s, **{"images": [make_picture()], **fields}
    )


def make_replicate(
    slot: Slot | None = None, times: tuple[float, ...] = (2.0, 1.0), **fields: Any
) -> Replicate:
    """A process that ended well, with measured passes of these durations."""
    slot = slot or make_slot()
    defaults: dict[str, Any] = {
        "attempt": 1,
        "outcome": "ok",
        "simulated": False,
        "start": "spawn",
        "started_utc": UTC,
        "ended_utc": UTC,
        "wall_s": 10.0,
        "passes": [make_pass(time, index) for index, time in enumerate(times, start=1)],
    }
    return Replicate(
        replicate_id=slot.replicate_id,
        case_id=slot.case_id,
        arm=slot.arm,
        block=slot.block,
        slot=slot.index,
        **{**defaults, **fields},
    )


def summarise(
    run: Run,
    replicates: Sequence[Replicate],
    path: str = "x",
    warnings: Sequence[str] = (),
    compared: Sequence[Compared] = (),
    ceilings: Sequence[MatmulRate] = (),
) -> RunSummary:
    """The summary of a run that made these processes and no others."""
    loaded = LoadedRun(Path(path), run, [], [*replicates], [*warnings])
    loaded.comparisons.extend(compared)
    loaded.ceilings.extend(ceilings)
    return summary_of(loaded)


def make_started(slot: Slot | None = None, attempt: int = 1, boot_id: str | None = BOOT) -> Started:
    slot = slot or make_slot()
    return Started(
        replicate_id=slot.replicate_id,
        case_id=slot.case_id,
        arm=slot.arm,
        block=slot.block,
        slot=slot.index,
        attempt=attempt,
        started_utc=UTC,
        boot_id=boot_id,
    )


def make_task(passes: int | str = 2, profile: bool = False, warmup: bool = False) -> Task:
    return Task(
        replicate_id=f"{SMALL_CASE}.current.0",
        interpreter=sys.executable,
        environment={},
        job={"passes": passes, "profile": profile, "case": {"warmup": warmup}, "device": "cpu"},
        start="spawn",
        timeout_s=300.0,
    )


def make_report(events: list[dict[str, Any]] | None = None, **fields: Any) -> Report:
    """A report of a worker that wrote these; ``unreadable_lines`` come on top of its rubbish."""
    defaults: dict[str, Any] = {
        "start": "spawn",
        "started_utc": UTC,
        "ended_utc": UTC,
        "wall_s": 1.0,
        "exit_code": 0,
    }
    heard = [as_event(event) for event in events or []]
    defaults["events"] = [event for event in heard if event is not None]
    unreadable = fields.pop("unreadable_lines", 0) + heard.count(None)
    return Report(**{**defaults, "unreadable_lines": unreadable, **fields})


def decode_event(line: bytes) -> Event | None:
    """What the parent makes of a line of a worker's; None of one that is no event."""
    lines = EventLines(DECODER)
    lines.feed(line + b"\n")
    return None if lines.unreadable else lines.pending.popleft()


def as_event(document: dict[str, Any]) -> Event | None:
    """What the parent hears when a worker writes this (as its channel does, but NaN as well)."""
    return decode_event(json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))


def pass_event(
    kind: PassKind = "measured", index: int = 1, duration_s: float = 1.0
) -> dict[str, Any]:
    picture = msgspec.to_builtins(make_picture())
    return {
        "event": "pass",
        "kind": kind,
        "index": index,
        "duration_s": duration_s,
        "images": [picture],
    }


IMPORT_S, LOAD_S = 3.0, 0.5
START_S = IMPORT_S + LOAD_S
COUNTED = {"text_encoder": 1, "denoising": 2, "vae_decode": 3, "measured_pass": 12}


def worker_events(task: Task, pass_s: float = 1.0) -> list[dict[str, Any]]:
    """What a worker that ends well tells about this task."""
    job = task.job
    events: list[dict[str, Any]] = [
        {"event": "hello", "pid": 4711, "watchdog_pid": 4712, "python": "3.11.0"},
        {"event": "phase", "name": "import", "t": 1.0},
        {
            "event": "stack",
            "versions": {"torch": "2.0.0"},
            "import_s": IMPORT_S,
            "simulated": False,
        },
        {"event": "device", "kind": job["device"], "facts": {}, "dtypes": ["float32"]},
        {"event": "phase", "name": "load", "t": 4.0},
        {"event": "loaded", "load_s": LOAD_S},
    ]
    if job.get("reference"):
        return [*events, {"event": "done"}]  # the files are another matter
    if job.get("ceilings"):
        rates = [
            {"event": "ceiling", "dtype": dtype, "flops_per_s": 1e12} for dtype in job["ceilings"]
        ]
        return [*events[:4], *rates, {"event": "done"}]
    if job["case"]["warmup"]:
        events.append(pass_event("prime", 0, pass_s / 2))
    # As a worker decides it, were every pass alike.
    made, stopped = 0, None
    while stopped is None:
        made += 1
        events.append({"event": "phase", "name": f"pass {made}", "t": 5.0 + made})
        events.append(pass_event("measured", made, pass_s))
        left_s = (job.get("passes_within_s") or math.inf) - START_S - made * pass_s
        stopped = why_enough(job["passes"], [pass_s] * made, start_s=START_S, left_s=left_s)
    events.append({"event": "passes", "made": made, "stopped": stopped})
    if job["profile"]:
        events.append(pass_event("profile", 0, pass_s))
    if job.get("count_flops"):
        events.append({"event": "counted", "flops": COUNTED})
    return [*events, {"event": "phase", "name": "end", "t": 99.0}, {"event": "done"}]


def play(
    task: Task,
    supervise: Supervisor,
    clock: FakeClock | None = None,
    *,
    pass_s: float = 1.0,
    events: list[dict[str, Any]] | None = None,
    **report: Any,
) -> Report:
    """Do as an executor does: hand each event to the supervisor, end the worker when it asks."""
    told: list[dict[str, Any]] = []
    stop: Stop | None = None
    wall_s = 0.0
    for event in worker_events(task, pass_s) if events is None else events:
        took = float(event.get("duration_s", 0.0))
        wall_s += took
        if clock is not None:
            clock.advance(took)
        told.append(event)
        heard = as_event(event)
        stop = None if heard is None else supervise(heard, None)
        if stop is not None:
            break
    ending = {"exit_code": 0} if stop is None else {"exit_code": -15, "stop": stop}
    return make_report(told, **{"wall_s": wall_s, **ending, **report})


def make_loop(
    root: Path,
    script: Callable[[Task, Supervisor], Report] = play,
    *,
    config: Config | None = None,
    clock: FakeClock | None = None,
    estimate_s: float = 1.0,
    interrupted: Callable[[], bool] = lambda: False,
    **fields: Any,
) -> RunLoop:
    """A loop over a new run folder, with everything around it a stand-in."""
    config = config or make_config()
    run = make_run(config)
    defaults: dict[str, Any] = {
        "probe": FakeProbe(),
        "watcher": RecordingWatcher(),
        "gates": make_gates(clock=clock, interrupted=interrupted),
        "open_ballast": FakeBallast,
        "pace": Pace({planned.case_id: estimate_s for planned in run.plan.cases}),
        "boot_id": BOOT,
        "memory_bytes": 8_000_000_000,
        "clock": clock or FakeClock(),
    }
    return RunLoop(
        run=run,
        config=config,
        folder=RunFolder.create(root, run),
        executor=FakeExecutor(script),
        interrupted=interrupted,
        **{**defaults, **fields},
    )


def make_case(**settings: Any) -> Case:
    return Case(**settings)


def small_run(results: Path, *more: str) -> list[str]:
    """Arguments of ``sdbench`` for one case, once."""
    axes = ("resolution=128x128", "attention_slicing=false", "warmup=false", "batching=loop")
    only = [word for axis in axes for word in ("--only", axis)]
    return [
        "run",
        "quick",
        "--model",
        "synthetic/tiny",
        "-o",
        str(results),
        *only,
        "--set",
        "guard.min_free_disk_bytes=0",
        *more,
    ]


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """As a full disk does: a write beyond this size ends half-way, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


def make_call(index: int = 0, op: str = "aten::add.Tensor", **fields: Any) -> OperatorCall:
    """A call of an operator on two contiguous 2×3 tensors, in a module of its own."""
    operand = {"storage": 0, "shape": [2, 3], "stride": [3, 1], "offset": 0}
    defaults: dict[str, Any] = {
        "signature": f"{op}/{index}",
        "schema": f"{op}(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor",
        "module": f"unet.part{index}",
        "module_class": "Part",
        "arguments": [
            {"name": "self", "by_name": False, "value": {"operand": 0}},
            {"name": "other", "by_name": False, "value": {"operand": 1}},
            {"name": "alpha", "by_name": True, "value": 1},
        ],
        "operands": [
            {"name": "self", **operand},
            {"name": "other", **operand, "storage": 1},
        ],
        "storages": [
            {"elements": 6, "dtype": "float32", "mean": 0.5, "deviation": 2.0},
            {"elements": 6, "dtype": "float32", "mean": 0.0, "deviation": 1.0},
        ],
    }
    return msgspec.convert({"index": index, "op": op, **defaults, **fields}, OperatorCall)


def make_judged(
    call: OperatorCall, ratio: float | None = 1.0, status: Status = "compared", **fields: Any
) -> JudgedCall:
    """The verdict on a call; its error is the ratio times a floor of 1e-7."""
    numbers: dict[str, Any] = {}
    if ratio is not None and status == "compared":
        numbers = {"rel_l2": ratio * 1e-7, "floor": 1e-7, "ratio": ratio}
    reason = fields.pop("reason", None)
    return JudgedCall(
        call, status, OperatorDifference(index=call.index, **{**numbers, **fields}), reason
    )


def call_events(call: OperatorCall, ratio: float | None = 1.0, **fields: Any) -> list[Any]:
    """What a worker tells of a call that came back."""
    compared = msgspec.to_builtins(make_judged(call, ratio, **fields).comparison)
    return [
        {"event": "call", "t": 1.0, **msgspec.to_builtins(call)},
        {"event": "compared", "t": 1.0, **compared},
    ]
