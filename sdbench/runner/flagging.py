"""What is known beforehand against a plan's cases."""

import msgspec

from sdbench.knowledge import attention_limits
from sdbench.knowledge.known_issues import load_known_issues, matching_issues
from sdbench.models.family import family_of
from sdbench.models.resolve import ModelSource
from sdbench.plan.config import Config, work_of
from sdbench.process.find_device import FoundDevice
from sdbench.records import Case, Plan, StackInfo


def flagged(
    plan: Plan,
    config: Config,
    device: FoundDevice,
    stacks: dict[str, StackInfo],
    model: ModelSource,
    chip: str | None,
) -> Plan:
    """The plan with each case's known issues and predicted overflows, over all its environments.

    ``chip`` is the machine's, as macOS names it; None is unknown.
    """
    if device.kind != "mps":
        return plan
    cases = []
    for planned in plan.cases:
        flags: dict[str, None] = {}
        for stack in stacks.values():
            torch = stack.packages.get("torch")
            issues = matching_issues(
                load_known_issues(),
                device=device.kind,
                torch=torch,
                macos=device.facts.get("macos"),
                chip=chip,
                diffusers=stack.packages.get("diffusers"),
                case=planned.case,
                images=config.images,
                pipeline_class=model.pipeline_class,
            )
            flags |= dict.fromkeys(f"{issue.title} ({issue.links[0]})" for issue in issues)
            flags |= dict.fromkeys(_overflows(config, planned.case, model, torch))
        cases.append(msgspec.structs.replace(planned, flags=list(flags)))
    return msgspec.structs.replace(plan, cases=cases)


def _overflows(config: Config, case: Case, model: ModelSource, torch: str | None) -> list[str]:
    """Predicted overflows of attention scores; of a pipeline that no file names none is known."""
    name, family = family_of(model.pipeline_class)
    if name is None:
        return []
    scale, guided_above = work_of(config, case).guidance_scale, family.guided_above
    heads, pixels_per_token = attention_limits.FIRST_ATTENTION.get(
        name, (None, attention_limits.PIXELS_PER_LATENT)
    )
    return attention_limits.predicted_overflow(
        case,
        config.images,
        guided_above is not None and scale > guided_above,
        heads,
        torch,
        pixels_per_token=pixels_per_token,
    )
