"""Why there is no verdict, or what to keep in mind with one: fixed codes, fixed words."""

from collections.abc import Iterable

from sdbench.analysis.no_effect import NO_EFFECT
from sdbench.records import Outcome

NOT_INTERLEAVED = "not interleaved: the interval contains the drift between the runs"

REASONS: dict[str, str] = {
    # One side is missing, or not right.
    "missing-in-base": "the base does not have this case",
    "missing-in-new": "the new side does not have this case",
    "wrong-in-base": "the base makes a wrong image",
    "wrong-in-new": "the new side makes a wrong image",
    "wrong-in-both": "both sides make a wrong image",
    # The two did not do the same work, or not in the same place.
    "model-differs": "the two sides ran different models, or files of the same name that differ",
    "prompts-differ": "the prompts differ",
    "steps-differ": "the numbers of steps differ",
    "seed-differs": "the seeds differ",
    "settings-differ": "scheduler, guidance scale or images per pass differ",
    "work-differs": "the denoiser did more work for an image on one side: more steps or calls, or "
    "guidance",
    "mode-differs": "text-to-image against image-to-image, or strength or input image differ",
    "device-differs": "the devices differ",
    "machines-differ": "the machines differ",
    "os-differs": "the operating systems differ",
    "start-differs": "the workers were started differently (spawn, fork)",
    # The two sides did the same work.
    "no-effect": f"the setting {NO_EFFECT}",
    # The machine was not itself.
    "virtual-device": "the device belongs to a virtual machine: its speed is not a real one's",
    "beside-others": "other devices of the host worked while a side was measured, and it was not "
    "shown that this leaves its times undisturbed",
    "virtual-mac": "one machine is a virtual Mac: its times are not compared with another "
    "machine's",
    "throttled": "one side was slowed down by heat or power saving, the other was not",
    "both-throttled": "both sides were slowed down by heat or power saving",
    "heat-unknown": "whether heat slowed one side down is unknown: the instrument failed its "
    "selftest",
    "swap-in-one-arm": "one side swapped memory out, the other did not",
    "swap-unknown": "whether one side swapped memory out is unknown: the instrument failed its "
    "selftest",
    # The numbers do not carry a verdict.
    "no-figures": "a side has no steady passes",
    "not-a-number": "a value is not a positive number",
    "too-few-processes": "a verdict needs at least 3 processes per side",
    "unequal-blocks": "the sides do not have values of the same blocks",
    "zero-variance": "the values show no scatter, which is impossible for measured times",
    "interval-too-wide": "the interval contains the threshold",
    "not-interleaved": "the two runs were made separately, and the machine drifts between runs",
    "many-cases": (
        "the interval alone would decide it, but among this many cases chance can produce the same"
    ),
    "machine-busy": (
        "other programs used much of the CPU, and too few undisturbed processes remain for a "
        "verdict; measure again when no other programs run"
    ),
    "memory-source-differs": "the peaks were not measured in the same way",
    # Over many machines.
    "too-few-machines": "a verdict over machines needs at least 3 valid ones",
}

# The two sides did other work, or did it elsewhere or otherwise: no figures help.
UNLIKE: frozenset[str] = frozenset(
    {
        *("model-differs", "prompts-differ", "steps-differ", "seed-differs", "settings-differ"),
        *("work-differs", "mode-differs"),
        *("device-differs", "machines-differ", "os-differs", "start-differs"),
    }
)

_ENDED: dict[Outcome, str] = {
    "failed": "failed",
    "oom": "ran out of memory",
    "crashed": "crashed",
    "timeout": "exceeded its time limit",
    "guard": "was stopped to protect the machine",
    "skipped": "was not run",
}
_SIDES = {"base": "the base", "new": "the new side", "both": "each side"}
REASONS |= {
    f"{outcome}-in-{side}": f"{who} {words}"
    for outcome, words in _ENDED.items()
    for side, who in _SIDES.items()
}


def explain(codes: Iterable[str]) -> str:
    """The words of some reasons, in their order."""
    return "; ".join(REASONS[code] for code in codes)
