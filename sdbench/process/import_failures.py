"""An environment that cannot be imported ends a run: no case can be measured in it, however often
tried.

A death while importing (a signal) is another matter: it is a row like any other, since it may be of
one process only.
"""

from dataclasses import dataclass

from sdbench.knowledge.import_errors import read_import_error
from sdbench.process.events import Failed
from sdbench.process.executor import Report
from sdbench.records import Run
from sdbench.words import shell

_LONGEST = 600


@dataclass(frozen=True)
class ImportFailure:
    """What an environment cannot import.

    ``error`` is the innermost exception, one line; ``cause`` and ``remedy`` are what the rules say
    of it, the remedy with the commands for this interpreter.
    """

    error: str
    cause: str | None
    remedy: str
    arm: str | None = None
    """Whose environment it is, where a run has several."""

    @property
    def sentence(self) -> str:
        """One line: whose environment, and which exception."""
        whose = "this environment" if self.arm is None else f"the environment of variant {self.arm}"
        return f"{whose} cannot import what a run needs: {self.error}"


def import_error(report: Report) -> Failed | None:
    """The exception that importing the environment raised; None where a worker ended otherwise."""
    ended_by_signal = report.exit_code is not None and report.exit_code < 0
    if report.stop is not None or ended_by_signal:
        return None
    for event in reversed(report.events):
        if isinstance(event, Failed):
            return event if event.phase == "import" and event.kind != "oom" else None
    return None


def import_failure(run: Run, arm: str, report: Report) -> ImportFailure | None:
    """Why no process of a variant can begin; None where this one began."""
    error = import_error(report)
    if error is None:
        return None
    interpreter = run.stacks[run.plan.arm(arm).stack].interpreter
    return explained(error, interpreter, arm if len(run.plan.arms) > 1 else None)


def explained(error: Failed, interpreter: str, arm: str | None = None) -> ImportFailure:
    """An exception of the import with the cause and the remedy that the rules know."""
    line = innermost(error)
    known = read_import_error(line)
    doctor = f"sdbench doctor --python {shell(interpreter)}"
    if known is None:
        remedy = (
            f"Find the packages that do not fit together: {doctor}; or measure in a tested set of "
            "versions: sdbench stacks list"
        )
    else:
        advice = known.remedy.replace("python -m pip", f"{shell(interpreter)} -m pip")
        remedy = f"{advice} What does not fit in this environment: {doctor}"
    return ImportFailure(line, None if known is None else known.sentence, remedy, arm)


def innermost(error: Failed) -> str:
    """The exception at the bottom of a chain, as ``Type: message`` on one line."""
    text = error.causes[-1] if error.causes else f"{error.type}: {error.message}"
    return " ".join(text.split())[:_LONGEST]
