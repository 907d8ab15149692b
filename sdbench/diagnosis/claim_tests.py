"""Tests of documented claims: one function per claim, given the evidence of one environment."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.version import InvalidVersion, Version

from sdbench.analysis.case_result import CaseResult, Figures
from sdbench.analysis.comparability import swapped
from sdbench.analysis.estimates import Measure, PairEstimate, estimate_pair
from sdbench.analysis.no_effect import NO_EFFECT
from sdbench.correctness.equality import Equality
from sdbench.diagnosis.evidence import Evidence, paired
from sdbench.diagnosis.result import ClaimVerdict, Interval
from sdbench.diagnosis.rules import outcomes, pictures, repeatability
from sdbench.diagnosis.rules.symptom import Rule
from sdbench.records import Arm
from sdbench.stats import DEFAULT_THRESHOLD, RatioEstimate, ratio_of_logs
from sdbench.words import counted

# "Significantly": half of the 20% the same page gives as a figure worth telling.
_SIGNIFICANT = 1.10
# "About 20%": a share from 10 to 30%, more time or more speed.
_ABOUT_20 = (1.10, 1.30)
_ABOUT_20_FASTER = (1 / 1.30, 1 / 1.10)
# By more than what counts as a difference.
_LESS = (-math.inf, 1 / (1 + DEFAULT_THRESHOLD))
_LARGE_BYTES = 64e9
_STANDARD_PIXELS = 512 * 512
_TOO_FEW = "with fewer than 3 processes per case there is no verdict on times"


@dataclass(frozen=True)
class Answer:
    """A verdict and the measurement behind it."""

    verdict: ClaimVerdict
    sentence: str
    effect: float | None = None
    ci95: Interval | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """An environment of the run: its plain variant, and its variants with a memory ballast."""

    evidence: Evidence
    arm: Arm
    held: list[Arm]

    @property
    def rows(self) -> list[CaseResult]:
        """The measured cases of the plain variant."""
        return [row for row in self.evidence.measured if row.arm.name == self.arm.name]

    def pairs(self, axis: str, base: object, new: object) -> list[PairEstimate]:
        """Cases of the plain variant that differ in one setting."""
        return self.evidence.pairs(axis, base, new, self.arm.name)

    @property
    def torch(self) -> Version | None:
        """The release measured."""
        versions = next((self.evidence.versions(row) for row in self.rows), {})
        try:
            return Version(versions.get("torch", ""))
        except InvalidVersion:
            return None

    @property
    def memory_bytes(self) -> float | None:
        """The machine's memory."""
        value = self.evidence.run.machine.get("memory_bytes")
        return value if isinstance(value, (int, float)) else None


def first_pass_differs(side: Side) -> Answer:
    """The claim for torch 1.x: the first pass differs and a warm-up pass helps. For 2.x: it does
    not differ."""
    cold = _first_passes(side, warmup=False)
    primed = _first_passes(side, warmup=True)
    torch = side.torch
    evidence = {
        "torch": None if torch is None else str(torch),
        "cold": [entry.evidence for entry in cold],
        "primed": [entry.evidence for entry in primed],
    }
    known = [entry for entry in cold if entry.differs is not None]
    if not known:
        why = cold[0].why_unknown if cold else "no case without warm-up was measured"
        return Answer("inconclusive", f"not decided: {why}.", evidence=evidence)
    differing = [entry for entry in known if entry.differs]
    effect = max(entry.distance for entry in known)
    words = f"in {len(differing)} of {len(known)} cases the first pass differs from later ones"
    if torch is None:
        return Answer(
            "inconclusive", f"{words}; the torch release is unknown.", effect, None, evidence
        )
    words += f" on torch {torch}"
    unknown = [entry for entry in cold if entry.differs is None]
    if unknown:
        more = counted(len(unknown), "more case")
        words += f"; {more} could not be decided: {unknown[0].why_unknown}"
    if unknown and not differing:
        return Answer("inconclusive", f"{words}.", effect, None, evidence)
    if torch.release >= (2,):
        verdict: ClaimVerdict = "refuted" if differing else "confirmed"
        return Answer(verdict, f"{words}.", effect, None, evidence)
    if not differing:
        return Answer("refuted", f"{words}.", effect, None, evidence)
    if not primed or any(entry.differs is None for entry in primed):
        rest = "could not be checked" if primed else "was not measured"
        return Answer(
            "inconclusive", f"{words}; whether a warm-up pass helps {rest}.", effect, None, evidence
        )
    if any(entry.differs for entry in primed):
        return Answer("refuted", f"{words}; a warm-up pass does not help.", effect, None, evidence)
    return Answer("confirmed", f"{words}; after a warm-up pass none does.", effect, None, evidence)


@dataclass(frozen=True)
class _FirstPass:
    """Whether a case's first pass differs from its later ones; None if unknown."""

    differs: bool | None
    why_unknown: str
    distance: float
    evidence: dict[str, Any]


def _first_passes(side: Side, *, warmup: bool) -> list[_FirstPass]:
    found = []
    for row in side.rows:
        if row.summary.case.warmup != warmup:
            continue
        entry = side.evidence.equality(row, "first-pass")
        if entry is None:
            case = {"case_id": row.summary.case_id, "verdict": "unknown"}
            found.append(_FirstPass(None, "no process of the case made two passes", 0.0, case))
            continue
        differs = None if entry.verdict == "unknown" else entry.verdict == "different"
        why_unknown = entry.reason or "whether it differs was not measured"
        if differs and not repeatability.first_is_odd_one_out(side.evidence, row, entry):
            differs = None
            why_unknown = "later passes also differ, could not be compared, or are the wrong ones"
        distance = max(entry.rel_l2 or 0.0, entry.pixels_rel_l2 or 0.0)
        found.append(_FirstPass(differs, why_unknown, distance, _equality_words(entry)))
    return found


def matches_cpu(side: Side) -> Answer:
    rows = [row for row in side.rows if row.summary.case.warmup]
    known = [row for row in rows if row.summary.correct != "unknown"]
    evidence = {
        "cases": {
            row.summary.case_id: {
                "correct": row.summary.correct,
                "margin": row.summary.correct_margin,
            }
            for row in rows
        }
    }
    if not known:
        why = rows[0].summary.correct_reason if rows else "no case with warm-up was measured"
        return Answer("inconclusive", f"not decided: {why}.", evidence=evidence)
    effect = max((row.summary.correct_margin or 0.0 for row in known), default=None)
    unlike = [row for row in known if row.summary.correct != "match"]
    words = f"{len(known) - len(unlike)} of {len(known)} cases match the CPU after warm-up"
    if unlike:
        words += f"; {unlike[0].summary.case_id}: {unlike[0].summary.correct_reason}"
    return Answer("refuted" if unlike else "confirmed", f"{words}.", effect, None, evidence)


def slower_when_swapping(side: Side) -> Answer:
    pairs = []
    for row in side.rows:
        for arm in side.held:
            other = side.evidence.measured_in(arm, row.summary.case_id)
            if other is not None and _swaps(other) and not _swaps(row):
                pairs.append(estimate_pair(paired(row, other)))
    if not pairs:
        swapping = [row.summary.case_id for row in side.rows if _swaps(row)]
        words = "nothing swapped" if not swapping else "no case was measured both with and without"
        return Answer(
            "inconclusive",
            f"not decided: {words}; to provoke swapping: --set 'pressure.hold_bytes=[0, \"50%\"]'.",
            evidence={"swapping": swapping},
        )
    words = "with swapping a pass takes {ratio:.2f} times as long"
    evidence, slower = _pair_evidence(pairs, "steady"), (_SIGNIFICANT, math.inf)
    return _judged(_pooled(pairs, "steady"), evidence, slower, words)


def slicing_saves_memory(side: Side) -> Answer:
    pairs = side.pairs("attention_slicing", False, True)
    if not pairs:
        return Answer("inconclusive", "not decided: slicing was not measured on and off.")
    evidence = _pair_evidence(pairs, "memory")
    pairs = [entry for entry in pairs if not _is_without_effect(entry)]
    if not pairs:
        return _not_tested(side, evidence)
    relieved = [entry for entry in pairs if _swaps(entry.pair.base) and not _swaps(entry.pair.new)]
    evidence["swap_prevented"] = [entry.pair.key[1] for entry in relieved]
    judged = [entry for entry in pairs if not entry.void("memory")]
    large = [entry for entry in judged if _pixels(entry) > _STANDARD_PIXELS]
    at_large = _pooled(large, "memory")
    words = "with slicing the memory peak is {ratio:.2f} times that without"
    if at_large is not None and at_large.ratio is not None:
        words += f" (over 512x512: {at_large.ratio:.2f})"
    stage = next((row.summary.peak_stage for entry in pairs for row in entry.pair.rows[1:]), None)
    if stage is not None:
        words += f"; the peak is in {stage.replace('_', ' ')}"
    if relieved:
        words += f"; {len(relieved)} cases no longer swap"
    return _judged(_pooled(judged, "memory"), evidence, _LESS, words)


def slicing_and_speed(side: Side) -> Answer:
    """The claim: 20% slower without unified memory; faster on Apple silicon under 64 GB, not at 64
    GB or more."""
    return _slicing_and_speed(side, _ABOUT_20, "1.2")


def slicing_and_speed_today(side: Side) -> Answer:
    """The claim: 20% faster without unified memory; of Apple silicon as it was before."""
    return _slicing_and_speed(side, _ABOUT_20_FASTER, "0.83")


def _slicing_and_speed(side: Side, elsewhere: Interval, figure: str) -> Answer:
    """``elsewhere`` is what is claimed without unified memory: time with slicing / without."""
    pairs = side.pairs("attention_slicing", False, True)
    evidence = _pair_evidence(pairs, "steady")
    if pairs and all(_is_without_effect(entry) for entry in pairs):
        return _not_tested(side, evidence)
    pooled = _pooled([entry for entry in pairs if not entry.void("steady")], "steady")
    words = "with slicing a pass takes {ratio:.2f} times as long"
    if side.evidence.run.device != "mps":
        words += f"; the claim for computers without unified memory is about {figure}"
        answer = _judged(pooled, evidence, elsewhere, words)
        if answer.verdict != "refuted" or answer.ci95 is None:
            return answer
        if elsewhere[0] > 1:
            more = "more" if answer.ci95[0] > elsewhere[1] else "less"
            rest = f"It costs {more} here than claimed."
        elif answer.ci95[0] > 1:
            rest = "It slows down here instead."
        else:
            more = "less" if answer.ci95[0] > elsewhere[1] else "more"
            rest = f"It gains {more} here than claimed."
        return dataclasses.replace(answer, sentence=f"{answer.sentence} {rest}")
    memory = side.memory_bytes
    if memory is None:
        return Answer("inconclusive", "not decided: the machine's memory is unknown.")
    if memory >= _LARGE_BYTES:
        words += "; for 64 GB and more the claim is that nothing is gained"
        return _judged(pooled, evidence, (_LESS[1], math.inf), words)
    words += "; for less than 64 GB the claim is that it is faster"
    return _judged(pooled, evidence, _LESS, words)


def _is_without_effect(entry: PairEstimate) -> bool:
    return "no-effect" in entry.objections.void


def _not_tested(side: Side, evidence: dict[str, Any]) -> Answer:
    """The result of a claim about attention slicing for a model that does not slice."""
    reasons = (row.summary.no_effect.get("attention_slicing") for row in side.rows)
    why = next(reason for reason in reasons if reason is not None)
    sentence = f"not tested: attention slicing {NO_EFFECT} ({why.rstrip('.')})."
    return Answer("inconclusive", sentence, evidence=evidence)


def batches_fail(side: Side) -> Answer:
    pairs = side.pairs("batching", "loop", "batch") if side.evidence.images > 1 else []
    if not pairs:
        return Answer("inconclusive", "not decided: batch and loop were not both measured.")
    rules: tuple[Rule, ...] = (
        outcomes.batch_crash,
        repeatability.batch_mismatch,
        pictures.nan_output,
    )
    failing, unchecked, cases = [], [], {}
    for entry in pairs:
        base, new = entry.pair.base, entry.pair.new
        assert base is not None and new is not None
        found = next((s for rule in rules if (s := rule(side.evidence, new)) is not None), None)
        loop_is_fine = base.summary.outcome == "ok" and not pictures.nan_output(side.evidence, base)
        alike = side.evidence.equality(new, "batching")
        known = alike is not None and alike.verdict in ("identical", "same")
        if found is not None and loop_is_fine:
            failing.append(new.summary.case_id)
        elif new.summary.outcome != "ok" or not (known or new.summary.correct == "match"):
            unchecked.append(new.summary.case_id)
        cases[new.summary.case_id] = {
            "loop": base.summary.case_id,
            "outcome": new.summary.outcome,
            "correct": new.summary.correct,
            "equality": None if alike is None else alike.verdict,
            "finding": None if found is None else found.code,
        }
    effect = len(failing) / len(pairs)
    words = f"{len(failing)} of {len(pairs)} batches crashed or differ from the loop's images"
    if failing:
        return Answer("confirmed", f"{words}.", effect, None, {"cases": cases})
    if unchecked:
        rest = f"{words}, but {len(unchecked)} could not be checked."
        return Answer("inconclusive", rest, effect, None, {"cases": cases})
    return Answer("refuted", f"{words}.", effect, None, {"cases": cases})


def _equality_words(entry: Equality) -> dict[str, Any]:
    return {
        "case_id": entry.case_ids[0],
        "verdict": entry.verdict,
        "rel_l2": entry.rel_l2,
        "allowed_rel_l2": entry.allowed_rel_l2,
        "pixels_rel_l2": entry.pixels_rel_l2,
        "allowed_pixels_rel_l2": entry.allowed_pixels_rel_l2,
        "later": entry.later,
        "pictures": entry.pictures,
    }


def _swaps(row: CaseResult | None) -> bool:
    return row is not None and row.any_process(swapped)


def _pixels(entry: PairEstimate) -> int:
    return entry.pair.case.width * entry.pair.case.height


def _pooled(pairs: Sequence[PairEstimate], measure: Measure) -> RatioEstimate | None:
    """The mean of the pairs' logarithms in each block in which all pairs have values, over the
    blocks."""
    usable = [entry for entry in pairs if all(entry.figures[measure])]
    if not usable:
        return None
    blocks = set.intersection(*(_common(*entry.figures[measure]) for entry in usable))
    logs = [
        statistics.fmean(
            math.log(entry.figures[measure][1][block] / entry.figures[measure][0][block])
            for entry in usable
        )
        for block in sorted(blocks)
    ]
    return ratio_of_logs(logs, exact=measure == "memory")


def _common(base: Figures, new: Figures) -> set[int]:
    return {block for block in base.keys() & new.keys() if base[block] > 0 and new[block] > 0}


def _judged(
    pooled: RatioEstimate | None,
    evidence: dict[str, Any],
    claimed: Interval,
    words: str,
) -> Answer:
    """Confirmed if the whole interval lies inside the claimed range, refuted if it lies outside."""
    if pooled is None or pooled.ratio is None:
        return Answer(
            "inconclusive", "not decided: there are no measurements of both.", evidence=evidence
        )
    sentence = words.format(ratio=pooled.ratio)
    ci95 = pooled.interval()
    if ci95 is None:
        return Answer("inconclusive", f"{sentence}; {_TOO_FEW}.", pooled.ratio, None, evidence)
    sentence += f" (95% interval {ci95[0]:.2f}–{ci95[1]:.2f})."
    verdict: ClaimVerdict = "inconclusive"
    if claimed[0] < ci95[0] and ci95[1] < claimed[1]:
        verdict = "confirmed"
    elif ci95[1] < claimed[0] or claimed[1] < ci95[0]:
        verdict = "refuted"
    return Answer(verdict, sentence, pooled.ratio, ci95, evidence)


def _pair_evidence(pairs: Sequence[PairEstimate], measure: Measure) -> dict[str, Any]:
    return {
        "pairs": [
            {
                "case_id": entry.pair.case.case_id,
                "base": entry.pair.labels[0],
                "new": entry.pair.labels[1],
                "ratio": entry.ratios[measure].ratio,
                "ci95": entry.ratios[measure].interval(),
                "n": entry.ratios[measure].n,
                "not_judged": entry.void(measure),
            }
            for entry in pairs
        ]
    }
