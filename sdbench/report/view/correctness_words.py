"""How a case's images compare with the CPU's, in words."""

from collections.abc import Iterable, Sequence

from sdbench.analysis.case_words import CONTENT_WORDS, CORRECT_WORDS, OUTCOME_WORDS, run_number
from sdbench.correctness.verdict_words import FAULT_WORDS, STAGE_WORDS
from sdbench.records import Compared, ImageCompared, Preflight, StageDifference
from sdbench.words import printable, ranges, seconds


def correctness_lines(compared: Sequence[Compared]) -> list[tuple[str, str]]:
    """Two columns: verdict, where the reference is from, and the distance at each stage."""
    lines = []
    for record in compared:
        reason = f": {record.reason}" if record.reason else ""
        lines.append(
            (
                f"run {run_number(record.replicate_id)}",
                CORRECT_WORDS[record.verdict] + reason,
            )
        )
        for stage in record.stages:
            at_worst = " at its worst step" if stage.stage == "latents" else ""
            lines.append((f"  {STAGE_WORDS[stage.stage]}", _distance_words(stage, at_worst)))
        for image in record.images:
            passes = pass_words(image.passes)
            lines.append((f"  image {image.image + 1}", f"pass {passes}: {_image_words(image)}"))
    sources = dict.fromkeys(entry.reference for entry in compared if entry.reference)
    lines += [("CPU's image", source) for source in sources]
    stayed = not_float64_words(compared)
    return [*lines, ("noise floor", stayed)] if stayed else lines


def not_float64_words(compared: Iterable[Compared]) -> str | None:
    """Which modules' rounding the noise floor does not contain; None where none are known."""
    names = dict.fromkeys(name for record in compared for name in record.not_float64 or [])
    if not names:
        return None
    stay = "they stay" if len(names) > 1 else "it stays"
    return (
        f"without the rounding of {', '.join(names)}: {stay} in 32 bits where the CPU computes in "
        "float64"
    )


def pass_words(passes: Iterable[int]) -> str:
    """``1 to 3, profile``: numbers of passes, of which 0 is the profiling pass."""
    numbers = sorted(passes)
    words = [ranges(number for number in numbers if number)]
    return ", ".join([*filter(None, words), *(["profile"] if 0 in numbers else [])])


def check_words(check: Preflight) -> str:
    """How the small image before a run came out."""
    verdict = (
        CORRECT_WORDS[check.verdict] if check.outcome == "ok" else OUTCOME_WORDS[check.outcome]
    )
    content = "" if check.content is None else f", {CONTENT_WORDS[check.content]}"
    reasons = "; ".join(reason for reason in (check.reason, check.content_reason) if reason)
    return printable(
        f"{verdict}{content} – {check.prompt}, in {check.dtype} on {check.device}, "
        f"{seconds(check.duration_s)}{f' ({reasons})' if reasons else ''}"
    )


def _image_words(image: ImageCompared) -> str:
    words = [CORRECT_WORDS[image.verdict]]
    if image.fault is not None:
        words.append(FAULT_WORDS.get(image.fault, image.fault.replace("-", " ")))
    if image.latents is not None:
        words.append(f"final latents {_distance_words(image.latents)}")
    if image.ssim is not None:
        noise = "identical" if image.psnr_db is None else f"PSNR {image.psnr_db:.0f} dB"
        words.append(f"image {noise}, SSIM {image.ssim:.3f}")
    return "; ".join(words)


def _distance_words(stage: StageDifference, at_worst: str = "") -> str:
    """``1.2e-06 away, 0.2 of what rounding allows``, relative L2: what the verdict goes by."""
    if stage.rel_l2 is None:
        return "not finite"
    allowed = "" if stage.margin is None else f", {margin_words(stage.margin)}{at_worst}"
    return f"{stage.rel_l2:.1e} away{allowed}"


def margin_words(margin: float) -> str:
    """``0.2 of what rounding allows``, ``14 times what rounding allows``."""
    if margin <= 1:
        return f"{margin:.2g} of what rounding allows"
    return (
        f"{margin:,.0f} times what rounding allows"
        if margin >= 10
        else (f"{margin:.2g} times what rounding allows")
    )
