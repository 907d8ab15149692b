"""Resuming a run that this installation did not make (see :mod:`sdbench.runs.ownership`).

Its ``run.json`` is untrusted text and may not decide what is executed:
interpreters are taken from this user's environments by name, variables may only tune, and pickle is
allowed by the command line alone.
"""

import msgspec

from sdbench.errors import StoreError, UsageError
from sdbench.knowledge.memory_limits import removes_memory_limit
from sdbench.knowledge.variables import is_tuning
from sdbench.records import Run, StackInfo
from sdbench.stacks import resolve_stack
from sdbench.stacks.catalogue import shipped_stacks


def adopted(run: Run, *, allow_pickle: bool) -> Run:
    """The run with this user's own interpreters and consent in the place of the recorded ones.

    The recorded versions stay, so that an environment of other versions is refused as ever.

    Raises:
        UsageError: it cannot be resumed under these conditions; the message says why.
        StoreError: its variants and environments do not fit together.
        MachineError: an environment lacks what a worker needs.
    """
    stacks = {}
    for arm in run.plan.arms:
        if arm.stack != "current" and arm.stack not in shipped_stacks():
            raise _refused(run, f"variant {arm.name} measures in an interpreter that only it names")
        for name, value in sorted(arm.env.items()):
            if not is_tuning(name, value):
                raise _refused(run, f"variant {arm.name} sets {name}, which could execute code")
        if removes_memory_limit(arm.env):
            raise _refused(run, f"variant {arm.name} lifts the memory limit")
        if arm.stack not in run.stacks:
            raise StoreError(f"{run.run_id}/run.json: stacks: expected {arm.stack!r} among them")
        stacks[arm.stack] = _with_own_interpreter(arm.stack, run.stacks[arm.stack])
    config = {**run.config, "allow_pickle": allow_pickle}
    return msgspec.structs.replace(run, stacks=stacks, config=config)


def what_it_decides(run: Run) -> str:
    """What an adopted run still decides, in words for the question whether to go on."""
    parts = [f"{name} is {stack.interpreter}" for name, stack in run.stacks.items()]
    parts += [
        f"variant {arm.name} sets {name}={value}"
        for arm in run.plan.arms
        for name, value in sorted(arm.env.items())
    ]
    held = max((arm.hold_bytes for arm in run.plan.arms), default=0)
    if held:
        parts.append(f"a process holds up to {held / 1e9:.1f} GB of memory")
    return "; ".join([*parts, f"the model is {run.model.title}"])


def _with_own_interpreter(name: str, recorded: StackInfo) -> StackInfo:
    return msgspec.structs.replace(recorded, interpreter=resolve_stack(name).interpreter)


def _refused(run: Run, why: str) -> UsageError:
    return UsageError(
        f"{run.run_id} was not made by this installation of sdbench, and {why}: start a new run "
        "instead"
    )
