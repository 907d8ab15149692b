"""Pure statistics: the only room that imports scipy."""

from sdbench.stats.bootstrap import bootstrap_interval
from sdbench.stats.drift import drift_between, with_drift
from sdbench.stats.interval import MIN_PROCESSES, log_t_interval, log_t_prediction
from sdbench.stats.outliers import tukey_outliers
from sdbench.stats.percentiles import percentile
from sdbench.stats.ratio import (
    Drift,
    Problem,
    RatioEstimate,
    paired_ratio,
    ratio_of_logs,
    welch_ratio,
)
from sdbench.stats.sequential import LOOK_CONFIDENCE, LOOKS, look_at
from sdbench.stats.steadiness import judge_steadiness
from sdbench.stats.sustained import STABLE_SHARE, Sustained, judge_sustained
from sdbench.stats.verdict import (
    CONFIDENCE,
    DEFAULT_THRESHOLD,
    OPEN,
    FamilyResult,
    SpeedVerdict,
    decide_family,
    more_processes,
)

__all__ = [
    "CONFIDENCE",
    "DEFAULT_THRESHOLD",
    "LOOKS",
    "LOOK_CONFIDENCE",
    "MIN_PROCESSES",
    "OPEN",
    "STABLE_SHARE",
    "Drift",
    "FamilyResult",
    "Problem",
    "RatioEstimate",
    "SpeedVerdict",
    "Sustained",
    "bootstrap_interval",
    "decide_family",
    "drift_between",
    "judge_steadiness",
    "judge_sustained",
    "log_t_interval",
    "log_t_prediction",
    "look_at",
    "more_processes",
    "paired_ratio",
    "percentile",
    "ratio_of_logs",
    "tukey_outliers",
    "welch_ratio",
    "with_drift",
]
