"""Why an environment cannot be imported and what to do about it, according to the failure rules.
Pure.

``doctor``, ``run`` and ``explain`` take their text from here, so that one error has one cause and
one remedy. Doctor adds the command for the environment that it examined, ``run`` the interpreter.
"""

from sdbench.knowledge.failure_causes import read_failure
from sdbench.knowledge.failure_texts import load_rules
from sdbench.records import FailureCause


def read_import_error(error: str) -> FailureCause | None:
    """The cause of an error given as ``Type: message``; None if no rule matches it.

    No versions are given: an environment that cannot be imported has reported none.
    """
    kind, _, message = error.partition(": ")
    return read_failure("", kind, message, None)


def remedy_of_rule(rule_id: str) -> str:
    """A rule's remedy if none of its special cases is known to apply."""
    return next(rule.remedy for rule in load_rules() if rule.id == rule_id)
