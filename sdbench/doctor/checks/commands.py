"""Commands that fix what a check found, and sizes as the checks write them."""

import shlex

from packaging.requirements import Requirement

from sdbench.doctor.facts import DoctorFacts
from sdbench.knowledge.compatibility import (
    INTEL_TORCH,
    MEASURABLE,
    STACK,
    made_for_both,
    newest_torch_for,
    proven_set,
    stack_with,
    within,
)
from sdbench.knowledge.version_ranges import release
from sdbench.machine.facts import known, or_none
from sdbench.words import gigabytes, memory_words

# The newest Python that wheels of every release of torch from 2.2 on are made for.
_NEW_PYTHON = "3.12"
# Not .venv: that is likely to be there, and to be what sdbench itself runs in.
NEW_ENVIRONMENT = ".venv-sd"
_ARM64_ENVIRONMENT = ".venv-arm64"
_SMALL_BYTES = 4 << 30


def memory_size(size_bytes: int) -> str:
    """Memory size as sold, and as runs call it: ``16 GB`` for 2**34 bytes or a little less.

    What is small, such as the limit of a container, is exact.
    """
    exact = size_bytes < _SMALL_BYTES and size_bytes % (1 << 30)
    return gigabytes(size_bytes) if exact else memory_words(size_bytes)


def install(facts: DoctorFacts, *requirements: str, options: str = "") -> str:
    """The command that installs into the interpreter examined."""
    words = ["uv", "pip", "install"]
    if not facts.recorded:
        words += ["--python", facts.interpreter.path]
    return shlex.join([*words, *options.split(), *requirements])


def uninstall(facts: DoctorFacts, *packages: str) -> str:
    """The command that removes packages from the interpreter examined."""
    python = [] if facts.recorded else ["--python", facts.interpreter.path]
    return shlex.join(["uv", "pip", "uninstall", *python, *packages])


def install_proven(facts: DoctorFacts, *more: str) -> str:
    """The command that installs a tested set of versions for the torch that is installed."""
    torch, python = facts.installed("torch"), or_none(facts.interpreter.python)
    if torch is None or facts.translated_python or not python_fits(facts):
        return install_stack(facts)
    pins = proven_set(torch, python)
    return install(facts, *(f"{name}=={version}" for name, version in pins.items()), *more)


def torch_requirement(facts: DoctorFacts) -> str:
    """The newest torch that runs on this machine: ``torch<2.9`` on macOS 13."""
    if not facts.is_mac:
        return "torch"
    if facts.apple_silicon is False:
        return INTEL_TORCH
    return newest_torch_for(or_none(facts.machine.identity.os_version))


def python_fits(facts: DoctorFacts) -> bool:
    """Whether the interpreter examined supports a torch that runs on this machine, and
    sdbench run."""
    python = facts.interpreter.python
    if not known(python) or release(python) is None:
        return True  # nothing speaks against it
    return bool(within(python, MEASURABLE)) and made_for_both(torch_requirement(facts), python)


def install_stack(facts: DoctorFacts) -> str:
    """The command that installs a complete working environment, in the interpreter examined if it
    supports one.

    Installers keep packages that are already installed, even if a newer one is wanted.
    """
    if facts.translated_python:
        return arm64_environment(facts)
    if facts.interpreter.disposable or not python_fits(facts):
        return new_environment(facts)
    packages = or_none(facts.interpreter.packages) or {}
    upgrade = "--upgrade" if any(name in packages for name in STACK) else ""
    return install(facts, *stack_with(torch_requirement(facts)), options=upgrade)


def reinstall_torch(facts: DoctorFacts) -> str:
    """The command that reinstalls the same release of torch from the usual index; the newest if
    that does not exist."""
    wanted, there = torch_requirement(facts), facts.installed("torch") or ""
    again, _, _ = there.partition("+")
    if release(again) is not None and Requirement(wanted).specifier.contains(
        again, prereleases=False
    ):
        wanted = f"torch=={again}"
    return install(facts, wanted, options="--reinstall")


def new_environment(facts: DoctorFacts) -> str:
    """The command for a new environment with a Python that every current package supports.

    Where this Python runs under Rosetta that is the native one, so that all rows name the same.
    """
    if facts.translated_python:
        return arm64_environment(facts)
    return _environment(facts, _NEW_PYTHON, NEW_ENVIRONMENT)


def arm64_environment(facts: DoctorFacts) -> str:
    """The command for a new virtual environment with a native Python and all packages.

    The platform is spelt out: an installer that itself runs under Rosetta would otherwise fetch an
    x86_64 Python again.
    """
    version = facts.interpreter.python
    minor = ".".join(version.split(".")[:2]) if known(version) else ""
    if not within(minor, ">=3.10,<3.14") or not python_fits(facts):
        minor = _NEW_PYTHON
    request = f"cpython-{minor}-macos-aarch64-none"
    return f"uv python install {request} && " + _environment(facts, request, _ARM64_ENVIRONMENT)


def _environment(facts: DoctorFacts, python: str, folder: str) -> str:
    packages = shlex.join(stack_with(torch_requirement(facts)))
    return (
        f"uv venv --python {python} {folder} && uv pip install --python {folder} {packages} && "
        f"sdbench doctor --python {folder}"
    )
