"""Remedies for failed imports: the advice of the failure rules and the matching command. Pure.

Only packages that a rule names or that are installed are suggested for installation, never a name
that appears only in the message: a wrong name in a registry may be a malicious package.
"""

import re

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from sdbench.doctor.checks.commands import (
    arm64_environment,
    install,
    install_proven,
    new_environment,
    reinstall_torch,
    uninstall,
)
from sdbench.doctor.facts import DoctorFacts
from sdbench.knowledge.compatibility import EXTRAS, torchvision_for, within
from sdbench.knowledge.import_errors import read_import_error, remedy_of_rule
from sdbench.process.doctor_events import ImportFailure
from sdbench.records import FailureCause

_ADVISED = re.compile(r"pip install '?([\w.<>=-]+)")
_NO_MODULE = re.compile(r"No module named '([\w.]+)'")


def cause_of(failure: ImportFailure) -> FailureCause | None:
    """The rules' explanation of a failed import."""
    return read_import_error(f"{failure.type}: {failure.message}")


def remedy_for(name: str, failure: ImportFailure, facts: DoctorFacts) -> str:
    """The remedy if package ``name`` could not be imported."""
    cause = cause_of(failure)
    command = _command(cause, name, failure, facts)
    return command or "" if cause is None else _with_command(cause.remedy, command)


def _with_command(advice: str, command: str | None) -> str:
    """The advice of the rules, followed by the matching command for this environment."""
    return advice if command is None else f"{advice} Command: {command}"


def remedy_of_architecture(facts: DoctorFacts) -> str:
    """The remedy for packages built for another processor."""
    return _with_command(remedy_of_rule("architecture-mismatch"), _for_this_processor(facts))


def remedy_of_openmp(facts: DoctorFacts) -> str:
    """The remedy for two OpenMP runtimes."""
    return _with_command(remedy_of_rule("openmp-duplicate"), new_environment(facts))


def _command(
    cause: FailureCause | None, name: str, failure: ImportFailure, facts: DoctorFacts
) -> str | None:
    """The command that carries out the advice in the environment examined; None if there is no such
    command."""
    kind, quote = ("", "") if cause is None else (cause.kind, cause.assertion or "")
    asked = (failure.asked_by or name).split(".")[0]
    if kind == "shadowed-package":
        return None
    if kind == "architecture-mismatch":
        return _for_this_processor(facts)
    if kind in ("openmp-duplicate", "lzma-missing"):
        return new_environment(facts)
    required = _required(quote, facts) if kind == "package-version-required" else None
    if required is not None:
        return install(facts, required)
    for extra in EXTRAS:
        if extra in (name, asked) or f"{extra}::" in failure.message:
            return _for_an_extra(extra, facts)
    if kind == "numpy-2":
        return _for_numpy(asked, facts)
    if cause is not None and kind in ("missing-module", "distutils-missing"):
        return _for_a_module(cause, asked, facts)
    return reinstall_torch(facts) if asked == "torch" else install_proven(facts)


def _for_this_processor(facts: DoctorFacts) -> str:
    if facts.is_mac and facts.apple_silicon is not False:
        return arm64_environment(facts)
    return new_environment(facts)


def _for_an_extra(extra: str, facts: DoctorFacts) -> str:
    leave_out = f"or remove it, because a run does not need it: {uninstall(facts, extra)}"
    if extra == "torchvision":
        release = torchvision_for(facts.installed("torch"))
        fitting = "torchvision" if release is None else f"torchvision=={release}.*"
        return f"{install(facts, fitting, options='--reinstall')}; {leave_out}"
    if extra == "peft":
        newest = within(facts.installed("transformers"), ">=5")
        fitting = "peft>=0.18" if newest else "peft"
        return f"{install(facts, fitting, options='--upgrade')}; {leave_out}"
    return f"{uninstall(facts, extra)}: it is for NVIDIA GPUs only, and a run does not need it"


def _for_numpy(asked: str, facts: DoctorFacts) -> str:
    if within(facts.installed("torch"), "<2.3"):
        return install(facts, "numpy<2")
    if asked == "numpy" or not facts.installed(canonicalize_name(asked)):
        return install(facts, "numpy", options="--reinstall")
    return install(facts, canonicalize_name(asked), options="--upgrade --reinstall")


def _for_a_module(cause: FailureCause, asked: str, facts: DoctorFacts) -> str:
    advised, missing = _ADVISED.search(cause.remedy), _NO_MODULE.search(cause.assertion or "")
    if advised is not None and advised[1] != "PACKAGE":
        return install(facts, advised[1])
    # A part of a package that is there: another version has it.
    part = missing is not None and facts.installed(canonicalize_name(missing[1].split(".")[0]))
    if part or not facts.installed(canonicalize_name(asked)):
        return install_proven(facts)
    return install(facts, canonicalize_name(asked), options="--reinstall")


def _required(quote: str, facts: DoctorFacts) -> str | None:
    """The requirement in an error of ``transformers``' own version check, if that package is
    installed."""
    try:
        requirement = Requirement(quote.partition(" is required")[0])
    except InvalidRequirement:
        return None
    return str(requirement) if facts.installed(canonicalize_name(requirement.name)) else None
