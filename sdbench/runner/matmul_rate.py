"""Before a run: measures how fast the device multiplies large matrices, the limit with which cases
are compared.

One process for each environment and variant that is measured; all its dtypes take a second or
two. The result is recorded and does not affect any verdict. It also shows whether the environment
can be imported, before anything is measured.
"""

from collections.abc import Callable, Iterator, Sequence

from sdbench.process.environment import worker_environment
from sdbench.process.events import CeilingMeasured, Failed
from sdbench.process.executor import Executor, Report, Supervisor, Task
from sdbench.records import Arm, Dtype, MatmulRate, Run

_LIMIT_S = 60.0


def measure_ceilings(
    run: Run,
    known: Sequence[MatmulRate],
    executor: Executor,
    supervise: Supervisor,
    reported: Callable[[Sequence[Arm], Report], None] = lambda arms, report: None,
) -> Iterator[MatmulRate]:
    """The limits of every variant that are not known yet, in each dtype that it is to measure.

    ``reported`` gets the report of each process with the variants that share it: they also import
    the whole environment.
    """
    told = {(entry.arm, entry.dtype) for entry in known}
    dtypes = sorted({entry.case.dtype for entry in run.plan.cases if entry.skip_reason is None})
    alike: dict[tuple[str, ...], list[Arm]] = {}
    for arm in run.plan.arms:
        key = arm.stack, *(f"{name}={value}" for name, value in sorted(arm.env.items()))
        alike.setdefault(key, []).append(arm)
    for arms in alike.values():
        missing = [dtype for dtype in dtypes if any((arm.name, dtype) not in told for arm in arms)]
        if missing:
            report = executor.run(_task(run, arms[0], missing), supervise)
            reported(arms, report)
            for arm in arms:
                yield from (_ceiling(run, arm, dtype, report) for dtype in missing)


def _task(run: Run, arm: Arm, dtypes: list[Dtype]) -> Task:
    return Task(
        replicate_id="ceilings",
        interpreter=run.stacks[arm.stack].interpreter,
        environment=worker_environment(arm.env),
        job={"ceilings": dtypes, "device": run.device},
        start=run.plan.start,
        timeout_s=_LIMIT_S,
        telemetry=False,
    )


def _ceiling(run: Run, arm: Arm, dtype: Dtype, report: Report) -> MatmulRate:
    reason: str | None = f"measuring it ended with exit status {report.exit_code}"
    rate = None
    for event in report.events:
        if isinstance(event, CeilingMeasured) and event.dtype == dtype:
            rate, reason = event.flops_per_s, event.reason
            break
        if isinstance(event, Failed):
            reason = f"measuring it failed: {event.type}"
    if report.stop is not None and rate is None:
        reason = report.stop.reason
    return MatmulRate(
        arm=arm.name,
        dtype=dtype,
        device=run.device,
        simulated=run.simulated,
        flops_per_s=rate,
        reason=reason,
    )
