"""Times that stand out, and what attention slicing does to them."""

import math
import statistics
from collections.abc import Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.result import Severity
from sdbench.diagnosis.rules.machine import memory_growth, throttling
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.knowledge.known_issues import FindingCode
from sdbench.stats import DEFAULT_THRESHOLD, MIN_PROCESSES, judge_steadiness
from sdbench.stats.ratio import t_quantile
from sdbench.stats.steadiness import MIN_PASSES

# A first pass loads kernels: 1 to 3 s more is normal on a healthy GPU. From half more on it is
# told; as a warning where the excess is longer than that, and than a later pass.
_NORMAL_EXCESS_S = 3.0
_NOTICEABLE_TIMES = 1.5
_LEVEL = 0.01


def slow_first_pass(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """The first pass takes much longer than steady ones."""
    steady = row.summary.latency_s.median
    warm = [entry for entry in row.replicates if not entry.cold_cache]
    firsts = [*row.first_pass_s.values()]
    warm_firsts = [row.first_pass_s[e.block] for e in warm if e.block in row.first_pass_s]
    times = warm_firsts or firsts
    if not times or steady is None:
        return None
    first = statistics.median(times)
    if first < _NOTICEABLE_TIMES * steady:
        return None
    beyond = first - steady > max(_NORMAL_EXCESS_S, steady)
    busy = all("load" in entry.gate.flags for entry in row.replicates)
    several = len(warm_firsts) > 1  # one process alone may have met anything
    severity: Severity = "warning" if beyond and several and not busy else "info"
    images = evidence.images
    words = (
        f"the first pass takes {first / images:.3g} s per image, later ones {steady / images:.3g} s"
    )
    if not warm_firsts:
        words += " (it met cold caches; a second process would say more)"
    elif busy:
        words += " (other programs kept the machine busy)"
    return Symptom(
        "slow-first-pass",
        severity,
        row,
        words,
        "Keep the process alive between images; a warm-up pass of one step moves the wait to the "
        "start.",
        {"first_pass_s": first, "steady_s": steady, "cold_cache": not warm_firsts},
    )


def not_steady(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Passes get slower or faster as a process goes on, and nothing else explains it.

    A warning where every process gets slower by itself. Where they disagree it may be the host that
    wanders, and where they get faster the machine has not warmed up yet: both are said, no more.
    """
    made = [
        [entry.duration_s for entry in replicate.timed("measured")]
        for replicate in row.replicates
        if replicate.outcome == "ok" and not replicate.slept
    ]
    # Processes decide by themselves how many passes they make; short ones do not hide the others.
    long = [process for process in made if len(process) >= MIN_PASSES]
    processes = long if len(long) >= MIN_PROCESSES else made
    found = judge_steadiness(processes)
    if found.state not in ("slowing", "quickening") or found.change is None:
        return None
    explained = throttling(evidence, row), memory_growth(evidence, row)
    if any(symptom is not None and symptom.severity != "info" for symptom in explained):
        return None
    alike = _all_change_alike(processes, slower=found.state == "slowing")
    words = (
        f"passes are still {found.state}: the last takes {found.change:.2f} times as long as the "
        "second"
    )
    if not alike:
        words += "; processes do not agree on it, so it may be the host that wanders"
    return Symptom(
        "not-steady",
        "warning" if alike and found.state == "slowing" else "info",
        row,
        words,
        "Measure more passes (--set passes=…) until they level off, and look at heat and memory.",
        {"change": found.change, "processes": len(processes), "in_every_process": alike},
    )


def _all_change_alike(processes: Sequence[Sequence[float]], *, slower: bool) -> bool:
    """Whether the last third of the steady passes differs from the first third in each process.

    By more than half the threshold, and so much alike that chance gives it in 1% of cases (a t test
    over the processes, which are the unit of repetition: passes that follow each other are not
    independent where a host wanders).
    """
    changes = []
    for process in processes:
        steady = process[1:]
        third = max(1, len(steady) // 3)
        change = math.log(statistics.median(steady[-third:]) / statistics.median(steady[:third]))
        changes.append(change if slower else -change)
    if min(changes) < math.log1p(DEFAULT_THRESHOLD) / 2:
        return False
    error = statistics.stdev(changes) / math.sqrt(len(changes))
    return statistics.fmean(changes) >= error * t_quantile(1 - _LEVEL, len(changes) - 1)


def slicing_hurts(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """With attention slicing it is slower."""
    return _slicing(evidence, row, "slicing-hurts", "slower")


def slicing_helps(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """With attention slicing it is faster."""
    return _slicing(evidence, row, "slicing-helps", "faster")


def _slicing(evidence: Evidence, row: CaseResult, code: FindingCode, way: str) -> Symptom | None:
    plain = evidence.neighbour(row, "attention_slicing", False)
    if not row.summary.case.attention_slicing or plain is None:
        return None
    found = evidence.examined(plain, row, "attention_slicing")
    time, memory = found.ratios["steady"], found.ratios["memory"]
    ci95 = time.interval()
    if not found.objections.judged or ci95 is None or time.ratio is None:
        return None
    limit = 1 + DEFAULT_THRESHOLD
    if not (ci95[0] > limit if way == "slower" else ci95[1] < 1 / limit):
        return None
    words = (
        f"attention slicing takes {time.ratio:.2f} times as long (95% interval {ci95[0]:.2f}–"
        f"{ci95[1]:.2f})"
    )
    if memory.ratio is not None:
        words += f" and {memory.ratio:.2f} times the memory"
    return Symptom(
        code,
        "info",
        row,
        words,
        "Leave it off where memory suffices." if way == "slower" else "Leave it on.",
        {
            "compared_with": plain.summary.case_id,
            "ratio": time.ratio,
            "ci95": ci95,
            "n": time.n,
            "memory_ratio": memory.ratio,
        },
    )
