"""The documentation's claims about Apple silicon, each tested on the run at hand. Pure.

The claims are those of diffusers' page about Apple silicon ("How to use Stable Diffusion in Apple
Silicon (M1/M2)", today "Metal Performance Shaders (MPS)") in its editions of 2022, 2023 and today,
which load Stable Diffusion 1.x. A claim gets a verdict only from a measurement. On a device that it
does not cover it is not applicable; the measured value is shown nevertheless. Where two editions
contradict each other, :func:`conflicts_of` says which one the machine agrees with.

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
    slicing_and_speed_today,
    slicing_saves_memory,
    slower_when_swapping,
)
from sdbench.diagnosis.claim_tests_today import (
    conflicts_of,
    half_precision_loads,
    large_arrays_fail,
    torch_is_enough,
)
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.result import Claim
from sdbench.models.family import family_of
from sdbench.records import DeviceKind

__all__ = ["EDITIONS", "claims_asked", "conflicts_of", "examine_claims"]

_CLAIMED_FAMILY = "sd"
EDITIONS = {
    "2022": "October 2022 (torch 1.13)",
    "2023": "March 2023 (torch 1.13 and 2.0)",
    "today": "today (read in November 2026)",
}
"""The editions of the page: from when on they were valid, and for which torch they were written."""
_ALL = ("2022", "2023", "today")


@dataclass(frozen=True)
class _Question:
    """One claim; ``devices`` are those it covers, ``meaning`` is what exactly is tested."""

    id: str
    title: str
    claim: str
    editions: tuple[str, ...]
    torch: str
    meaning: str
    effect_unit: str
    answer: Callable[["Side"], Answer]
    devices: tuple[DeviceKind, ...] = ("mps",)


def examine_claims(evidence: Evidence) -> list[Claim]:
    """All claims, once for each environment of the run."""
    return [_tested(question, side) for side in _sides(evidence) for question in _QUESTIONS]


def claims_asked() -> dict[str, str]:
    """What each claim says, by its id."""
    return {question.id: question.claim for question in _QUESTIONS}


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
        speaks_of=_speaks_of(question),
        verdict=verdict,
        sentence=sentence,
        effect=answer.effect,
        effect_unit=question.effect_unit,
        ci95=answer.ci95,
        evidence=answer.evidence,
        stack=side.arm.stack,
        editions=[*question.editions],
        meaning=question.meaning,
    )


def _speaks_of(question: _Question) -> str:
    *rest, last = (EDITIONS[name] for name in question.editions)
    editions = f"{', '.join(rest)} and {last}" if rest else last
    return f"diffusers documentation of {editions}; {question.torch}"


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
        "The first pass differs on torch 1.13; priming with one step fixes it; torch 2 solves it.",
        _ALL,
        "torch 1.13, and from 2.0 on",
        "on torch 1.x the first pass of a process differs from its later ones and none does after "
        "a pass of one step; on torch 2 none differs",
        "relative distance of latents or pixels, the larger",
        first_pass_differs,
    ),
    _Question(
        "b",
        "images match the CPU's after the warm-up pass",
        "After the warm-up pass results match those of the CPU.",
        _ALL,
        "torch 1.13",
        "every case with warm-up is within what rounding allows of the CPU's images",
        "distance from the CPU divided by the distance that rounding allows",
        matches_cpu,
    ),
    _Question(
        "c",
        "swapping makes it much slower",
        "When the system swaps, performance degrades significantly.",
        _ALL,
        "any torch",
        "the same case takes at least 10% longer while the machine swaps",
        "time with swapping / without",
        slower_when_swapping,
    ),
    _Question(
        "d",
        "attention slicing saves memory",
        "Attention slicing reduces memory pressure and prevents swapping, above all under 64 GB or "
        "over 512x512.",
        _ALL,
        "any torch",
        "the peak of memory is lower with slicing",
        "peak memory with slicing / without",
        slicing_saves_memory,
    ),
    _Question(
        "e",
        "attention slicing costs about 20%, or gains on Apple silicon under 64 GB",
        "Attention slicing costs about 20% without unified memory, and gains on most Apple silicon "
        "under 64 GB.",
        ("2022", "2023"),
        "any torch",
        "a steady pass takes 10 to 30% longer with slicing; on Apple silicon under 64 GB less long",
        "time with slicing / without",
        slicing_and_speed,
        ("mps", "cuda", "cpu"),
    ),
    _Question(
        "f",
        "several prompts in a batch fail",
        "Several prompts in a batch crash or do not work reliably; iterate instead.",
        ("2022", "2023"),
        "torch 1.13 and 2.0",
        "a batch crashes or differs where the same images in a loop are right",
        "share of batches",
        batches_fail,
    ),
    _Question(
        "g",
        "attention slicing gains about 20%",
        "Attention slicing usually improves performance by about 20% without unified memory, and "
        "gains on most Apple silicon under 64 GB.",
        ("today",),
        "any torch",
        "a steady pass is 10 to 30% faster with slicing; on Apple silicon under 64 GB faster",
        "time with slicing / without",
        slicing_and_speed_today,
        ("mps", "cuda", "cpu"),
    ),
    _Question(
        "h",
        "no array is larger than 2**32",
        "The mps backend does not support arrays (NDArray) larger than 2**32.",
        ("today",),
        "any torch",
        "attention whose scores are one array of more than 2**32 bytes fails or gives wrong "
        "images; the page names no unit, Metal's own message counts bytes",
        "share of the cases over 2**32 bytes that fail",
        large_arrays_fail,
    ),
    _Question(
        "i",
        "half precision loads",
        "The pipeline loads in half precision (the variant fp16 in float16).",
        ("today",),
        "any torch",
        "every case in float16 loads and completes a pass, whatever its images are like; whether "
        "the files are a variant fp16 does not matter",
        "share of the cases in float16 that load",
        half_precision_loads,
    ),
    _Question(
        "j",
        "torch 1.13 is the minimum",
        "PyTorch 2.0 is recommended, 1.13 is the minimum.",
        ("2023", "today"),
        "torch 1.13, and from 2.0 on",
        "cases complete with this torch, and the diffusers installed here asks for no newer one "
        "than 1.13",
        "share of the cases that complete",
        torch_is_enough,
    ),
)
