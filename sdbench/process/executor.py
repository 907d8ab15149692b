"""The interface behind which a worker runs, so that all around it is tested without running one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sdbench.process.events import Event
from sdbench.process.sampler import Sample
from sdbench.records import CrashReport, Placement, StartMethod, TelemetrySummary

StopKind = Literal[
    "timeout", "guard", "budget", "out-of-time", "interrupted", "silent", "flood", "ballast"
]


@dataclass(frozen=True)
class Task:
    """One worker to run: which interpreter, in which environment, with which job."""

    replicate_id: str
    interpreter: str
    environment: dict[str, str]
    job: dict[str, Any]
    start: StartMethod
    timeout_s: float
    telemetry: bool = True
    unsampled_phases: frozenset[str] = frozenset()
    """Phases in which telemetry pauses, so that its cost can be measured within one process."""


@dataclass(frozen=True)
class Stop:
    """The parent ended the worker, and why."""

    kind: StopKind
    reason: str
    projected_s: float | None = None


@dataclass
class Report:
    """All that is known of a worker once it has ended."""

    start: StartMethod
    started_utc: str
    ended_utc: str
    wall_s: float
    exit_code: int | None
    """As ``subprocess`` counts it: minus the signal's number when one ended it."""
    events: list[Event] = field(default_factory=list)
    unreadable_lines: int = 0
    stop: Stop | None = None
    stdout_tail: str = ""
    stderr_tail: str = ""
    telemetry: TelemetrySummary | None = None
    timeline: list[bytes] = field(default_factory=list)
    slept: bool = False
    killed_by_system: bool = False
    """The kernel ended a process for lack of memory meanwhile."""
    could_not_be_ended: bool = False
    crash_report: CrashReport | None = None
    """What macOS wrote about the death, where it did in time."""
    machine_id: str | None = None
    """The device, where several of a host measure at the same time."""
    placement: Placement | None = None
    """The same in words, with the cores."""


class Supervisor(Protocol):
    """Told of everything while a worker runs; may ask for its end."""

    def __call__(self, event: Event | None, sample: Sample | None) -> Stop | None:
        """Called for each event, each sample, and at least once a second with neither."""


class Executor(Protocol):
    """Runs workers to their end, whatever end that is."""

    def run(self, task: Task, supervise: Supervisor) -> Report:
        """Run one worker; never raises for anything the worker does."""

    def close(self) -> None:
        """End whatever is kept between workers."""


@dataclass
class FakeExecutor:
    """Plays back reports; ``script`` makes one for a task, for tests of everything else."""

    script: Callable[[Task, Supervisor], Report]
    tasks: list[Task] = field(default_factory=list)

    def run(self, task: Task, supervise: Supervisor) -> Report:
        """Play the report for this task."""
        self.tasks.append(task)
        return self.script(task, supervise)

    def close(self) -> None:
        """Nothing is kept."""
