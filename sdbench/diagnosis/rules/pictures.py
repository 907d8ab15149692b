"""Pictures that came out wrong, the most specific reason first."""

import itertools
import re
from collections.abc import Callable, Iterable

from sdbench.analysis.pairs import Row
from sdbench.correctness.arithmetic import NO_TF32, arithmetic_of
from sdbench.correctness.equality import Equality, EqualityKind
from sdbench.correctness.places import Place, Spot, listed, place_of
from sdbench.correctness.thresholds import UNIT_ROUNDOFF
from sdbench.correctness.verdict_words import (
    shows_something,
    stage_words,
    unseen_words,
    what_words,
)
from sdbench.diagnosis.evidence import Evidence, content_of
from sdbench.diagnosis.result import Severity
from sdbench.diagnosis.rules.contrast import contrast_words, healthy_neighbours, use_words
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import ImageCompared, Picture, PictureFault

# `drift` begins at 4 times what rounding explains; healthy bfloat16 may be a little beyond that.
# Up to so many times the allowed distance it is told, and no more than told.
_SLIGHT_DRIFT = 3.0
# A difference that grows from pass to pass has grown by half over three passes at least.
_GROWN = 1.5
# TF32 has float16's 11 bits of significand.
_TF32_MARGIN = UNIT_ROUNDOFF["float16"] / UNIT_ROUNDOFF["float32"]
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
    """The same work gives another picture each time, or at some time."""
    found = evidence.equality(row, "replicates")
    if found is None or found.verdict != "different" or not _later_vary_between(evidence, row):
        found = evidence.equality(row, "first-pass")
        if found is None or found.verdict != "different":
            return None
        if first_is_odd_one_out(evidence, row, found):
            return None
    words = f"the same settings and seed give different pictures{_apart(found)}"
    place = wrong_place(evidence, row)
    if place.pattern in ("later-passes", "at-times", "first-pass"):
        words += f"; image {listed(place.images)} {place.words} is not the CPU's"
    return Symptom(
        "nondeterministic",
        _severity(found),
        row,
        words,
        f"Do not rely on single pictures of this setting. {_LOCALISE}",
        _equality_numbers(found) | _place_numbers(place),
    )


def last_digits_vary(evidence: Evidence, row: Row) -> Symptom | None:
    """The same work gives other bits each time, no further apart than rounding explains."""
    varying: dict[EqualityKind, Callable[[], bool]] = {
        "replicates": lambda: _later_vary_between(evidence, row),
        "first-pass": lambda: _later_vary_within(row),
    }
    for kind, vary in varying.items():
        found = evidence.equality(row, kind)
        if found is not None and found.verdict == "same" and vary():
            how = f"each time; {found.reason}" if found.reason else "in their last digits each time"
            return Symptom(
                "nondeterministic",
                "info",
                row,
                f"the same settings and seed give pictures that differ {how}{_apart(found)}",
                "Nothing needs doing; only do not expect the same bits twice.",
                _equality_numbers(found),
            )
    return None


def first_pass_drift(evidence: Evidence, row: Row) -> Symptom | None:
    """A process's first pass differs from its later ones, and is the one that is wrong."""
    found = evidence.equality(row, "first-pass")
    if found is None or found.verdict not in ("different", "unknown"):
        return None
    place = wrong_place(evidence, row)
    if place.pattern in ("later-passes", "at-times"):
        return None  # it is not the first one that is wrong
    primed = evidence.neighbour(row, "warmup", True)
    mended = primed is not None and _first_is_right(evidence, primed)
    words = f"the first pass of a process gives another picture than later passes{_apart(found)}"
    if found.verdict == "unknown":
        words = f"the first pass of a process {found.reason or 'differs from later ones'}"
    if place.pattern == "first-pass":
        words += f"; {_wrong_words(evidence, row)}"
    elif row.summary.correct == "unknown":
        words += "; which of them is right was not checked"
    if mended:
        words += "; after a warm-up pass it does not"
    severity: Severity = "info" if found.verdict == "unknown" else _severity(found)
    numbers = (
        _equality_numbers(found)
        | _place_numbers(place)
        | {"mended_by_warmup": mended if primed else None}
    )
    remedy = _first_pass_remedy(evidence, row, mended=mended)
    return Symptom("first-pass-drift", severity, row, words, remedy, numbers)


def _first_pass_remedy(evidence: Evidence, row: Row, *, mended: bool) -> str:
    """What fits: no warm-up where it is on and does not help, no release that is in use."""
    if mended:
        return (
            "Make one pass of a single step first and throw it away (warmup = true) – measured "
            "here to help."
        )
    if row.planned.case.warmup:
        return f"A warm-up pass of one step does not help: throw one whole pass away. {_LOCALISE}"
    if evidence.neighbour(row, "warmup", True) is not None:
        return f"A warm-up pass was measured and does not help. {_LOCALISE}"
    remedy = "Make one pass of a single step first and throw it away (warmup = true)"
    release = re.match(r"(\d+)\.", evidence.versions(row).get("torch", ""))
    if release is not None and int(release[1]) < 2:
        return f"{remedy}, or use torch 2.0 or later."
    return f"{remedy}, and measure whether it helps."


def noise_output(evidence: Evidence, row: Row) -> Symptom | None:
    """Noise where the CPU makes a picture."""
    return _of_fault(evidence, row, "noise-output", ("noise",))


def wrong_content(evidence: Evidence, row: Row) -> Symptom | None:
    """A picture that does not show what it should."""
    return (
        _of_fault(evidence, row, "wrong-content", ("flat", "saturated"))
        or _misread(evidence, row)
        or _setting_shows_another(evidence, row)
    )


def cpu_mismatch(evidence: Evidence, row: Row) -> Symptom | None:
    """Another picture than the CPU's; or one that differs from it more than rounding explains."""
    if row.summary.correct not in ("broken", "drift"):
        return None
    broken = row.summary.correct == "broken"
    seen = broken or any(entry.differences for entry in evidence.images_of(row))
    margin = row.summary.correct_margin
    severity: Severity = "error" if broken else "warning"
    if not seen and margin is not None and margin <= _SLIGHT_DRIFT:
        severity = "info"
    fine = healthy_neighbours(evidence, row, lambda other: _is_fine(evidence, other))
    words = f"slightly different from the CPU: {row.summary.correct_reason}"
    if seen:
        what = _wrong_words(evidence, row) or row.summary.correct_reason or row.summary.correct
        words = f"the pictures are not the CPU's: {what}"
    if contrast_words(fine):
        words += f"{contrast_words(fine)}they match"
    remedy = " ".join(part for part in (use_words(fine), _LOCALISE) if part)
    tf32 = margin is not None and margin <= _TF32_MARGIN and _may_use_tf32(evidence, row)
    if tf32 and not seen:
        severity = "info"
        words += "; TF32, in which this GPU may multiply float32, explains as much"
    if tf32 and not broken:
        remedy = f"To see whether it is TF32, measure with {NO_TF32}=0 in the environment."
    wrong = [entry for entry in evidence.images_of(row) if entry.verdict in ("broken", "drift")]
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
        "kinds": _kinds(wrong),
        **_place_numbers(wrong_place(evidence, row)),
    }
    return Symptom("cpu-mismatch", severity, row, words, remedy, numbers)


# --- what is wrong, and where --------------------------------------------------------------------


def is_beyond(entry: ImageCompared) -> bool:
    """Whether an image is wrong by more than a slight drift."""
    if entry.verdict == "drift":
        return bool(entry.differences) or (entry.margin or 0.0) > _SLIGHT_DRIFT
    return entry.verdict == "broken"


def wrong_place(evidence: Evidence, row: Row) -> Place:
    """Where a row's pictures are wrong in comparison with the CPU's."""
    return evidence.place(row, is_beyond)


def _wrong_words(
    evidence: Evidence, row: Row, holds: Callable[[ImageCompared], bool] = is_beyond
) -> str:
    """``image 3 in every pass is black; the latents are right, so …``; empty if nothing is."""
    wrong = [entry for entry in evidence.images_of(row) if holds(entry)]
    shown = [entry for entry in wrong if shows_something(entry)]
    place = evidence.place(
        row, (lambda entry: holds(entry) and shows_something(entry)) if shown else holds
    )
    if not wrong or not place.images:
        return ""
    words = f"image {listed(place.images)} {place.words} {_verb(what_words(shown or wrong))}"
    right = evidence.place(row, holds).right_images
    if right:
        words += f" (image {listed(right)} is right)"
    more = (
        stage_words(shown or wrong),
        "it grows from pass to pass" if _grows(shown or wrong) else "",
        _profiled_words(evidence, row, place),
        unseen_words(wrong),
    )
    return "; ".join([words, *(part for part in more if part)])


def _verb(what: str) -> str:
    return what if what.startswith(("is ", "has ", "shows ", "differs")) else f"has: {what}"


def _grows(wrong: list[ImageCompared]) -> bool:
    """Whether the distance from the CPU's picture grows with every pass, over three at least."""
    by_pass: dict[int, float] = {}
    for entry in wrong:
        distance = None if entry.picture is None else entry.picture.rel_l2
        for number in entry.passes:
            if number and distance is not None:
                by_pass[number] = max(distance, by_pass.get(number, 0.0))
    distances = [by_pass[number] for number in sorted(by_pass)]
    rising = all(later > earlier for earlier, later in itertools.pairwise(distances))
    return len(distances) >= 3 and rising and distances[-1] > _GROWN * distances[0]


def _profiled_words(evidence: Evidence, row: Row, place: Place) -> str:
    """Whether the pass that waits for the device after every step is right where others are not."""
    if place.pattern == "profile" or 1 not in place.images:
        return ""
    profiled = [e for e in evidence.images_of(row) if 0 in e.passes and e.image == 0]
    if not profiled or place.pattern != "everywhere" or any(is_beyond(e) for e in profiled):
        return ""
    if any(entry.verdict == "unknown" for entry in profiled):
        return ""
    return "the profiling pass, which waits for the device after every step, is right"


def _kinds(wrong: Iterable[ImageCompared]) -> list[str]:
    """What is wrong, by name."""
    kinds: dict[str, None] = {}
    for entry in wrong:
        kinds |= dict.fromkeys([entry.fault] if entry.fault else [])
        kinds |= dict.fromkeys(difference.kind for difference in entry.differences)
    return [*kinds]


def _place_numbers(place: Place) -> dict[str, object]:
    return {
        "pattern": place.pattern,
        "wrong_passes": place.passes,
        "wrong_images": place.images,
        "right_images": place.right_images,
    }


def _is_fine(evidence: Evidence, row: Row) -> bool:
    """Whether a row was compared with the CPU and nothing is beyond a slight drift."""
    if row.summary.correct not in ("match", "drift"):
        return False
    return not any(is_beyond(entry) for entry in evidence.images_of(row))


def first_is_odd_one_out(evidence: Evidence, row: Row, found: Equality) -> bool:
    """Of passes that differ, whether the first alone is unlike the others.

    It is not where later passes differ from each other too, or may do so, and not where the first
    matches the CPU's picture and a later one does not.
    """
    if found.later in ("different", "unknown"):
        return False
    return wrong_place(evidence, row).pattern not in ("later-passes", "at-times")


def _dtype_words(row: Row) -> str:
    """A larger type, if there is one."""
    larger = {"float16": "float32 or bfloat16", "bfloat16": "float32"}.get(row.planned.case.dtype)
    return f"Use {larger}, or another torch release." if larger else "Try another torch release."


def _may_use_tf32(evidence: Evidence, row: Row) -> bool:
    """Whether float32 products may have been rounded to TF32 on the device."""
    case = row.planned.case
    return case.dtype == "float32" and any(
        arithmetic_of(evidence.run, replicate, case) for replicate in row.replicates
    )


def _counted(
    evidence: Evidence, row: Row, code: FindingCode, holds: Callable[[Picture], bool], words: str
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
    addition = contrast_words(fine) and f"{contrast_words(fine)}none does"
    more = stage_words([e for e in evidence.images_of(row) if e.fault in ("black", "not-a-number")])
    where = f"image {listed(place.images)} {place.words}"
    use = use_words(fine) or _dtype_words(row)
    if place.pattern == "first-pass" and not use_words(fine):
        use = _first_pass_remedy(evidence, row, mended=False)
    elif place.right_images and not use_words(fine):
        use = ""  # a type too small would not spare some images in every pass
    return Symptom(
        code,
        "error",
        row,
        f"{len(wrong)} of {len(made)} pictures {words}: {where}{addition}"
        + (f"; {more}" if more else ""),
        " ".join(part for part in (use, _LOCALISE) if part),
        {
            "wrong": len(wrong),
            "pictures": len(made),
            "passes": place.passes,
            "images": place.images,
            **_place_numbers(place),
        },
    )


def _wrong_items(evidence: Evidence, row: Row) -> Symptom | None:
    """By the CPU's pictures: some of the batch are right, others are not; or a loop's are."""
    place = wrong_place(evidence, row)
    wrong = [entry for entry in evidence.images_of(row) if is_beyond(entry)]
    if not place.images or place.pattern == "first-pass":
        return None
    loop = evidence.neighbour(row, "batching", "loop")
    if loop is None or loop.summary.correct == "unknown":
        if not place.right_images or 1 in place.images:
            return None  # nothing says that it is the batch
        beside = f"image {listed(place.right_images)} is the CPU's, a loop was not checked"
    elif set(wrong_place(evidence, loop).images) & set(place.images):
        return None  # a loop makes the same mistake
    else:
        beside = "a loop makes it as the CPU does"
        if place.right_images:
            beside = f"image {listed(place.right_images)} is the CPU's, and {beside}"
    return Symptom(
        "batch-mismatch",
        _severity_of_items(row, wrong),
        row,
        f"in a batch {_wrong_words(evidence, row)}; {beside}",
        f'Make the pictures in a loop (batching = "loop"). {_LOCALISE}',
        {
            "right_images": place.right_images,
            "wrong_images": place.images,
            "faults": sorted({entry.fault for entry in wrong if entry.fault is not None}),
            "kinds": _kinds(wrong),
            "pattern": place.pattern,
            "wrong_passes": place.passes,
        },
    )


def _unlike_loop(evidence: Evidence, row: Row) -> Symptom | None:
    """By the same pictures made in a loop, where that loop can be trusted."""
    found = evidence.equality(row, "batching")
    loop = evidence.neighbour(row, "batching", "loop")
    if found is None or found.verdict != "different" or loop is None:
        return None
    if any(picture.broken for picture in evidence.distinct_pictures(loop)):
        return None
    if wrong_place(evidence, loop).images or nondeterministic(evidence, loop):
        return None
    if nondeterministic(evidence, row):
        return None
    return Symptom(
        "batch-mismatch",
        _severity(found),
        row,
        f"image {listed(_different_images(found))} of a batch is not what a loop makes "
        f"from the same seed{_apart(found)}",
        f'Make the pictures in a loop (batching = "loop"). {_LOCALISE}',
        _equality_numbers(found),
    )


def _of_fault(
    evidence: Evidence, row: Row, code: FindingCode, faults: tuple[PictureFault, ...]
) -> Symptom | None:
    def holds(entry: ImageCompared) -> bool:
        return entry.fault in faults

    wrong = [entry for entry in evidence.images_of(row) if holds(entry)]
    if not wrong:
        return None
    place = evidence.place(row, holds)
    fine = healthy_neighbours(evidence, row, lambda other: _is_fine(evidence, other))
    addition = contrast_words(fine) and f"{contrast_words(fine)}it is right"
    return Symptom(
        code,
        "error",
        row,
        f"{_wrong_words(evidence, row, holds)}{addition}",
        " ".join(part for part in (use_words(fine), _LOCALISE) if part),
        {
            "images": place.images,
            "faults": sorted({entry.fault or "" for entry in wrong}),
            **_place_numbers(place),
        },
    )


def _misread(evidence: Evidence, row: Row) -> Symptom | None:
    """Content that was read and is not what the prompt asks for."""
    if not any(content_of(picture) == "wrong" for picture in evidence.distinct_pictures(row)):
        return None
    made = [entry for entry in evidence.pictures(row) if content_of(entry[3]) is not None]
    wrong = [entry for entry in made if content_of(entry[3]) == "wrong"]
    compared: dict[str, list[ImageCompared]] = {}
    for entry in evidence.images_of(row):
        compared.setdefault(entry.pixels_sha256, []).append(entry)
    causes = [
        (_why_misread(compared.get(picture.pixels_sha256, [])), image + 1)
        for _, _, image, picture in wrong
    ]
    (severity, cause), _ = max(causes, key=lambda one: _MISREAD_SEVERITIES.index(one[0][0]))
    words = f"{len(wrong)} of {len(made)} pictures do not show what the prompt asks for"
    images = {image for why, image in causes if why == (severity, cause)}
    if cause not in ("", _LOOKS_DIFFERENT) and images != {image for _, image in causes}:
        cause = f"image {listed(sorted(images))}: {cause}"
    if cause == _LOOKS_DIFFERENT:
        cause = f"{cause}: {_wrong_words(evidence, row)}"
    return Symptom(
        "wrong-content",
        severity,
        row,
        f"{words}; {cause}" if cause else words,
        "Nothing is wrong with the device." if severity == "info" else _LOCALISE,
        {"wrong": len(wrong), "read": len(made)},
    )


_LOOKS_DIFFERENT = "the CPU's do not either, and they look different"
_MISREAD_SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


def _why_misread(compared: list[ImageCompared]) -> tuple[Severity, str]:
    """How bad a picture is that does not show what was asked for, and why it came out so."""
    if not compared or any(entry.verdict not in ("match", "drift") for entry in compared):
        models_own = compared and all(entry.reference_content == "wrong" for entry in compared)
        return "error", _LOOKS_DIFFERENT if models_own else ""
    if all(
        entry.reference_content == "wrong"
        or (entry.reference_content is None and entry.verdict == "match")
        for entry in compared
    ):
        return "info", "the CPU's pictures are the same, so it is the model"
    if all(entry.verdict == "match" for entry in compared):
        return "info", "nobody would see a difference from the CPU's pictures, which do"
    if any(entry.reference_content is None for entry in compared):
        return "warning", "whether the CPU's pictures do was not read"
    rounding = [entry.own_rounding for entry in compared]
    if all(own is not None and "content" not in own.beyond for own in rounding):
        return "info", "the CPU's own rounding in the same arithmetic changes them as much"
    if any(own is not None for own in rounding):
        return "error", "the CPU's do, with its own rounding in the same arithmetic too"
    return "warning", "the CPU's do; how much rounding alone changes them was not measured"


def _setting_shows_another(evidence: Evidence, row: Row) -> Symptom | None:
    """Slicing on and off show different things, and no reference says which is right."""
    found = evidence.equality(row, "attention_slicing")
    if row.summary.correct != "unknown" or found is None or found.verdict != "different":
        return None
    return Symptom(
        "wrong-content",
        _severity(found),
        row,
        "with attention slicing the picture is another than without"
        f"{_apart(found)}; which of the two is right was not checked",
        "Leave attention slicing off until the pictures are compared with the CPU's "
        "(--set reference.budget_s=…).",
        _equality_numbers(found),
    )


def _later_vary_between(evidence: Evidence, row: Row) -> bool:
    """Whether processes differ in passes after the first, or made no such pass."""
    made: dict[tuple[int, int], set[tuple[str, str]]] = {}
    for _, number, image, picture in evidence.pictures(row):
        made.setdefault((number, image), set()).add(_digests(picture))
    later = [digests for (number, _), digests in made.items() if number > 1]
    return not later or any(len(digests) > 1 for digests in later)


def _later_vary_within(row: Row) -> bool:
    """Whether the later passes of one process differ from each other."""
    for replicate in row.replicates:
        later = [entry for entry in replicate.of_kind("measured") if entry.index > 1]
        made = {tuple(_digests(picture) for picture in entry.images) for entry in later}
        if len(made) > 1:
            return True
    return False


def _digests(picture: Picture) -> tuple[str, str]:
    """What names it: the latents alone do not tell of a fault in the decode."""
    return picture.latents_sha256, picture.pixels_sha256


def _first_is_right(evidence: Evidence, row: Row) -> bool:
    found = evidence.equality(row, "first-pass")
    return found is not None and found.verdict in ("identical", "same")


def _severity_of_items(row: Row, wrong: list[ImageCompared]) -> Severity:
    """Half precision alone lets some images of a batch drift, as long as nobody sees it."""
    if any(entry.verdict == "broken" for entry in wrong):
        return "error"
    seen = any(entry.differences for entry in wrong)
    return "warning" if seen or row.planned.case.dtype == "float32" else "info"


def _severity(found: Equality) -> Severity:
    """What anybody sees is an error, anything else a warning."""
    return "error" if found.is_plain else "warning"


def _apart(found: Equality) -> str:
    """How far two pictures are apart, where, and what is to be seen of it."""
    if found.rel_l2 is None and found.pixels_rel_l2 is None:
        return f" ({found.reason})" if found.reason else ""
    parts = []
    if found.decode_only:
        parts.append("the latents are identical, so it is the decode or what comes after it")
    elif found.rel_l2 is not None:
        parts.append(f"latents {found.rel_l2:.2g} apart{_allowed_words(found.allowed_rel_l2)}")
    if found.pixels_rel_l2:
        allowed = _allowed_words(found.allowed_pixels_rel_l2)
        parts.append(f"pixels {found.pixels_rel_l2:.2g} apart{allowed}")
    if found.differences:
        parts.append(f"beside the other {found.differences[0].words}")
    elif found.same_picture is not None:
        parts.append("it shows something else" if not found.same_picture else "no one would see it")
    return f" ({'; '.join(parts)})"


def _different_images(found: Equality) -> list[int]:
    """By number from 1; those that differ in any bit where nothing more is known."""
    return [image + 1 for image in found.different_images or found.images]


def _allowed_words(allowed: float | None) -> str:
    return f", rounding allows {allowed:.2g}" if allowed else ""


def _equality_numbers(found: Equality) -> dict[str, object]:
    return {
        "compared_with": found.case_ids[-1],
        "pictures": found.pictures,
        "images": _different_images(found),
        "rel_l2": found.rel_l2,
        "allowed_rel_l2": found.allowed_rel_l2,
        "pixels_rel_l2": found.pixels_rel_l2,
        "allowed_pixels_rel_l2": found.allowed_pixels_rel_l2,
        "same_picture": found.same_picture,
        "kinds": [entry.kind for entry in found.differences],
        "decode_only": found.decode_only,
    }
