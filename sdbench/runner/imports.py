"""A stack that cannot be imported ends a run: no case can be measured in it, however often tried.

A death while importing (a signal) is another matter: it is a row like any other, since it may be of
one process only.
"""

import re
from dataclasses import dataclass

from sdbench.runner.events import Failed
from sdbench.runner.executor import Report
from sdbench.schema import Replicate, Run

# What a run imports and `pip install` brings under the same name.
_PACKAGES = {
    *("torch", "diffusers", "transformers", "accelerate", "safetensors", "tokenizers", "numpy"),
    *("huggingface_hub", "regex", "requests", "filelock", "tqdm", "packaging", "torchvision"),
}
_NO_MODULE = re.compile(r"No module named '(?P<name>\w+)'")
_LONGEST = 600


@dataclass(frozen=True)
class ImportFailure:
    """What an arm's environment cannot import: ``cause`` is the innermost exception, one line."""

    arm: str
    interpreter: str
    cause: str
    remedy: str
    several_arms: bool

    @property
    def sentence(self) -> str:
        """One line: whose environment, and why."""
        whose = f"the environment of arm {self.arm}" if self.several_arms else "this environment"
        return f"{whose} cannot import what a run needs: {self.cause}"


def import_error(report: Report) -> Failed | None:
    """The exception that importing the stack raised; None where a worker ended otherwise."""
    ended_by_signal = report.exit_code is not None and report.exit_code < 0
    if report.stop is not None or ended_by_signal:
        return None
    for event in reversed(report.events):
        if isinstance(event, Failed):
            return event if event.phase == "import" and event.kind != "oom" else None
    return None


def import_failure(run: Run, replicate: Replicate, report: Report) -> ImportFailure | None:
    """Why no process of a replicate's arm can begin; None where this one began."""
    error = import_error(report)
    if error is None:
        return None
    interpreter = run.stacks[run.plan.arm(replicate.arm).stack].interpreter
    cause = innermost(error)
    known = replicate.cause
    return ImportFailure(
        arm=replicate.arm,
        interpreter=interpreter,
        cause=cause,
        remedy=remedy_of(cause, interpreter, None if known is None else known.remedy),
        several_arms=len(run.plan.arms) > 1,
    )


def innermost(error: Failed) -> str:
    """The exception at the bottom of a chain, as ``Type: message`` on one line."""
    text = error.causes[-1] if error.causes else f"{error.type}: {error.message}"
    return " ".join(text.split())[:_LONGEST]


def remedy_of(cause: str, interpreter: str, known: str | None = None) -> str:
    """What to do about an import that fails; ``known`` is what the rules advise for its cause."""
    missing = _NO_MODULE.search(cause)
    if missing is not None and missing["name"] in _PACKAGES:
        return f"Install it there: {interpreter} -m pip install {missing['name']}"
    if known is not None:
        return f"{known.rstrip('.')}. What does not fit: sdbench doctor --python {interpreter}"
    return (
        f"Find the packages that do not fit together: sdbench doctor --python {interpreter}; or "
        "measure in a tested set of versions: sdbench stacks list"
    )
