"""Why a stack cannot be imported and what to do about it, as the rules say it. Pure.

``doctor``, ``run`` and ``explain`` take the words from here, so that one error has one cause and
one remedy. Doctor adds the command for the environment that it examined, ``run`` the interpreter.
"""

from sdbench.knowledge.failure_causes import read_failure
from sdbench.knowledge.failure_texts import load_rules
from sdbench.records import FailureCause


def read_import_error(error: str) -> FailureCause | None:
    """The cause of an error given as ``Type: message``; None if no rule knows it.

    No versions are given: a stack that cannot be imported has reported none.
    """
    kind, _, message = error.partition(": ")
    return read_failure("", kind, message, None)


def remedy_of_rule(rule_id: str) -> str:
    """What a rule advises where no case of it is known."""
    return next(rule.remedy for rule in load_rules() if rule.id == rule_id)
