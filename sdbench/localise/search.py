"""Finds operators whose results differ between device and CPU. Each runs in a worker process,
because an operator may crash it.

One worker repeats every operator of a pass on the device (``sdbench/worker/localise.py``). If a
call crashes the worker or does not return, that call is recorded and a new worker continues after
it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from sdbench.errors import MachineError, UsageError
from sdbench.knowledge.failure_causes import read_failure
from sdbench.knowledge.memory_limits import check_watermarks
from sdbench.knowledge.pasted_log import innermost_message
from sdbench.localise.localisation import Demonstration, Localisation
from sdbench.localise.ranking import JudgedCall, Status
from sdbench.models.resolve import ModelSource, find_model
from sdbench.models.traits import traits_of
from sdbench.plan.config import Config, work_of
from sdbench.plan.for_model import check_mode
from sdbench.plan.read_config import parse_config
from sdbench.privacy.redact_recorded import redact
from sdbench.process.environment import worker_environment
from sdbench.process.events import CallBegun, CallCompared, Event, Failed, Localised, Stack
from sdbench.process.executor import Executor, Report, Stop, Task
from sdbench.process.find_device import FoundDevice, find_device
from sdbench.process.guard import MemoryGuard
from sdbench.process.operator_calls import OperatorCall, OperatorDifference
from sdbench.process.picture_job import picture_job
from sdbench.process.resolve_defaults import resolve_defaults
from sdbench.process.sampler import Sample
from sdbench.records import Case, Dtype, Mode, ModelInfo
from sdbench.stacks import resolve_stack
from sdbench.words import shell, signal_name

# A single operator takes seconds at most, with the compilation of its shader.
CALL_LIMIT_S = 120.0
# A pass in double precision at full size on a slow machine; the guard of hangs is the limit above.
_PASS_LIMIT_S = 6 * 3600.0
# Each costs a start and the pass up to there; calls like one that died are not tried again.
_MOST_DEATHS = 8


@dataclass(frozen=True)
class LocaliseRequest:
    """The request of the command line."""

    model: str
    lora: tuple[str, ...]
    parts: str
    revision: str
    device: str
    stack: str
    resolution: str
    dtype: Dtype | None
    slicing: bool
    vae_tiling: bool
    batch: int
    steps: int
    allow_pickle: bool
    mode: Mode = "text-to-image"
    strength: float | None = None


@dataclass(frozen=True)
class Search:
    """The pass to search, with its device and data type."""

    config: Config
    case: Case
    device: FoundDevice
    dtype: Dtype
    model: ModelInfo
    interpreter: str
    environment: dict[str, str]
    allow_pickle: bool = False

    def task(self, **more: Any) -> Task:
        """The job of a worker for this pass."""
        return Task(
            replicate_id="localise",
            interpreter=self.interpreter,
            environment=self.environment,
            job=self._job() | more,
            start="spawn",
            timeout_s=_PASS_LIMIT_S,
            telemetry=False,
        )

    def _job(self) -> dict[str, Any]:
        """The pass itself runs in float32, whichever type is under test."""
        pictures = picture_job(
            self.config, self.model, self.device.kind, self.case, allow_pickle=self.allow_pickle
        )
        return {
            **pictures,
            "localise": True,
            "compute_dtype": self.dtype,
            "first": 0,
            "avoid": [],
            "capture": None,
        }


def prepare_search(
    request: LocaliseRequest, executor: Executor, prepare: Callable[[ModelSource], ModelInfo]
) -> Search:
    """Check the request, find the device, and prepare the model with ``prepare``.

    Raises:
        UsageError: the request is invalid, or the model is not on this machine.
        MachineError: this machine cannot carry it out.
    """
    document = {
        "model": request.model,
        "lora": list(request.lora),
        "parts": request.parts,
        "revision": request.revision,
        "steps": request.steps,
        "images": request.batch,
        "mode": request.mode,
        "strength": "auto" if request.strength is None else request.strength,
        "case": [{"resolution": request.resolution}],
    }
    config = parse_config(document, "localise")
    environment = worker_environment({})
    problem = check_watermarks(environment)
    if problem is not None:
        raise UsageError(problem)
    interpreter = resolve_stack(request.stack).interpreter
    source = find_model(
        request.model,
        allow_pickle=request.allow_pickle,
        lora=request.lora,
        parts=request.parts,
        revision=request.revision,
    )
    if source.download is not None:
        raise UsageError(
            f"{request.model} is not on this machine; download it first, for example with: sdbench "
            f"run quick --model {shell(request.model)}"
        )
    device = find_device(request.device, interpreter, environment, executor)
    traits = traits_of(source)
    resolved = resolve_defaults(config, traits, interpreter, environment, executor)
    case = Case(
        resolution=request.resolution,
        attention_slicing=request.slicing,
        vae_tiling=request.vae_tiling,
        batching="batch",
    )
    check_mode(resolved.config, [case], traits)
    return Search(
        config=resolved.config,
        case=case,
        device=device,
        dtype=request.dtype or ("float32" if device.kind == "cpu" else "float16"),
        model=prepare(source),
        interpreter=interpreter,
        environment=environment,
        allow_pickle=request.allow_pickle,
    )


@dataclass
class Found:
    """The results so far."""

    judged: list[JudgedCall] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    simulated: bool = False
    complete: bool = False
    interrupted: bool = False


Tick = Callable[[float], None]


def locate(
    search: Search, executor: Executor, tick: Tick, interrupted: Callable[[], bool]
) -> Found:
    """Repeat every operator of the pass on the device; ``tick`` is called with the completed share.

    Raises:
        MachineError: the pass itself does not run on the CPU.
    """
    found = Found()
    first, avoid = 0, list[str]()
    for _ in range(_MOST_DEATHS + 1):
        supervisor = _Supervisor(search, tick, interrupted)
        report = executor.run(search.task(first=first, avoid=avoid), supervisor)
        victim = _take(report, found)
        if report.stop is not None and report.stop.kind == "interrupted":
            found.interrupted = True
            return found
        if found.complete:
            return found
        if victim is None or (report.stop is not None and report.stop.kind != "timeout"):
            raise MachineError(_why_it_ended(report))
        found.judged.append(_death(victim, report))
        first = victim.index + 1
        avoid.append(victim.signature)
    return found


def conclude(
    search: Search, found: Found, proof: Demonstration | None, duration_s: float
) -> Localisation:
    """The result, with a description of the pass that was searched."""
    return Localisation(
        model=search.model.name,
        device=search.device.kind,
        simulated=found.simulated or search.device.simulated,
        dtype=search.dtype,
        case=search.case,
        images=search.config.images,
        steps=work_of(search.config, search.case).steps,
        mode=search.config.mode,
        strength=None if search.config.strength == "auto" else search.config.strength,
        judged=found.judged,
        skipped=found.skipped,
        notes=found.notes,
        complete=found.complete,
        proof=proof,
        duration_s=duration_s,
    )


class _Supervisor:
    """Watches one worker: its current call, its memory, and interrupts by the user."""

    def __init__(self, search: Search, tick: Tick, interrupted: Callable[[], bool]) -> None:
        self._tick = tick
        self._interrupted = interrupted
        self._share = 0.0
        self._call_began: float | None = None
        self._guard = MemoryGuard.from_config(
            search.config.guard, psutil.virtual_memory().total, Path(search.model.path)
        )

    def __call__(self, event: Event | None, sample: Sample | None) -> Stop | None:
        if isinstance(event, CallBegun):
            self._share = event.share
            self._call_began = time.monotonic()
        elif event is not None:
            self._call_began = None
        self._tick(self._share)
        if self._interrupted():
            return Stop("interrupted", "stopped by the user")
        if self._call_began is not None and time.monotonic() - self._call_began > CALL_LIMIT_S:
            return Stop("timeout", f"not finished after {CALL_LIMIT_S:.0f} s")
        return self._guard.judge(sample)


def _take(report: Report, found: Found) -> OperatorCall | None:
    """Add a worker's results; return the call that was running when it ended, if any."""
    begun: CallBegun | None = None
    for event in report.events:
        if isinstance(event, CallBegun):
            begun = event
        elif isinstance(event, CallCompared) and begun is not None:
            if not event.left_out:
                status: Status = "failed" if event.error else "compared"
                reason = None if event.error is None else redact(event.error)
                found.judged.append(JudgedCall(begun, status, event, reason))
            begun = None
        elif isinstance(event, Stack):
            found.simulated = event.simulated
        elif isinstance(event, Localised):
            found.skipped, found.notes, found.complete = event.skipped, event.notes, True
    return begun


def _death(call: OperatorCall, report: Report) -> JudgedCall:
    """The verdict on the call in which a worker crashed or from which it did not return."""
    nothing = OperatorDifference(index=call.index)
    if report.stop is not None:
        return JudgedCall(call, "hung", nothing, report.stop.reason)
    return JudgedCall(call, "crashed", nothing, _why_it_ended(report))


def _why_it_ended(report: Report) -> str:
    if report.stop is not None:
        return report.stop.reason
    errors = [event for event in report.events if isinstance(event, Failed)]
    if errors:
        first_line = innermost_message(errors[-1].message) or "no message"
        return redact(f"{errors[-1].type} in {errors[-1].phase}: {first_line}")
    name = None if (report.exit_code or 0) >= 0 else signal_name(-(report.exit_code or 0))
    words = f"ended by {name}" if name else f"ended with exit status {report.exit_code}"
    crash = None if report.crash_report is None else report.crash_report.message
    cause = read_failure(f"{report.stderr_tail}\n{crash or ''}", None, None, name)
    if cause is None:
        return words
    return redact(f"{words}: {cause.assertion or cause.sentence}")
