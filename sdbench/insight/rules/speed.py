"""Times that stand out, and what attention slicing does to them."""

import statistics

from sdbench.comparison.sides import Row
from sdbench.insight.evidence import Evidence
from sdbench.insight.known_issues import FindingCode
from sdbench.insight.records import Severity
from sdbench.insight.rules.machine import memory_growth, throttling
from sdbench.insight.rules.symptom import Symptom
from sdbench.stats import DEFAULT_THRESHOLD, judge_steadiness

# Beyond both of these a first pass is worth a remedy; below, worth a word from half more on.
_SLOW_FIRST_S = 2.0
_SLOW_FIRST_TIMES = 3.0
_NOTICEABLE_TIMES = 1.5


def slow_first_pass(evidence: Evidence, row: Row) -> Symptom | None:
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
    beyond = first > max(_SLOW_FIRST_S, _SLOW_FIRST_TIMES * steady)
    busy = all("load" in entry.gate.flags for entry in row.replicates)
    several = len(warm_firsts) > 1  # one process alone may have met anything
    severity: Severity = "warning" if beyond and several and not busy else "info"
    images = evidence.images
    words = (
        f"the first pass takes {first / images:.3g} s a picture, later ones {steady / images:.3g} s"
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
        "Keep the process alive between pictures; a warm-up pass of one step moves the wait to the "
        "start.",
        {"first_pass_s": first, "steady_s": steady, "cold_cache": not warm_firsts},
    )


def not_steady(evidence: Evidence, row: Row) -> Symptom | None:
    """Passes get slower or faster as a process goes on, and nothing else explains it."""
    processes = [
        [entry.duration_s for entry in replicate.of_kind("measured")]
        for replicate in row.replicates
        if replicate.outcome == "ok" and not replicate.slept
    ]
    found = judge_steadiness(processes)
    if found.state not in ("slowing", "quickening") or found.change is None:
        return None
    if throttling(evidence, row) or memory_growth(evidence, row):
        return None
    return Symptom(
        "not-steady",
        "warning",
        row,
        f"passes are still {found.state}: the last takes {found.change:.2f} times as long as the "
        "second",
        "Measure more passes (--set passes=…) until they level off, and look at heat and memory.",
        {"change": found.change, "processes": len(processes)},
    )


def slicing_hurts(evidence: Evidence, row: Row) -> Symptom | None:
    """With attention slicing it is slower."""
    return _slicing(evidence, row, "slicing-hurts", "slower")


def slicing_helps(evidence: Evidence, row: Row) -> Symptom | None:
    """With attention slicing it is faster."""
    return _slicing(evidence, row, "slicing-helps", "faster")


def _slicing(evidence: Evidence, row: Row, code: FindingCode, way: str) -> Symptom | None:
    plain = evidence.neighbour(row, "attention_slicing", False)
    if not row.planned.case.attention_slicing or plain is None:
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
            "compared_with": plain.planned.case_id,
            "ratio": time.ratio,
            "ci95": ci95,
            "n": time.n,
            "memory_ratio": memory.ratio,
        },
    )
