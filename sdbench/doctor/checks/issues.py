"""Known issues that are met by exactly these versions."""

from sdbench.config import load_config
from sdbench.doctor.checks.question import Question
from sdbench.doctor.compatibility import release
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.insight.known_issues import KnownIssue, load_known_issues, matching_issues
from sdbench.machine.facts import known
from sdbench.plan import make_plan

# What a newcomer runs, and what the documentation's claims need: the settings people use.
_PLANS = ("default", "mps-docs")


def known_issues(facts: DoctorFacts) -> Check | None:
    """One row that names them all, each with its link."""
    question = Question(
        "known-issues",
        "none that these versions meet",
        "somebody else has met it and said so: it need not be searched for again",
    )
    device = facts.expected_device()
    if device == "mps" and release(facts.installed("torch")) is None:
        return question.unknown("it depends on torch's version, which is not known")
    met = met_issues(facts)
    if not met:
        return question.passes(f"none of the {len(load_known_issues())} in the catalogue")
    titles = "; ".join(
        issue.title + (" (unconfirmed)" if issue.confidence == "lead" else "") for issue in met
    )
    found = f"{len(met)}: {titles}"
    if all(issue.confidence == "lead" for issue in met):
        return question.passes(found)
    return question.warns(
        found,
        "\n".join(f"{issue.title}: {issue.workaround}" for issue in met),
        why="\n".join(f"{issue.what} {issue.links[0]}" for issue in met),
    )


def met_issues(facts: DoctorFacts) -> list[KnownIssue]:
    """What the cases of the usual plans meet on these versions, in the catalogue's order."""
    device, macos = facts.expected_device(), facts.machine.identity.os_version
    catalogue = load_known_issues()
    met: set[str] = set()
    for name in _PLANS:
        config = load_config(name)
        for planned in make_plan(config, device).cases:
            issues = matching_issues(
                catalogue,
                device=device,
                torch=facts.installed("torch"),
                macos=macos if known(macos) and facts.is_mac else None,
                diffusers=facts.installed("diffusers"),
                case=planned.case,
                images=config.images,
                pipeline_class=facts.model.outline.pipeline_class,
            )
            met.update(issue.id for issue in issues)
    return [issue for issue in catalogue if issue.id in met]
