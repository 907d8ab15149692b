"""Do devices that measure at the same time disturb one another? An A/A test before the run's own
processes: the same case on one device, while the others are idle and while all of them work.

It comes first, so that every figure of the run has its mark from the beginning, an interrupted run
too, and because no device may be idle later without costing time. The statistic of a process, the
interval and the rule for equivalence are those of every comparison (PROTOCOL 9 and 10).
"""

import dataclasses
import functools
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from sdbench.devices.lanes import Lane
from sdbench.plan.cost import passes_within_s, timeout_for
from sdbench.process.environment import worker_environment
from sdbench.process.events import Event, PassEnded
from sdbench.process.executor import Stop, Task
from sdbench.process.picture_job import picture_job
from sdbench.process.sampler import Sample
from sdbench.records import BesideOthers, BesideVerdict, Gate, Slot
from sdbench.runner.loop import RunLoop
from sdbench.runner.replicate import replicate_record
from sdbench.runner.session import supervisor_for
from sdbench.stats import DEFAULT_THRESHOLD, RatioEstimate, decide_family, paired_ratio

PAIRS = 5
"""Pairs of processes: with 1% of scatter between processes the interval is ± 1.8%."""
_LEAST_PASSES = 3
_DOING = "testing whether they disturb one another"
_WAIT_S = 0.2
_VERDICTS: Mapping[str, BesideVerdict] = {
    "equivalent": "undisturbed",
    "slower": "disturbed",
    "faster": "disturbed",
}

Times = Mapping[int, float]


def judged(alone: Times, beside: Times) -> BesideOthers:
    """The verdict on seconds of a pass by pair: of a device alone, and while others worked."""
    estimate = paired_ratio(alone, beside)
    (found,) = decide_family([estimate], DEFAULT_THRESHOLD)
    low, high = estimate.interval() or (None, None)
    return BesideOthers(
        verdict=_VERDICTS.get(found.verdict, "not-shown"),
        threshold=DEFAULT_THRESHOLD,
        alone_s=[*alone.values()],
        beside_s=[*beside.values()],
        ratio=estimate.ratio,
        ratio_low=low,
        ratio_high=high,
        reason=_why(estimate, found.reason),
    )


def _why(estimate: RatioEstimate, reason: str | None) -> str | None:
    if reason is None:
        return None
    pairs = min(estimate.n)
    return f"{pairs} pairs do not decide it ({reason})"


def not_tested(reason: str) -> BesideOthers:
    """Nothing was shown, for this reason."""
    return BesideOthers(verdict="not-shown", threshold=DEFAULT_THRESHOLD, reason=reason)


def why_not_tested(test_s: float, plan_s: float, budget_s: float | None) -> str | None:
    """Why a test that takes so long is left out; None where it is made.

    Args:
        test_s, plan_s: what it and the run's own processes, one after another, are expected to
            take.
        budget_s: what the run may take; None: no limit.
    """
    if test_s > plan_s:
        return "the test would take longer than the run itself"
    if budget_s is not None and test_s > budget_s / 2:
        return "the test would take more than half of the run's budget (max_minutes)"
    return None


def tested_slot(loop: RunLoop, slots: Sequence[Slot]) -> Slot:
    """The process that is repeated: of the first case of the plan that is to be measured."""
    order = {planned.case_id: place for place, planned in enumerate(loop.run.plan.cases)}
    arms = {arm.name: place for place, arm in enumerate(loop.run.plan.arms)}
    return min(slots, key=lambda slot: (order[slot.case_id], arms[slot.arm]))


def compare_beside_others(loop: RunLoop, lanes: Sequence[Lane], slot: Slot) -> BesideOthers | None:
    """Measure one process while the other devices are idle and while they work, in turn.

    None where the user stopped it.
    """
    with tempfile.TemporaryDirectory(prefix="sdbench-devices-") as folder:
        return _Test(loop, lanes, slot, _task(loop, slot, Path(folder))).result()


def _task(loop: RunLoop, slot: Slot, folder: Path) -> Task:
    """As a process of the run, without what is done once a case; its images are thrown away."""
    config, run = loop.config, loop.run
    arm, case = run.plan.arm(slot.arm), run.plan.planned(slot.case_id).case
    timeout_s = timeout_for(config, loop.pace.cautious_slot_s(slot.case_id))
    passes = config.passes if config.passes == "auto" else max(_LEAST_PASSES, config.passes)
    return Task(
        replicate_id="beside-others",
        interpreter=run.stacks[arm.stack].interpreter,
        environment=worker_environment(arm.env),
        job=picture_job(config, run.model, run.device, case, allow_pickle=loop.allow_pickle)
        | {
            "passes": passes,
            "passes_within_s": passes_within_s(timeout_s, 0.0, 0.0, None),
            "profile": False,
            "count_flops": False,
            "artifacts": str(folder.absolute()),
        },
        start=run.plan.start,
        timeout_s=timeout_s,
        telemetry=arm.telemetry,
    )


class _FailedError(Exception):
    """A process gave no time; the message says why."""


class _Test:
    def __init__(self, loop: RunLoop, lanes: Sequence[Lane], slot: Slot, task: Task) -> None:
        self._loop = loop
        self._own, *self._others = lanes
        self._slot = slot
        self._task = task
        self._left = 2 * PAIRS

    def result(self) -> BesideOthers | None:
        """Pairs in the order AB, BA, AB: drift cancels."""
        sides: tuple[dict[int, float], dict[int, float]] = ({}, {})
        measure: tuple[Callable[[], float], ...] = (self._alone, self._beside)
        try:
            for pair in range(PAIRS):
                for side in (0, 1) if pair % 2 == 0 else (1, 0):
                    sides[side][pair] = measure[side]()
                    self._left -= 1
            found = judged(*sides)
        except _FailedError as error:
            found = not_tested(str(error))
        if self._loop.interrupted():
            return None
        return msgspec.structs.replace(
            found,
            case_id=self._slot.case_id,
            arm=self._slot.arm,
            device=self._own.device.name,
            others=len(self._others),
        )

    @property
    def _remaining_s(self) -> float:
        return self._left * self._loop.pace.slot_s(self._slot.case_id)

    def _alone(self) -> float:
        return self._own.do(lambda: self._measure(self._own)).result()

    def _beside(self) -> float:
        """One process while each other device makes passes, from the first of each of them on."""
        enough = threading.Event()
        ready = [threading.Event() for _ in self._others]
        busy = [
            lane.do(functools.partial(self._keep_busy, lane, first, enough))
            for lane, first in zip(self._others, ready, strict=True)
        ]
        time_s: float | None = None
        try:
            while not all(first.wait(_WAIT_S) for first in ready):
                if any(one.done() for one in busy):
                    break
            if not any(one.done() for one in busy):
                time_s = self._own.do(lambda: self._measure(self._own)).result()
        finally:
            enough.set()
            problems = [*filter(None, [one.result() for one in busy])]
        if problems or time_s is None:  # then not all of them worked all the time
            raise _FailedError(next(iter(problems), "another device did not work"))
        return time_s

    def _measure(self, lane: Lane) -> float:
        guarded = supervisor_for(self._loop)

        def supervise(event: Event | None, sample: Sample | None) -> Stop | None:
            if event is None:
                self._loop.watcher.tick(_DOING, self._remaining_s)
            return guarded(event, sample)

        report = lane.executor.run(self._task, supervise)
        record = replicate_record(self._slot, 1, self._task, report, Gate(), cold_cache=False)
        if record.steady_median_s is None:
            raise _FailedError(f"a process of the test gave no time: {record.reason}")
        return record.steady_median_s

    def _keep_busy(self, lane: Lane, first: threading.Event, enough: threading.Event) -> str | None:
        """Make passes until it is enough; why they could not go on, None where they could.

        A process with as few passes as the timed one would end early, and the next one would import
        and load while that one is timed, so it goes on for longer than the timed one may take.
        """
        guarded = supervisor_for(self._loop)

        def supervise(event: Event | None, sample: Sample | None) -> Stop | None:
            if isinstance(event, PassEnded):
                first.set()
            if enough.is_set():
                return Stop("interrupted", "the test has its time")
            return guarded(event, sample)

        limit_s = 3 * self._task.timeout_s  # the others' first pass, a whole process, and more
        task = dataclasses.replace(
            self._task,
            telemetry=False,
            timeout_s=limit_s,
            job=self._task.job | {"sustain_s": limit_s, "passes_within_s": None},
        )
        while not enough.is_set():
            report = lane.executor.run(task, supervise)
            record = replicate_record(self._slot, 1, task, report, Gate(), cold_cache=False)
            if not enough.is_set() and record.outcome != "ok":
                return f"a process on {lane.device.name} gave no time: {record.reason}"
        return None
