"""One verdict over many machines: sides are paired within each machine, then each machine is one
observation."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from sdbench.analysis.estimates import MEASURES, Measure, PairEstimate
from sdbench.analysis.reasons import explain
from sdbench.comparison.result import Both, CaseComparison, MachineInfo, MachineResult, Verdict
from sdbench.comparison.sentence import VERDICT_WORDS
from sdbench.comparison.verdicts import Decision, decide, first_pass_of, peak_memory_of
from sdbench.records import CORRECTNESS_SEVERITY, OUTCOME_SEVERITY
from sdbench.runs import LoadedRun
from sdbench.stats import CONFIDENCE, RatioEstimate, ratio_of_logs, tukey_outliers

# A t interval needs a scatter; see MIN_PROCESSES.
MIN_MACHINES = 3
_OPPOSITE: dict[Verdict, Verdict] = {"faster": "slower", "slower": "faster"}


@dataclass(frozen=True)
class MachineCases:
    """One machine's own comparison."""

    loaded: LoadedRun
    examined: list[PairEstimate]
    cases: list[CaseComparison]


@dataclass(frozen=True)
class _OnMachine:
    """One case on one machine."""

    loaded: LoadedRun
    examined: PairEstimate
    case: CaseComparison

    def counts(self, measure: Measure) -> bool:
        """Whether its ratio is valid as an observation."""
        return not self.examined.void(measure) and self.examined.ratios[measure].error is not None


def machine_info(loaded: LoadedRun, left_out: str | None = None) -> MachineInfo:
    """Whether the machine took part, or why not."""
    facts = loaded.run.machine
    system = " ".join(str(facts[key]) for key in ("system", "release") if facts.get(key))
    return MachineInfo(
        machine_id=loaded.run.machine_id,
        chip=facts.get("chip"),
        system=system or None,
        run_id=loaded.run.run_id,
        path=str(loaded.path),
        left_out=left_out,
    )


def judge_machines(
    machines: Sequence[MachineCases], threshold: float, confidence: float
) -> list[CaseComparison]:
    """One verdict per case over all machines that measured it."""
    groups: dict[tuple[str, ...], list[_OnMachine]] = {}
    for machine in machines:
        for examined, case in zip(machine.examined, machine.cases, strict=True):
            entry = _OnMachine(machine.loaded, examined, case)
            groups.setdefault(examined.pair.key, []).append(entry)
    members = list(groups.values())
    figures = [
        {measure: (_over_machines(group, measure), _void(group, measure)) for measure in MEASURES}
        for group in members
    ]
    decisions = decide(figures, threshold, confidence)
    return [_case(*one, confidence) for one in zip(members, decisions, strict=True)]


def _over_machines(group: Iterable[_OnMachine], measure: Measure) -> RatioEstimate:
    logs = [
        log
        for entry in group
        if entry.counts(measure) and (log := entry.examined.ratios[measure].log) is not None
    ]
    return ratio_of_logs(logs, exact=measure == "memory")


def _void(group: Sequence[_OnMachine], measure: Measure) -> list[str]:
    """Why there is no verdict over machines: too few are valid, and the most frequent reason."""
    if sum(entry.counts(measure) for entry in group) >= MIN_MACHINES:
        return []
    causes = Counter(
        code
        for entry in group
        if not entry.counts(measure)
        for code in [*entry.examined.void(measure), entry.examined.ratios[measure].problem]
        if code is not None
    )
    return ["too-few-machines", *(code for code, _ in causes.most_common())]


def _case(
    group: Sequence[_OnMachine], decisions: Mapping[Measure, Decision], confidence: float
) -> CaseComparison:
    steady = decisions["steady"]
    ratio, judgement = steady.ratio, steady.judgement
    incorrect = [entry for entry in group if entry.case.verdict == "incorrect"]
    verdict: Verdict = "incorrect" if incorrect else steady.verdict
    reasons = [*(_incorrect_codes(incorrect)), *steady.reasons]
    results = _results(group, verdict)
    return msgspec.structs.replace(
        group[0].case,
        base_s=None,
        new_s=None,
        n=ratio.n,
        ratio=ratio.ratio,
        ci95=ratio.interval(),
        ci99=ratio.interval(confidence) if confidence != CONFIDENCE else None,
        bootstrap_ci95=None,
        p_value=judgement.p_value if judgement else None,
        q_value=judgement.q_value if judgement else None,
        verdict=verdict,
        reason=reasons[0] if reasons else None,
        explanation="; ".join(part for part in (explain(reasons), _tally(results)) if part),
        more_processes=None,
        more_machines=judgement.more_processes if judgement else None,
        outliers=[],
        first_pass=first_pass_of(decisions["first_pass"], {}, {}),
        peak_memory=peak_memory_of(decisions["memory"], {}, {}),
        correct=_worst([entry.case.correct for entry in group], CORRECTNESS_SEVERITY),
        outcome=_worst([entry.case.outcome for entry in group], OUTCOME_SEVERITY),
        machines=results,
        refused=[],
    )


def _incorrect_codes(incorrect: Iterable[_OnMachine]) -> list[str]:
    return list(dict.fromkeys(entry.case.reason for entry in incorrect if entry.case.reason))[:1]


def _results(group: Sequence[_OnMachine], verdict: Verdict) -> list[MachineResult]:
    """Each machine's own result; Tukey's outliers and opposite results are marked as apart."""
    logs = {
        index: math.log(entry.case.ratio)
        for index, entry in enumerate(group)
        if entry.counts("steady") and entry.case.ratio is not None
    }
    apart = {found.key for found in tukey_outliers(logs)}
    return [
        MachineResult(
            machine_id=entry.loaded.run.machine_id,
            chip=entry.loaded.run.machine.get("chip"),
            ratio=entry.case.ratio,
            ci95=entry.case.ci95,
            verdict=entry.case.verdict,
            reason=entry.case.reason,
            counts=entry.counts("steady"),
            outlier=index in apart or entry.case.verdict == _OPPOSITE.get(verdict),
        )
        for index, entry in enumerate(group)
    ]


def _tally(results: Sequence[MachineResult]) -> str:
    """``faster on 18 of 20 machines, slower on 1; apart from …``, and and which machines are not
    counted, with the reason."""
    counts = Counter(result.verdict for result in results)
    (most, count), *rest = counts.most_common()
    words = f"{VERDICT_WORDS[most]} on {count} of {len(results)} machines"
    words += "".join(f", {VERDICT_WORDS[verdict]} on {count}" for verdict, count in rest)
    apart = [machine_words(result) for result in results if result.outlier]
    words += f"; apart from the others: {', '.join(apart)}" if apart else ""
    left_out: dict[str, list[str]] = {}
    for result in results:
        if not result.counts and result.reason is not None:
            left_out.setdefault(result.reason, []).append(machine_words(result))
    for reason, names in left_out.items():
        words += f"; not counted: {', '.join(names)} ({explain([reason])})"
    return words


def machine_words(machine: MachineResult | MachineInfo) -> str:
    """``1f2e3d4c (Apple M1)``."""
    return machine.machine_id[:8] + (f" ({machine.chip})" if machine.chip else "")


def _worst(words: Sequence[Both], order: Sequence[str]) -> Both:
    def worst(said: list[str | None]) -> str | None:
        known = [word for word in said if word is not None]
        return min(known, key=order.index, default=None)

    return Both(base=worst([both.base for both in words]), new=worst([both.new for both in words]))
