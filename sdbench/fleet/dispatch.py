"""Hands slots to the workers of one connection to a scheduler, and keeps what they measure.

All decisions are the ledger's; this module only moves messages. There is one coroutine for each
worker, and one that looks once in half a second who is there. Dask itself retries nothing: a task
is bound to one worker, and when that is gone the ledger says what becomes of the slot.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdbench.errors import SdbenchError
from sdbench.fleet import task
from sdbench.fleet.connection import CONNECT_S, is_lost
from sdbench.fleet.course import Course, End
from sdbench.fleet.ledger import Died, Given, Lost, Returned, Seen, WhyLost
from sdbench.fleet.messages import (
    Answer,
    CheckOrder,
    CompareOrder,
    DescribeOrder,
    Description,
    MeasureOrder,
    Result,
    decode,
    encode,
    packed,
)
from sdbench.plan.cost import Pace
from sdbench.records import Compared, Replicate
from sdbench.runner.prepare import make_pace
from sdbench.runner.session import config_of

if TYPE_CHECKING:
    from distributed import Client

RESOURCE = "sdbench"
"""The resource of a worker that takes part; a slot needs one of it."""
_LOOK_EVERY_S = 0.5
_MOST_TRIES = 2
"""So often a check or a comparison is tried; nothing depends on it."""


@dataclass
class _Worker:
    """A worker of the scheduler, and what the fleet knows of it."""

    address: str
    name: str
    about: Description | None = None
    serving: "asyncio.Task[None] | None" = None
    heard_at: float = 0.0
    """When it was last heard of, by this machine's clock."""
    last_seen: float = 0.0
    """The same by the scheduler's clock."""
    silent: bool = False
    refused: bool = False
    busy: bool = False

    @property
    def lost_answer(self) -> bool:
        """Whether an answer did not come. If the worker is still there, it is taken on again."""
        return self.serving is not None and self.serving.done() and not self.refused

    @property
    def title(self) -> str:
        return self.name if self.about is None or not self.about.title else self.about.title


class _LostError(Exception):
    """The worker or the scheduler is gone; the answer will never come."""


class _UnfitError(Exception):
    """The worker cannot do what it is asked; the message says why."""


class Dispatcher:
    """The fleet over one connection to a scheduler."""

    def __init__(self, course: Course, client: "Client") -> None:
        self._course = course
        self._client = client
        self._folder = course.folder
        self._workers: dict[str, _Worker] = {}
        self._changed = asyncio.Event()
        self._extras: set[tuple[str, str]] = set()
        """Checks and comparisons under way, by group and case."""
        self._fault: BaseException | None = None

    async def work(self) -> End:
        """Serve every worker there is, until there is nothing left to do or somebody stops it.

        Raises:
            OSError, TimeoutError: the scheduler is gone.
            StoreError: a record could not be written.
        """
        try:
            while True:
                await self._look()
                if self._fault is not None:
                    raise self._fault
                if (end := self._course.wanted_end() or self._end()) is not None:
                    return end
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _LOOK_EVERY_S)
        finally:
            serving = [one.serving for one in self._workers.values() if one.serving is not None]
            for one in serving:
                one.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

    # --- who is there -----------------------------------------------------------------------------

    async def _look(self) -> None:
        identity = await asyncio.wait_for(
            self._client.scheduler.identity(n_workers=-1), 2 * CONNECT_S
        )
        now, there = self._course.clock(), identity["workers"]
        for address in [*self._workers]:
            if address not in there or self._workers[address].lost_answer:
                self._leaves(self._workers.pop(address))
        for address, seen in there.items():
            if not seen["resources"].get(RESOURCE):
                continue
            worker = self._workers.get(address)
            if worker is None:
                worker = _Worker(address, str(seen["name"]), heard_at=now)
                self._workers[address] = worker
                worker.serving = asyncio.create_task(self._serve_to_the_end(worker))
            if seen["last_seen"] != worker.last_seen:
                worker.last_seen, worker.heard_at = seen["last_seen"], now
                if worker.silent:
                    self._returns(worker)
            elif now - worker.heard_at > self._course.settings.silent_s and not worker.silent:
                worker.silent = True
                self._lost(worker, "silent")
        if any(worker.busy and not worker.silent for worker in self._workers.values()):
            self._course.last_busy = now
        self._course.out_of_time = self._course.out_of_time or self._out_of_time()
        self._folder.flush()

    def _leaves(self, worker: _Worker) -> None:
        if worker.serving is not None:
            worker.serving.cancel()
        if not worker.silent:
            self._lost(worker, "gone")

    def _lost(self, worker: _Worker, why: WhyLost) -> None:
        about = worker.about
        if about is None or worker.refused:
            return
        self._folder.record(Lost(machine=about.machine, process=about.process, why=why))
        self._course.watcher.machine_lost(worker.title, why)
        self._notify()

    def _returns(self, worker: _Worker) -> None:
        worker.silent = False
        if worker.about is not None and not worker.refused:
            group = self._join(worker.about)
            self._course.watcher.machine_joins(worker.title, self._folder.run_of(group).run_id)

    def _join(self, about: Description) -> str:
        group = self._folder.group_for(about)
        fleet_id = self._folder.fleet.fleet_id
        tokens = [token.rpartition(".") for token in about.died]
        died = [Died(give=int(give)) for of, _, give in tokens if of == fleet_id and give.isdigit()]
        seen = Seen(machine=about.machine, group=group, process=about.process, title=about.title)
        self._folder.record(*died, seen)
        for lost_group, slot, given in self._course.state.crashed():
            replicate = self._folder.write_off(lost_group, slot, given)
            self._tell_done(about.title, lost_group, replicate)
        self._notify()
        return group

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # --- the end ----------------------------------------------------------------------------------

    def _end(self) -> End | None:
        """How it ends where nothing is left to do; None where there is."""
        course, state = self._course, self._course.state
        out_of_patience = course.out_of_patience()
        if state.complete and (
            out_of_patience or not any(self._has_extra(group) for group in state.groups)
        ):
            return "complete"  # whoever still measures what others have done is not waited for
        if any(worker.busy and not worker.silent for worker in self._workers.values()):
            return None
        if state.complete:
            return None
        if course.out_of_time:
            return "budget"
        known = [worker for worker in self._workers.values() if worker.about or worker.refused]
        if not state.groups and known and all(worker.refused for worker in self._workers.values()):
            return "refused"
        if state.groups:
            held = set(state.held_back())
            waiting = {
                (name, slot) for name, group in state.groups.items() for slot in group.waiting
            }
            if waiting and waiting <= held:
                return "held-back"
        return "no-machine" if out_of_patience else None

    def _out_of_time(self) -> bool:
        budget_s = self._course.budget_s
        return budget_s is not None and self._course.elapsed_s() > budget_s

    # --- serving a worker -------------------------------------------------------------------------

    async def _serve_to_the_end(self, worker: _Worker) -> None:
        """Whatever it meets ends with this worker, but for what no worker can help."""
        try:
            await self._serve(worker)
        except _LostError:
            pass  # whoever looks will see that it is gone
        except _UnfitError as error:
            self._leave_out(worker, str(error))
        except Exception as error:  # a store that cannot be written: the fleet ends
            self._fault = error
        finally:
            worker.busy = False
            self._notify()

    async def _serve(self, worker: _Worker) -> None:
        plan = self._folder.fleet.plan
        text, _ = await self._ask(worker, task.describe, encode(DescribeOrder(plan=plan)))
        about = worker.about = _decoded(text, Description)
        if about.refused is not None:
            raise _UnfitError(about.refused)
        group = self._join(about)
        watcher = self._course.watcher
        watcher.machine_joins(about.title, self._course.state.groups[group].run_id)
        while True:
            changed = self._changed
            if self._may_begin() and not worker.silent and not self._beside_another(worker):
                if self._wants_check(group):
                    await self._check(worker, about, group)
                    continue
                offer = self._course.state.offer(about.machine)
                if offer is not None and not self._course.out_of_time:
                    await self._measure(worker, about, offer)
                    continue
                case = self._next_comparison(group)
                if case is not None:
                    await self._compare(worker, about, group, case)
                    continue
            watcher.works_on(about.title, "")
            await changed.wait()

    def _may_begin(self) -> bool:
        course = self._course
        if not course.begun:
            machines = {worker.about.machine for worker in self._workers.values() if worker.about}
            course.begun = len(machines) >= course.settings.machines
            if course.begun:
                self._notify()
        return course.begun

    def _beside_another(self, worker: _Worker) -> bool:
        """Whether another worker of the same machine is at work: they take turns."""
        return any(
            other is not worker
            and other.busy
            and other.about is not None
            and worker.about is not None
            and other.about.machine == worker.about.machine
            for other in self._workers.values()
        )

    async def _measure(self, worker: _Worker, about: Description, offer: tuple[str, str]) -> None:
        group, slot = offer
        course, folder = self._course, self._folder
        given = Given(
            give=course.state.next_give,
            group=group,
            slot=slot,
            machine=about.machine,
            process=about.process,
        )
        order = MeasureOrder(
            plan=folder.fleet.plan,
            kind=about.kind,
            slot=slot,
            attempt=folder.attempt(group, slot),
            token=f"{folder.fleet.fleet_id}.{given.give}",
            spent_s=course.elapsed_s(),
            later_s=self._later_s(group),
        )
        folder.note(given)
        await asyncio.sleep(0)  # whoever else gives something now shares the write
        folder.flush()
        course.watcher.slot_given(about.title, slot)
        try:
            text, blob = await self._ask(worker, task.measure, encode(order))
            result = _decoded(text, Result)
            with _unfit_if_wrong():
                replicate = folder.keep_result(given, result, blob)
        except _UnfitError as error:
            folder.record(Returned(give=given.give, why=str(error)))
            raise
        if replicate is not None:
            self._note_pace(group, replicate)
            self._tell_done(about.title, group, replicate)
        elif not any(isinstance(entry, Replicate) for entry in result.records):
            folder.record(Returned(give=given.give, why=result.unfit or result.end))
            course.out_of_time = course.out_of_time or result.end == "budget"
        self._notify()
        if result.unfit is not None:
            raise _UnfitError(result.unfit)

    async def _check(self, worker: _Worker, about: Description, group: str) -> None:
        order = CheckOrder(plan=self._folder.fleet.plan, kind=about.kind, token="check")
        self._course.watcher.works_on(about.title, "checks the device")
        with self._extra(group, ""):
            text, blob = await self._ask(worker, task.check, encode(order))
            with _unfit_if_wrong():
                self._folder.keep_extra(group, _decoded(text, Result), blob)
            self._folder.checked.add(group)

    async def _compare(self, worker: _Worker, about: Description, group: str, case: str) -> None:
        self._course.watcher.works_on(about.title, "compares images")
        with self._extra(group, case):
            replicates = self._folder.uncompared(group, case)
            files, blob = packed(self._folder.files_of(group, replicates))
            order = CompareOrder(
                plan=self._folder.fleet.plan, kind=about.kind, records=[*replicates], files=files
            )
            text, made = await self._ask(worker, task.compare, encode(order), blob)
            result = _decoded(text, Result)
            with _unfit_if_wrong():
                self._folder.keep_extra(group, result, made)
            found = [entry for entry in result.records if isinstance(entry, Compared)]
            self._course.watcher.compared(found)

    @contextlib.contextmanager
    def _extra(self, group: str, case: str) -> Any:
        self._course.tries[group, case] += 1
        self._extras.add((group, case))
        try:
            yield
        finally:
            self._extras.discard((group, case))
            self._notify()

    def _wants_check(self, group: str) -> bool:
        return (
            group not in self._folder.checked
            and (group, "") not in self._extras
            and self._course.tries[group, ""] < _MOST_TRIES
            and not self._group_done(group)
        )

    def _group_done(self, group: str) -> bool:
        counts = self._course.state.groups[group].counts()
        return counts["waiting"] == counts["given"] == 0

    def _next_comparison(self, group: str) -> str | None:
        """A case whose images are to be compared with the CPU's, once all is measured."""
        if not (self._group_done(group) or self._course.out_of_time):
            return None
        for case in self._folder.cases_to_compare(group):
            busy = (group, case) in self._extras
            if not busy and self._course.tries[group, case] < _MOST_TRIES:
                return case
        return None

    def _has_extra(self, group: str) -> bool:
        return self._next_comparison(group) is not None or any(
            of == group for of, _ in self._extras
        )

    async def _ask(self, worker: _Worker, function: Callable[..., Answer], *what: Any) -> Answer:
        """What a worker answers.

        Raises:
            _LostError: it will not.
            _UnfitError: it cannot.
        """
        worker.busy = True
        future = self._client.submit(
            function,
            *what,
            workers=[worker.address],
            allow_other_workers=False,
            resources={RESOURCE: 1},
            retries=0,
            pure=False,
        )
        try:
            text, blob = await future
        except asyncio.CancelledError:
            raise
        except SdbenchError as error:
            raise _UnfitError(str(error)) from error
        except Exception as error:
            if is_lost(future, error):
                raise _LostError(str(error)) from error
            raise _UnfitError(f"{type(error).__name__}: {error}") from error
        finally:
            worker.busy = False
            future.release()
        if not isinstance(text, str) or not isinstance(blob, bytes):
            raise _UnfitError("it answered with something else than text and bytes")
        return text, blob

    def _leave_out(self, worker: _Worker, why: str) -> None:
        about = worker.about
        if about is not None and about.refused is None:
            self._folder.record(Lost(machine=about.machine, process=about.process, why="gone"))
        worker.refused = True
        self._course.watcher.machine_left_out(worker.title, why)

    def _tell_done(self, title: str, group: str, replicate: Replicate) -> None:
        counts = self._course.state.groups[group].counts()
        self._course.watcher.slot_done(title, replicate, counts["done"], sum(counts.values()))

    # --- time -------------------------------------------------------------------------------------

    def _pace(self, group: str) -> Pace:
        paces = self._course.paces
        if group not in paces:
            run = self._folder.run_of(group)
            paces[group] = make_pace(config_of(run), run.plan, run.model, run.device, run.machine)
        return paces[group]

    def _note_pace(self, group: str, replicate: Replicate) -> None:
        if self._course.budget_s is not None:
            self._pace(group).note(replicate)

    def _later_s(self, group: str) -> float:
        """What every machine of a group still has to do, where a budget is to be shared."""
        if self._course.budget_s is None:
            return 0.0
        waiting = self._course.state.groups[group].waiting
        slots = [
            slot for slot in self._folder.run_of(group).plan.slots if slot.replicate_id in waiting
        ]
        machines = [one for one in self._course.state.machines.values() if one.group == group]
        return self._pace(group).remaining_s(slots) / max(1, len(machines))


def _decoded(text: str, kind: type[Any]) -> Any:
    """An answer.

    Raises:
        _UnfitError: it is none.
    """
    with _unfit_if_wrong():
        return decode(text, kind)


@contextlib.contextmanager
def _unfit_if_wrong() -> Any:
    """What a machine answers wrongly is its own fault, and leaves it out."""
    from sdbench.fleet.messages import WrongAnswerError

    try:
        yield
    except WrongAnswerError as error:
        raise _UnfitError(str(error)) from error
