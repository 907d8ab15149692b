"""Checks whether everything that a run imports can be imported, and which packages conflict."""

import re
from pathlib import PurePath

from sdbench.doctor.checks.import_causes import (
    cause_of,
    remedy_for,
    remedy_of_architecture,
    remedy_of_openmp,
)
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts, TorchFailed
from sdbench.knowledge.compatibility import EXTRAS
from sdbench.machine.facts import Unavailable, known
from sdbench.process.doctor_events import ImportFailure, ImportTried

_LONGEST_MESSAGE = 400


def stack_imports(facts: DoctorFacts) -> Check | None:
    """Imports diffusers and its dependencies in the same way as a run."""
    question = Question(
        "stack-imports",
        "diffusers' pipelines and schedulers, transformers' text encoders and what they import",
        "versions that installers accept can still fail to import, and then every process of a "
        "run would fail",
    )
    tried = facts.imports
    if isinstance(tried, Unavailable):
        if isinstance(facts.torch, TorchFailed | Unavailable) and not facts.recorded:
            return None  # other rows say that there is no torch, or why it fails
        return question.unknown(tried)
    failed = [one for one in tried if one.failure is not None]
    names = [one.name for one in tried if one.failure is None]
    if failed:
        return _failed(question, failed, names, facts)
    if not {"diffusers", "transformers"} <= set(names):
        return question.unknown("diffusers or transformers was not tried: see stack-compatible")
    return question.passes(", ".join(names))


def _failed(
    question: Question, failed: list[ImportTried], fine: list[str], facts: DoctorFacts
) -> Check:
    """Every cause once, the root cause first: packages that depend on it fail with it."""
    causes: list[list[ImportTried]] = []
    for one in failed:
        same = next((cause for cause in causes if _follows(one, cause[0])), None)
        if same is None:
            causes.append([one])
        else:
            same.append(one)
    found, reasons, remedies = [], [], []
    for first, *others in causes:
        assert first.failure is not None
        found.append(_words(first, first.failure, [one.name for one in others], facts))
        cause = cause_of(first.failure)
        reasons += [] if cause is None else [cause.sentence]
        remedies.append(remedy_for(first.name, first.failure, facts))
    # An extra that fails alone is not what a run needs.
    harmless = {one.name for one in failed} <= set(EXTRAS) and "diffusers" in fine
    if harmless:
        found.append("diffusers can be imported without it")
    return question.answered(
        "warn" if harmless else "fail",
        ". ".join(["; ".join(found), *dict.fromkeys(reasons)]),
        "\n".join(dict.fromkeys(remedies)),
    )


def _follows(later: ImportTried, first: ImportTried) -> bool:
    """Whether a package failed because of another one: with the same message, or a message about
    it."""
    assert later.failure is not None and first.failure is not None
    about = re.search(rf"\b{first.name}\b", later.failure.message)
    return later.failure.message == first.failure.message or about is not None


def _words(
    tried: ImportTried, failure: ImportFailure, likewise: list[str], facts: DoctorFacts
) -> str:
    name = _with_version(tried.name, facts)
    message = " ".join(failure.message.split())[:_LONGEST_MESSAGE]
    if failure.type == "died":
        words = f"the process crashed while importing {name}: {message}"
    else:
        kind = "" if failure.type == "Placeholder" else f"{failure.type}: "
        words = f"{name} cannot be imported: {kind}{message}"
    asked = (failure.asked_by or "").split(".")[0].replace("_", "-")
    if asked and asked != tried.name.replace("_", "-"):
        words += f" (required by {_with_version(asked, facts)}, {failure.asked_by})"
    if likewise:
        words += f"; so {' and '.join(likewise)} cannot be imported either"
    return words


def _with_version(name: str, facts: DoctorFacts) -> str:
    version = facts.installed(name.replace("_", "-"))
    return name if version is None else f"{name} {version}"


def openmp_runtimes(facts: DoctorFacts) -> Check | None:
    """Two OpenMP runtimes of LLVM or Intel in one process; omitted if there is only one."""
    if not known(facts.openmp):
        return None
    fighting = [
        path for path in facts.openmp if PurePath(path).name.startswith(("libomp", "libiomp5"))
    ]
    if len(fighting) < 2:
        return None
    question = Question(
        "openmp",
        "one OpenMP runtime",
        "two OpenMP runtimes in one process can abort it (OMP: Error #15), hang it or give wrong "
        "results",
    )
    return question.warns(f"two are loaded: {' and '.join(fighting)}", remedy_of_openmp(facts))


def wheel_architecture(facts: DoctorFacts) -> Check | None:
    """Whether every package with compiled code was built for the Python that loads it."""
    native = facts.interpreter.architecture
    # Of an x86_64 Python on Apple silicon python-arch speaks.
    if not facts.is_mac or facts.apple_silicon is False or facts.translated_python:
        return None
    question = Question(
        "wheel-arch",
        "packages built for the same processor as this Python",
        "compiled code for another processor cannot be loaded: 'mach-o file, but is an "
        "incompatible architecture'",
    )
    platforms = facts.interpreter.platforms
    if isinstance(native, Unavailable):
        return question.unknown(native)
    if isinstance(platforms, Unavailable):
        return question.unknown(platforms)
    wrong = [name for name, tags in sorted(platforms.items()) if tags and not _fits(tags, native)]
    if not wrong:
        return question.passes(str(native))
    words = ", ".join(f"{_with_version(name, facts)} ({platforms[name][0]})" for name in wrong)
    return question.fails(f"built for another processor: {words}", remedy_of_architecture(facts))


def _fits(tags: list[str], native: str) -> bool:
    return any(
        not tag.startswith("macosx") or tag.endswith((f"_{native}", "_universal2")) for tag in tags
    )
