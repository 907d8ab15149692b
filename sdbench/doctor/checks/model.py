"""Whether a model can be had without the network."""

from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.machine.facts import Unavailable


def model_offline(facts: DoctorFacts) -> Check | None:
    """The model asked for; the synthetic ones are always there, because they are made here."""
    model = facts.model
    question = Question(
        "model-offline",
        "a model that needs no download",
        "a run downloads nothing without asking, and HF_HUB_OFFLINE forbids it",
    )
    if isinstance(model.offline, Unavailable):
        return question.unknown(model.offline)
    found = f"{model.outline.name}: {model.note}"
    if model.offline:
        return question.passes(found)
    return question.warns(
        found,
        f"sdbench run --model {model.outline.name} asks and then downloads it; without network: "
        "sdbench run --model synthetic/sd15",
    )
