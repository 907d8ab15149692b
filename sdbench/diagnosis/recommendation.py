"""Recommends the fastest measured settings whose images are right and whose memory fits. Pure.

A setting is left out that did not complete, whose image is wrong or was not checked, that
swapped or was throttled, or whose peak comes too close to what the device has. One is recommended
only where the numbers decide: with at least 3 processes per case, against at least one other case,
and with every other usable case either slower beyond chance or the same within the threshold
(PROTOCOL 10); among the latter the plainest is taken.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.case_words import arm_words
from sdbench.analysis.comparability import swapped, throttled
from sdbench.analysis.estimates import estimate_pair
from sdbench.analysis.iterations import iterations_per_second
from sdbench.analysis.no_effect import as_computed
from sdbench.analysis.reasons import explain
from sdbench.analysis.run_summary import memory_limit_bytes
from sdbench.diagnosis.evidence import Evidence, paired
from sdbench.diagnosis.findings import PICTURE_CODES
from sdbench.diagnosis.result import Choice, Finding, Gain, Goal, Interval, Recommendation, Tradeoff
from sdbench.diagnosis.rules.deciding_setting import value_words
from sdbench.diagnosis.snippets import diffusers_snippet, elsewhere
from sdbench.knowledge.known_issues import FindingCode
from sdbench.records import Case, RowKey, spelling
from sdbench.stats import DEFAULT_THRESHOLD, MIN_PROCESSES, RatioEstimate, decide_family
from sdbench.words import counted

# Room for the system's own work and other programs: what is beyond is where swap begins.
_MOST_OF_MEMORY = 0.8

Warned = dict[RowKey, set[FindingCode]]


def recommend(evidence: Evidence, findings: Sequence[Finding]) -> Recommendation:
    """The recommendation for each resolution, for one image and for many."""
    warned = _warned(evidence, findings)
    rows = _of_one_work([row for row in evidence.measured if not row.arm.hold_bytes])
    timed = [row for row in rows if row.summary.latency_s.median is not None]
    few = _few_processes(timed)
    goals = [
        _goal(evidence, resolution, there, warned, few)
        for resolution, there in _by_resolution(rows).items()
    ]
    return Recommendation(
        sentence=_sentence(evidence, goals, few),
        first_look=not timed or few is not None,
        goals=goals,
        tradeoffs=[
            entry
            for there in _by_resolution(timed).values()
            for entry in _tradeoffs(evidence, there)
        ],
        few_processes=few,
    )


def _of_one_work(rows: Sequence[CaseResult]) -> list[CaseResult]:
    """The cases that make the same image: fewer steps are less work, not faster settings.

    Those with the run's own scheduler, steps and guidance; else those with the settings of the
    first case.
    """
    works = [
        (case.scheduler, case.steps, case.guidance_scale)
        for case in (row.summary.case for row in rows)
    ]
    own = (None, None, None)
    chosen = own if own in works else next(iter(works), own)
    return [row for row, work in zip(rows, works, strict=True) if work == chosen]


def _few_processes(timed: Sequence[CaseResult]) -> str | None:
    """A sentence if no case was measured in enough processes for a verdict, else None."""
    most = max((row.summary.latency_s.n for row in timed), default=MIN_PROCESSES)
    if most >= MIN_PROCESSES:
        return None
    return f"no speed verdict or recommendation: {counted(most, 'process', 'processes')} per case"


def _by_resolution(rows: Sequence[CaseResult]) -> dict[str, list[CaseResult]]:
    found: dict[str, list[CaseResult]] = {}
    for row in rows:
        found.setdefault(row.summary.case.resolution, []).append(row)
    return found


def _goal(
    evidence: Evidence, resolution: str, rows: list[CaseResult], warned: Warned, few: str | None
) -> Goal:
    refused = {row.key: _refusal(evidence, row, warned) for row in rows}
    usable = [row for row in rows if refused[row.key] is None]
    reason = few
    if not usable:
        counts = Counter(refused.values())
        reasons = ", ".join(f"{counted(count, 'case')} {why}" for why, count in counts.items())
        reason = f"no measured setting can be recommended at {resolution}: {reasons}"
    if reason is not None:
        return Goal(resolution=resolution, latency=None, throughput=None, reason=reason)
    single, alone = (
        [row for row in some if not evidence.makes_several_together(row)] for some in (usable, rows)
    )
    purposes = {
        "one image": _decided(evidence, single, alone),
        "many images": _decided(evidence, usable, rows),
    }
    latency, throughput = (
        None if isinstance(found, str) else _choice(evidence, found, rows, warned)
        for found in purposes.values()
    )
    why = {name: found for name, found in purposes.items() if isinstance(found, str)}
    reason = _reason(resolution, why)
    return Goal(resolution=resolution, latency=latency, throughput=throughput, reason=reason)


def _reason(resolution: str, reasons: dict[str, str]) -> str | None:
    """Why nothing is recommended, once if the reason is the same for both purposes."""
    purposes: dict[str, list[str]] = {}
    for purpose, why in reasons.items():
        purposes.setdefault(why, []).append(purpose)
    parts = [
        f"{resolution}, {' and '.join(names)}: no recommendation: {why}"
        for why, names in purposes.items()
    ]
    return "; ".join(parts) or None


def _refusal(evidence: Evidence, row: CaseResult, warned: Warned) -> str | None:
    """Why a case may not be recommended; None if it may."""
    if row.summary.outcome != "ok":
        return "that did not complete"
    if row.summary.correct == "broken":
        return "with a wrong image"
    if warned.get(row.key, set()).intersection(PICTURE_CODES):
        return "with a finding about its images"
    if row.summary.correct == "unknown":
        return "not checked against the CPU"
    if row.summary.latency_s.median is None:
        return "without a steady pass"
    if row.any_process(swapped):
        return "that swapped"
    if row.any_process(throttled):
        return "throttled"
    limit, peak = memory_limit_bytes(evidence.run, row.replicates), row.summary.peak_memory_bytes
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


def _choice(evidence: Evidence, row: CaseResult, rows: list[CaseResult], warned: Warned) -> Choice:
    summary, case = row.summary, row.summary.case
    assert summary.latency_s.median is not None
    images = evidence.images
    ci95 = summary.latency_s.ci95
    limit = memory_limit_bytes(evidence.run, row.replicates)
    notes = [f"see the finding {code}" for code in sorted(warned.get(row.key, ()))]
    if summary.correct == "drift":
        notes.append("its images are slightly different from the CPU's")
    if summary.peak_memory_bytes is None or limit is None:
        notes.append("whether its memory fits with room to spare is not known")
    return Choice(
        case_id=row.summary.case_id,
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
        iterations_per_second=iterations_per_second(
            summary.steps, summary.latency_s.median / images
        ),
    )


def _decided(
    evidence: Evidence, usable: list[CaseResult], rows: list[CaseResult]
) -> CaseResult | str:
    """The row to use, or why none may be recommended.

    Right images come before slightly different ones. Warm-up, and a setting that had no effect,
    do not change a steady pass, so a case does not compete with a plainer one that differs only in
    them.
    """
    if not usable:
        return "no usable case that makes one image at a time was measured"
    completed = [row for row in rows if row.summary.outcome == "ok" and row.steady_s]
    if len(completed) < 2:
        only = _name(usable[0])
        return f"{only} is the only case of this kind that completed, so nothing was compared"
    exact = [row for row in usable if row.summary.correct == "match"] or usable
    rivals = [row for row in exact if not _plain_twin(row, exact)]
    fastest = min(rivals, key=_median_s)
    others = [row for row in rivals if row is not fastest]
    judged = [*zip(others, _judged(fastest, others), strict=True)]
    open_ = [(row, found) for row, found in judged if not found.decided]
    if open_:
        return _open_words(evidence, fastest, open_)
    alike = [fastest, *(row for row, found in judged if not found.slower)]
    return min(alike, key=lambda row: (len(row.summary.case.words()), _median_s(row)))


@dataclass(frozen=True)
class _Against:
    """The comparison of a case with the fastest one: whether it is slower, and whether that is
    decided."""

    decided: bool
    slower: bool
    ratio: float | None
    ci95: Interval | None
    why: str | None = None
    more_processes: int | None = None


def _judged(fastest: CaseResult, others: Sequence[CaseResult]) -> list[_Against]:
    """Compares every other case with the fastest, paired by block, as one family of comparisons."""
    examined = [estimate_pair(paired(fastest, row)) for row in others]
    judgements = decide_family([entry.ratios["steady"] for entry in examined])
    found = []
    for entry, judgement in zip(examined, judgements, strict=True):
        ratio, void = entry.ratios["steady"], entry.void("steady")
        same = judgement.verdict == "equivalent"
        slower = judgement.verdict == "slower" or (
            judgement.reason in ("interval-too-wide", "many-cases") and _beyond_chance(ratio)
        )
        found.append(
            _Against(
                decided=not void and (same or slower),
                slower=slower,
                ratio=ratio.ratio,
                ci95=ratio.interval(),
                why=explain([*void, *([judgement.reason] if judgement.reason else [])][:1]) or None,
                more_processes=None if void else judgement.more_processes,
            )
        )
    return found


def _beyond_chance(ratio: RatioEstimate) -> bool:
    """Whether the case is slower by less than the threshold, also in undisturbed processes only."""
    return all(
        bounds is not None and bounds[0] > 1
        for bounds in (one.interval() for one in (ratio, ratio.undisturbed) if one is not None)
    )


def _plain_twin(row: CaseResult, rows: Sequence[CaseResult]) -> bool:
    """Whether the same case was also measured without its warm-up, or without the settings that had
    no effect."""
    work = _steady_work(row)
    return any(
        other.arm.name == row.arm.name
        and _steady_work(other) == work
        and len(other.summary.case.words()) < len(row.summary.case.words())
        for other in rows
    )


def _steady_work(row: CaseResult) -> Case:
    """The settings that determine a steady pass."""
    computed = as_computed(row.summary.case, row.summary.no_effect)
    return msgspec.structs.replace(computed, warmup=False)


def _open_words(
    evidence: Evidence, fastest: CaseResult, open_: Sequence[tuple[CaseResult, _Against]]
) -> str:
    """``a (0.2 s per image) and b (0.21 s) cannot be distinguished: …``."""
    names = [
        f"{_name(row)} ({_median_s(row) / evidence.images:.3g} s per image)"
        for row in (fastest, *(row for row, _ in open_))
    ]
    first = open_[0][1]
    words = f"{', '.join(names[:-1])} and {names[-1]} cannot be distinguished"
    if len(open_) == 1 and first.ratio is not None and first.ci95 is not None:
        low, high = first.ci95
        words += f" (ratio {first.ratio:.2f}, 95% interval {low:.2f}–{high:.2f})"
    elif first.why:
        words += f" ({first.why})"
    more = max((found.more_processes or 0 for _, found in open_), default=0)
    if more:
        words += f"; about {counted(more, 'more process', 'more processes')} per case would decide"
    return words


def _name(row: CaseResult) -> str:
    return (" ".join(row.summary.case.words()) or "defaults") + row.of_arm


def _median_s(row: CaseResult) -> float:
    assert row.summary.latency_s.median is not None
    return row.summary.latency_s.median


def _gains(row: CaseResult, rows: list[CaseResult], evidence: Evidence) -> list[Gain]:
    """The comparisons with every measured case that differs in one setting and has a time."""
    found = []
    for axis, other in evidence.neighbours(row):
        if other not in rows or other.summary.latency_s.median is None:
            continue
        ratio = estimate_pair(paired(other, row)).ratios["steady"]
        chosen, instead = value_words(row, axis), value_words(other, axis)
        found.append(
            Gain(
                setting=axis,
                chosen=spelling(getattr(row.summary.case, axis)),
                other=spelling(getattr(other.summary.case, axis)),
                other_case_id=other.summary.case_id,
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


def _tradeoffs(evidence: Evidence, rows: list[CaseResult]) -> list[Tradeoff]:
    """Time and memory of every case; cases with wrong images are listed but never efficient."""
    rows = sorted(rows, key=_median_s)
    return [
        Tradeoff(
            case_id=row.summary.case_id,
            arm=row.arm.name,
            case=row.summary.case,
            seconds_per_picture=_median_s(row) / evidence.images,
            peak_memory_bytes=row.summary.peak_memory_bytes,
            correct=row.summary.correct,
            efficient=_efficient(row, rows),
            no_effect=[*row.summary.no_effect],
            iterations_per_second=iterations_per_second(
                row.summary.steps, _median_s(row) / evidence.images
            ),
        )
        for row in rows
    ]


def _efficient(row: CaseResult, rows: list[CaseResult]) -> bool:
    if row.summary.correct == "broken" or row.summary.peak_memory_bytes is None:
        return False
    return not any(_dominates(other, row) for other in rows if other is not row)


def _dominates(other: CaseResult, row: CaseResult) -> bool:
    """Whether another case is at least as good in time and memory, better in one of them by more
    than the threshold, and not wrong."""
    if other.summary.correct == "broken" or other.summary.peak_memory_bytes is None:
        return False
    theirs = _median_s(other), other.summary.peak_memory_bytes
    own = _median_s(row), row.summary.peak_memory_bytes or 0
    limit = 1 + DEFAULT_THRESHOLD
    no_worse = all(one <= limit * two for one, two in zip(theirs, own, strict=True))
    return no_worse and any(limit * one < two for one, two in zip(theirs, own, strict=True))


def _sentence(evidence: Evidence, goals: Sequence[Goal], few: str | None) -> str:
    chosen = [goal for goal in goals if goal.latency or goal.throughput]
    if few is not None and any(goal.reason == few for goal in goals):
        return f"{few[0].upper()}{few[1:]}."
    if not chosen:
        return goals[0].reason or "nothing was measured" if goals else "nothing was measured"
    words = []
    for goal in chosen:
        for name, choice in (("one image", goal.latency), ("many", goal.throughput)):
            if choice is not None:
                settings = " ".join(choice.case.words()) or "defaults"
                settings += arm_words(choice.arm, evidence.run.plan.arms)
                words.append(
                    f"{goal.resolution}, {name}: {settings} "
                    f"({choice.seconds_per_picture:.3g} s per image)"
                )
    return "; ".join(words) + "."
