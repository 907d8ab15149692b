"""Checks the machine: its processor and, on a Mac, macOS and whether it is a virtual machine."""

from sdbench.doctor.checks.commands import NEW_ENVIRONMENT, install_stack, memory_size, python_fits
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.knowledge.compatibility import INTEL_TORCH, torch_needs, within
from sdbench.knowledge.coverage import beyond_chip, beyond_macos
from sdbench.knowledge.version_ranges import release
from sdbench.machine.facts import Unavailable, known, or_none

# The documentation of diffusers for mps: 12.6 or later, 13.0 or later recommended.
_REQUIRED_MACOS = "12.6"
_RECOMMENDED_MACOS = "13.0"
# kornia/kornia#4207, actions/runner-images#14380: up to macOS 15 virtual Macs compute right.
VIRTUAL_WRONG_MACOS = ">=26"
VIRTUAL_REMEDY = "use a virtual Mac with macOS 15 (the image macos-15), or a real Mac"


def chip(facts: DoctorFacts) -> Check | None:
    """On a Mac Apple silicon is expected; elsewhere any 64-bit processor."""
    words = _chip_words(facts)
    if not facts.is_mac:
        question = Question(
            "chip",
            "any 64-bit processor",
            "without a GPU the processor determines how long an image takes",
        )
        if not words:
            return question.unknown("the system does not report it")
        return question.passes(words)
    question = Question(
        "chip",
        "Apple silicon (M1 or later)",
        "torch's mps device is for Apple GPUs, and the documentation requires one",
    )
    apple = facts.apple_silicon
    if isinstance(apple, Unavailable):
        return question.unknown(apple)
    if apple:
        assumed = beyond_chip(or_none(facts.machine.identity.chip))
        found = words or "Apple silicon"
        return question.passes(f"{found}; {assumed}" if assumed else found)
    return question.fails(
        f"an Intel Mac: {words}" if words else "an Intel Mac",
        _on_the_cpu(facts),
        why=f"{question.why}. The CPU still works, slowly; torch 2.2.2 is the last release for "
        "Intel Macs",
    )


def _on_the_cpu(facts: DoctorFacts) -> str:
    """The remedy on an Intel Mac: the CPU, with the last torch release for Intel Macs."""
    if within(facts.installed("torch"), INTEL_TORCH.removeprefix("torch")):
        return "sdbench run quick --device cpu"
    there = "" if python_fits(facts) else f" --python {NEW_ENVIRONMENT}"
    return f"{install_stack(facts)} && sdbench run quick --device cpu{there}"


def update_macos(facts: DoctorFacts) -> str:
    """Where to find the update: the location depends on the version of macOS."""
    where = "System Settings > General"
    if within(or_none(facts.machine.identity.os_version), "<13"):
        where = "System Preferences"
    return f"update macOS in {where} > Software Update"


def _chip_words(facts: DoctorFacts) -> str | None:
    """Name, cores, memory and model, as far as they are reported; None if the name is unknown."""
    identity = facts.machine.identity
    if not known(identity.chip):
        return None
    words = [identity.chip]
    if known(identity.cores_by_kind) and identity.cores_by_kind:
        kinds = " + ".join(f"{kind.physical} {kind.name}" for kind in identity.cores_by_kind)
        words.append(f"{kinds} cores")
    elif known(identity.cores_physical):
        words.append(f"{identity.cores_physical} cores")
    if known(identity.gpu_cores):
        words.append(f"{identity.gpu_cores} GPU cores")
    if known(identity.memory_bytes):
        words.append(memory_size(identity.memory_bytes))
    if known(identity.model):
        words.append(identity.model)
    return ", ".join(words)


def macos_version(facts: DoctorFacts) -> Check | None:
    """Whether macOS is what the documentation requires and what the installed torch needs."""
    if not facts.is_mac:
        return None
    torch = facts.installed("torch")
    # The table is of wheels for Apple silicon; Intel's, which have ended, ran on older ones too.
    needs = None if facts.apple_silicon is False else torch_needs(torch)
    expected = f"macOS {_REQUIRED_MACOS} or later, {_RECOMMENDED_MACOS} or later recommended"
    if needs is not None:
        expected += f"; torch {torch} needs {needs.macos}"
    question = Question(
        "macos-version",
        expected,
        "mps depends on macOS: older versions lack operators or compute some of them wrongly",
    )
    version = facts.machine.identity.os_version
    if isinstance(version, Unavailable):
        return question.unknown(version)
    found = f"macOS {version}"
    if release(version) is None:
        return question.unknown(f"{found}, which is not a version")
    if within(version, f"<{_REQUIRED_MACOS}"):
        return question.fails(found, update_macos(facts))
    if needs is not None and within(version, f"<{needs.macos}"):
        return question.fails(
            found,
            f"{update_macos(facts)}, or: {install_stack(facts)}",
            why=f"torch {torch} was built for macOS {needs.macos} and later: on an older version "
            "it does not load, or does not offer mps",
        )
    if within(version, f"<{_RECOMMENDED_MACOS}"):
        return question.warns(found, update_macos(facts))
    assumed = beyond_macos(version)
    return question.passes(f"{found}; {assumed}" if assumed else found)


def virtual_machine(facts: DoctorFacts) -> Check | None:
    """Whether this is a virtual Mac, whose times mean nothing. On other systems virtual machines
    are accepted. Whether its GPU computes is the question of ``mps-computes``."""
    if not facts.is_mac:
        return None
    question = Question(
        "virtual-machine",
        "a real Mac",
        "a virtual Mac shows whether the code runs and whether images are right, if its GPU "
        "computes (mps-computes). Its times are never compared with those of a real Mac",
    )
    virtual = facts.machine.identity.virtual
    if isinstance(virtual, Unavailable):
        return question.unknown(virtual)
    if not virtual:
        return question.passes("a real Mac")
    found = "a virtual Mac: its times mean nothing for a real Mac"
    remedy = "measure times on a real Mac; here check that it runs and is right: sdbench run ci"
    if facts.apple_silicon is False or not within(
        or_none(facts.machine.identity.os_version), VIRTUAL_WRONG_MACOS
    ):
        return question.warns(found, remedy)
    return question.warns(
        f"{found}, and virtual Macs with macOS 26 compute wrong on mps",
        f"{VIRTUAL_REMEDY}. {remedy[0].upper()}{remedy[1:]}",
        why=f"{question.why}. On hosted virtual Macs with macOS 26 (the image macos-26, "
        "MPSGraph 6.4.2 and 6.5.1) mps gives wrong results with torch 2.8 to 2.13 and cannot build "
        "programs of torch 2.14; real Macs with macOS 26 are right",
    )
