"""The run loop: for each slot, gate, execute, record. Everything a run is stands on this page."""

import hashlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, Protocol

import msgspec

from sdbench.config import Config
from sdbench.estimate import Pace, timeout_for
from sdbench.machine import MemoryProbe, SystemMemory
from sdbench.models.resolve import cache_folder
from sdbench.runner.environment import worker_environment
from sdbench.runner.events import Event, PassEnded, Phase
from sdbench.runner.executor import Executor, Report, Stop, Task
from sdbench.runner.guard import MemoryGuard
from sdbench.runner.outcome import replicate_record
from sdbench.runner.sampler import Sample
from sdbench.schema import Gate, Replicate, Run, Slot, Started, Withdrawn
from sdbench.store import LoadedRun, RunFolder, last_attempts

# How far past its budget a run may go to finish a process that is nearly done.
_BUDGET_SLACK = 1.1

End = Literal["complete", "interrupted", "budget", "stuck"]

# A worker stopped for these has not told what it would have: it counts as never run.
_WITHDRAWN: dict[str, End] = {"interrupted": "interrupted", "out-of-time": "budget"}


class Watcher(Protocol):
    """What is shown while a run goes on."""

    def slot_begins(self, slot: Slot, done: int, total: int, remaining_s: float) -> None:
        """A process is about to start."""

    def tick(self, phase: str | None, remaining_s: float) -> None:
        """At most a few dozen times a second; paints at most once."""

    def slot_ends(self, replicate: Replicate, done: int, total: int) -> None:
        """A process has ended and is recorded."""

    def block_ends(self, block: int, replicates: list[Replicate]) -> None:
        """The last process of a block has ended."""


@dataclass
class RunLoop:
    """Carries out the slots of one sitting."""

    run: Run
    config: Config
    folder: RunFolder
    executor: Executor
    probe: MemoryProbe
    watcher: Watcher
    interrupted: Callable[[], bool]
    pace: Pace
    boot_id: str | None
    memory_bytes: int
    allow_pickle: bool = False
    clock: Callable[[], float] = time.monotonic
    replicates: list[Replicate] = field(default_factory=list)
    _began: float = 0.0
    _recorded_here: int = 0

    def carry_out(self, slots: list[Slot], attempts: dict[str, int]) -> End:
        """Run the slots in order; ``attempts`` counts earlier tries by replicate id."""
        self._began = self.clock()
        queue = list(slots)
        total = len(queue)
        while queue:
            slot = queue[0]
            if self.interrupted():
                return "interrupted"
            if self._out_of_budget(slot):
                return "budget"
            done = total - len(queue)
            remaining_s = self.pace.remaining_s(queue)
            self.watcher.slot_begins(slot, done, total, remaining_s)
            attempt = attempts.get(slot.replicate_id, 0) + 1
            attempts[slot.replicate_id] = attempt
            report, replicate = self._run_slot(slot, attempt, queue)
            if report.stop is not None and report.stop.kind in _WITHDRAWN:
                self._withdraw(slot, attempt, report)
                return _WITHDRAWN[report.stop.kind]
            slept_before = any(
                entry.slept for entry in self.replicates if entry.replicate_id == slot.replicate_id
            )
            self._record(replicate, report)
            if report.could_not_be_ended:
                return "stuck"
            if report.slept and not slept_before:
                continue  # a machine asleep measures nothing: once more, both kept
            queue.pop(0)
            self.watcher.slot_ends(replicate, done + 1, total)
            if not any(other.block == slot.block for other in queue):
                self.watcher.block_ends(slot.block, last_attempts(self.replicates))
        return "complete"

    def _run_slot(self, slot: Slot, attempt: int, queue: list[Slot]) -> tuple[Report, Replicate]:
        gate = self._gate()
        self.folder.append(
            Started(
                replicate_id=slot.replicate_id,
                case_id=slot.case_id,
                arm=slot.arm,
                block=slot.block,
                slot=slot.index,
                attempt=attempt,
                started_utc=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
                boot_id=self.boot_id,
            )
        )
        cold_cache = self._first_of_its_stack(slot)
        task = self._task(slot)
        supervisor = _Supervisor(self, slot, queue)
        report = self.executor.run(task, supervisor)
        replicate = replicate_record(
            slot,
            attempt,
            task,
            report,
            gate,
            cold_cache=cold_cache,
            simulated=self.run.simulated,
        )
        return report, replicate

    def _withdraw(self, slot: Slot, attempt: int, report: Report) -> None:
        """Say that the user's stop ended it, so that a later restart is not blamed for it."""
        self.folder.append(
            Withdrawn(replicate_id=slot.replicate_id, attempt=attempt, ended_utc=report.ended_utc)
        )

    def _record(self, replicate: Replicate, report: Report) -> None:
        if report.timeline:
            name = f"{replicate.replicate_id}.{replicate.attempt}"
            why_not = self.folder.write_telemetry(name, report.timeline)
            replicate = msgspec.structs.replace(replicate, telemetry_missing=why_not)
        self.folder.append(replicate)
        self.replicates.append(replicate)
        self._recorded_here += 1
        self.pace.note(replicate)

    def _task(self, slot: Slot) -> Task:
        arm = self.run.plan.arm(slot.arm)
        case = self.run.plan.planned(slot.case_id).case
        config = self.config
        job: dict[str, Any] = {
            "device": self.run.device,
            "model_path": self.run.model.path,
            "allow_pickle": self.allow_pickle,
            "scheduler": config.scheduler,
            "steps": config.steps,
            "guidance_scale": config.guidance_scale,
            "seed": config.seed,
            "images": config.images,
            "prompts": list(config.prompts),
            "passes": config.passes,
            "profile": slot.block == 0,  # once a case and arm
            "artifacts": str(self.folder.path.absolute()),
            "case": msgspec.to_builtins(case) | {"width": case.width, "height": case.height},
        }
        return Task(
            replicate_id=slot.replicate_id,
            interpreter=self.run.stacks[arm.stack].interpreter,
            environment=worker_environment(arm.env),
            job=job,
            start=self.run.plan.start,
            timeout_s=timeout_for(config, self.pace.cautious_slot_s(slot.case_id)),
            telemetry=arm.telemetry,
        )

    def _gate(self) -> Gate:
        system: SystemMemory = self.probe.system()
        return Gate(
            load_1min=os.getloadavg()[0],
            available_bytes=system.available_bytes,
            swap_used_bytes=system.swap_used_bytes,
            free_disk_bytes=shutil.disk_usage(self.folder.path).free,
        )

    def _first_of_its_stack(self, slot: Slot) -> bool:
        """Whether no process of this stack has run since the machine started (by a marker file)."""
        stack = self.run.stacks[self.run.plan.arm(slot.arm).stack]
        text = (
            f"{self.boot_id}/{self.run.device}/{stack.interpreter}/{sorted(stack.packages.items())}"
        )
        marker = cache_folder() / "seen" / hashlib.sha256(text.encode()).hexdigest()[:16]
        if marker.exists():
            return False
        try:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        except OSError:  # without a cache every run's first process counts as cold
            return not self.replicates
        return True

    @property
    def budget_s(self) -> float | None:
        """Seconds the sitting may take; None for no limit."""
        return 60 * self.config.max_minutes if self.config.max_minutes else None

    def elapsed_s(self) -> float:
        """Seconds since the sitting's first slot."""
        return self.clock() - self._began

    def _out_of_budget(self, slot: Slot) -> bool:
        """Whether the next process would end too late; a sitting's first always gets its chance."""
        if self.budget_s is None or not self._recorded_here:
            return False
        return self.elapsed_s() + self.pace.slot_s(slot.case_id) > self.budget_s


class _Supervisor:
    """Watches one worker: interruption, guard, budget, and the screen."""

    def __init__(self, loop: RunLoop, slot: Slot, queue: list[Slot]) -> None:
        self._loop = loop
        self._slot = slot
        self._later_s = loop.pace.remaining_s(queue[1:])
        self._own_s = loop.pace.slot_s(slot.case_id)
        self._began = loop.clock()
        self._phase: str | None = None
        self._guard = MemoryGuard.from_config(
            loop.config.guard, loop.memory_bytes, loop.folder.path
        )

    def __call__(self, event: Event | None, sample: Sample | None) -> Stop | None:
        if isinstance(event, Phase):
            self._phase = event.name
        if event is None:
            spent = self._loop.clock() - self._began
            self._loop.watcher.tick(self._phase, max(0.0, self._own_s - spent) + self._later_s)
        if self._loop.interrupted():
            return Stop("interrupted", "stopped by the user")
        return self._guard.judge(sample) or self._judge_budget(event)

    def _judge_budget(self, event: Event | None) -> Stop | None:
        """Stop what cannot end in time: by projection after the first pass, at the latest then.

        What would not even fit into a whole budget of its own is skipped for good; what only
        came too late in this sitting is left for the next.
        """
        budget_s = self._loop.budget_s
        if budget_s is None:
            return None
        elapsed, spent = self._loop.elapsed_s(), self._loop.clock() - self._began
        projected = spent
        if isinstance(event, PassEnded) and event.kind == "measured":
            passes_left = self._loop.config.passes - event.index
            if passes_left <= 0:
                return None
            projected += passes_left * event.duration_s
        if elapsed - spent + projected <= _BUDGET_SLACK * budget_s:
            return None
        limit = f"the run's budget of {budget_s / 60:g} minutes (max_minutes)"
        if projected <= budget_s:
            return Stop("out-of-time", f"{limit} is used up")
        return Stop("budget", f"would take {projected:.0f} s, more than {limit}", projected)


def remaining_slots(loaded: LoadedRun, *, retry: bool) -> list[Slot]:
    """The slots of a run that still have to be run; finished ones count whatever their outcome.

    A case under which the machine restarted is not run again in any block, and one that slept is
    run once more. With ``retry`` everything that did not end well is run again.
    """
    slept = Counter(entry.replicate_id for entry in loaded.attempts if entry.slept)
    finished, dangerous = set(), set()
    for replicate in loaded.replicates:
        if retry and replicate.outcome not in ("ok", "skipped"):
            continue
        if replicate.machine_restarted:
            dangerous.add((replicate.case_id, replicate.arm))
        if not (replicate.slept and slept[replicate.replicate_id] == 1):
            finished.add(replicate.replicate_id)
    return [
        slot
        for slot in loaded.run.plan.slots
        if slot.replicate_id not in finished and (slot.case_id, slot.arm) not in dangerous
    ]


def restart_victims(loaded: LoadedRun, boot_id: str | None) -> list[Replicate]:
    """Records for processes under which the machine itself restarted.

    They are not run again by themselves: what took the machine down once may do so again.
    """
    victims = []
    for entry in loaded.in_flight:
        if boot_id is None or entry.boot_id is None or entry.boot_id == boot_id:
            continue
        victims.append(
            Replicate(
                replicate_id=entry.replicate_id,
                case_id=entry.case_id,
                arm=entry.arm,
                block=entry.block,
                slot=entry.slot,
                attempt=entry.attempt,
                outcome="crashed",
                reason="machine-restarted: the computer restarted while this ran",
                machine_restarted=True,
                simulated=loaded.run.simulated,
                start=loaded.run.plan.start,
                started_utc=entry.started_utc,
                ended_utc=entry.started_utc,
                wall_s=0.0,
            )
        )
    return victims


def attempts_so_far(loaded: LoadedRun) -> dict[str, int]:
    """The number of the last attempt by replicate id."""
    attempts: dict[str, int] = {}
    for entry in loaded.started:
        attempts[entry.replicate_id] = max(attempts.get(entry.replicate_id, 0), entry.attempt)
    return attempts


def new_run_id(name: str, now: datetime, entropy: bytes) -> str:
    """Sorts by time, tells the plan, and does not collide: ``20261122-041900-quick-1f2e``."""
    return f"{now:%Y%m%d-%H%M%S}-{name}-{entropy.hex()[:4]}"
