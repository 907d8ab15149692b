"""The documentation's claims about Apple silicon, each tested on the run at hand. Pure.

The claims are those of diffusers' page "How to use Stable Diffusion in Apple Silicon (M1/M2)" in
its editions of 2022 and 2023, which load Stable Diffusion 1.x. A claim gets a verdict only from a
measurement. On a device that it does not cover it is not applicable; the measured value is shown
nevertheless.

Times are ratios of steady passes, processes paired by block, t intervals on logarithms
(PROTOCOL 9). A claim with several pairs of cases is judged on the mean of their logs in each
block.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sdbench.diagnosis.claim_tests import (
    Answer,
    Side,
    batches_fail,
    first_pass_differs,
    matches_cpu,
    slicing_and_speed,
    slicing_saves_memory,
    slower_when_swapping,
)
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.result import Claim
from sdbench.models.family import family_of
from sdbench.records import DeviceKind

_DOCS_2022 = "diffusers documentation of autumn 2022 (torch 1.13)"
_CLAIMED_FAMILY = "sd"
_DOCS_2023 = "diffusers documentation of 2023 (torch 1.13 and 2.0)"


@dataclass(frozen=True)
class _Question:
    """One claim; ``devices`` are those it covers."""

    id: str
    title: str
    claim: str
    speaks_of: str
    effect_unit: str
    answer: Callable[["Side"], Answer]
    devices: tuple[DeviceKind, ...] = ("mps",)


def examine_claims(evidence: Evidence) -> list[Claim]:
    """All claims, once for each environment of the run."""
    return [_tested(question, side) for side in _sides(evidence) for question in _QUESTIONS]


def _sides(evidence: Evidence) -> list[Side]:
    """Of each environment the first variant that holds no memory; variants may differ in more than
    memory."""
    sides: dict[str, Side] = {}
    for arm in evidence.run.plan.arms:
        if not arm.hold_bytes and arm.stack not in sides:
            held = [
                other
                for other in evidence.run.plan.arms
                if other.hold_bytes and (other.stack, other.env) == (arm.stack, arm.env)
            ]
            sides[arm.stack] = Side(evidence, arm, held)
    return [*sides.values()]


def _tested(question: _Question, side: Side) -> Claim:
    answer = question.answer(side)
    verdict, sentence = answer.verdict, answer.sentence
    device = side.evidence.run.device
    if device not in question.devices:
        verdict = "not-applicable"
        sentence = (
            f"The claim is about Apple silicon (mps), and this is {device}. Measured here: "
            f"{sentence}"
        )
    if answer.effect is not None:
        sentence += _of_another_family(side.evidence.run.model.pipeline_class)
    return Claim(
        id=question.id,
        title=question.title,
        claim=question.claim,
        speaks_of=question.speaks_of,
        verdict=verdict,
        sentence=sentence,
        effect=answer.effect,
        effect_unit=question.effect_unit,
        ci95=answer.ci95,
        evidence=answer.evidence,
        stack=side.arm.stack,
    )


def _of_another_family(pipeline_class: str) -> str:
    """A sentence that the claim is about another family of models; empty where it is not."""
    name, family = family_of(pipeline_class)
    if name == _CLAIMED_FAMILY:
        return ""
    return f" The claim is about Stable Diffusion 1.x; this model is {family.title}."


_QUESTIONS = (
    _Question(
        "a",
        "the first pass differs on torch 1.13",
        "The first pass differs on torch 1.13; a warm-up pass of one step fixes it; torch 2 "
        "solves it.",
        f"{_DOCS_2022} and {_DOCS_2023}; torch 1.13, and 2.0 or later",
        "relative distance of latents or pixels, the larger",
        first_pass_differs,
    ),
    _Question(
        "b",
        "images match the CPU's after the warm-up pass",
        "After the warm-up pass the results match those of the CPU.",
        f"{_DOCS_2022}; torch 1.13",
        "distance from the CPU divided by the distance that rounding allows",
        matches_cpu,
    ),
    _Question(
        "c",
        "swapping makes it much slower",
        "When the system swaps, performance degrades significantly.",
        f"{_DOCS_2023}; any torch",
        "time with swapping / without",
        slower_when_swapping,
    ),
    _Question(
        "d",
        "attention slicing saves memory",
        "Attention slicing reduces memory pressure and prevents swapping, especially with less "
        "than 64 GB or above 512x512.",
        f"{_DOCS_2023}; any torch",
        "peak memory with slicing / without",
        slicing_saves_memory,
    ),
    _Question(
        "e",
        "attention slicing costs about 20%, or gains on Apple silicon under 64 GB",
        "Attention slicing is about 20% slower without unified memory, and faster on most Apple "
        "silicon with less than 64 GB.",
        f"{_DOCS_2023}; any torch",
        "time with slicing / without",
        slicing_and_speed,
        ("mps", "cuda", "cpu"),
    ),
    _Question(
        "f",
        "several prompts in a batch fail",
        "Several prompts in a batch crash or do not work reliably; use a loop instead.",
        f"{_DOCS_2023}; torch 1.13 and 2.0",
        "share of batches",
        batches_fail,
    ),
)
