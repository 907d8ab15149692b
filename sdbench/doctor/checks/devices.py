"""Checks of what torch reports about the devices, and of a small computation on each."""

from sdbench.doctor.checks.commands import (
    arm64_environment,
    install,
    install_stack,
    reinstall_torch,
)
from sdbench.doctor.checks.import_causes import cause_of, remedy_for
from sdbench.doctor.checks.platform import VIRTUAL_REMEDY, update_macos
from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DeviceFacts, DoctorFacts, TorchFacts, TorchFailed
from sdbench.knowledge.compatibility import torch_needs, within
from sdbench.machine.facts import Unavailable, known, or_none
from sdbench.process.doctor_events import ImportFailure
from sdbench.records import DeviceKind

_USE_THE_CPU = "use the CPU: sdbench run quick --device cpu"
_VIRTUAL_OR_THE_CPU = f"{VIRTUAL_REMEDY}; or {_USE_THE_CPU}"


def torch_imports(facts: DoctorFacts) -> Check | None:
    """Whether torch can be imported; omitted if torch is not installed."""
    if isinstance(facts.torch, Unavailable) or facts.recorded:
        return None
    question = Question(
        "torch-imports",
        "torch can be imported and responds",
        "a torch that crashes during import is broken, or was built for another system",
    )
    if isinstance(facts.torch, TorchFailed):
        kind, _, message = facts.torch.reason.partition(": ")
        failure = ImportFailure(type=kind, message=message)
        cause = cause_of(failure)
        found = facts.torch.reason + ("" if cause is None else f". {cause.sentence}")
        return question.fails(found, remedy_for("torch", failure, facts))
    if isinstance(facts.torch.import_s, Unavailable):
        return question.unknown(facts.torch.import_s)
    return question.passes(f"in {facts.torch.import_s:.1f} s")


def torch_threads(facts: DoctorFacts) -> Check | None:
    """If images are made on the CPU: whether torch uses one thread per usable core."""
    if facts.expected_device() != "cpu" or not isinstance(facts.torch, TorchFacts):
        return None
    threads, cores = facts.torch.threads, facts.machine.identity.cores_physical
    if not known(threads) or not known(cores):
        return None
    usable = min(cores, facts.limits.cpus or cores)
    question = Question(
        "torch-threads",
        f"one per core ({usable:g} cores)",
        "fewer threads leave cores idle, more threads wait for each other",
    )
    found = f"{threads} threads"
    if facts.limits.cpus is not None and facts.limits.cpus < cores:
        found += f"; the container allows {facts.limits.cpus:g} of {cores} cores"
    best = max(1, round(usable))
    if threads > 2 * best or threads < best:
        return question.warns(found, f"export OMP_NUM_THREADS={best}")
    return question.passes(found)


def _asked(facts: DoctorFacts, kind: DeviceKind) -> DeviceFacts | str:
    """What torch reports about a device, or why it could not be asked."""
    if isinstance(facts.torch, TorchFailed):
        return "torch could not be imported"
    if isinstance(facts.torch, Unavailable):
        return facts.torch.unavailable
    return facts.torch.device(kind) or f"torch did not answer for {kind}"


def _has_mps_rows(facts: DoctorFacts) -> bool:
    device = _asked(facts, "mps")
    stand_in = isinstance(device, DeviceFacts) and device.built is True
    return facts.is_mac or stand_in


def mps_built(facts: DoctorFacts) -> Check | None:
    """Whether this torch was built with mps."""
    if not _has_mps_rows(facts):
        return None
    question = Question("mps-built", "yes", "without mps torch cannot use an Apple GPU")
    device = _asked(facts, "mps")
    if isinstance(device, str):
        return question.unknown(device)
    if isinstance(device.built, Unavailable):
        return question.unknown(device.built)
    if device.built:
        return question.passes("yes")
    return question.fails("no: this torch was built without mps", _mps_torch(facts))


def _mps_torch(facts: DoctorFacts) -> str:
    """How to install a torch with mps."""
    if facts.apple_silicon is False:
        return _USE_THE_CPU
    return arm64_environment(facts) if facts.translated_python else reinstall_torch(facts)


def mps_available(facts: DoctorFacts) -> Check | None:
    """Whether torch reports mps as available, which does not prove that it works."""
    if not _has_mps_rows(facts):
        return None
    question = Question(
        "mps-available", "yes", "torch offers mps if it supports this macOS and this GPU"
    )
    device = _asked(facts, "mps")
    if isinstance(device, str):
        return question.unknown(device)
    if isinstance(device.available, Unavailable):
        return question.unknown(device.available)
    if device.available:
        return question.passes("yes")
    if device.built is False:
        return question.fails("no: not built in", _mps_torch(facts))
    cause, remedy = _why_no_mps(facts)
    return question.fails(f"no: {device.reason or cause}", remedy)


def _why_no_mps(facts: DoctorFacts) -> tuple[str, str]:
    """Why a torch that was built with mps does not offer it, and the remedy."""
    identity, torch = facts.machine.identity, facts.installed("torch")
    needs = torch_needs(torch)
    if facts.apple_silicon is False:
        return "this is an Intel Mac", _USE_THE_CPU
    if facts.translated_python:
        return "this Python runs under Rosetta", arm64_environment(facts)
    if identity.virtual is True:
        return "this virtual Mac does not offer its GPU to torch", _VIRTUAL_OR_THE_CPU
    if needs is not None and within(or_none(identity.os_version), f"<{needs.macos}"):
        return (
            f"torch {torch} needs macOS {needs.macos}",
            f"{update_macos(facts)}, or: {install_stack(facts)}",
        )
    # pytorch#167679 and #177819: nothing wrong but this; a sandbox has been one reason.
    again = f"sdbench doctor; if the problem remains: {reinstall_torch(facts)}"
    return (
        "no other check explains it; a sandbox or a remote session can hide the GPU",
        f"try it in the Terminal application on the Mac itself: {again}",
    )


def mps_computes(facts: DoctorFacts) -> Check | None:
    """Whether mps computes correctly."""
    if not _has_mps_rows(facts):
        return None
    question = Question(
        "mps-computes",
        "a small matrix product and a small linear layer agree with the CPU's",
        "is_available() does not prove that mps works: on some virtual Macs it returns True and "
        "the first allocation fails, on others results are wrong",
    )
    device = _asked(facts, "mps")
    if isinstance(device, str):
        return question.unknown(device)
    if isinstance(device.computes, Unavailable):
        if facts.recorded and device.available is False:
            return question.unknown("mps is not available, so nothing was tried")
        return question.unknown(device.computes)
    virtual = facts.machine.identity.virtual is True or device.is_paravirtual
    if device.computes:
        computing = _computing(device)
        if virtual:
            computing += "; a virtual Mac: it computes, its times mean nothing for a real Mac"
        return question.passes(computing)
    if virtual:
        return question.fails(device.reason or "no", _VIRTUAL_OR_THE_CPU)
    return question.fails(
        device.reason or "no", "restart the Mac; if the problem remains: sdbench run --device cpu"
    )


def _computing(device: DeviceFacts) -> str:
    words = ["yes"]
    if device.name:
        words.append(device.name)
    if device.dtypes:
        words.append(" ".join(device.dtypes))
    if device.memory_bytes:
        words.append(f"up to {device.memory_bytes / 1e9:.1f} GB recommended")
    return ", ".join(words)


def _has_cuda_rows(facts: DoctorFacts) -> bool:
    device = _asked(facts, "cuda")
    works = isinstance(device, DeviceFacts) and device.available is True
    return facts.nvidia or (not facts.is_mac and works)


def cuda_built(facts: DoctorFacts) -> Check | None:
    """Whether torch was built with CUDA. A CPU-only torch on a machine with an NVIDIA GPU is a
    common mistake."""
    if not _has_cuda_rows(facts):
        return None
    question = Question("cuda-built", "yes", "without CUDA torch cannot use the installed GPU")
    device = _asked(facts, "cuda")
    if isinstance(device, str):
        return question.unknown(device)
    if isinstance(device.built, Unavailable):
        return question.unknown(device.built)
    if device.built:
        return question.passes("yes")
    return question.warns(
        f"no: torch {facts.installed('torch') or ''} is for the CPU only",
        install(facts, "torch", options="--reinstall --torch-backend auto"),
    )


def cuda_available(facts: DoctorFacts) -> Check | None:
    """Whether torch finds the GPU through the driver."""
    device = _asked(facts, "cuda")
    if not _has_cuda_rows(facts) or (isinstance(device, DeviceFacts) and device.built is False):
        return None
    question = Question(
        "cuda-available", "yes", "torch finds a GPU if the driver is new enough for this build"
    )
    if isinstance(device, str):
        return question.unknown(device)
    if isinstance(device.available, Unavailable):
        return question.unknown(device.available)
    if device.available:
        return question.passes("yes")
    return question.fails(
        f"no: {device.reason}" if device.reason else "no",
        "see what the driver reports: nvidia-smi; an old driver needs an older build: "
        + install(facts, "torch", options="--reinstall --torch-backend auto"),
    )


def cuda_computes(facts: DoctorFacts) -> Check | None:
    """Whether the GPU computes correctly."""
    device = _asked(facts, "cuda")
    if not _has_cuda_rows(facts) or (isinstance(device, DeviceFacts) and not device.available):
        return None
    question = Question(
        "cuda-computes",
        "a small matrix product and a small linear layer agree with the CPU's",
        "a GPU that another process uses exclusively is reported as available and fails at first "
        "use",
    )
    if isinstance(device, str):
        return question.unknown(device)
    if isinstance(device.computes, Unavailable):
        return question.unknown(device.computes)
    if device.computes:
        return question.passes(_computing(device))
    return question.fails(device.reason or "no", "see which process uses it: nvidia-smi")
