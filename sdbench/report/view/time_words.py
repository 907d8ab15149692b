"""What a case's time is and where it goes, in words."""

import math
from collections.abc import Iterator, Sequence

from sdbench.analysis.iterations import iterations_per_second, iterations_words
from sdbench.analysis.predicted_time import Score, ScoredTime
from sdbench.analysis.run_summary import CaseSummary, per_picture
from sdbench.records import Pass, Replicate
from sdbench.report.view.stages import STAGE_WORDS
from sdbench.report.view.summary_words import interval_words
from sdbench.words import counted, seconds

_SCORE_WORDS: dict[Score, str] = {
    "inside": "inside the interval",
    "faster": "faster than the interval",
    "slower": "slower than the interval",
}


def time_lines(
    row: CaseSummary, images: int, attempts: Sequence[Replicate]
) -> list[tuple[str, str]]:
    """Two columns: the time of an image, and the shares of its stages.

    ``attempts`` are the processes of this row, ``images`` how many a pass makes.
    """
    lines = [("time", _time_words(row, images))]
    if row.scored_time is not None:
        lines.append(("predicted", scored_words(row.scored_time)))
    stages = _stages_words(attempts)
    return [*lines, ("stages", stages)] if stages else lines


def _time_words(row: CaseSummary, images: int) -> str:
    """``0.108 s per image (0.0875–0.141 s, 3 processes), first 0.501 s, 74.1 it/s (8 steps)``."""
    a_picture = per_picture(row.latency_s.median, images)
    if a_picture is None:
        return f"not known: {row.latency_s.reason or row.reason or 'not measured'}"
    processes = counted(row.latency_s.n, "process", "processes")
    bounds = row.latency_s.ci95
    sure = "" if bounds is None else f"95% interval {interval_words(bounds, images)}, "
    words = f"{seconds(a_picture)} per image ({sure}{processes})"
    if row.first_pass_s is not None:
        words += f", in the first pass {seconds(per_picture(row.first_pass_s, images))}"
    rate = iterations_per_second(row.steps, a_picture)
    return words if rate is None else f"{words}; {iterations_words(rate)} ({row.steps} steps)"


def scored_words(scored: ScoredTime) -> str:
    """``3.1 s per image (2.2–4.4 s), measured 2.9 s: inside the interval; predicted from …``."""
    predicted = scored.predicted
    low, high = seconds(predicted.low_s).removesuffix(" s"), seconds(predicted.high_s)
    return (
        f"{seconds(predicted.image_s)} per image ({low}–{high}), measured "
        f"{seconds(scored.image_s)}: {_SCORE_WORDS[scored.score]}; {predicted.basis}"
    )


def scored_lines(rows: Sequence[CaseSummary]) -> Iterator[str]:
    """How the predictions of a run's times did, in one line; none where nothing was predicted."""
    scored = [row.scored_time for row in rows if row.scored_time is not None]
    if not scored:
        return
    held = sum(one.score == "inside" for one in scored)
    words = f"Predicted times: {held} of {counted(len(scored), 'case')} inside the interval"
    worst = max(scored, key=lambda one: abs(math.log(one.ratio)))
    if worst.score != "inside":
        words += (
            f"; at worst {seconds(worst.predicted.image_s)} per image were predicted and "
            f"{seconds(worst.image_s)} measured"
        )
    yield f"{words} (the predictions rest on published figures, not on measurements)."


def _stages_words(attempts: Sequence[Replicate]) -> str | None:
    """``denoising 78%, VAE decode 16%, …`` of the last profiling pass, largest first."""
    profiled = [entry for one in attempts for entry in one.of_kind("profile") if entry.stages]
    if not profiled:
        return None
    shares = ", ".join(f"{name} {share:.0%}" for name, share in _shares(profiled[-1]))
    return f"shares of the time of the profiling pass: {shares}"


def _shares(profiled: Pass) -> Iterator[tuple[str, float]]:
    spent: dict[str, float] = {}
    for stage in profiled.stages or []:
        name = STAGE_WORDS.get(stage.stage, stage.stage.replace("_", " "))
        spent[name] = spent.get(name, 0.0) + stage.duration_s
    known = sum(spent.values())
    total = max(profiled.duration_s, known)
    if total > known:
        spent[STAGE_WORDS["other"]] = total - known
    for name, duration_s in sorted(spent.items(), key=lambda item: -item[1]):
        yield name, duration_s / total if total else 0.0
