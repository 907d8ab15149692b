"""What runs in a Dask worker: the same runner, guard, gates and executor as ``sdbench run``.

Each function takes JSON text and returns JSON text and bytes (:mod:`~sdbench.fleet.messages`). An
order says all that is needed, so a worker process that was started anew goes on at once.
"""

import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from sdbench import __version__, machine
from sdbench.errors import MachineError, SdbenchError
from sdbench.files.access import read_inside, write_inside
from sdbench.fleet import markers
from sdbench.fleet.machine_kind import kind_of, title_of
from sdbench.fleet.messages import (
    WRITTEN_FOLDERS,
    Answer,
    CheckOrder,
    CompareOrder,
    DescribeOrder,
    Description,
    MeasureOrder,
    Plan,
    Result,
    decode,
    encode,
    packed,
    unpacked,
)
from sdbench.privacy.redact_recorded import hidden_run
from sdbench.process.executor import Executor
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import InterimAnalysis, Preflight, Record, Replicate, Run, Slot, WaitReason
from sdbench.runner.awake import kept_awake
from sdbench.runner.loop import RunLoop
from sdbench.runner.prepare import make_pace, make_run, prepare
from sdbench.runner.request import Request
from sdbench.runner.session import (
    check_device,
    compare_images,
    config_of,
    measure_limits,
    open_loop,
)
from sdbench.runs import LoadedRun, RunFolder
from sdbench.runs.folder import LOCK_FILE
from sdbench.runs.reading import RECORDS_FILE, RUN_FILE
from sdbench.selftest.kept import last_selftest

_ENCODER = msgspec.json.Encoder()
_LOCK = "sdbench-fleet-turn.lock"
_LOCK_EVERY_S = 0.2
_MOST_FILE_BYTES = 1 << 30
_UNFIT = {
    "stuck": "a process did not end even after SIGKILL: restart the machine",
    "swapped-out": "more was written to swap than guard.max_swapped_out_bytes allows",
}


@dataclass(frozen=True)
class _Here:
    """A plan on this machine."""

    run: Run
    kind: str


class _Scratch(RunFolder):
    """A run folder that lives as long as an order: nothing in it has to survive a crash."""

    def __init__(self, path: Path, run: Run) -> None:
        super().__init__(LoadedRun(path, run, [], []), FileLock(str(path / LOCK_FILE)))
        self.kept: list[Record] = []

    def append(self, *records: Record) -> None:
        with open(self.path / RECORDS_FILE, "ab") as file:
            for record in records:
                named = msgspec.structs.replace(record, run_id=self.before.run.run_id)
                file.write(_ENCODER.encode(named) + b"\n")
        self.kept += records

    def keep_files(self) -> str | None:
        return None

    def write_telemetry(self, name: str, lines: list[bytes]) -> str | None:
        data = b"".join(lines)
        write_inside(self.path, "telemetry", f"{name}.jsonl", data=data, flushed=False)
        return None

    def files(self) -> Iterator[tuple[str, str, bytes]]:
        """Every file that was written into the folders of a run, whole ones only."""
        for folder in WRITTEN_FOLDERS:
            with contextlib.suppress(FileNotFoundError):
                for name in sorted(os.listdir(self.path / folder)):
                    if not name.startswith("."):
                        data = read_inside(self.path, folder, name, most_bytes=_MOST_FILE_BYTES)
                        yield folder, name, data


class _Silent:
    """A watcher of the run loop that shows nothing: the fleet's client has the screen."""

    def checked(self, check: Preflight) -> None: ...
    def slot_begins(self, slot: Slot, done: int, total: int, remaining_s: float) -> None: ...
    def waits(self, reasons: list[WaitReason], waited_s: float, limit_s: float) -> None: ...
    def tick(self, phase: str | None, remaining_s: float) -> None: ...
    def compares(self, doing: str, remaining_s: float) -> None: ...
    def slot_ends(self, replicate: Replicate, done: int, total: int) -> None: ...
    def first_figure(self, slot: Slot, pass_s: float, elapsed_s: float) -> None: ...
    def block_ends(
        self, block: int, replicates: list[Replicate], elapsed_s: float, remaining_s: float
    ) -> None: ...
    def looked(self, looked: InterimAnalysis, next_s: float, at_most_s: float) -> None: ...


def describe(text: str) -> Answer:
    """Say what this machine is, and prepare the plan on it: find the model, the device, the stacks.

    What keeps it from taking part is in the answer.
    """
    order = decode(text, DescribeOrder)
    about = Description(
        machine=machine.machine_id(), process=markers.PROCESS, died=markers.killed_under()
    )
    try:
        with _turn(_never):
            here = _here(encode(order.plan))
    except SdbenchError as error:
        return encode(msgspec.structs.replace(about, refused=str(error))), b""
    run = hidden_run(here.run)
    about = msgspec.structs.replace(about, title=title_of(run), kind=here.kind, run=run)
    return encode(about), b""


def measure(text: str) -> Answer:
    """Measure one slot and return its records and files; without a replicate if it was stopped."""
    order = decode(text, MeasureOrder)
    interrupted = _cancelled()
    with _turn(interrupted), _opened(order.plan, order.kind, interrupted) as (loop, folder):
        loop.spent_s, loop.later_s = order.spent_s, order.later_s
        slots = [slot for slot in loop.run.plan.slots if slot.replicate_id == order.slot]
        with markers.marked(order.token), kept_awake():
            end = loop.carry_out(slots, {order.slot: order.attempt - 1})
        if loop.unimportable is not None:
            return encode(Result(end=end, unfit=loop.unimportable.sentence)), b""
        files, blob = packed(folder.files())
        own = machine.machine_id()
        records = [
            msgspec.structs.replace(record, machine_id=own)
            if isinstance(record, Replicate)
            else record
            for record in folder.kept
        ]
        result = Result(records=records, files=files, end=end, unfit=_UNFIT.get(end))
        return encode(result), blob


def check(text: str) -> Answer:
    """Make the small image on a device, and measure the device's highest rate."""
    order = decode(text, CheckOrder)
    interrupted = _cancelled()
    with _turn(interrupted), _opened(order.plan, order.kind, interrupted) as (loop, folder):
        with markers.marked(order.token), kept_awake():
            if loop.run.device != "cpu":
                check_device(loop)
            measure_limits(loop)
        files, blob = packed(folder.files())
        return encode(Result(records=folder.kept, files=files)), blob


def compare(text: str, blob: bytes) -> Answer:
    """Compare images with the CPU's, which are made here where there are none yet."""
    order = decode(text, CompareOrder)
    interrupted = _cancelled()
    with _turn(interrupted), _opened(order.plan, order.kind, interrupted) as (loop, folder):
        write_inside(folder.path, RUN_FILE, data=_ENCODER.encode(loop.run), flushed=False)
        for where, name, data in unpacked(order.files, blob):
            write_inside(folder.path, where, name, data=data, flushed=False)
        for record in order.records:
            folder.append(record)
        loop.replicates += [record for record in order.records if isinstance(record, Replicate)]
        compare_images(loop, calm=True)
        new = folder.kept[len(order.records) :]
        end = "interrupted" if interrupted() else "complete"
        before = {(folder_name, name) for folder_name, name, _ in unpacked(order.files, blob)}
        files, made = packed(entry for entry in folder.files() if entry[:2] not in before)
        return encode(Result(records=new, files=files, end=end)), made


def open_executor() -> Executor:
    """What runs the processes of a slot."""
    return ProcessExecutor()


@functools.lru_cache(maxsize=4)
def _here(plan_text: str) -> _Here:
    """The plan as this machine carries it out; found out once a process.

    Raises:
        SdbenchError: this machine cannot take part; the message says why.
    """
    plan = decode(plan_text, Plan)
    if plan.sdbench != __version__:
        raise MachineError(
            f"it has sdbench {__version__}, and the fleet is run with {plan.sdbench}: install the "
            "same version"
        )
    request = Request(
        made=plan.config,
        config=plan.config.name,
        only=plan.only,
        label=plan.label,
        allow_pickle=plan.allow_pickle,
    )
    executor = open_executor()
    try:
        prepared = prepare(request, executor)
        questions = prepared.questions()
        if questions and not plan.yes:
            raise MachineError(f"{'; '.join(questions)}: agree with --yes")
        run = make_run(prepared, prepared.model.prepare())
    finally:
        executor.close()
    run = msgspec.structs.replace(run, selftest=last_selftest(run.device))
    return _Here(run, kind_of(run))


@contextlib.contextmanager
def _opened(
    plan: Plan, kind: str, interrupted: Callable[[], bool]
) -> Iterator[tuple[RunLoop, _Scratch]]:
    """The loop of a plan over a folder of its own.

    Raises:
        MachineError: this machine is not what it was when it was described.
    """
    here = _here(encode(plan))
    if here.kind != kind:
        raise MachineError("this machine has changed since the fleet began to use it")
    run = here.run
    executor, probe = open_executor(), machine.open_memory_probe()
    pace = make_pace(config_of(run), run.plan, run.model, run.device, run.machine)
    try:
        with tempfile.TemporaryDirectory(prefix="sdbench-slot-", dir=_own_folder()) as path:
            folder = _Scratch(Path(path), run)
            yield open_loop(run, folder, executor, probe, _Silent(), interrupted, pace=pace), folder
    finally:
        probe.close()
        executor.close()


@contextlib.contextmanager
def _turn(interrupted: Callable[[], bool]) -> Iterator[None]:
    """One worker at a time on a host, whatever Dask thinks: others of this host wait.

    The kernel ends the turn of a process that is killed.
    """
    lock = FileLock(os.path.join(tempfile.gettempdir(), _LOCK), mode=0o666)
    while True:
        try:
            lock.acquire(timeout=_LOCK_EVERY_S)
            break
        except Timeout:
            if interrupted():
                raise MachineError("stopped: nobody waits for this any more") from None
        except OSError as error:
            raise MachineError(f"{lock.lock_file}: cannot be used: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def _own_folder() -> str | None:
    """This worker's folder, which is removed also when its process was killed; None: no worker."""
    from distributed.worker import get_worker

    try:
        return str(get_worker().local_directory)
    except ValueError:
        return None


def _never() -> bool:
    return False


def _cancelled() -> Callable[[], bool]:
    """Whether nobody waits for this task any more: its client is gone, or this worker ends.

    Outside of a Dask worker nobody can cancel.
    """
    from distributed.worker import get_worker, thread_state

    try:
        worker = get_worker()
    except ValueError:
        return _never
    key = getattr(thread_state, "key", None)
    looked_at, answer = float("-inf"), False

    def cancelled() -> bool:
        nonlocal looked_at, answer
        now = time.monotonic()
        if not answer and now - looked_at > 1.0:
            looked_at = now
            task = worker.state.tasks.get(key)
            ends = worker.status.name not in ("running", "paused")
            answer = ends or task is None or task.state == "cancelled"
        return answer

    return cancelled
