"""Shared by the rules about images: where a difference begins, its size and its wording."""

import itertools
import re
from collections.abc import Callable, Iterable

from sdbench.analysis.case_result import CaseResult
from sdbench.correctness.arithmetic import arithmetic_of
from sdbench.correctness.equality import Equality
from sdbench.correctness.verdict_words import shows_something, stage_words, unseen_words, what_words
from sdbench.correctness.wrong_places import Place, Spot, listed, place_of
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.next_commands import look_closer
from sdbench.diagnosis.result import Severity
from sdbench.diagnosis.rules.deciding_setting import contrast_words, healthy_neighbours, use_words
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import ImageCompared, Picture

# `drift` begins at 4 times what rounding explains; healthy bfloat16 may be a little beyond that.
# Up to so many times the allowed distance, a difference is information and not a warning.
SLIGHT_DRIFT = 3.0
# A difference that grows from pass to pass has grown by half over three passes at least.
GROWN = 1.5


def first_pass_remedy(evidence: Evidence, row: CaseResult, *, fixed: bool) -> str:
    """The remedies that apply: no warm-up if it is on and does not help, no release that is already
    in use."""
    if fixed:
        return "Make a warm-up pass of one step first (warmup = true); in this run it helps."
    if row.summary.case.warmup:
        words = "A warm-up pass of one step does not help: throw one whole pass away."
        return f"{words} {look_closer(evidence, row)}"
    if evidence.neighbour(row, "warmup", True) is not None:
        return f"A warm-up pass was measured and does not help. {look_closer(evidence, row)}"
    remedy = "Make one pass of a single step first and throw it away (warmup = true)"
    release = re.match(r"(\d+)\.", evidence.versions(row).get("torch", ""))
    if release is not None and int(release[1]) < 2:
        return f"{remedy}, or use torch 2.0 or later."
    return f"{remedy}, and measure whether it helps."


def is_beyond(entry: ImageCompared) -> bool:
    """Whether an image is wrong by more than a slight drift."""
    if entry.verdict == "drift":
        return bool(entry.differences) or (entry.margin or 0.0) > SLIGHT_DRIFT
    return entry.verdict == "broken"


def wrong_place(evidence: Evidence, row: CaseResult) -> Place:
    """Where a case's images are wrong compared with the CPU's."""
    return evidence.place(row, is_beyond)


def wrong_words(
    evidence: Evidence, row: CaseResult, holds: Callable[[ImageCompared], bool] = is_beyond
) -> str:
    """``image 3 in every pass is black; the latents are right, so …``; empty if nothing is."""
    wrong = [entry for entry in evidence.images_of(row) if holds(entry)]
    shown = [entry for entry in wrong if shows_something(entry)]
    place = evidence.place(
        row, (lambda entry: holds(entry) and shows_something(entry)) if shown else holds
    )
    if not wrong or not place.images:
        return ""
    words = f"image {listed(place.images)} {place.words} {verb_of(what_words(shown or wrong))}"
    right = evidence.place(row, holds).right_images
    if right:
        words += f" (image {listed(right)} is right)"
    more = (
        stage_words(shown or wrong),
        "the difference grows from pass to pass" if grows(shown or wrong) else "",
        _profiled_words(evidence, row, place),
        unseen_words(wrong),
    )
    return "; ".join([words, *(part for part in more if part)])


def verb_of(what: str) -> str:
    return what if what.startswith(("is ", "has ", "shows ", "differs")) else f"has: {what}"


def grows(wrong: list[ImageCompared]) -> bool:
    """Whether the distance from the CPU's image grows with every pass, over three at least."""
    by_pass: dict[int, float] = {}
    for entry in wrong:
        distance = None if entry.picture is None else entry.picture.rel_l2
        for number in entry.passes:
            if number and distance is not None:
                by_pass[number] = max(distance, by_pass.get(number, 0.0))
    distances = [by_pass[number] for number in sorted(by_pass)]
    rising = all(later > earlier for earlier, later in itertools.pairwise(distances))
    return len(distances) >= 3 and rising and distances[-1] > GROWN * distances[0]


def _profiled_words(evidence: Evidence, row: CaseResult, place: Place) -> str:
    """Whether the pass that waits for the device after every step is right where others are not."""
    if place.pattern == "profile" or 1 not in place.images:
        return ""
    profiled = [e for e in evidence.images_of(row) if 0 in e.passes and e.image == 0]
    if not profiled or place.pattern != "everywhere" or any(is_beyond(e) for e in profiled):
        return ""
    if any(entry.verdict == "unknown" for entry in profiled):
        return ""
    return "the profiling pass, which waits for the device after every step, is right"


def kinds_of(wrong: Iterable[ImageCompared]) -> list[str]:
    """The name of the fault."""
    kinds: dict[str, None] = {}
    for entry in wrong:
        kinds |= dict.fromkeys([entry.fault] if entry.fault else [])
        kinds |= dict.fromkeys(difference.kind for difference in entry.differences)
    return [*kinds]


def place_numbers(place: Place) -> dict[str, object]:
    return {
        "pattern": place.pattern,
        "wrong_passes": place.passes,
        "wrong_images": place.images,
        "right_images": place.right_images,
    }


def dtype_words(row: CaseResult) -> str:
    """Advice to use a type with a larger range, if there is one."""
    larger = {"float16": "float32 or bfloat16", "bfloat16": "float32"}.get(row.summary.case.dtype)
    return f"Use {larger}, or another torch release." if larger else "Try another torch release."


def may_use_tf32(evidence: Evidence, row: CaseResult) -> bool:
    """Whether float32 products may have been rounded to TF32 on the device."""
    case = row.summary.case
    return case.dtype == "float32" and any(
        arithmetic_of(evidence.run, replicate, case) for replicate in row.replicates
    )


def counted_symptom(
    evidence: Evidence,
    row: CaseResult,
    code: FindingCode,
    holds: Callable[[Picture], bool],
    words: str,
) -> Symptom | None:
    if not any(map(holds, evidence.distinct_pictures(row))):
        return None
    made = [*evidence.pictures(row)]
    wrong = [entry for entry in made if holds(entry[3])]
    fine = healthy_neighbours(
        evidence, row, lambda other: not any(map(holds, evidence.distinct_pictures(other)))
    )
    processes = {replicate.replicate_id: i for i, replicate in enumerate(row.replicates)}
    place = place_of(
        {
            Spot(processes[replicate.replicate_id], number, image): holds(picture)
            for replicate, number, image, picture in made
        }
    )
    more = stage_words([e for e in evidence.images_of(row) if e.fault in ("black", "not-a-number")])
    where = f"image {listed(place.images)} {place.words}{contrast_words(fine, 'none does')}"
    use = use_words(fine)
    if use is None and place.pattern == "first-pass":
        use = first_pass_remedy(evidence, row, fixed=False)
    elif use is None and not place.right_images:
        use = dtype_words(row)  # too small a type would not spare some images in every pass
    return Symptom(
        code,
        "error",
        row,
        f"{len(wrong)} of {len(made)} pictures {words}: {where}" + (f"; {more}" if more else ""),
        " ".join(part for part in (use, look_closer(evidence, row)) if part),
        {
            "wrong": len(wrong),
            "pictures": len(made),
            "passes": place.passes,
            "images": place.images,
            **place_numbers(place),
        },
    )


def severity_of(found: Equality) -> Severity:
    """The severity: a visible difference is an error, any other a warning."""
    return "error" if found.is_plain else "warning"


def apart_words(found: Equality) -> str:
    """How large the difference of two images is, where it begins, and whether it is visible."""
    if found.rel_l2 is None and found.pixels_rel_l2 is None:
        return f" ({found.reason})" if found.reason else ""
    parts = []
    if found.decode_only:
        parts.append("the latents are identical, so the cause is the decode or a later step")
    elif found.rel_l2 is not None:
        parts.append(f"latents differ by {found.rel_l2:.2g}{allowed_words(found.allowed_rel_l2)}")
    if found.pixels_rel_l2:
        allowed = allowed_words(found.allowed_pixels_rel_l2)
        parts.append(f"pixels differ by {found.pixels_rel_l2:.2g}{allowed}")
    if found.differences:
        parts.append(f"compared with the other {found.differences[0].words}")
    elif found.same_picture is not None:
        parts.append(
            "it shows something else" if not found.same_picture else "the difference is not visible"
        )
    return f" ({'; '.join(parts)})"


def different_images(found: Equality) -> list[int]:
    """Image numbers from 1; those that differ in any bit if nothing more is known."""
    return [image + 1 for image in found.different_images or found.images]


def allowed_words(allowed: float | None) -> str:
    return f", rounding allows {allowed:.2g}" if allowed else ""


def equality_numbers(found: Equality) -> dict[str, object]:
    return {
        "compared_with": found.case_ids[-1],
        "pictures": found.pictures,
        "images": different_images(found),
        "rel_l2": found.rel_l2,
        "allowed_rel_l2": found.allowed_rel_l2,
        "pixels_rel_l2": found.pixels_rel_l2,
        "allowed_pixels_rel_l2": found.allowed_pixels_rel_l2,
        "same_picture": found.same_picture,
        "kinds": [entry.kind for entry in found.differences],
        "decode_only": found.decode_only,
    }
