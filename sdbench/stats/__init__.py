"""Pure numbers: the only place that knows scipy."""

from sdbench.stats.bootstrap import MIN_BOOTSTRAP_PROCESSES, bootstrap_interval
from sdbench.stats.drift import drift_between, with_drift
from sdbench.stats.interval import MIN_PROCESSES, log_t_interval
from sdbench.stats.outliers import Outlier, tukey_outliers
from sdbench.stats.percentiles import MIN_PASSES_OF_PERCENTILE, percentile
from sdbench.stats.ratio import (
    Drift,
    DriftSource,
    Problem,
    RatioEstimate,
    paired_ratio,
    ratio_of_logs,
    welch_ratio,
)
from sdbench.stats.sequential import LOOK_CONFIDENCE, LOOKS, Look, look_at
from sdbench.stats.steadiness import Steadiness, judge_steadiness
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
    "MIN_BOOTSTRAP_PROCESSES",
    "MIN_PASSES_OF_PERCENTILE",
    "MIN_PROCESSES",
    "OPEN",
    "STABLE_SHARE",
    "Drift",
    "DriftSource",
    "FamilyResult",
    "Look",
    "Outlier",
    "Problem",
    "RatioEstimate",
    "SpeedVerdict",
    "Steadiness",
    "Sustained",
    "bootstrap_interval",
    "decide_family",
    "drift_between",
    "judge_steadiness",
    "judge_sustained",
    "log_t_interval",
    "look_at",
    "more_processes",
    "paired_ratio",
    "percentile",
    "ratio_of_logs",
    "tukey_outliers",
    "welch_ratio",
    "with_drift",
]
