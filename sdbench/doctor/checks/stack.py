"""Checks torch and the packages on top of it: installed, new enough, and in versions that work
together."""

from collections.abc import Iterator
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from sdbench.doctor.checks.commands import (
    install,
    install_proven,
    install_stack,
    python_fits,
    torch_requirement,
)
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.knowledge.compatibility import (
    EXTRAS,
    NEEDED,
    NEWEST_NEEDS_TORCH,
    RULES,
    STACK,
    USEFUL,
    VersionRule,
    development,
    torchvision_for,
    within,
)
from sdbench.knowledge.coverage import beyond_torch
from sdbench.knowledge.version_ranges import release
from sdbench.machine.facts import Unavailable, or_none

_OLDEST_TORCH = "1.13"
_WITHOUT_TORCH = (
    "nothing can be measured in an environment without torch; reading, comparing and reporting "
    "runs works without it, and run --stack PATH measures in another environment"
)
_EXTRA_IS_MEANT = ("diffusers", "transformers")


def torch_version(facts: DoctorFacts) -> Check | None:
    """Whether torch is at least 1.13, better 2.0 or later."""
    question = Question(
        "torch-version",
        f"{_OLDEST_TORCH} or later, 2.0 or later recommended",
        "torch 1.13 is the first release whose mps device diffusers supports",
    )
    packages, version = facts.interpreter.packages, facts.installed("torch")
    if version is None and isinstance(packages, Unavailable):
        return question.unknown(packages)
    newer = install_stack(facts)
    if version is None:
        return question.fails("torch is not installed", newer, why=_WITHOUT_TORCH)
    found = f"torch {version}"
    if release(version) is None:
        return question.unknown(f"{found}, which is not a version")
    if within(version, f"<{_OLDEST_TORCH}"):
        return question.fails(found, newer)
    if facts.is_mac and within(version, "<2"):
        return question.warns(
            found,
            newer,
            why="with torch 1.13 the first pass on mps gives another image than later ones: the "
            "pipeline needs a warm-up pass of one step; torch 2 fixes this and other problems",
        )
    assumed = beyond_torch(version)
    return question.passes(f"{found}; {assumed}" if assumed else found)


def development_builds(facts: DoctorFacts) -> Check | None:
    """Nightly and source builds, which no table covers; omitted if all packages are releases."""
    packages = or_none(facts.interpreter.packages) or {}
    torch = facts.installed("torch")
    versions = {**({} if torch is None else {"torch": torch}), **packages}
    kinds = {
        name: kind
        for name, version in versions.items()
        if (kind := development(version)) is not None
    }
    if not kinds:
        return None
    question = Question(
        "development-builds",
        "releases",
        "a nightly, a pre-release or a source build differs from every release: what is known "
        "about releases (macOS, Python, faults, compatible versions) was not applied to it, its "
        "results are not comparable with other people's, and it may be temporarily broken",
    )
    words = ", ".join(f"{name} {versions[name]} is {kind}" for name, kind in kinds.items())
    again = [f"{name}" if name != "torch" else torch_requirement(facts) for name in sorted(kinds)]
    return question.warns(
        words, f"to compare with others, use releases: {install(facts, *again, options='-U')}"
    )


class Problem(NamedTuple):
    """One conflict of versions."""

    words: str
    severe: bool
    fix: tuple[str, ...] = ()
    """What to install; empty if a complete set of versions has to be installed."""
    missing: bool = False


def stack_compatible(facts: DoctorFacts) -> Check | None:
    """Whether nothing is missing and no two versions conflict."""
    question = Question(
        "stack-compatible",
        "diffusers and what it needs, in versions that work together",
        "installers do not detect all of these conflicts: a valid installation can still fail to "
        "import",
    )
    packages = facts.interpreter.packages
    if isinstance(packages, Unavailable):
        return question.unknown(packages)
    problems = [*_missing(packages), *_clashes(packages), *_declared_clashes(facts, packages)]
    if not problems:
        there = [f"{name} {packages[name]}" for name in (*NEEDED, *USEFUL) if name in packages]
        return question.passes(", ".join(there))
    absent = all(problem.missing for problem in problems)
    return question.answered(
        "fail" if any(problem.severe for problem in problems) else "warn",
        "; ".join(problem.words for problem in problems),
        _remedy(facts, packages, problems),
        why="every run imports these packages" if absent else None,
    )


def _missing(packages: dict[str, str]) -> Iterator[Problem]:
    for name in NEEDED:
        if name not in packages:
            yield Problem(f"{name} is missing", True, (name,), missing=True)
    for name in USEFUL:
        if name not in packages:
            words = f"{name} is missing (for fast loading and offload)"
            yield Problem(words, False, (name,), missing=True)


def _broken_rules(packages: dict[str, str]) -> dict[tuple[str, str], VersionRule]:
    """For each pair of packages the last rule that applies, which is the strictest."""
    return {
        (rule.package, rule.other): rule
        for rule in RULES
        if within(packages.get(rule.package), rule.version)
        and within(packages.get(rule.other), rule.needs) is False
        # A nightly may still have what was removed later; trying the import shows it.
        and development(packages.get(rule.package)) is None
        and development(packages.get(rule.other)) is None
    }


def _clashes(packages: dict[str, str]) -> Iterator[Problem]:
    """Known conflicts, whether or not the packages declare them."""
    for rule in _broken_rules(packages).values():
        yield Problem(
            f"{rule.package} {packages[rule.package]} needs {rule.other}{rule.needs}, and "
            f"{packages[rule.other]} is installed ({rule.because})",
            severe=True,
            fix=() if rule.fix is None else (rule.fix,),
        )
    made_for = torchvision_for(packages.get("torch"))
    there = release(packages.get("torchvision"))
    if (
        made_for is not None
        and there is not None
        and there.release[:2] != Version(made_for).release
    ):
        yield Problem(
            f"torchvision {packages['torchvision']} does not match torch {packages['torch']}, "
            f"which needs torchvision {made_for} (transformers imports it and fails)",
            severe=True,
            fix=(f"torchvision=={made_for}.*",),
        )


def _declared_clashes(facts: DoctorFacts, packages: dict[str, str]) -> Iterator[Problem]:
    """Conflicts with what the packages themselves declare.

    torch is an optional extra of all of them. The requirements of diffusers and transformers are
    used; those of other packages (safetensors 0.8 requires 2.4 and works with 1.13) are ignored.
    """
    reported = {*_broken_rules(packages), ("torchvision", "torch")}
    for name, lines in facts.interpreter.requires.items():
        for requirement in filter(None, map(_parsed, lines)):
            other = canonicalize_name(requirement.name)
            extra = _extra_of(requirement, facts)
            meant = extra == "" or (extra == "torch" and name in _EXTRA_IS_MEANT)
            fits = within(packages.get(other), str(requirement.specifier))
            if not meant or fits is not False or (name, other) in reported:
                continue
            reported.add((name, other))
            yield Problem(
                f"{name} {packages.get(name)} requires {other}{requirement.specifier}, and "
                f"{packages[other]} is installed",
                severe=not extra and name not in EXTRAS,
                fix=(name,) if name in EXTRAS else (),
            )


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _extra_of(requirement: Requirement, facts: DoctorFacts) -> str | None:
    """The extra that a requirement belongs to, empty if none; None if its marker does not hold
    here.

    Of the extras only ``torch`` counts, because sdbench always needs it.
    """
    marker = requirement.marker
    if marker is None:
        return ""
    identity, python = facts.machine.identity, or_none(facts.interpreter.python) or "3.11"
    environment = {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "sys_platform": "darwin" if facts.is_mac else "linux",
        "platform_system": identity.system,
        "platform_machine": or_none(facts.interpreter.architecture) or "",
    }
    for extra in ("", "torch"):
        if marker.evaluate({**environment, "extra": extra}):
            return extra
    return None


def _remedy(facts: DoctorFacts, packages: dict[str, str], problems: list[Problem]) -> str:
    torch = packages.get("torch")
    if torch is None or facts.translated_python or not python_fits(facts):
        return install_stack(facts)
    fixes = [name for problem in problems for name in problem.fix]
    # The newest of what is missing wants the newest torch.
    newest = within(torch, NEWEST_NEEDS_TORCH) or not any(problem.missing for problem in problems)
    if all(problem.fix for problem in problems) and newest:
        upgrade = "" if all(problem.missing for problem in problems) else "--upgrade"
        return install(facts, *dict.fromkeys(fixes), options=upgrade)
    more = [fix for fix in dict.fromkeys(fixes) if fix.partition(">")[0] not in STACK]
    return install_proven(facts, *more)
