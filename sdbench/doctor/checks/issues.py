"""Known issues that apply to the installed versions."""

import functools

from sdbench.doctor.checks.question import Question
from sdbench.doctor.facts import Check, DoctorFacts
from sdbench.knowledge.chips import chip_family, chip_of_machine
from sdbench.knowledge.compatibility import development
from sdbench.knowledge.coverage import beyond_tables
from sdbench.knowledge.known_issues import KnownIssue, load_known_issues, matching_issues
from sdbench.knowledge.version_ranges import release
from sdbench.machine.facts import known, or_none
from sdbench.plan.order import make_plan
from sdbench.plan.read_config import load_config
from sdbench.records import DeviceKind

# What a newcomer runs, and what the documentation's claims need: the settings people use.
_PLANS = ("default", "mps-docs")


def known_issues(facts: DoctorFacts) -> Check | None:
    """One row that lists all of them, each with its link."""
    question = Question(
        "known-issues",
        "none that applies to these versions",
        "a problem that is already reported does not have to be investigated again",
    )
    device = facts.expected_device()
    if device == "mps" and release(facts.installed("torch")) is None:
        return question.unknown("this depends on the version of torch, which is unknown")
    met = issues_met(facts)
    kind = development(facts.installed("torch"))
    if device == "mps" and not met and kind is not None:
        return question.unknown(f"the catalogue covers releases of torch, and this is {kind}")
    if device == "mps" and not met:
        chip, torch = chip_name(facts), facts.installed("torch")
        beyond = [*beyond_tables(chip=chip, macos=_macos(facts), torch=torch)]
        if beyond:
            return question.unknown(f"none of those that are listed; {'; '.join(beyond)}")
        if chip_family(chip) is None:  # macOS 11 calls every chip "Apple processor"
            return question.unknown("some depend on the chip, which is not known")
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
        "\n".join(f"{issue.title}: {issue.advice(_macos(facts))}" for issue in met),
        why="\n".join(f"{issue.what} {issue.links[0]}" for issue in met),
    )


def _macos(facts: DoctorFacts) -> str | None:
    macos = facts.machine.identity.os_version
    return macos if known(macos) and facts.is_mac else None


def chip_name(facts: DoctorFacts) -> str | None:
    """The chip's name, which says where it is a virtual Mac's; None if it is not known."""
    identity = facts.machine.identity
    virtual = identity.virtual if facts.is_mac and facts.apple_silicon is not False else False
    return chip_of_machine(or_none(identity.chip), virtual)


def issues_met(facts: DoctorFacts) -> list[KnownIssue]:
    """The known issues that apply to the standard plans with the versions installed here."""
    return met_issues(
        device=facts.expected_device(),
        torch=facts.installed("torch"),
        macos=_macos(facts),
        chip=chip_name(facts),
        diffusers=facts.installed("diffusers"),
        pipeline_class=facts.model.outline.pipeline_class,
    )


@functools.cache
def met_issues(
    *,
    device: DeviceKind,
    torch: str | None,
    macos: str | None,
    chip: str | None,
    diffusers: str | None,
    pipeline_class: str,
) -> list[KnownIssue]:
    """The known issues of the standard plans' cases on these versions, in the catalogue's order."""
    catalogue = load_known_issues()
    met: set[str] = set()
    for config in map(load_config, _PLANS):
        for planned in make_plan(config, device).cases:
            if planned.case.attention == "math":
                continue  # it is there to provoke a documented limit; nobody uses it
            issues = matching_issues(
                catalogue,
                device=device,
                torch=torch,
                macos=macos,
                chip=chip,
                diffusers=diffusers,
                case=planned.case,
                images=config.images,
                pipeline_class=pipeline_class,
            )
            met.update(issue.id for issue in issues)
    return [issue for issue in catalogue if issue.id in met]
