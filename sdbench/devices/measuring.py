"""Measures a run on several devices at once: each process on one device, each block on one."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import ExitStack, contextmanager

import msgspec

from sdbench.devices.assignment import Assignment, fails_alone
from sdbench.devices.beside import (
    PAIRS,
    compare_beside_others,
    not_tested,
    tested_slot,
    why_not_tested,
)
from sdbench.devices.host import Device
from sdbench.devices.lanes import Lane, OpenExecutor, open_executor
from sdbench.privacy.redact_recorded import hidden_run
from sdbench.records import (
    BesideOthers,
    InterimAnalysis,
    Preflight,
    Replicate,
    Slot,
    WaitReason,
)
from sdbench.runner.loop import End, RunLoop, Watcher
from sdbench.runner.resume import attempts_so_far
from sdbench.runner.session import Measure, check_device, measure_limits, open_loop
from sdbench.runs import LoadedRun

# The gravest first: how a run ends whose devices ended differently.
_GRAVEST: tuple[End, ...] = (
    *("cannot-import", "swapped-out", "stuck", "interrupted", "budget", "device-failed"),
    "complete",
)
# After these the other devices get nothing more.
_FOR_ALL: frozenset[End] = frozenset({"cannot-import", "swapped-out"})


def measuring(devices: Sequence[Device], open_one: OpenExecutor = open_executor) -> Measure:
    """What measures on these devices, for :func:`~sdbench.runner.session.run_session`."""

    def measure(loop: RunLoop, before: LoadedRun, slots: list[Slot]) -> End:
        if not slots:
            return "complete"
        with _opened(loop, devices, open_one) as session:
            return session.measure(before, slots)

    return measure


@contextmanager
def _opened(
    loop: RunLoop, devices: Sequence[Device], open_one: OpenExecutor
) -> "Iterator[_Session]":
    with ExitStack() as stack:
        lanes = []
        for device in devices:
            lane = Lane(device, open_one)
            stack.callback(lane.close)
            lanes.append(lane)
        session = _Session(loop, lanes)
        stack.callback(session.abandon)  # before the lanes are closed, which waits for them
        yield session


class _Session:
    def __init__(self, loop: RunLoop, lanes: Sequence[Lane]) -> None:
        self._loop = loop
        self._lanes = lanes
        self._began = loop.clock()
        self._abandoned = False

    def interrupted(self) -> bool:
        """Whether everything is to stop."""
        return self._abandoned or self._loop.interrupted()

    def abandon(self) -> None:
        """Stop what still runs."""
        self._abandoned = True

    def measure(self, before: LoadedRun, slots: list[Slot]) -> End:
        """Look at the device, test whether devices disturb one another, and measure."""
        first = self._loop_of(self._lanes[0], self._loop.watcher)
        self._lanes[0].do(lambda: self._prepare(first, before)).result()
        if len(self._lanes) > 1 and self._loop.run.beside is None:
            self._test_beside(first, slots)
        if self.interrupted():
            return "interrupted"
        return self._measure_all(before, slots)

    def _prepare(self, first: RunLoop, before: LoadedRun) -> None:
        if first.run.device != "cpu" and not before.checks:
            check_device(first)
        measure_limits(first, before.ceilings)

    def _test_beside(self, loop: RunLoop, slots: list[Slot]) -> None:
        slot = tested_slot(loop, slots)
        plan_s = loop.pace.remaining_s(slots)
        test_s = 2 * PAIRS * loop.pace.slot_s(slot.case_id)
        why_not = why_not_tested(test_s, plan_s, loop.budget_s)
        found: BesideOthers | None
        if why_not is None:
            loop.watcher.slot_begins(slot, 0, len(slots), test_s + plan_s / len(self._lanes))
            found = compare_beside_others(loop, self._lanes, slot)
        else:
            found = not_tested(why_not)
        if found is not None:
            whole = self._loop
            whole.run = msgspec.structs.replace(whole.run, beside=found)
            whole.folder.write_run(hidden_run(whole.run))

    def _measure_all(self, before: LoadedRun, slots: list[Slot]) -> End:
        machines = [lane.device.machine_id for lane in self._lanes]
        assignment = Assignment(self._loop.run, machines, slots, before.replicates)
        attempts = attempts_so_far(before)
        watcher = SharedWatcher(self._loop.watcher, assignment)
        running: list[Future[End]] = []
        for lane in self._lanes:
            running.append(lane.do(self._work(lane, watcher, assignment, attempts)))
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            if not all(one.done() for one in running):  # a record could not be written
                self.abandon()
            assignment.close()
        ends = [one.result() for one in running]
        return min(ends, key=_GRAVEST.index)

    def _work(
        self,
        lane: Lane,
        watcher: "SharedWatcher",
        assignment: Assignment,
        attempts: dict[str, int],
    ) -> Callable[[], End]:
        """All that a device does."""
        machine, loop = lane.device.machine_id, self._loop_of(lane, watcher)

        def work() -> End:
            while (slot := assignment.take(machine)) is not None:
                loop.spent_s = loop.clock() - self._began
                loop.later_s = loop.pace.remaining_s(assignment.left()) / len(self._lanes)
                watcher.later_s = loop.later_s
                known = len(loop.replicates)
                end = loop.carry_out([slot], attempts)
                new = {entry.replicate_id for entry in loop.replicates[known:]}
                assignment.end(machine, recorded=slot.replicate_id in new)
                if end in _FOR_ALL:
                    self._loop.unimportable = loop.unimportable
                    assignment.close()
                if end == "complete" and fails_alone(loop.replicates, machine):
                    end = "device-failed"
                if end != "complete":
                    assignment.lose(machine)
                    return end
            return "complete"

        return work

    def _loop_of(self, lane: Lane, watcher: Watcher) -> RunLoop:
        """The loop of one device, which shares what the devices learn from one another."""
        whole = self._loop
        loop = open_loop(
            *(whole.run, whole.folder, lane.executor, whole.probe, watcher, self.interrupted),
            pace=whole.pace,
        )
        loop.replicates = whole.replicates
        loop.gates.waited_s = whole.gates.waited_s
        loop.gates.own_load = sum(
            other.device.record.threads if whole.run.device == "cpu" else 1
            for other in self._lanes
            if other is not lane
        )
        return loop


class SharedWatcher:
    """What several devices do at the same time, on one screen."""

    def __init__(self, watcher: Watcher, assignment: Assignment) -> None:
        self._watcher = watcher
        self._assignment = assignment
        self.later_s = 0.0
        """Seconds that processes will take which no device has begun."""
        self._turn = threading.Lock()
        self._figure_shown = False

    def checked(self, check: Preflight) -> None:
        """Not made here."""

    def slot_begins(self, slot: Slot, done: int, total: int, remaining_s: float) -> None:
        """Show it among those that others measure."""
        with self._turn:
            done, total = self._assignment.done_and_total()
            self._watcher.slot_begins(slot, done, total, remaining_s + self.later_s)

    def waits(self, reasons: list[WaitReason], waited_s: float, limit_s: float) -> None:
        """A device waits because the machine is not ready."""
        with self._turn:
            self._watcher.waits(reasons, waited_s, limit_s)

    def tick(self, phase: str | None, remaining_s: float) -> None:
        """Each device has another phase, so none is shown."""
        with self._turn:
            self._watcher.tick("measuring", remaining_s + self.later_s)

    def compares(self, doing: str, remaining_s: float) -> None:
        """Not done here."""

    def slot_ends(self, replicate: Replicate, done: int, total: int) -> None:
        """A process is recorded; the one that ends counts already."""
        recorded, total = self._assignment.done_and_total()
        with self._turn:
            self._watcher.slot_ends(replicate, recorded + 1, total)

    def first_figure(self, slot: Slot, pass_s: float, elapsed_s: float) -> None:
        """Of whichever device has the first."""
        with self._turn:
            if not self._figure_shown:
                self._figure_shown = True
                self._watcher.first_figure(slot, pass_s, elapsed_s)

    def block_ends(
        self, block: int, replicates: list[Replicate], elapsed_s: float, remaining_s: float
    ) -> None:
        """A device is given one process at a time, so its loop knows nothing of blocks."""

    def looked(self, looked: InterimAnalysis, next_s: float, at_most_s: float) -> None:
        """Several devices carry out a fixed plan."""
