"""Repeats two separate runs as the two variants of one interleaved run.

Their interpreters, variables and preloads are started again, so both runs must be this
installation's own (:mod:`sdbench.runs.ownership`), and both environments must still be what they
were: an update in place leaves nothing of the side before it.
"""

import os
from collections.abc import Mapping

import msgspec

from sdbench.analysis.comparability import work_and_place_differ
from sdbench.analysis.reasons import explain
from sdbench.errors import MachineError, SdbenchError, UsageError
from sdbench.knowledge.variables import only_says_where
from sdbench.machine import machine_id
from sdbench.plan.config import Config, Selection, UntilDecided
from sdbench.privacy.redact_recorded import recorded_environment, shown_run
from sdbench.process.environment import PRELOAD, preload_modules
from sdbench.records import Arm, Case, Run, StackInfo
from sdbench.runner.prepare import stack_changes
from sdbench.runner.session import config_of
from sdbench.runs import LoadedRun
from sdbench.stacks.catalogue import shipped_stacks

SIDES = ("base", "new")
# What a recorded value has in the place of a secret, a user's name or a home folder.
_REDACTED = ("<", "~")


def again(base: LoadedRun, new: LoadedRun, threshold: float) -> Config:
    """The configuration that measures both sides until the difference is decided.

    Raises:
        UsageError: a side cannot be made again here; one line says which and why.
    """
    for side, loaded in zip(SIDES, (base, new), strict=True):
        _check_own(side, loaded)
    differing = work_and_place_differ(base.run, new.run)
    if differing:
        raise _refused(f"the two runs are not of the same work: {explain(differing)}")
    runs = [_shown(side, loaded.run) for side, loaded in zip(SIDES, (base, new), strict=True)]
    common = [
        planned.case
        for planned in base.run.plan.cases
        if planned.skip_reason is None
        and any(planned.case_id == other.case_id for other in new.run.plan.cases)
    ]
    if not common:
        raise _refused("the two runs have no case in common")
    if {run.plan.arms[0].hold_bytes for run in runs} != {runs[0].plan.arms[0].hold_bytes}:
        raise _refused("the two runs had different memory ballasts (pressure.hold_bytes)")
    return msgspec.structs.replace(
        config_of(runs[0]),
        name="rerun",
        description="",
        device=base.run.device,
        matrix=None,
        case=tuple(map(_selection, common)),
        exclude=(),
        arm=tuple(_arm(side, run) for side, run in zip(SIDES, runs, strict=True)),
        start="spawn",
        until_decided=UntilDecided(by="arm", threshold=threshold),
    )


def _check_own(side: str, loaded: LoadedRun) -> None:
    run = loaded.run
    if not loaded.own:
        raise _refused(
            f"{side} ({run.run_id}) was not made by this installation of sdbench, so the "
            "interpreter that it names is not started; measure both sides in one run: sdbench run "
            "--stack OLD --stack NEW"
        )
    if run.machine_id != machine_id():
        raise _refused(f"{side} ({run.run_id}) was made on another machine")
    if len(run.plan.arms) > 1:
        raise _refused(
            f"{side} ({run.run_id}) has {len(run.plan.arms)} variants; those of one run are "
            "interleaved already: sdbench compare RUN --by arm"
        )


def _shown(side: str, run: Run) -> Run:
    """The run with its real paths and variables."""
    try:
        return shown_run(run)
    except MachineError as error:
        raise _refused(f"{side} ({run.run_id}): {error}") from None


def _arm(side: str, run: Run) -> Arm:
    (arm,) = run.plan.arms
    recorded = run.stacks[arm.stack]
    stack = arm.stack if arm.stack in shipped_stacks() else recorded.interpreter
    _check_unchanged(side, run, stack, recorded)
    return Arm(
        name=side,
        stack=stack,
        env={**_variables(side, run), **arm.env},
        telemetry=arm.telemetry,
    )


def _check_unchanged(side: str, run: Run, stack: str, recorded: StackInfo) -> None:
    try:
        changed = stack_changes(recorded, stack)
    except SdbenchError as error:
        raise _refused(f"the environment of {side} ({run.run_id}) is gone: {error}") from None
    if changed:
        raise _refused(
            f"the environment of {side} ({run.run_id}) has changed since: {', '.join(changed)}; "
            "make one with the versions it had and measure both in one run: "
            "sdbench run --stack OLD --stack NEW"
        )


def _variables(side: str, run: Run) -> dict[str, str]:
    """What the side was measured with and this shell has not.

    A variable that is set here and was not set then cannot be taken away by a variant.
    """
    then, now = _deciding(run.environment), _deciding(recorded_environment(os.environ))
    more = sorted(now.keys() - then.keys() - run.plan.arms[0].env.keys())
    if more:
        raise _refused(
            f"{side} ({run.run_id}) was measured without {', '.join(more)}; unset it first"
        )
    variables = {name: text for name, text in then.items() if now.get(name) != text}
    for name, text in variables.items():
        if any(mark in text for mark in _REDACTED):
            raise _refused(
                f"{side} ({run.run_id}) was measured with {name}={text}, which is not on record in "
                "full; set it to what it was"
            )
    if run.preload != preload_modules(os.environ):
        variables[PRELOAD] = ",".join(run.preload)
    return variables


def _deciding(environment: Mapping[str, str]) -> dict[str, str]:
    """Without places, and without the preloads, which are set for each variant."""
    return {
        name: text
        for name, text in environment.items()
        if name != PRELOAD and not only_says_where(name)
    }


def _selection(case: Case) -> Selection:
    return Selection(**msgspec.structs.asdict(case))


def _refused(why: str) -> UsageError:
    return UsageError(f"--rerun: {why}")
