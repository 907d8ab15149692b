"""The machine itself: its chip; of a Mac its macOS, and whether it is a real one."""

from sdbench.doctor.checks.commands import NEW_ENVIRONMENT, install_stack, memory_size, python_fits
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.knowledge.compatibility import INTEL_TORCH, torch_needs, within
from sdbench.knowledge.version_ranges import release
from sdbench.machine.facts import Unavailable, known, or_none

# The documentation of diffusers for mps: 12.6 or later, 13.0 or later recommended.
_REQUIRED_MACOS = "12.6"
_RECOMMENDED_MACOS = "13.0"


def chip(facts: DoctorFacts) -> Check | None:
    """Apple silicon on a Mac; elsewhere any processor will do."""
    words = _chip_words(facts)
    if not facts.is_mac:
        question = Question(
            "chip",
            "any 64-bit processor",
            "without a GPU the processor's cores decide how long an image takes",
        )
        if not words:
            return question.unknown("the system does not report it")
        return question.passes(words)
    question = Question(
        "chip",
        "Apple silicon (M1 or later)",
        "torch's mps device is made for Apple's own GPUs, and the documentation asks for them",
    )
    apple = facts.apple_silicon
    if isinstance(apple, Unavailable):
        return question.unknown(apple)
    if apple:
        return question.passes(words or "Apple silicon")
    return question.fails(
        f"an Intel Mac: {words}" if words else "an Intel Mac",
        _on_the_cpu(facts),
        why=f"{question.why}. The CPU still works here, slowly; torch 2.2.2 is the last that is "
        "made for Intel Macs",
    )


def _on_the_cpu(facts: DoctorFacts) -> str:
    """What an Intel Mac can do, with the last torch that is made for it."""
    if within(facts.installed("torch"), INTEL_TORCH.removeprefix("torch")):
        return "sdbench run quick --device cpu"
    there = "" if python_fits(facts) else f" --python {NEW_ENVIRONMENT}"
    return f"{install_stack(facts)} && sdbench run quick --device cpu{there}"


def update_macos(facts: DoctorFacts) -> str:
    """Where the update is to be found, which has moved."""
    where = "System Settings > General"
    if within(or_none(facts.machine.identity.os_version), "<13"):
        where = "System Preferences"
    return f"update macOS in {where} > Software Update"


def _chip_words(facts: DoctorFacts) -> str | None:
    """Name, cores, memory and model, as far as they are reported; None without a name."""
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
    """What the documentation asks for, and what the installed torch itself needs."""
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
        "mps is a part of macOS: older ones lack operators or compute some of them wrongly",
    )
    version = facts.machine.identity.os_version
    if isinstance(version, Unavailable):
        return question.unknown(version)
    found = f"macOS {version}"
    if release(version) is None:
        return question.unknown(f"{found}, which is no version")
    if within(version, f"<{_REQUIRED_MACOS}"):
        return question.fails(found, update_macos(facts))
    if needs is not None and within(version, f"<{needs.macos}"):
        return question.fails(
            found,
            f"{update_macos(facts)}, or: {install_stack(facts)}",
            why=f"torch {torch} was made for macOS {needs.macos} and later: on an older one it "
            "does not load, or offers no mps",
        )
    if within(version, f"<{_RECOMMENDED_MACOS}"):
        return question.warns(found, update_macos(facts))
    return question.passes(found)


def virtual_machine(facts: DoctorFacts) -> Check | None:
    """A virtual Mac has no GPU of its own; elsewhere virtual machines are ordinary."""
    if not facts.is_mac:
        return None
    question = Question(
        "virtual-machine",
        "a real Mac",
        "a virtual Mac's GPU is a stand-in: torch may call mps available and then fail, and what "
        "is measured there says nothing about any Mac",
    )
    virtual = facts.machine.identity.virtual
    if isinstance(virtual, Unavailable):
        return question.unknown(virtual)
    if not virtual:
        return question.passes("a real Mac")
    return question.warns(
        "a virtual machine: no verdict about speed can be given here",
        "measure on a real Mac; here only: sdbench run quick --device cpu",
    )
