"""The words for a comparison with the CPU's images: which image, which pass, what is wrong."""

from collections.abc import Iterable

from sdbench.correctness.arithmetic import is_tf32
from sdbench.correctness.wrong_places import Place, Spot, listed, place_of
from sdbench.records import Case, Correctness, ImageCompared, StageDifference, TracedStage

STAGE_WORDS: dict[TracedStage, str] = {
    "text": "text embeddings",
    "latents": "latents",
    "picture": "image",
}
FAULT_WORDS = {
    "not-a-number": "not a number (NaN)",
    "black": "black",
    "saturated": "saturated: only the lightest and darkest levels",
    "flat": "flat, of one colour",
    "noise": "noise",
    "another-picture": "an image different from the CPU's",
}


def reason_of(
    verdict: Correctness,
    margin: float | None,
    case: Case,
    images: list[ImageCompared],
    stages: list[StageDifference],
    absent: str | None,
) -> str | None:
    """Why a replicate got its verdict; ``absent`` says why a part of the reference is missing."""
    unknown = [entry for entry in images if entry.verdict == "unknown"]
    if verdict == "unknown":
        return (unknown[0].reason or absent) if unknown else "no image was made"
    if verdict == "broken":
        return wrong_words(images, "broken")
    words = f"{margin:.2g} of what {case.dtype} rounding allows" if margin else "identical"
    if verdict == "drift":
        words = _drift_words(margin, case, images, stages)
    if unknown:
        numbers = ", ".join(map(str, sorted({entry.image + 1 for entry in unknown})))
        words += f"; image {numbers} not compared: {unknown[0].reason or absent}"
    return words


def _drift_words(
    margin: float | None, case: Case, images: list[ImageCompared], stages: list[StageDifference]
) -> str:
    if any(entry.differences for entry in images):
        return wrong_words(images, "drift")
    own = [entry for entry in images if entry.is_of_rounding]
    if own and (margin is None or margin <= 1):
        numbers = listed(sorted({entry.image + 1 for entry in own}))
        rounding = own_rounding_words(own, case)
        return f"image {numbers} differs, and {rounding} changes it as much"
    if margin is None or margin <= 1:
        return f"the difference is visible, although {case.dtype} rounding explains as much"
    times = f"{margin:,.0f}" if margin >= 10 else f"{margin:.2g}"
    place = STAGE_WORDS[_worst_place(images, stages)]
    return f"{place} {times} times further from the CPU's than {case.dtype} rounding allows"


def own_rounding_words(images: Iterable[ImageCompared], case: Case) -> str:
    """``the CPU's own float16 rounding``: in whose arithmetic these images were made, too."""
    in_tf32 = any(is_tf32(entry.own_rounding) for entry in images)
    return f"the CPU's own {'TF32' if in_tf32 else case.dtype} rounding"


def wrong_words(images: list[ImageCompared], verdict: Correctness) -> str:
    """``image 1 in pass 2 and later is noise; the latents are right, so …``."""
    wrong = [entry for entry in images if entry.verdict == verdict and not entry.is_of_rounding]
    shown = [entry for entry in wrong if shows_something(entry)] or wrong
    place = _place_of(images, shown)
    words = " ".join([f"image {listed(place.images)}", place.words, what_words(shown)])
    more = stage_words(shown), unseen_words(wrong)
    return "; ".join([words, *(part for part in more if part)])


def shows_something(entry: ImageCompared) -> bool:
    """Whether a person sees that this image is not the CPU's."""
    return bool(entry.differences) or entry.fault is not None or entry.verdict == "broken"


def unseen_words(wrong: Iterable[ImageCompared]) -> str:
    """``image 2, 3 differ too, without a visible difference``, where others show something."""
    shown = {entry.image + 1 for entry in wrong if shows_something(entry)}
    unseen = sorted({entry.image + 1 for entry in wrong} - shown)
    if not shown or not unseen:
        return ""
    verb = "differs" if len(unseen) == 1 else "differ"
    return f"image {listed(unseen)} {verb} too, without a visible difference"


def _place_of(images: Iterable[ImageCompared], wrong: list[ImageCompared]) -> Place:
    """Where the wrong ones are, of the passes of one process."""
    return place_of(
        {
            Spot(0, number, entry.image): any(entry is one for one in wrong)
            for entry in images
            if entry.verdict != "unknown"
            for number in entry.passes
        }
    )


def what_words(wrong: list[ImageCompared]) -> str:
    """``is noise``, or what else is wrong with these images, the most frequent first."""
    kinds: dict[str, list[str]] = {}
    for entry in wrong:
        found = [(difference.kind, difference.words) for difference in entry.differences[:2]]
        if entry.fault is not None and (entry.fault != "another-picture" or not found):
            found = [(entry.fault, f"it is {FAULT_WORDS[entry.fault]}")]
        for kind, words in found:
            kinds.setdefault(kind, []).append(words)
    reported = sorted(kinds.values(), key=len, reverse=True)[:3]
    return "; ".join(words[0] for words in reported).removeprefix("it ") or "differs"


def stage_words(wrong: list[ImageCompared]) -> str:
    """In which stage these images went wrong, if their latents show it; else empty."""
    if all(entry.decode_is_wrong for entry in wrong):
        return "the latents are right, so the fault is in the decode or after it"
    wrong_latents = all(entry.latents_are_right is False for entry in wrong)
    return "the latents are already wrong" if wrong_latents else ""


def _worst_place(images: list[ImageCompared], stages: list[StageDifference]) -> TracedStage:
    """Which stage is furthest beyond what is allowed."""
    found = [*stages]
    for entry in images:
        found += [stage for stage in (entry.latents, entry.picture) if stage is not None]
    return max(found, key=lambda stage: stage.margin or 0).stage
