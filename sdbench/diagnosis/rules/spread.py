"""Processes that differ so much that times decide nothing, and what was seen of the reason."""

from collections.abc import Iterator
from typing import Any

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.comparability import swapped, throttled
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.rules.symptom import Symptom
from sdbench.stats import DEFAULT_THRESHOLD, LOOKS

_MOST_PROCESSES = LOOKS[-1]
# Half the 95% interval of a ratio of two sides of so many processes (2.086 · √(2/21)), in standard
# deviations between processes.
_HALF_WIDTH = 0.64
# Shares of all cores' time: what others always take on an idle system is less.
_SEEN_SHARE = 0.05
_SEEN_STOLEN_SHARE = 0.01


def noisy_host(evidence: Evidence, row: CaseResult) -> Symptom | None:
    """Processes differ so much that no number of them that is ever made decides the threshold.

    What they differ by beyond their passes' scatter is meant: that is the host's doing, and more
    passes do not help.
    """
    summary = row.summary
    between = summary.spread_between_processes
    if between is None or summary.spread_dominated_by not in ("processes", "both"):
        return None
    threshold = _threshold(evidence)
    if _HALF_WIDTH * between <= threshold:
        return None
    seen = [*_seen(evidence, row)]
    passes = summary.spread_between_passes
    inside = "" if passes is None else f", passes inside a process by {passes:.1%}"
    return Symptom(
        "noisy-host",
        "info",
        row,
        f"processes differ by {between:.0%}{inside}: not even {_MOST_PROCESSES} of them would "
        f"decide a difference of {threshold:.0%}. Seen meanwhile: "
        f"{', '.join(seen) or 'nothing that was watched'}",
        "More processes (--set replicates=8), or a quieter host; compare settings within one run, "
        "where what comes and goes cancels.",
        {
            "spread_between_processes": between,
            "spread_between_passes": passes,
            "threshold": threshold,
            "processes": summary.latency_s.n,
            "seen": seen,
        },
    )


def _threshold(evidence: Evidence) -> float:
    """The smallest difference that counts: the run's own, where it has one."""
    asked: Any = evidence.run.config.get("until_decided") or {}
    return float(asked.get("threshold", DEFAULT_THRESHOLD))


def _seen(evidence: Evidence, row: CaseResult) -> Iterator[str]:
    """What was recorded that makes processes differ."""
    if evidence.run.identity("virtual") is True:
        yield "a virtual machine"
    reported = [entry.telemetry for entry in row.replicates if entry.telemetry is not None]
    stolen = max((one.stolen_cpu_share or 0.0 for one in reported), default=0.0)
    if stolen > _SEEN_STOLEN_SHARE:
        yield f"up to {stolen:.0%} of the cores' time given to others by the host"
    others = max((one.other_cpu_share or 0.0 for one in reported), default=0.0)
    if others > _SEEN_SHARE:
        yield f"other programs with up to {others:.0%} of all cores' time"
    elif any("load" in entry.gate.flags for entry in row.replicates):
        yield "other load when processes began"
    reasons = {why for one in reported for why in one.gpu_throttled}
    if reasons:
        yield f"GPU clocks held down ({', '.join(sorted(reasons))})"
    elif any(throttled(entry) for entry in row.replicates):
        yield "heat or power saving"
    if any(swapped(entry) for entry in row.replicates):
        yield "swapping"
    if not reported:
        yield "nothing, since telemetry was off"
