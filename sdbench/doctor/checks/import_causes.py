"""Why an import failed, and what to install: read from the innermost exception. Pure.

What is named to install is a package that the stack is known to need, never a name that only the
message gives: a wrong name in a registry may be anybody's program.
"""

import re
import sys

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
from sdbench.doctor.compatibility import EXTRAS, STACK, torchvision_for, within
from sdbench.doctor.events import ImportFailure
from sdbench.doctor.facts import DoctorFacts

# Modules that the packages of the stack import, and what to install for them.
_DISTRIBUTIONS = {
    **{name: name for name in ("regex", "requests", "filelock", "tqdm", "packaging", "fsspec")},
    **{name: name for name in ("httpx", "psutil", "jinja2", "networkx", "sympy", "mpmath")},
    **{name: name for name in ("sentencepiece", "typer", "click", "certifi", "idna", "urllib3")},
    **{name.replace("-", "_"): name for name in (*STACK, *EXTRAS)},
    "PIL": "pillow",
    "yaml": "pyyaml",
    "importlib_metadata": "importlib-metadata",
    "typing_extensions": "typing-extensions",
    "hf_xet": "hf-xet",
    "pkg_resources": "setuptools<81",
    "distutils": "setuptools",
    "cv2": "opencv-python-headless",
    "ftfy": "ftfy",
}
_ARCHITECTURE = re.compile(
    r"incompatible architecture|mach-o, but wrong architecture|no suitable image found|"
    r"wrong ELF class|have '?(x86_64|arm64)",
    re.IGNORECASE,
)
_OPENMP = re.compile(r"OMP: Error #15|lib(iomp5|omp|gomp)\b.*already initialized", re.IGNORECASE)
_REQUIRED = re.compile(r"([A-Za-z0-9._-]+[<>=!~][^\s;]*) is required for a normal functioning")
_NUMPY = re.compile(
    r"numpy\.core\.multiarray failed|compiled using NumPy 1|_ARRAY_API not found|"
    r"numpy\.dtype size changed|Numpy is not available|numpy\.core\.umath failed"
)
_SYMBOL = re.compile(
    r"undefined symbol|symbol not found|Library not loaded|cannot open shared object", re.IGNORECASE
)
_NO_MODULE = re.compile(r"No module named '?([\w.]+)")
_NO_NAME = re.compile(
    r"cannot import name '?(\w+)'? from (?:partially initialized module )?'([\w.]+)'"
)
_PLACE = re.compile(r"\((/[^()]+|[A-Z]:\\[^()]+)\)")


def remedy_for(name: str, failure: ImportFailure, facts: DoctorFacts) -> str:
    """What to do where package ``name`` could not be imported."""
    text, asked = failure.message, (failure.asked_by or name).split(".")[0]
    known = remedy_for_text(text, facts)
    if known is not None:
        return known
    shadowing = _shadowing_file(text)
    if shadowing is not None:
        return f"rename {shadowing}: Python takes it for the package of the same name"
    required = _required(text)
    if required is not None:
        return install(facts, required)
    for extra in EXTRAS:
        if extra in (name, asked) or f"{extra}::" in text:
            return _mend_extra(extra, facts)
    if _NUMPY.search(text):
        return _mend_numpy(asked, facts)
    missing = _NO_MODULE.search(text)
    if failure.type == "ModuleNotFoundError" and missing is not None:
        return _mend_module(missing[1], asked, facts)
    if _SYMBOL.search(text) and asked == "torch":
        return reinstall_torch(facts)
    return install_proven(facts)


def remedy_for_text(text: str, facts: DoctorFacts) -> str | None:
    """What to do about a message of the loader that tells the cause itself; None for others."""
    if _ARCHITECTURE.search(text):
        return mend_architecture(facts)
    if _OPENMP.search(text):
        return mend_openmp(facts)
    return None


def mend_architecture(facts: DoctorFacts) -> str:
    """A Python and wheels for the processor that is there."""
    if facts.is_mac and facts.apple_silicon is not False:
        return (
            "packages for another processor (Intel, x86_64) are mixed with this Python: make a new "
            f"environment with an arm64 Python: {arm64_environment(facts)}"
        )
    return f"make a new environment for this processor: {new_environment(facts)}"


def mend_openmp(facts: DoctorFacts) -> str:
    """One OpenMP runtime: each package brings its own, conda's and pip's do not go together."""
    return (
        "keep one OpenMP runtime: do not mix packages of conda or Homebrew with pip's. A new "
        f"environment has one: {new_environment(facts)}. KMP_DUPLICATE_LIB_OK only hides it"
    )


def _mend_extra(extra: str, facts: DoctorFacts) -> str:
    leave_out = f"or, as a run does not need it: {uninstall(facts, extra)}"
    if extra == "torchvision":
        release = torchvision_for(facts.installed("torch"))
        fitting = "torchvision" if release is None else f"torchvision=={release}.*"
        return f"{install(facts, fitting, options='--reinstall')}; {leave_out}"
    if extra == "peft":
        newest = within(facts.installed("transformers"), ">=5")
        fitting = "peft>=0.18" if newest else "peft"
        return f"{install(facts, fitting, options='--upgrade')}; {leave_out}"
    return f"{uninstall(facts, extra)}: it is for NVIDIA GPUs, and a run does not need it"


def _mend_numpy(asked: str, facts: DoctorFacts) -> str:
    if within(facts.installed("torch"), "<2.3"):
        return install(facts, "numpy<2")
    distribution = _DISTRIBUTIONS.get(asked)
    if distribution is None or asked == "numpy":
        return install(facts, "numpy", options="--reinstall")
    return install(facts, distribution, options="--upgrade --reinstall")


def _mend_module(module: str, asked: str, facts: DoctorFacts) -> str:
    top, _, below = module.partition(".")
    if top in sys.stdlib_module_names and top != "distutils":
        return f"this Python was built without {top}: {new_environment(facts)}"
    distribution = _DISTRIBUTIONS.get(top)
    # A part of a package that is there: another version has it.
    if distribution is not None and not (below and facts.installed(canonicalize_name(top))):
        return install(facts, distribution)
    if distribution is None and asked in _DISTRIBUTIONS:
        return (
            f"install {asked} again with all that it needs: "
            f"{install(facts, _DISTRIBUTIONS[asked], options='--reinstall')}"
        )
    return install_proven(facts)


def _required(text: str) -> str | None:
    """``transformers``' own check of versions: what it asks for, where that is of the stack."""
    found = _REQUIRED.search(text)
    if found is None:
        return None
    try:
        requirement = Requirement(found[1])
    except InvalidRequirement:
        return None
    names = {canonicalize_name(name) for name in _DISTRIBUTIONS.values() if name.isascii()}
    return str(requirement) if canonicalize_name(requirement.name) in names else None


def _shadowing_file(text: str) -> str | None:
    """A file of the user's that has a package's name, where the message gives its place."""
    name, place = _NO_NAME.search(text), _PLACE.search(text)
    if name is None or place is None or name[2].split(".")[0] not in _DISTRIBUTIONS:
        return None
    installed = re.search(r"site-packages|dist-packages|lib/python|/src/", place[1])
    return None if installed else place[1]
