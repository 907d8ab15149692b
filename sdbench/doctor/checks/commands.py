"""Commands that mend things, and figures, as the checks word them."""

import shlex

from sdbench.doctor.compatibility import newest_torch_for, within
from sdbench.doctor.facts import DoctorFacts
from sdbench.machine.facts import known

_NEW_ENVIRONMENT = ".venv-arm64"
_PIPELINE = ("diffusers", "transformers", "accelerate")


def gigabytes(size_bytes: float) -> str:
    """Bytes as ``8.6 GB``."""
    return f"{size_bytes / 1e9:.1f} GB"


def memory_size(size_bytes: int) -> str:
    """Memory as it is sold: ``16 GB`` for 2**34 bytes."""
    whole, rest = divmod(size_bytes, 1 << 30)
    return gigabytes(size_bytes) if rest else f"{whole} GB"


def install(facts: DoctorFacts, *requirements: str, options: str = "") -> str:
    """Install into the interpreter examined."""
    words = ["uv", "pip", "install"]
    if not facts.recorded:
        words += ["--python", facts.interpreter.path]
    return shlex.join([*words, *options.split(), *requirements])


def torch_requirement(facts: DoctorFacts) -> str:
    """The newest torch that runs on this system: ``torch<2.9`` on macOS 13."""
    macos = facts.machine.identity.os_version
    return newest_torch_for(macos) if facts.is_mac and known(macos) else "torch"


def new_environment(facts: DoctorFacts) -> str:
    """A new environment with a Python that every current package is made for."""
    packages = shlex.join([torch_requirement(facts), *_PIPELINE])
    return f"uv venv --python 3.12 .venv && uv pip install {packages}"


def arm64_environment(facts: DoctorFacts) -> str:
    """A new environment with a native Python, and the stack in it.

    The platform is spelt out: an installer that itself runs under Rosetta would otherwise fetch an
    x86_64 Python again.
    """
    version = facts.interpreter.python
    minor = ".".join(version.split(".")[:2]) if known(version) else ""
    if not within(minor, ">=3.10,<3.14"):  # sdbench runs from 3.10 on
        minor = "3.12"
    request = f"cpython-{minor}-macos-aarch64-none"
    packages = shlex.join([torch_requirement(facts), *_PIPELINE])
    return (
        f"uv python install {request} && uv venv --python {request} {_NEW_ENVIRONMENT} && "
        f"uv pip install --python {_NEW_ENVIRONMENT} {packages}"
    )
