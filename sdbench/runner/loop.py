"""The run loop: for each slot wait for the gates, execute, record."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal, Protocol

import msgspec

from sdbench.files.user_folders import cache_folder
from sdbench.machine import MemoryProbe
from sdbench.plan.config import Config
from sdbench.plan.cost import Pace, passes_within_s, timeout_for
from sdbench.plan.order import affordable
from sdbench.process.environment import worker_environment
from sdbench.process.events import Event, PassEnded, Phase
from sdbench.process.executor import Executor, Report, Stop, Task
from sdbench.process.guard import MemoryGuard, SwapWriteGuard
from sdbench.process.import_failures import ImportFailure, import_failure
from sdbench.process.picture_job import picture_job
from sdbench.process.sampler import Sample
from sdbench.records import (
    Case,
    CountedFlops,
    Gate,
    InterimAnalysis,
    Preflight,
    Replicate,
    Run,
    Slot,
    Started,
    WaitReason,
    Withdrawn,
)
from sdbench.runner.ballast import Ballast
from sdbench.runner.gates import Gates
from sdbench.runner.operation_counts import alike, keep_count, known_count
from sdbench.runner.read_pictures import not_kept, with_content
from sdbench.runner.replicate import replicate_record
from sdbench.runs import RunFolder, last_attempts
from sdbench.stats import MIN_PROCESSES

# How far past its budget a run may go to finish a process that is nearly done.
_BUDGET_SLACK = 1.1

End = Literal[
    "complete", "interrupted", "budget", "stuck", "swapped-out", "cannot-import", "device-failed"
]

# A worker stopped for these has not told what it would have: it counts as never run.
_WITHDRAWN: dict[str, End] = {"interrupted": "interrupted", "out-of-time": "budget"}


class Watcher(Protocol):
    """What is shown while a run goes on."""

    def checked(self, check: Preflight) -> None:
        """The small image before the run is made and compared."""

    def slot_begins(self, slot: Slot, done: int, total: int, remaining_s: float) -> None:
        """A process is about to start."""

    def waits(self, reasons: list[WaitReason], waited_s: float, limit_s: float) -> None:
        """About once a second while nothing runs because the machine is not ready."""

    def tick(self, phase: str | None, remaining_s: float) -> None:
        """At most a few dozen times per second; paints at most once."""

    def compares(self, doing: str, remaining_s: float) -> None:
        """As :meth:`tick`, while the CPU makes the images to compare with."""

    def slot_ends(self, replicate: Replicate, done: int, total: int) -> None:
        """A process has ended and is recorded."""

    def first_figure(self, slot: Slot, pass_s: float, elapsed_s: float) -> None:
        """The first measured pass of the sitting has ended."""

    def block_ends(
        self, block: int, replicates: list[Replicate], elapsed_s: float, remaining_s: float
    ) -> None:
        """The last process of a block has ended; how long it took so far, and will take."""

    def looked(self, looked: InterimAnalysis, next_s: float, at_most_s: float) -> None:
        """Whether the run continues, for how long until the next analysis, and for how long at
        most."""


@dataclass
class RunLoop:
    """Carries out the slots of one sitting."""

    run: Run
    config: Config
    folder: RunFolder
    executor: Executor
    probe: MemoryProbe
    watcher: Watcher
    gates: Gates
    open_ballast: Callable[[int], Ballast]
    interrupted: Callable[[], bool]
    pace: Pace
    boot_id: str | None
    memory_bytes: int
    swap_room_bytes: int | None = None
    """All the swap there is; None where it grows as needed."""
    allow_pickle: bool = False
    clock: Callable[[], float] = time.monotonic
    replicates: list[Replicate] = field(default_factory=list)
    further: Callable[[], list[Slot]] = list
    """Asked when all is done: what else there is to do."""
    after_first: Callable[[], object] = list
    """Work done between the slots as soon as there is a first result."""
    spent_s: float = 0.0
    """Seconds of the budget that were used before the sitting's first slot."""
    later_s: float = 0.0
    """Seconds that slots outside this sitting will take of the budget."""
    figure_shown: bool = False
    unimportable: ImportFailure | None = None
    """Why the run ended, where a variant's environment cannot be imported."""
    wear: SwapWriteGuard = field(init=False)
    _began: float = 0.0
    _recorded_here: int = 0
    _put_off: bool = False

    def __post_init__(self) -> None:
        self.wear = SwapWriteGuard(self.config.guard.max_swapped_out_bytes)

    def carry_out(self, slots: list[Slot], attempts: dict[str, int]) -> End:
        """Run the slots in order; ``attempts`` counts earlier tries by replicate id."""
        self._began, self._put_off = self.clock(), False
        queue = list(slots)
        done = 0
        while queue or (queue := self.further()):
            slot, total = queue[0], done + len(queue)
            if self.interrupted():
                return "interrupted"
            if self._out_of_budget(slot):
                return "budget"
            remaining_s = self.pace.remaining_s(queue)
            self.watcher.slot_begins(slot, done, total, remaining_s)
            gate = self.gates.passed(self._may_wait_s(slot))
            if self.interrupted():
                return "interrupted"
            attempt = attempts.get(slot.replicate_id, 0) + 1
            attempts[slot.replicate_id] = attempt
            report, replicate = self._run_slot(slot, attempt, queue, gate)
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
            done += 1
            self.watcher.slot_ends(replicate, done, total)
            self.unimportable = self._cannot_import(replicate, report)
            if self.unimportable is not None:
                return "cannot-import"
            if done == 1:
                self.after_first()
            if not any(other.block == slot.block for other in queue):
                self._end_block(slot.block, queue)
                queue = self._within_budget(queue)
            if self.wear.exceeded:
                return "swapped-out"
            if replicate.outcome == "guard" and queue:
                self.gates.recover(gate)
            if self._put_off and not queue:
                return "budget"
        return "complete"

    def _end_block(self, block: int, queue: list[Slot]) -> None:
        remaining_s = self.within_budget_s(self.pace.remaining_s(queue))
        latest = last_attempts(self.replicates)
        self.watcher.block_ends(block, latest, self.elapsed_s(), remaining_s)

    def _within_budget(self, queue: list[Slot]) -> list[Slot]:
        """The part of the queue that gives verdicts, where the budget is too short for all."""
        if self.budget_s is None or self.config.until_decided is not None:
            return queue  # looks choose by themselves what goes on
        case_ids = [planned.case_id for planned in self.run.plan.cases]
        left_s = self.budget_s - self.elapsed_s()
        now = affordable(queue, case_ids, self.pace.slot_s, left_s)
        self._put_off = self._put_off or len(now) < len(queue)
        return now

    def _awaited(self, queue: list[Slot]) -> list[Slot]:
        """The slots that share what is left of the budget: a block of everything, then what fits.

        What does not fit takes no pass from what does.
        """
        if self.budget_s is None:
            return queue
        left_s = self.budget_s - self.elapsed_s()
        awaited = []
        for slot in queue:
            left_s -= self.pace.slot_s(slot.case_id)
            if left_s < 0 and slot.block > 0:
                break
            awaited.append(slot)
        return awaited or queue[:1]

    def _cannot_import(self, replicate: Replicate, report: Report) -> ImportFailure | None:
        """Why its variant's environment cannot be imported, unless another process of the variant
        could."""
        if any(entry.arm == replicate.arm and entry.versions for entry in self.replicates):
            return None
        return import_failure(self.run, replicate.arm, report)

    def _run_slot(
        self, slot: Slot, attempt: int, queue: list[Slot], gate: Gate
    ) -> tuple[Report, Replicate]:
        self.folder.append(
            Started(
                replicate_id=slot.replicate_id,
                case_id=slot.case_id,
                arm=slot.arm,
                block=slot.block,
                slot=slot.index,
                attempt=attempt,
                started_utc=utc_now(),
                boot_id=self.boot_id,
            )
        )
        cold_cache = self._first_of_its_stack(slot)
        task = self._task(slot, queue)
        written = self.probe.system().swapped_out_bytes
        report = self._execute(slot, task, queue)
        written_then = self.probe.system().swapped_out_bytes
        replicate = replicate_record(
            slot,
            attempt,
            task,
            report,
            gate,
            cold_cache=cold_cache,
            swapped_out_bytes=(
                None if written is None or written_then is None else written_then - written
            ),
            simulated=self.run.simulated,
        )
        return report, replicate

    def _execute(self, slot: Slot, task: Task, queue: list[Slot]) -> Report:
        """Run the worker, with its memory ballast if the variant has one."""
        hold_bytes = self.run.plan.arm(slot.arm).hold_bytes
        if not hold_bytes:
            return self.executor.run(task, _Supervisor(self, slot, queue))
        ballast = self.open_ballast(hold_bytes)
        supervisor = _Supervisor(self, slot, queue, ballast)
        began_utc, began = utc_now(), self.clock()
        try:
            stop = ballast.take(supervisor)
            if stop is None:
                return self.executor.run(task, supervisor)
        finally:
            ballast.release()
        return Report(
            start=task.start,
            started_utc=began_utc,
            ended_utc=utc_now(),
            wall_s=self.clock() - began,
            exit_code=None,
            stop=stop,
        )

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
        if self.run.image_to_image is None:  # what an input image adds is in no prompt
            replicate = with_content(
                replicate, self.run.model.name, self.config.prompts, self.folder.path
            )
        replicate = self._with_flops(replicate)
        why_not = self.folder.keep_files()
        if why_not is not None:
            replicate = not_kept(replicate, why_not)
        self.folder.append(replicate)
        self.replicates.append(replicate)
        self._recorded_here += 1
        self.pace.note(replicate)

    def _with_flops(self, replicate: Replicate) -> Replicate:
        """A profiled process has a count: its own, or that of one whose calls were alike."""
        stack, case = self._stack_and_case(replicate.case_id, replicate.arm)
        if replicate.flops is not None:
            keep_count(self.run, self.config, stack, case, replicate.flops)
        elif replicate.of_kind("profile"):
            known = self._known_flops(replicate.case_id, replicate.arm)
            return msgspec.structs.replace(replicate, flops=known)
        return replicate

    def _known_flops(self, case_id: str, arm: str) -> CountedFlops | None:
        """What a process of the same environment has counted, here or in an earlier run."""
        stack, case = self._stack_and_case(case_id, arm)
        for entry in self.replicates:
            if entry.flops is not None:
                its_stack, its_case = self._stack_and_case(entry.case_id, entry.arm)
                if (its_stack, alike(its_case)) == (stack, alike(case)):
                    return entry.flops
        return known_count(self.run, self.config, stack, case)

    def _stack_and_case(self, case_id: str, arm: str) -> tuple[str, Case]:
        return self.run.plan.arm(arm).stack, self.run.plan.planned(case_id).case

    def _task(self, slot: Slot, queue: list[Slot]) -> Task:
        arm = self.run.plan.arm(slot.arm)
        case = self.run.plan.planned(slot.case_id).case
        config = self.config
        job = picture_job(
            config, self.run.model, self.run.device, case, allow_pickle=self.allow_pickle
        )
        timeout_s = timeout_for(config, self.pace.cautious_slot_s(slot.case_id))
        job |= {
            "passes": config.passes,
            "sustain_s": 60 * config.sustain_minutes,
            "passes_within_s": passes_within_s(
                timeout_s,
                self.pace.slot_s(slot.case_id),
                self.pace.remaining_s(self._awaited(queue)) + self.later_s,
                None if self.budget_s is None else self.budget_s - self.elapsed_s(),
            ),
            "profile": slot.block == 0,  # once a case and variant
            "count_flops": slot.block == 0 and self._known_flops(slot.case_id, slot.arm) is None,
            # Fewer processes get no verdict, so nobody asks how far the machine drifts.
            "yardstick": self.run.plan.processes(slot.case_id, slot.arm) >= MIN_PROCESSES,
            "artifacts": str(self.folder.path.absolute()),
        }
        return Task(
            replicate_id=slot.replicate_id,
            interpreter=self.run.stacks[arm.stack].interpreter,
            environment=worker_environment(arm.env),
            job=job,
            start=self.run.plan.start,
            timeout_s=timeout_s,
            telemetry=arm.telemetry,
        )

    def _first_of_its_stack(self, slot: Slot) -> bool:
        """Whether no process of this environment has run since the machine started (by a marker
        file)."""
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

    def new_guard(self) -> MemoryGuard:
        """The guard of one more process."""
        return MemoryGuard.from_config(
            self.config.guard, self.memory_bytes, self.folder.path, self.swap_room_bytes
        )

    @property
    def budget_s(self) -> float | None:
        """Seconds the sitting may take; None for no limit."""
        return 60 * self.config.max_minutes if self.config.max_minutes else None

    def elapsed_s(self) -> float:
        """Seconds since the sitting's first slot, and those of the budget used before it."""
        return self.spent_s + self.clock() - self._began

    def within_budget_s(self, wanted_s: float) -> float:
        """So many seconds, or what is left of the budget where that is less."""
        if self.budget_s is None:
            return wanted_s
        return max(0.0, min(wanted_s, self.budget_s - self.elapsed_s()))

    def _may_wait_s(self, slot: Slot) -> float:
        """How long the gates may wait without costing the process its place in the budget."""
        if self.budget_s is None:
            return float("inf")
        return self.budget_s - self.elapsed_s() - self.pace.slot_s(slot.case_id)

    def _out_of_budget(self, slot: Slot) -> bool:
        """Whether the next process would end too late; a sitting's first always gets its chance."""
        if self.budget_s is None or not self._recorded_here:
            return False
        return self.elapsed_s() + self.pace.slot_s(slot.case_id) > self.budget_s


class _Supervisor:
    """Watches one worker: interruption, guard, budget, and the screen."""

    def __init__(
        self, loop: RunLoop, slot: Slot, queue: list[Slot], ballast: Ballast | None = None
    ) -> None:
        self._loop = loop
        self._ballast = ballast
        self._later_s = loop.pace.remaining_s(queue[1:])
        self._own_s = loop.pace.slot_s(slot.case_id)
        self._began = loop.clock()
        self._phase: str | None = None
        self._slot = slot
        self._first_pass_s: float | None = None
        self._guard = loop.new_guard()

    def __call__(self, event: Event | None, sample: Sample | None) -> Stop | None:
        if isinstance(event, Phase):
            self._phase = event.name
        if isinstance(event, PassEnded) and event.kind == "measured" and event.index == 1:
            self._first_pass_s = event.duration_s
        if event is None:
            self._show()
        if self._loop.interrupted():
            return Stop("interrupted", "stopped by the user")
        protect = self._guard.judge(sample) or self._loop.wear.judge(sample)
        if protect is not None and self._ballast is not None:
            self._ballast.release()  # at once: the worker may take seconds to end
        return protect or self._judge_budget(event)

    def _show(self) -> None:
        """Between the worker's own events, so that no pass is followed by painting at once."""
        loop = self._loop
        if self._first_pass_s is not None and not loop.figure_shown:
            loop.figure_shown = True
            loop.watcher.first_figure(self._slot, self._first_pass_s, loop.elapsed_s())
        loop.watcher.tick(self._phase, self._remaining_s(loop.clock() - self._began))

    def _remaining_s(self, spent_s: float) -> float:
        """Seconds left of the sitting.

        Where a process takes longer than estimated, the later ones are expected to take longer by
        the same factor. Otherwise the time left would not change until the process ends.
        """
        longer = max(1.0, spent_s / self._own_s) if self._own_s > 0 else 1.0
        return max(0.0, self._own_s - spent_s) + self._later_s * longer

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
            passes_left = self._loop.config.fewest_passes - event.index
            if passes_left <= 0:
                return None
            projected += passes_left * event.duration_s
        if elapsed - spent + projected <= _BUDGET_SLACK * budget_s:
            return None
        limit = f"the run's budget of {budget_s / 60:g} minutes (max_minutes)"
        if projected <= budget_s:
            return Stop("out-of-time", f"{limit} is used up")
        return Stop("budget", f"would take {projected:.0f} s, more than {limit}", projected)


def utc_now() -> str:
    """Now, as records hold it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def new_run_id(name: str, now: datetime, entropy: bytes) -> str:
    """Sorts by time, tells the plan, and does not collide: ``20261122-041900-quick-1f2e``."""
    return f"{now:%Y%m%d-%H%M%S}-{name}-{entropy.hex()[:4]}"
