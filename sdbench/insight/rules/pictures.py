"""Pictures that came out wrong, the most specific reason first."""

import re
from collections.abc import Callable, Iterable

from sdbench.comparison.sides import Row
from sdbench.insight.evidence import Evidence, content_of
from sdbench.insight.known_issues import FindingCode
from sdbench.insight.records import Severity
from sdbench.insight.rules.contrast import contrast_words, healthy_neighbours, use_words
from sdbench.insight.rules.symptom import Symptom
from sdbench.quality.equality import Equality, EqualityKind
from sdbench.quality.thresholds import UNIT_ROUNDOFF
from sdbench.schema import ImageCompared, Picture, PictureFault

# `drift` begins at 4 times what rounding explains; healthy bfloat16 may be a little beyond that.
# Up to so many times the allowed distance it is told, and no more than told.
_SLIGHT_DRIFT = 3.0
# NVIDIA GPUs from compute capability 8.0 on multiply float32 in TF32 where torch lets them: by
# default in convolutions. TF32 has float16's 11 bits of significand.
_TF32_SINCE = (8, 0)
_TF32_MARGIN = UNIT_ROUNDOFF["float16"] / UNIT_ROUNDOFF["float32"]
_NO_TF32 = "NVIDIA_TF32_OVERRIDE"
_LOCALISE = "Find the operator: sdbench localise; make a bug report: sdbench repro RUN CASE."


def nan_output(evidence: Evidence, row: Row) -> Symptom | None:
    """Numbers that are none."""
    return _counted(
        evidence,
        row,
        "nan-output",
        lambda picture: picture.broken == "not-a-number" or picture.latents_nonfinite_count > 0,
        "hold NaN or infinity",
    )


def black_output(evidence: Evidence, row: Row) -> Symptom | None:
    """All black."""
    return _counted(evidence, row, "black-output", lambda picture: picture.black, "are black")


def batch_mismatch(evidence: Evidence, row: Row) -> Symptom | None:
    """Pictures of a batch are wrong, or not those a loop makes."""
    if not evidence.makes_several_at_once(row):
        return None
    return _wrong_items(evidence, row) or _unlike_loop(evidence, row)


def nondeterministic(evidence: Evidence, row: Row) -> Symptom | None:
    """The same work gives another picture each time."""
    found = evidence.equality(row, "replicates")
    if found is None or found.verdict != "different" or not _later_vary_between(evidence, row):
        found = evidence.equality(row, "first-pass")
        if found is None or found.verdict != "different" or not _later_vary_within(row):
            return None
    return Symptom(
        "nondeterministic",
        _severity(found),
        row,
        f"the same settings and seed give different pictures each time{_apart(found)}",
        f"Compare single pictures with care. {_LOCALISE}",
        _equality_numbers(found),
    )


def last_digits_vary(evidence: Evidence, row: Row) -> Symptom | None:
    """The same work gives other bits each time, no further apart than rounding explains."""
    varying: dict[EqualityKind, bool] = {
        "replicates": _later_vary_between(evidence, row),
        "first-pass": _later_vary_within(row),
    }
    for kind, vary in varying.items():
        found = evidence.equality(row, kind)
        if found is not None and found.verdict == "same" and vary:
            return Symptom(
                "nondeterministic",
                "info",
                row,
                f"the same settings and seed give pictures that differ in their last digits each "
                f"time{_apart(found)}",
                "Nothing needs doing; only do not expect the same bits twice.",
                _equality_numbers(found),
            )
    return None


def first_pass_drift(evidence: Evidence, row: Row) -> Symptom | None:
    """A process's first pass differs from its later ones."""
    found = evidence.equality(row, "first-pass")
    if found is None or found.verdict not in ("different", "unknown"):
        return None
    primed = evidence.neighbour(row, "warmup", True)
    mended = primed is not None and _first_is_right(evidence, primed)
    words = f"the first pass of a process gives another picture than later passes{_apart(found)}"
    if found.verdict == "unknown":
        words = f"the first pass of a process {found.reason or 'differs from later ones'}"
    if mended:
        words += "; after a warm-up pass it does not"
    remedy = "Make one pass of a single step first and throw it away (warmup = true)"
    remedy += " – measured here to help." if mended else ", or use torch 2.0 or later."
    severity: Severity = "info" if found.verdict == "unknown" else _severity(found)
    numbers = _equality_numbers(found) | {"mended_by_warmup": mended if primed else None}
    return Symptom("first-pass-drift", severity, row, words, remedy, numbers)


def noise_output(evidence: Evidence, row: Row) -> Symptom | None:
    """Noise where the CPU makes a picture."""
    return _of_fault(evidence, row, "noise-output", {"noise": "noise"})


def wrong_content(evidence: Evidence, row: Row) -> Symptom | None:
    """A picture that does not show what it should."""
    words: dict[PictureFault, str] = {
        "flat": "flat, of one colour",
        "saturated": "saturated, all light or dark",
    }
    return (
        _of_fault(evidence, row, "wrong-content", words)
        or _misread(evidence, row)
        or _sliced_shows_another(evidence, row)
    )


def cpu_mismatch(evidence: Evidence, row: Row) -> Symptom | None:
    """Another picture than the CPU's, in every pass; or slightly another."""
    wrong = wrong_everywhere(evidence, row)
    if row.summary.correct not in ("broken", "drift"):
        return None
    broken = any(entry.verdict == "broken" for entry in wrong) or (
        row.summary.correct == "broken" and not wrong
    )
    margin = row.summary.correct_margin
    severity: Severity = "error" if broken else "warning"
    if not broken and margin is not None and margin <= _SLIGHT_DRIFT:
        severity = "info"
    fine = healthy_neighbours(evidence, row, lambda other: other.summary.correct == "match")
    words = f"the pictures are not the CPU's: {row.summary.correct_reason or row.summary.correct}"
    if not broken:
        words = f"slightly different from the CPU: {row.summary.correct_reason}"
    if contrast_words(fine):
        words += f"{contrast_words(fine)}they match"
    remedy = " ".join(part for part in (use_words(fine), _LOCALISE) if part)
    if (
        not broken
        and margin is not None
        and margin <= _TF32_MARGIN
        and _may_use_tf32(evidence, row)
    ):
        severity = "info"
        words += "; TF32, in which this GPU may multiply float32, explains as much"
        remedy = f"To see whether it is TF32, measure with {_NO_TF32}=0 in the environment."
    numbers = {
        "verdict": row.summary.correct,
        "margin": margin,
        "images": sorted({entry.image + 1 for entry in wrong}),
        "correlation": min(
            (entry.correlation for entry in wrong if entry.correlation is not None), default=None
        ),
        "psnr_db": min(
            (entry.psnr_db for entry in wrong if entry.psnr_db is not None), default=None
        ),
    }
    return Symptom("cpu-mismatch", severity, row, words, remedy, numbers)


def _may_use_tf32(evidence: Evidence, row: Row) -> bool:
    """Whether float32 products may have been rounded to TF32 on the device."""
    if evidence.run.device != "cuda" or row.planned.case.dtype != "float32":
        return False
    known = str(evidence.fact(row, "capability") or "")
    digits = re.fullmatch(r"(\d+)\.(\d+)", known)
    if digits is None or (int(digits[1]), int(digits[2])) < _TF32_SINCE:
        return False
    return evidence.run.variables(row.arm).get(_NO_TF32) != "0"


def _counted(
    evidence: Evidence, row: Row, code: FindingCode, holds: Callable[[Picture], bool], words: str
) -> Symptom | None:
    made = [*evidence.pictures(row)]
    wrong = [entry for entry in made if holds(entry[3])]
    if not wrong:
        return None
    fine = healthy_neighbours(
        evidence, row, lambda other: not any(holds(p) for *_, p in evidence.pictures(other))
    )
    passes = sorted({number for _, number, _, _ in wrong})
    images = sorted({image + 1 for _, _, image, _ in wrong})
    where = f"pass {_listed(passes)}, image {_listed(images)}"
    addition = contrast_words(fine) and f"{contrast_words(fine)}none does"
    use = use_words(fine) or "Use a larger dtype (float32 or bfloat16), or another torch release."
    return Symptom(
        code,
        "error",
        row,
        f"{len(wrong)} of {len(made)} pictures {words} ({where}){addition}",
        f"{use} {_LOCALISE}",
        {"wrong": len(wrong), "pictures": len(made), "passes": passes, "images": images},
    )


def _wrong_items(evidence: Evidence, row: Row) -> Symptom | None:
    """By the CPU's pictures: the first of the batch is right, others are not."""
    wrong = {entry.image for entry in wrong_everywhere(evidence, row)}
    right = {
        entry.image
        for entry in evidence.images_of(row)
        if entry.verdict == "match" and entry.image not in wrong
    }
    if not wrong or not right or 0 in wrong:
        return None
    faults = {
        entry.fault
        for entry in evidence.images_of(row)
        if entry.image in wrong and entry.fault is not None
    }
    broken = bool(faults)
    return Symptom(
        "batch-mismatch",
        "error" if broken else "warning",
        row,
        f"of a batch image {_listed(image + 1 for image in sorted(right))} is the CPU's, image "
        f"{_listed(image + 1 for image in sorted(wrong))} is not",
        f'Make the pictures in a loop (batching = "loop"). {_LOCALISE}',
        {
            "right_images": sorted(image + 1 for image in right),
            "wrong_images": sorted(image + 1 for image in wrong),
            "faults": sorted(faults),
        },
    )


def _unlike_loop(evidence: Evidence, row: Row) -> Symptom | None:
    """By the same pictures made in a loop, where that loop can be trusted."""
    found = evidence.equality(row, "batching")
    loop = evidence.neighbour(row, "batching", "loop")
    if found is None or found.verdict != "different" or loop is None:
        return None
    if any(picture.broken for *_, picture in evidence.pictures(loop)):
        return None
    if wrong_everywhere(evidence, loop) or nondeterministic(evidence, loop):
        return None
    return Symptom(
        "batch-mismatch",
        _severity(found),
        row,
        f"image {_listed(image + 1 for image in found.images)} of a batch is not what a loop makes "
        f"from the same seed{_apart(found)}",
        f'Make the pictures in a loop (batching = "loop"). {_LOCALISE}',
        _equality_numbers(found),
    )


def _of_fault(
    evidence: Evidence, row: Row, code: FindingCode, faults: dict[PictureFault, str]
) -> Symptom | None:
    wrong = [entry for entry in evidence.images_of(row) if entry.fault in faults]
    if not wrong:
        return None
    images = sorted({entry.image + 1 for entry in wrong})
    kinds = sorted({words for fault, words in faults.items() if fault in {w.fault for w in wrong}})
    fine = healthy_neighbours(evidence, row, lambda other: other.summary.correct == "match")
    addition = contrast_words(fine) and f"{contrast_words(fine)}it is right"
    return Symptom(
        code,
        "error",
        row,
        f"image {_listed(images)} is {' or '.join(kinds)}{addition}",
        " ".join(part for part in (use_words(fine), _LOCALISE) if part),
        {"images": images, "faults": sorted({entry.fault or "" for entry in wrong})},
    )


def _misread(evidence: Evidence, row: Row) -> Symptom | None:
    """Content that was read and is not what the prompt asks for."""
    made = [entry for entry in evidence.pictures(row) if content_of(entry[3]) is not None]
    wrong = [entry for entry in made if content_of(entry[3]) == "wrong"]
    if not wrong:
        return None
    alike = {e.pixels_sha256 for e in evidence.images_of(row) if e.verdict in ("match", "drift")}
    models_own = all(picture.pixels_sha256 in alike for *_, picture in wrong)
    words = f"{len(wrong)} of {len(made)} pictures do not show what the prompt asks for"
    return Symptom(
        "wrong-content",
        "info" if models_own else "error",
        row,
        f"{words}; the CPU's pictures are the same, so it is the model" if models_own else words,
        "Nothing is wrong with the device." if models_own else _LOCALISE,
        {"wrong": len(wrong), "read": len(made)},
    )


def _sliced_shows_another(evidence: Evidence, row: Row) -> Symptom | None:
    """Slicing on and off show different things, and no reference says which is right."""
    found = evidence.equality(row, "attention_slicing")
    if row.summary.correct != "unknown" or found is None or found.same_picture is not False:
        return None
    if found.verdict != "different":
        return None
    return Symptom(
        "wrong-content",
        "error",
        row,
        "with attention slicing the picture shows something else than without; which of the two "
        "is right was not checked",
        "Leave attention slicing off until the pictures are compared with the CPU's "
        "(--set reference.budget_s=…).",
        _equality_numbers(found),
    )


def wrong_everywhere(evidence: Evidence, row: Row) -> list[ImageCompared]:
    """Images that no measured pass of any process made as the CPU does, each worst first."""
    by_image: dict[int, list[ImageCompared]] = {}
    for entry in evidence.images_of(row):
        if any(entry.passes):  # pass 0 alone is the profiling pass
            by_image.setdefault(entry.image, []).append(entry)
    return [
        min(entries, key=lambda entry: entry.verdict != "broken")
        for entries in by_image.values()
        if all(entry.verdict in ("drift", "broken") for entry in entries)
    ]


def _later_vary_between(evidence: Evidence, row: Row) -> bool:
    """Whether processes differ in passes after the first, or made no such pass."""
    made: dict[tuple[int, int], set[str]] = {}
    for _, number, image, picture in evidence.pictures(row):
        made.setdefault((number, image), set()).add(picture.latents_sha256)
    later = [digests for (number, _), digests in made.items() if number > 1]
    return not later or any(len(digests) > 1 for digests in later)


def _later_vary_within(row: Row) -> bool:
    """Whether the later passes of one process differ from each other."""
    for replicate in row.replicates:
        later = [entry for entry in replicate.of_kind("measured") if entry.index > 1]
        made = {tuple(picture.latents_sha256 for picture in entry.images) for entry in later}
        if len(made) > 1:
            return True
    return False


def _first_is_right(evidence: Evidence, row: Row) -> bool:
    found = evidence.equality(row, "first-pass")
    return found is not None and found.verdict in ("identical", "same")


def _severity(found: Equality) -> Severity:
    """Slightly another picture is a warning, quite another an error."""
    return "error" if found.same_picture is False else "warning"


def _apart(found: Equality) -> str:
    if found.rel_l2 is None:
        return f" ({found.reason})" if found.reason else ""
    words = f" (latents {found.rel_l2:.2g} apart"
    if found.allowed_rel_l2:
        words += f", rounding allows {found.allowed_rel_l2:.2g}"
    shows = {True: "; it still shows the same", False: "; it shows something else", None: ""}
    return f"{words}{shows[found.same_picture]})"


def _equality_numbers(found: Equality) -> dict[str, object]:
    return {
        "compared_with": found.case_ids[-1],
        "pictures": found.pictures,
        "images": [image + 1 for image in found.images],
        "rel_l2": found.rel_l2,
        "allowed_rel_l2": found.allowed_rel_l2,
        "same_picture": found.same_picture,
    }


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
