"""The matrix: every case in every variant, with its processes, in seconds per image."""

import math
from collections.abc import Collection, Iterator, Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.case_words import OUTCOME_WORDS, process_words
from sdbench.analysis.comparability import swapped, throttled
from sdbench.analysis.iterations import steps_of
from sdbench.analysis.no_effect import no_effect_words
from sdbench.analysis.run_summary import CaseSummary, disturbances, per_picture
from sdbench.analysis.telemetry import WAIT_WORDS
from sdbench.records import Case, Replicate, RowKey
from sdbench.report.view.model import CaseView, ProcessTimes, Tone
from sdbench.report.view.summary_words import picture_words
from sdbench.report.view.telemetry_words import predicted_words
from sdbench.stats import tukey_outliers
from sdbench.words import size

_MOST_HEAT = 8
# A run whose times are all within 20% does not reach the darkest.
_LEAST_SPAN = math.log(1.2)


def settings_words(case: Case) -> str:
    """What is changed, the size apart: ``sliced, float16``."""
    return ", ".join(case.words()) or "defaults"


def cells_of(
    rows: Sequence[CaseResult], recommended: Collection[RowKey], *, processes: bool = True
) -> list[CaseView]:
    """One view a row, in the order of the plan, with the times of its processes if asked."""
    levels = _heat_levels([per_picture(row.summary.latency_s.median, row.images) for row in rows])
    return [
        _case_view(
            row, level, _processes(row) if processes else [], recommended=row.key in recommended
        )
        for row, level in zip(rows, levels, strict=True)
    ]


def _heat_levels(times: Sequence[float | None]) -> list[int | None]:
    """Times that differ by less than a few percent look nearly alike."""
    logs = [None if not time else math.log(time) for time in times]
    known = [log for log in logs if log is not None]
    low = min(known, default=0.0)
    span = max(max(known, default=0.0) - low, _LEAST_SPAN)
    return [None if log is None else round(_MOST_HEAT * (log - low) / span) for log in logs]


def _case_view(
    row: CaseResult, heat_level: int | None, processes: list[ProcessTimes], *, recommended: bool
) -> CaseView:
    summary, images, ci95 = row.summary, row.images, row.summary.latency_s.ci95
    wrong = summary.content == "wrong"
    return CaseView(
        summary=summary,
        name=row.name,
        settings=settings_words(summary.case) + row.of_arm,
        outcome_words=OUTCOME_WORDS[summary.outcome],
        tone=_tone(summary),
        seconds_per_picture=per_picture(summary.latency_s.median, images),
        ci95=None if ci95 is None else (ci95[0] / images, ci95[1] / images),
        heat_level=heat_level,
        first_s=per_picture(summary.first_pass_s, images),
        picture_words=picture_words(summary),
        picture_reason=summary.content_reason if wrong else summary.correct_reason,
        recommended=recommended,
        processes=processes,
        disturbed=[
            f"{process_words(one.block, summary.planned)}: {'; '.join(one.reasons)}"
            for one in summary.disturbed
        ],
        memory_words=size(summary.peak_memory_bytes) + predicted_words(summary),
        no_effect=no_effect_words(summary.case, summary.no_effect),
        steps=steps_of(row.run, summary.case),
    )


def _tone(summary: CaseSummary) -> Tone:
    if summary.outcome == "skipped":
        return "unknown"
    if summary.outcome != "ok" or summary.correct == "broken":
        return "bad"
    if summary.content == "wrong":  # where the CPU's image is so too it is the model
        return "bad" if summary.correct == "unknown" else "warning"
    if summary.correct == "drift":
        return "warning"
    return "unknown" if summary.correct == "unknown" else "good"


def _processes(row: CaseResult) -> list[ProcessTimes]:
    degrees = {found.key: found.degree for found in tukey_outliers(row.steady_s)}
    return [_process(entry, row, degrees.get(entry.block)) for entry in row.replicates]


def _process(entry: Replicate, row: CaseResult, outlier: str | None) -> ProcessTimes:
    return ProcessTimes(
        label=process_words(entry.block, row.summary.planned),
        block=entry.block,
        outcome=entry.outcome,
        steady_s=per_picture(entry.steady_median_s, row.images),
        first_s=per_picture(entry.first_pass_s, row.images),
        passes_s=[one.duration_s / row.images for one in entry.steady_passes],
        remarks=[*_remarks(entry, outlier)],
        passes_stopped=entry.passes_stopped,
    )


def _remarks(entry: Replicate, outlier: str | None) -> Iterator[str]:
    if entry.outcome != "ok":
        yield f"{OUTCOME_WORDS[entry.outcome]}{f': {entry.reason}' if entry.reason else ''}"
    if outlier is not None:
        yield f"an outlier ({outlier}), which still counts"
    if entry.cold_cache:
        yield "the first of its environment: cold caches"
    yield from (
        f"disturbed: {why}{'; it does not count' if entry.slept else ''}"
        for why in disturbances(entry)
    )
    if swapped(entry):
        yield "the machine swapped meanwhile"
    if throttled(entry):
        yield "slowed down by heat"
    if (why := entry.why_voided("swap")) is not None:
        yield f"whether the machine swapped is unknown: {why}"
    if (why := entry.why_voided("thermal")) is not None:
        yield f"whether heat slowed it down is unknown: {why}"
    if entry.gate.flags:
        yield f"began with {' and '.join(WAIT_WORDS[flag] for flag in entry.gate.flags)}"
