"""Checks the interpreter: built for this processor, and of a version that torch supports."""

from sdbench.doctor.checks.commands import (
    arm64_environment,
    new_environment,
    python_fits,
    torch_requirement,
)
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.knowledge.compatibility import MEASURABLE, torch_for_python, torch_needs, within
from sdbench.knowledge.version_ranges import release
from sdbench.machine.facts import Unavailable


def python_arch(facts: DoctorFacts) -> Check | None:
    """Whether Python is native. Only Apple silicon has a choice."""
    if not facts.is_mac or facts.apple_silicon is False:
        return None
    question = Question(
        "python-arch",
        "arm64",
        "torch has no mps in an x86_64 Python, and everything else runs slower under translation",
    )
    architecture = facts.interpreter.architecture
    if isinstance(architecture, Unavailable):
        return question.unknown(architecture)
    if architecture == "arm64":
        return question.passes("arm64")
    if isinstance(facts.apple_silicon, Unavailable):
        return question.unknown(f"{architecture}; {facts.apple_silicon.unavailable}")
    return question.fails(
        f"{architecture}: this Python runs under Rosetta", arm64_environment(facts)
    )


def python_version(facts: DoctorFacts) -> Check | None:
    """Whether the interpreter runs and whether torch supports it."""
    torch = facts.installed("torch")
    needs = torch_needs(torch)
    expected = "3.10 or later, and a version that torch supports"
    if needs is not None:
        upper = f" to {needs.python_to}" if needs.python_to else " or later"
        expected = f"{needs.python_from}{upper} for torch {torch}; 3.10 or later for sdbench run"
    question = Question(
        "python-version", expected, "each torch release supports certain versions of Python only"
    )
    python = facts.interpreter.python
    if isinstance(python, Unavailable):
        if facts.recorded:
            return question.unknown(python)
        return question.fails(
            python.unavailable,
            "choose another interpreter: sdbench doctor --python PATH",
            why="nothing can be examined or measured with a Python that does not start",
        )
    found = f"Python {python}"
    if release(python) is None:
        return question.unknown(f"{found}, which is not a version")
    made_for = torch_for_python(python)
    if made_for is None:
        return question.fails(
            found,
            new_environment(facts),
            why=f"no torch release from 1.13 on supports Python {python}",
        )
    if needs is not None and within(torch, made_for) is False:
        return question.warns(
            f"{found} with torch {torch}, which does not support it",
            new_environment(facts),
            why=f"{question.why}; this torch is a third-party build that is not tested",
        )
    if not within(python, MEASURABLE):
        return question.warns(
            found,
            new_environment(facts),
            why="Stable Diffusion runs with it, but sdbench run needs 3.10 or later",
        )
    if torch is None and not python_fits(facts):
        return question.fails(
            found,
            new_environment(facts),
            why=(
                f"this machine needs {torch_requirement(facts)}, and none of these releases "
                f"supports Python {python}"
            ),
        )
    return question.passes(found)
