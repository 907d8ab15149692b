"""The fastest settings whose pictures are right and whose memory fits, of what was measured. Pure.

A setting is left out that did not end well, whose picture is wrong or was not checked, that swapped
or was throttled, or whose peak comes too close to what the device has. Among those that cannot be
told apart from the fastest the plainest is taken.
"""

from collections.abc import Sequence

from sdbench.comparison.rules import swapped, throttled
from sdbench.comparison.sides import Row, spelling
from sdbench.insight.evidence import Evidence, RowKey, key_of
from sdbench.insight.findings import PICTURE_CODES
from sdbench.insight.known_issues import FindingCode
from sdbench.insight.records import (
    Choice,
    Finding,
    Gain,
    Goal,
    Interval,
    Recommendation,
    Tradeoff,
)
from sdbench.insight.rules.contrast import value_words
from sdbench.insight.snippets import diffusers_snippet, elsewhere
from sdbench.stats import DEFAULT_THRESHOLD, MIN_PROCESSES, paired_ratio
from sdbench.words import counted

# Room for the system's own work and other programs: what is beyond is where swap begins.
_MOST_OF_MEMORY = 0.8

Warned = dict[RowKey, set[FindingCode]]


def recommend(evidence: Evidence, findings: Sequence[Finding]) -> Recommendation:
    """What to use at each resolution, for one picture and for many."""
    warned = _warned(evidence, findings)
    rows = [row for row in evidence.measured if not row.arm.hold_bytes]
    resolutions = dict.fromkeys(row.planned.case.resolution for row in rows)
    goals = [
        _goal(evidence, resolution, _at(rows, resolution), warned) for resolution in resolutions
    ]
    timed = [row for row in rows if row.summary.latency_s.median is not None]
    first_look = not timed or min(row.summary.latency_s.n for row in timed) < MIN_PROCESSES
    return Recommendation(
        sentence=_sentence(goals, first_look=first_look),
        first_look=first_look,
        goals=goals,
        tradeoffs=[
            entry
            for resolution in resolutions
            for entry in _tradeoffs(evidence, _at(timed, resolution))
        ],
    )


def _at(rows: Sequence[Row], resolution: str) -> list[Row]:
    return [row for row in rows if row.planned.case.resolution == resolution]


def _goal(evidence: Evidence, resolution: str, rows: list[Row], warned: Warned) -> Goal:
    refused = {key_of(row): _refusal(evidence, row, warned) for row in rows}
    usable = [row for row in rows if refused[key_of(row)] is None]
    single = [row for row in usable if not evidence.makes_several_at_once(row)]
    reason = None
    if not usable:
        counts: dict[str, int] = {}
        for why in refused.values():
            counts[why or ""] = counts.get(why or "", 0) + 1
        reason = ", ".join(f"{counted(count, 'case')} {why}" for why, count in counts.items())
        reason = f"nothing measured at {resolution} can be recommended: {reason}"
    elif not single:
        reason = f"for one picture at {resolution} nothing usable was measured outside a batch"
    return Goal(
        resolution=resolution,
        latency=_choice(evidence, single, rows, warned) if single else None,
        throughput=_choice(evidence, usable, rows, warned) if usable else None,
        reason=reason,
    )


def _refusal(evidence: Evidence, row: Row, warned: Warned) -> str | None:
    """Why a row may not be recommended; None where it may."""
    if row.summary.outcome != "ok":
        return "that did not end well"
    if row.summary.correct == "broken":
        return "with a wrong picture"
    if PICTURE_CODES & warned.get(key_of(row), set()):
        return "with a finding about its pictures"
    if row.summary.correct == "unknown":
        return "not checked against the CPU"
    if row.summary.latency_s.median is None:
        return "without a steady pass"
    if any(swapped(entry) for entry in row.replicates):
        return "that swapped"
    if any(throttled(entry) for entry in row.replicates):
        return "throttled"
    limit, peak = _limit_bytes(evidence, row), row.summary.peak_memory_bytes
    if limit is not None and peak is not None and peak > _MOST_OF_MEMORY * limit:
        return "that leaves too little memory free"
    return None


def _warned(evidence: Evidence, findings: Sequence[Finding]) -> Warned:
    """Codes of the findings above info, by row."""
    arms = [arm.name for arm in evidence.run.plan.arms]
    warned: Warned = {}
    for finding in findings:
        if finding.severity == "info":
            continue
        for case_id in finding.case_ids:
            for arm in [finding.evidence["arm"]] if "arm" in finding.evidence else arms:
                warned.setdefault((case_id, arm), set()).add(finding.code)
    return warned


def _limit_bytes(evidence: Evidence, row: Row) -> int | None:
    """What the device says it should hold at most, else the machine's memory."""
    told = evidence.fact(row, "recommended_max_bytes")
    known = told if told is not None else evidence.run.machine.get("memory_bytes")
    return int(known) if isinstance(known, (int, float)) else None


def _choice(evidence: Evidence, usable: list[Row], rows: list[Row], warned: Warned) -> Choice:
    row = _plainest_of_the_fastest(usable)
    summary, case = row.summary, row.planned.case
    assert summary.latency_s.median is not None
    images = evidence.images
    ci95 = summary.latency_s.ci95
    limit = _limit_bytes(evidence, row)
    notes = [f"see the finding {code}" for code in sorted(warned.get(key_of(row), ()))]
    if summary.correct == "drift":
        notes.append("its pictures are slightly different from the CPU's")
    if summary.peak_memory_bytes is None or limit is None:
        notes.append("whether its memory fits with room to spare is not known")
    return Choice(
        case_id=row.planned.case_id,
        arm=row.arm.name,
        case=case,
        seconds_per_picture=summary.latency_s.median / images,
        ci95=None if ci95 is None else (ci95[0] / images, ci95[1] / images),
        peak_memory_bytes=summary.peak_memory_bytes,
        memory_limit_bytes=limit,
        correct=summary.correct,
        gains=_gains(row, rows, evidence),
        notes=notes,
        snippet=diffusers_snippet(evidence.run, row, evidence.versions(row)),
        elsewhere=elsewhere(case),
    )


def _plainest_of_the_fastest(rows: list[Row]) -> Row:
    """Right pictures before slightly different ones; then time; then fewest changed settings."""
    exact = [row for row in rows if row.summary.correct == "match"] or rows
    fastest = min(exact, key=_median_s)
    alike = [row for row in exact if not _slower(fastest, row)]
    return min(alike, key=lambda row: (len(row.planned.case.words()), _median_s(row)))


def _slower(fastest: Row, row: Row) -> bool:
    """Whether a row is slower than the fastest beyond chance, or beyond the usual threshold."""
    if row is fastest:
        return False
    ratio = paired_ratio(fastest.steady_s, row.steady_s)
    ci95 = ratio.interval()
    if ci95 is not None:
        return ci95[0] > 1
    return _median_s(row) > (1 + DEFAULT_THRESHOLD) * _median_s(fastest)


def _median_s(row: Row) -> float:
    assert row.summary.latency_s.median is not None
    return row.summary.latency_s.median


def _gains(row: Row, rows: list[Row], evidence: Evidence) -> list[Gain]:
    """Against every measured case that differs in one setting, and has a time."""
    found = []
    for axis, other in evidence.neighbours(row):
        if other not in rows or other.summary.latency_s.median is None:
            continue
        ratio = paired_ratio(other.steady_s, row.steady_s)
        chosen, instead = value_words(row, axis), value_words(other, axis)
        found.append(
            Gain(
                setting=axis,
                chosen=spelling(getattr(row.planned.case, axis)),
                other=spelling(getattr(other.planned.case, axis)),
                other_case_id=other.planned.case_id,
                ratio=ratio.ratio,
                ci95=ratio.interval(),
                sentence=f"{chosen} takes {_times(ratio.ratio, ratio.interval())} {instead} takes",
            )
        )
    return found


def _times(ratio: float | None, ci95: Interval | None) -> str:
    if ratio is None:
        return "an unknown part of what"
    bounds = f" (95% interval {ci95[0]:.2f}–{ci95[1]:.2f})" if ci95 else ""
    return f"{ratio:.2f} times{bounds} what"


def _tradeoffs(evidence: Evidence, rows: list[Row]) -> list[Tradeoff]:
    """Time against memory; broken pictures are shown and are never efficient."""
    rows = sorted(rows, key=_median_s)
    return [
        Tradeoff(
            case_id=row.planned.case_id,
            arm=row.arm.name,
            case=row.planned.case,
            seconds_per_picture=_median_s(row) / evidence.images,
            peak_memory_bytes=row.summary.peak_memory_bytes,
            correct=row.summary.correct,
            efficient=_efficient(row, rows),
        )
        for row in rows
    ]


def _efficient(row: Row, rows: list[Row]) -> bool:
    if row.summary.correct == "broken" or row.summary.peak_memory_bytes is None:
        return False
    return not any(_dominates(other, row) for other in rows if other is not row)


def _dominates(other: Row, row: Row) -> bool:
    """Not slower, not larger, better in one, and not wrong."""
    if other.summary.correct == "broken" or other.summary.peak_memory_bytes is None:
        return False
    theirs = _median_s(other), other.summary.peak_memory_bytes
    own = _median_s(row), row.summary.peak_memory_bytes or 0
    return theirs[0] <= own[0] and theirs[1] <= own[1] and theirs != own


def _sentence(goals: Sequence[Goal], *, first_look: bool) -> str:
    chosen = [goal for goal in goals if goal.latency or goal.throughput]
    if not chosen:
        return goals[0].reason or "nothing was measured" if goals else "nothing was measured"
    words = []
    for goal in chosen:
        for name, choice in (("one picture", goal.latency), ("many", goal.throughput)):
            if choice is not None:
                words.append(
                    f"{goal.resolution}, {name}: {' '.join(choice.case.words()) or 'no options'} "
                    f"({choice.seconds_per_picture:.3g} s a picture)"
                )
    end = " A first look: fewer than 3 processes a case, so no verdict." if first_look else ""
    return "; ".join(words) + "." + end
