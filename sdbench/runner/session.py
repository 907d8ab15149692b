"""One session of a run, from the open folder to the summary; used by ``run`` and ``resume``."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import msgspec

from sdbench import machine
from sdbench.analysis.run_summary import RunSummary, summary_of
from sdbench.analysis.time_shares import TimeShares, time_shares
from sdbench.correctness.thresholds import OWN_ROUNDING_TIMES
from sdbench.machine import MemoryProbe
from sdbench.plan.config import Config
from sdbench.plan.cost import Pace
from sdbench.plan.read_config import parse_config
from sdbench.process.events import Event
from sdbench.process.executor import Executor, Report, Stop, Supervisor
from sdbench.process.import_failures import ImportFailure, import_error
from sdbench.process.interrupt import InterruptFlag
from sdbench.process.room import swap_room_bytes
from sdbench.process.sampler import Sample
from sdbench.records import Arm, MatmulRate, Run, Slot
from sdbench.runner.awake import kept_awake
from sdbench.runner.ballast import ProcessBallast
from sdbench.runner.compare_pictures import compare_with_cpu, wanted_by
from sdbench.runner.gates import Gates
from sdbench.runner.loop import End, RunLoop, Watcher
from sdbench.runner.matmul_rate import measure_ceilings
from sdbench.runner.preflight import run_preflight
from sdbench.runner.prepare import cores_of, make_pace, memory_bytes_of, new_sitting
from sdbench.runner.reference_maker import ReferenceMaker, ReferenceStore
from sdbench.runner.resume import attempts_so_far, remaining_slots, restart_victims
from sdbench.runner.until_decided import UntilDecided
from sdbench.runs import LoadedRun, RunFolder, load_run
from sdbench.runs.checks import without_none

# Ends after which the machine is fit and the user willing to go on with the CPU's images.
_CALM_ENDS: tuple[End, ...] = ("complete", "budget", "device-failed")

OpenWatcher = Callable[[Run], AbstractContextManager[Watcher]]
Measure = Callable[[RunLoop, LoadedRun, list[Slot]], End]
"""Measures slots of a run, with a loop that has all that a session needs; how it ended."""


@dataclass(frozen=True)
class SessionResult:
    """How a sitting ended."""

    end: End
    summary: RunSummary
    pace: Pace
    shares: TimeShares
    unimportable: ImportFailure | None = None


def run_session(
    folder: RunFolder,
    run: Run,
    executor: Executor,
    open_watcher: OpenWatcher,
    *,
    retry: bool = False,
    measure: Measure | None = None,
) -> SessionResult:
    """Run what is left of a run; the folder stays the caller's to close.

    ``measure`` does it on several devices; None: one process after another.

    Raises:
        StoreError: a record could not be written; all before it are kept.
    """
    began = time.monotonic()
    config = config_of(run)
    before = folder.before
    victims = restart_victims(before, machine.boot_id())
    for victim in victims:
        folder.append(victim)
    before = dataclasses.replace(before, run=run, attempts=[*before.attempts, *victims])
    slots = remaining_slots(before, retry=retry)
    pace = make_pace(config, run.plan, run.model, run.device, run.machine)
    for replicate in before.replicates:
        pace.note(replicate)
    probe = machine.open_memory_probe()
    try:
        with InterruptFlag() as flag, kept_awake(), open_watcher(run) as watcher:
            loop = open_loop(
                run, folder, executor, probe, watcher, lambda: flag.requested, pace=pace
            )
            loop.gates.waited_s = sum(entry.gate.waited_s for entry in before.attempts)
            loop.replicates += before.replicates
            end = (measure or _in_turn)(loop, before, slots)
            run = loop.run  # until decided, its plan has grown
            measured = time.monotonic()
            compare_images(loop, calm=end in _CALM_ENDS)
    finally:
        probe.close()
    loaded = load_run(folder.path)
    summary = summary_of(loaded)
    own = loaded.attempts[len(before.attempts) :]
    now = time.monotonic()
    shares = time_shares(own, now - began, now - measured, max(1, len(run.devices)))
    return SessionResult(end, summary, pace, shares, loop.unimportable)


def _in_turn(loop: RunLoop, before: LoadedRun, slots: list[Slot]) -> End:
    """One process after another, on the run's device."""
    run = loop.run
    loop.further = UntilDecided(loop).further
    if slots and run.device != "cpu" and not before.checks:
        check_device(loop)
    if len(run.plan.arms) > 1 and slots:
        # A variant that cannot be imported is found before anything is measured.
        suspects = measure_limits(loop, before.ceilings)
        slots.sort(key=lambda slot: slot.arm not in suspects)
    else:  # nobody waits for the first figure longer than needed
        loop.after_first = lambda: measure_limits(loop, before.ceilings)
    return loop.carry_out(slots, attempts_so_far(before))


def open_loop(
    run: Run,
    folder: RunFolder,
    executor: Executor,
    probe: MemoryProbe,
    watcher: Watcher,
    interrupted: Callable[[], bool],
    *,
    pace: Pace,
) -> RunLoop:
    """The loop of a run on this machine, with its gates and its guard."""
    config = config_of(run)
    system = machine.open_system()
    gates = Gates(
        settings=config.gate,
        look=lambda: machine.probe_machine(system, folder.path),
        min_free_disk_bytes=config.guard.min_free_disk_bytes,
        waiting=watcher.waits,
        interrupted=interrupted,
    )
    return RunLoop(
        run=run,
        config=config,
        folder=folder,
        executor=executor,
        probe=probe,
        watcher=watcher,
        gates=gates,
        open_ballast=lambda hold_bytes: ProcessBallast(hold_bytes, probe),
        interrupted=interrupted,
        pace=pace,
        boot_id=machine.boot_id(),
        memory_bytes=memory_bytes_of(run.machine),
        swap_room_bytes=swap_room_bytes(run.machine.get("system")),
        allow_pickle=bool(run.config.get("allow_pickle")),
    )


def compare_images(loop: RunLoop, *, calm: bool) -> None:
    """Record how the images of a loop's replicates compare with the CPU's.

    ``calm``: images of the CPU that are missing are made, within their budget.

    Raises:
        StoreError: a comparison could not be written.
    """
    run = loop.run
    shelf = ReferenceStore(loop.config, run.model, run.stacks)
    maker = ReferenceMaker(
        shelf=shelf,
        executor=loop.executor,
        probe=loop.probe,
        guard=loop.new_guard(),
        showing=loop.watcher.compares,
        interrupted=loop.interrupted,
        cores=cores_of(run.machine),
        start=run.plan.start,
        allow_pickle=loop.allow_pickle,
    )
    if calm:
        maker.make(wanted_by(run, loop.replicates))
    undecided = compare_with_cpu(loop.folder, run, shelf)
    for _ in OWN_ROUNDING_TIMES:
        if undecided and calm:
            maker.make_rounded(undecided)
            undecided = compare_with_cpu(loop.folder, run, shelf)


def check_device(loop: RunLoop) -> None:
    """Make a small image first; nothing that comes of it keeps the run from going on."""
    check = run_preflight(loop.run, loop.folder, loop.executor, supervisor_for(loop))
    if not loop.interrupted():
        loop.folder.append(check)
        loop.watcher.checked(check)


def measure_limits(loop: RunLoop, known: Sequence[MatmulRate] = ()) -> set[str]:
    """The maximum rate of the device, recorded for comparison with the cases.

    Returns the names of the variants whose environment could not be imported on the way.
    """
    suspects: set[str] = set()

    def note(arms: Sequence[Arm], report: Report) -> None:
        if import_error(report) is not None:
            suspects.update(arm.name for arm in arms)

    supervise = supervisor_for(loop)
    for ceiling in measure_ceilings(loop.run, known, loop.executor, supervise, note):
        if loop.interrupted():
            break
        loop.folder.append(ceiling)
    return suspects


def supervisor_for(loop: RunLoop) -> Supervisor:
    """Supervises work between the slots: ends it if the user or the guard requires it."""
    guard = loop.new_guard()

    def supervise(event: Event | None, sample: Sample | None) -> Stop | None:
        if loop.interrupted():
            return Stop("interrupted", "stopped by the user")
        return guard.judge(sample)

    return supervise


def with_new_sitting(run: Run) -> Run:
    """The run with this sitting noted."""
    return msgspec.structs.replace(run, sittings=[*run.sittings, new_sitting()])


def config_of(run: Run) -> Config:
    """The configuration a run was begun with."""
    document = {key: value for key, value in run.config.items() if key != "allow_pickle"}
    document["arm"] = _as_configured(run.plan.arms)
    return parse_config(without_none(document), f"{run.run_id}/run.json")


def _as_configured(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Variants without their level of ``[pressure]``, which follows a ``+`` in the name."""
    configured = {}
    for arm in arms:
        name = arm.name.partition("+")[0]
        configured[name] = msgspec.structs.replace(arm, name=name, hold_bytes=0)
    return [msgspec.to_builtins(arm) for arm in configured.values()]
