"""Rules about images that should be equal: between passes, between processes, and between batch and
loop."""

from collections.abc import Callable
from typing import NamedTuple

from sdbench.analysis.case_result import CaseResult
from sdbench.correctness.equality import Equality, EqualityKind
from sdbench.correctness.wrong_places import listed
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.next_commands import look_closer
from sdbench.diagnosis.result import Severity
from sdbench.diagnosis.rules.picture_symptoms import (
    apart_words,
    different_images,
    equality_numbers,
    first_pass_remedy,
    is_beyond,
    kinds_of,
    place_numbers,
    severity_of,
    wrong_place,
    wrong_words,
)
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import ImageCompared, Picture


class _Together(NamedTuple):
    """A way to make several images at the same time, in words."""

    code: FindingCode
    where: str
    of: str


_BATCH = _Together("batch-mismatch", "in a batch", "of a batch")
_SPLIT = _Together(
    "split-mismatch", "spread over several processes", "of a pass that several processes make"
)


def batch_mismatch(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Images of a batch are wrong, or differ from those that a loop makes."""
    if not evidence.makes_several_at_once(row):
        return None
    return _wrong_items(evidence, row, _BATCH) or _unlike_loop(evidence, row, _BATCH)


def split_mismatch(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Images of a pass that several processes make are wrong, or differ from those that a loop
    makes."""
    if row.summary.case.batching != "split":
        return None
    return _wrong_items(evidence, row, _SPLIT) or _unlike_loop(evidence, row, _SPLIT)


def nondeterministic(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """The same work gives a different image every time, or sometimes."""
    found = evidence.equality(row, "replicates")
    if found is None or found.verdict != "different" or not _later_vary_between(evidence, row):
        found = evidence.equality(row, "first-pass")
        if found is None or found.verdict != "different":
            return None
        if first_is_odd_one_out(evidence, row, found):
            return None
    words = f"the same settings and seed give different images{apart_words(found)}"
    place = wrong_place(evidence, row)
    if place.pattern in ("later-passes", "at-times", "first-pass"):
        words += f"; image {listed(place.images)} {place.words} differs from the CPU's"
    return Symptom(
        "nondeterministic",
        severity_of(found),
        row,
        words,
        f"Do not rely on individual images made with these settings. {look_closer(evidence, row)}",
        equality_numbers(found) | place_numbers(place),
    )


def last_digits_vary(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """The same work gives different bits every time, within what rounding explains."""
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
                f"the same settings and seed give images that differ {how}{apart_words(found)}",
                "No action is needed. Do not expect identical bits in repeated runs.",
                equality_numbers(found),
            )
    return None


def first_pass_drift(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """A process's first pass differs from its later ones, and the first is the wrong one."""
    found = evidence.equality(row, "first-pass")
    if found is None or found.verdict not in ("different", "unknown"):
        return None
    place = wrong_place(evidence, row)
    if place.pattern in ("later-passes", "at-times"):
        return None  # it is not the first one that is wrong
    primed = evidence.neighbour(row, "warmup", True)
    fixed = primed is not None and _first_is_right(evidence, primed)
    words = (
        "the first pass of a process gives an image different from later "
        f"passes{apart_words(found)}"
    )
    if found.verdict == "unknown":
        words = f"the first pass of a process {found.reason or 'differs from later ones'}"
    if place.pattern == "first-pass":
        words += f"; {wrong_words(evidence, row)}"
    elif row.summary.correct == "unknown":
        words += "; which of them is right was not checked"
    if fixed:
        words += "; after a warm-up pass it does not differ differ"
    severity: Severity = "info" if found.verdict == "unknown" else severity_of(found)
    numbers = (
        equality_numbers(found)
        | place_numbers(place)
        | {"mended_by_warmup": fixed if primed else None}
    )
    remedy = first_pass_remedy(evidence, row, fixed=fixed)
    return Symptom("first-pass-drift", severity, row, words, remedy, numbers)


def first_is_odd_one_out(evidence: Evidence, row: CaseResult, found: Equality) -> bool:
    """Whether, of passes that differ, only the first differs from the others.

    False if later passes also differ from each other, or may do so, and if the first matches the
    CPU's image and a later one does not.
    """
    if found.later in ("different", "unknown"):
        return False
    return wrong_place(evidence, row).pattern not in ("later-passes", "at-times")


def _wrong_items(evidence: Evidence, row: CaseResult, way: _Together) -> Symptom | None:
    """Judged by the CPU's images: some images of the pass are right and others are not, or those
    of a loop are right."""
    place = wrong_place(evidence, row)
    wrong = [entry for entry in evidence.images_of(row) if is_beyond(entry)]
    if not place.images or place.pattern == "first-pass":
        return None
    loop = evidence.neighbour(row, "batching", "loop")
    if loop is None or loop.summary.correct == "unknown":
        if not place.right_images or 1 in place.images:
            return None  # nothing says that it comes from making them together
        beside = f"image {listed(place.right_images)} matches the CPU's, a loop was not checked"
    elif set(wrong_place(evidence, loop).images) & set(place.images):
        return None  # a loop makes the same mistake
    else:
        beside = "a loop gives the same image as the CPU"
        if place.right_images:
            beside = f"image {listed(place.right_images)} matches the CPU's, and {beside}"
    return Symptom(
        way.code,
        _severity_of_items(row, wrong),
        row,
        f"{way.where} {wrong_words(evidence, row)}; {beside}",
        f'Make the images in a loop (batching = "loop"). {look_closer(evidence, row)}',
        {
            "right_images": place.right_images,
            "wrong_images": place.images,
            "faults": sorted({entry.fault for entry in wrong if entry.fault is not None}),
            "kinds": kinds_of(wrong),
            "pattern": place.pattern,
            "wrong_passes": place.passes,
        },
    )


def _unlike_loop(evidence: Evidence, row: CaseResult, way: _Together) -> Symptom | None:
    """Judged by the same images made in a loop, if that loop can be trusted."""
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
        way.code,
        severity_of(found),
        row,
        f"image {listed(different_images(found))} {way.of} differs from the one that a loop "
        f"makes from the same seed{apart_words(found)}",
        f'Make the images in a loop (batching = "loop"). {look_closer(evidence, row)}',
        equality_numbers(found),
    )


def _later_vary_between(evidence: Evidence, row: CaseResult) -> bool:
    """Whether processes differ in passes after the first, or made no such pass."""
    made: dict[tuple[int, int], set[tuple[str, str]]] = {}
    for _, number, image, picture in evidence.pictures(row):
        made.setdefault((number, image), set()).add(_digests(picture))
    later = [digests for (number, _), digests in made.items() if number > 1]
    return not later or any(len(digests) > 1 for digests in later)


def _later_vary_within(row: CaseResult) -> bool:
    """Whether the later passes of one process differ from each other."""
    return any(
        len({tuple(map(_digests, made.images)) for made in replicate.steady_passes}) > 1
        for replicate in row.replicates
    )


def _digests(picture: Picture) -> tuple[str, str]:
    """The fault is named after what differs: the latents alone do not show a fault in
    the decode."""
    return picture.latents_sha256, picture.pixels_sha256


def _first_is_right(evidence: Evidence, row: CaseResult) -> bool:
    found = evidence.equality(row, "first-pass")
    return found is not None and found.verdict in ("identical", "same")


def _severity_of_items(row: CaseResult, wrong: list[ImageCompared]) -> Severity:
    """Half precision alone lets some images of a batch drift, while the difference is
    not visible."""
    if any(entry.verdict == "broken" for entry in wrong):
        return "error"
    seen = any(entry.differences for entry in wrong)
    return "warning" if seen or row.summary.case.dtype == "float32" else "info"
