"""Rules about wrong images, the most specific reason first."""

from sdbench.analysis.case_result import CaseResult
from sdbench.correctness.arithmetic import NO_TF32
from sdbench.correctness.thresholds import UNIT_ROUNDOFF
from sdbench.correctness.wrong_places import listed
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.next_commands import look_closer
from sdbench.diagnosis.result import Severity
from sdbench.diagnosis.rules.deciding_setting import contrast_words, healthy_neighbours, use_words
from sdbench.diagnosis.rules.picture_symptoms import (
    SLIGHT_DRIFT,
    apart_words,
    counted_symptom,
    equality_numbers,
    is_beyond,
    kinds_of,
    may_use_tf32,
    place_numbers,
    severity_of,
    wrong_place,
    wrong_words,
)
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import ImageCompared, PictureFault

# TF32 has float16's 11 bits of significand.
_TF32_MARGIN = UNIT_ROUNDOFF["float16"] / UNIT_ROUNDOFF["float32"]


def nan_output(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """NaN or infinite values."""
    return counted_symptom(
        evidence,
        row,
        "nan-output",
        lambda picture: picture.broken == "not-a-number" or picture.latents_nonfinite_count > 0,
        "hold NaN or infinity",
    )


def black_output(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Black images."""
    return counted_symptom(
        evidence, row, "black-output", lambda picture: picture.black, "are black"
    )


def noise_output(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Noise although the CPU makes an image."""
    return _of_fault(evidence, row, "noise-output", ("noise",))


def wrong_content(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """An image that does not show what the prompt asks for."""
    return (
        _of_fault(evidence, row, "wrong-content", ("flat", "saturated"))
        or _misread(evidence, row)
        or _setting_shows_another(evidence, row)
    )


def cpu_mismatch(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """An image different from the CPU's, or one that differs by more than rounding explains."""
    if row.summary.correct not in ("broken", "drift"):
        return None
    broken = row.summary.correct == "broken"
    seen = broken or any(entry.differences for entry in evidence.images_of(row))
    margin = row.summary.correct_margin
    severity: Severity = "error" if broken else "warning"
    if not seen and margin is not None and margin <= SLIGHT_DRIFT:
        severity = "info"
    fine = healthy_neighbours(evidence, row, lambda other: _is_fine(evidence, other))
    words = f"slightly different from the CPU: {row.summary.correct_reason}"
    if seen:
        what = wrong_words(evidence, row) or row.summary.correct_reason or row.summary.correct
        words = f"the images are not the CPU's: {what}"
    words += contrast_words(fine, "they match")
    remedy = " ".join(part for part in (use_words(fine), look_closer(evidence, row)) if part)
    tf32 = margin is not None and margin <= _TF32_MARGIN and may_use_tf32(evidence, row)
    if tf32 and not seen:
        severity = "info"
        words += (
            "; TF32, which this GPU may use for float32 products, can explain a difference of "
            "this size"
        )
    if tf32 and not broken:
        remedy = f"To test for TF32, measure with {NO_TF32}=0 in the environment."
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
        "kinds": kinds_of(wrong),
        **place_numbers(wrong_place(evidence, row)),
    }
    return Symptom("cpu-mismatch", severity, row, words, remedy, numbers)


# --- what is wrong, and where --------------------------------------------------------------------


def _is_fine(evidence: Evidence, row: CaseResult) -> bool:
    """Whether a case was compared with the CPU and shows at most a slight drift."""
    if row.summary.correct not in ("match", "drift"):
        return False
    return not any(is_beyond(entry) for entry in evidence.images_of(row))


def _of_fault(
    evidence: Evidence, row: CaseResult, code: FindingCode, faults: tuple[PictureFault, ...]
) -> Symptom | None:
    def holds(entry: ImageCompared) -> bool:
        return entry.fault in faults

    wrong = [entry for entry in evidence.images_of(row) if holds(entry)]
    if not wrong:
        return None
    place = evidence.place(row, holds)
    fine = healthy_neighbours(evidence, row, lambda other: _is_fine(evidence, other))
    return Symptom(
        code,
        "error",
        row,
        wrong_words(evidence, row, holds) + contrast_words(fine, "the image is right"),
        " ".join(part for part in (use_words(fine), look_closer(evidence, row)) if part),
        {
            "images": place.images,
            "faults": sorted({entry.fault or "" for entry in wrong}),
            **place_numbers(place),
        },
    )


def _misread(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """The image content was read and is not what the prompt asks for."""
    if not any(picture.content == "wrong" for picture in evidence.distinct_pictures(row)):
        return None
    made = [entry for entry in evidence.pictures(row) if entry[3].content is not None]
    wrong = [entry for entry in made if entry[3].content == "wrong"]
    compared: dict[str, list[ImageCompared]] = {}
    for entry in evidence.images_of(row):
        compared.setdefault(entry.pixels_sha256, []).append(entry)
    causes = [
        (_why_misread(compared.get(picture.pixels_sha256, [])), image + 1)
        for _, _, image, picture in wrong
    ]
    (severity, cause), _ = max(causes, key=lambda one: _MISREAD_SEVERITIES.index(one[0][0]))
    words = f"{len(wrong)} of {len(made)} images do not show what the prompt asks for"
    images = {image for why, image in causes if why == (severity, cause)}
    if cause not in ("", _LOOKS_DIFFERENT) and images != {image for _, image in causes}:
        cause = f"image {listed(sorted(images))}: {cause}"
    if cause == _LOOKS_DIFFERENT:
        cause = f"{cause}: {wrong_words(evidence, row)}"
    return Symptom(
        "wrong-content",
        severity,
        row,
        f"{words}; {cause}" if cause else words,
        "Nothing is wrong with the device." if severity == "info" else look_closer(evidence, row),
        {"wrong": len(wrong), "read": len(made)},
    )


_LOOKS_DIFFERENT = "the CPU's images do not either, and they look different"
_MISREAD_SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


def _why_misread(compared: list[ImageCompared]) -> tuple[Severity, str]:
    """The severity of an image that does not show what the prompt asks for, and the
    probable cause."""
    if not compared or any(entry.verdict not in ("match", "drift") for entry in compared):
        models_own = compared and all(entry.reference_content == "wrong" for entry in compared)
        return "error", _LOOKS_DIFFERENT if models_own else ""
    if all(
        entry.reference_content == "wrong"
        or (entry.reference_content is None and entry.verdict == "match")
        for entry in compared
    ):
        return "info", "the CPU's images are the same, so the model is the cause"
    if all(entry.verdict == "match" for entry in compared):
        return "info", "there is no visible difference from the CPU's images, which do"
    if any(entry.reference_content is None for entry in compared):
        return "warning", "the content of the CPU's images was not read"
    rounding = [entry.own_rounding for entry in compared]
    if all(own is not None and "content" not in own.beyond for own in rounding):
        return "info", "the CPU's own rounding in the same arithmetic changes them as much"
    if any(own is not None for own in rounding):
        return "error", "the CPU's images do, also with the CPU's rounding in the same arithmetic"
    return "warning", "the CPU's images do; how much rounding alone changes them was not measured"


def _setting_shows_another(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Images with and without slicing show different content, and no reference decides which is
    right."""
    found = evidence.equality(row, "attention_slicing")
    if row.summary.correct != "unknown" or found is None or found.verdict != "different":
        return None
    addition, remedy = "", "Leave attention slicing off until the images are compared"
    if "attention_slicing" in row.summary.no_effect:
        addition = "; slicing has no effect on this model, so the cause is something else"
        remedy = "Compare the images"
    remedy += " with the CPU's (--set reference.budget_s=…)."
    return Symptom(
        "wrong-content",
        severity_of(found),
        row,
        "with attention slicing the image differs from the one without"
        f"{apart_words(found)}; which of the two is right was not checked{addition}",
        remedy,
        equality_numbers(found),
    )
