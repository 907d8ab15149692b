"""Checks the requested model: complete, of a supported kind, and available without the network."""

from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.machine.facts import Unavailable
from sdbench.words import shell

# More are of the same kind, as a rule; the run names the first of them only.
_MOST_FAULTS = 6


def model_files(facts: DoctorFacts) -> Check | None:
    """What is wrong with the files on this disk; omitted if nothing is wrong."""
    faults = facts.model.faults
    if not faults:
        return None
    question = Question(
        "model-files",
        "a folder that diffusers can load: a Stable Diffusion pipeline with every file complete",
        "diffusers reports a missing, damaged or unsuitable file only after seconds to minutes of "
        "loading, often with a misleading message",
    )
    found = "; ".join(fault.what for fault in faults[:_MOST_FAULTS])
    if len(faults) > _MOST_FAULTS:
        found += f"; and {len(faults) - _MOST_FAULTS} more"
    remedies = "\n".join(dict.fromkeys(fault.remedy for fault in faults[:_MOST_FAULTS]))
    blocked = any(fault.blocks for fault in faults)
    return question.answered(
        "fail" if blocked else "warn", f"{facts.model.outline.name}: {found}", remedies
    )


def model_offline(facts: DoctorFacts) -> Check | None:
    """The requested model. Synthetic models are always available because sdbench makes them
    locally."""
    model = facts.model
    if any(fault.blocks for fault in model.faults):
        return None  # model-files says what it is
    question = Question(
        "model-offline",
        "a model that needs no download",
        "a run does not download without asking, and HF_HUB_OFFLINE forbids downloads",
    )
    if isinstance(model.offline, Unavailable):
        return question.unknown(model.offline)
    found = f"{model.outline.name}: {model.note}"
    if model.offline:
        return question.passes(found)
    return question.warns(
        found,
        f"sdbench run --model {shell(model.outline.name)} asks and then downloads it; without a "
        "network: sdbench run --model synthetic/sd15",
    )
