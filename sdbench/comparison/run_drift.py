"""How much two separate runs may differ although nothing changed: the one rule for all comparisons.

The numbers are in :mod:`sdbench.stats.drift`; this module collects the data for them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.pairs import Pair
from sdbench.analysis.run_summary import slowed_by_others
from sdbench.comparison.history import Past, times_by_run
from sdbench.comparison.result import BetweenRuns, MachineKind
from sdbench.comparison.series import operators_of, series_of, yardsticks_of
from sdbench.knowledge.chips import chip_family
from sdbench.records import Run
from sdbench.stats import Drift, drift_between

# Standard deviation of the logarithm of a run's time between separate runs of the same, by kind of
# machine. Measured: eight runs on an idle virtual machine of two cores, 6 processes each, had
# medians from 0.172 to 0.270 s (0.15); five runs minutes later lay within 3% of each other, so it
# comes and goes. The others were not measured. They are assumptions on the safe side: heat and
# power management hold a machine without a fan, or on battery, to about two thirds of its speed at
# worst, and other programs do as much as a virtual machine's neighbours. A machine of which nothing
# is known counts as a virtual one.
PRIOR_LOG_SD: dict[MachineKind, float] = {
    "still": 0.05,
    "unknown": 0.15,
    "virtual": 0.15,
    "fanless": 0.12,
    "battery": 0.12,
    "other-load": 0.15,
}
KIND_WORDS: dict[MachineKind, str] = {
    "still": "an otherwise idle machine",
    "unknown": "a machine about which too little is known",
    "virtual": "a virtual machine",
    "fanless": "a Mac without a fan",
    "battery": "a machine on battery",
    "other-load": "a machine that other programs also use",
}
# Apple's identifiers of the MacBook (2015 to 2017) and of the MacBook Air with Apple silicon.
_FANLESS = (
    *("MacBook8,1", "MacBook9,1", "MacBook10,1", "MacBookAir10,1", "Mac14,2", "Mac14,15"),
    *("Mac15,12", "Mac15,13", "Mac16,12", "Mac16,13"),
)

# The families for which that list is complete. Of later ones only these models surely have a fan.
_LISTED = ("M1", "M2", "M3", "M4")
_WITH_A_FAN = ("Mac17,2",)

Earlier = Mapping[str, Sequence[float]]
"""Seconds a pass of earlier runs by :func:`~sdbench.comparison.series.series_of`, one per run."""


def earlier_times(pasts: Iterable[Past], before_utc: str) -> Earlier:
    """The measurements of earlier runs that meet the requirements of a verdict."""
    earlier = (past for past in pasts if past.created_utc < before_utc)
    return times_by_run(entry for past in earlier for _, entry in past.entries)


def drift_of(pair: Pair, earlier: Earlier, *, by_machine: bool = False) -> Drift | None:
    """The drift between the two runs of a pair; None if there is none to consider.

    Between two machines the reference work differs because of the machines, which are what is
    compared.
    """
    base, new = pair.base, pair.new
    if base is None or new is None or pair.interleaved:
        return None
    readings: list[list[float]] = [[], []]
    if not by_machine:
        sides = yardsticks_of(base), yardsticks_of(new)
        version = max(sides[0].keys() & sides[1].keys(), default=None)
        if version is not None:
            readings = [[*side[version].values()] for side in sides]
    series = dict.fromkeys(series_of(row) for row in (base, new))
    return drift_between(
        readings[0],
        readings[1],
        [earlier.get(one, ()) for one in series],
        max(PRIOR_LOG_SD[machine_kind(row)] for row in (base, new)),
        same_software=not by_machine and operators_of(base) == operators_of(new),
    )


def machine_kind(row: CaseResult) -> MachineKind:
    """The known conditions of the machine while this case was measured, the worst first."""
    virtual = row.run.identity("virtual")
    kinds: dict[MachineKind, bool] = {
        "virtual": virtual is True,
        "other-load": any(
            slowed_by_others(one) or "load" in one.gate.flags for one in row.replicates
        ),
        "unknown": virtual is not False or _may_lack_a_fan(row.run),
        "battery": any(one.gate.power_source == "battery" for one in row.replicates),
        "fanless": row.run.machine.get("model") in _FANLESS,
    }
    return next((kind for kind, holds in kinds.items() if holds), "still")


def _may_lack_a_fan(run: Run) -> bool:
    """Whether it is a Mac with an Apple chip that is too new for what is known of fans."""
    chip, model = run.machine.get("chip"), run.machine.get("model")
    if not isinstance(chip, str) or not chip.startswith("Apple ") or model in _WITH_A_FAN:
        return False
    family = chip_family(chip)
    return family not in (*_LISTED, "virtual") and not chip.endswith((" Pro", " Max", " Ultra"))


def between_runs(drift: Drift | None, pair: Pair) -> BetweenRuns | None:
    """The drift in the form of a comparison's record."""
    if drift is None:
        return None
    kinds = [machine_kind(row) for row in pair.rows]
    return BetweenRuns(
        source=drift.source,
        log_sd=drift.log_sd,
        machine_ratio=drift.machine_ratio,
        runs=drift.runs,
        machine=max(kinds, key=PRIOR_LOG_SD.__getitem__),
    )


def drift_words(drift: BetweenRuns) -> str:
    """Which drift the interval includes, and why."""
    words = []
    if drift.source == "history":
        share = math.expm1(drift.log_sd)
        words.append(f"{drift.runs} earlier runs of this case differ by {share:.1%}")
    elif drift.source == "prior":
        share = math.expm1(math.sqrt(2) * drift.log_sd)
        words.append(f"two runs on {KIND_WORDS[drift.machine]} may differ by {share:.0%}")
    if drift.machine_ratio is not None:
        less = "longer" if drift.machine_ratio >= 1 else "less time"
        words.append(
            f"the fixed reference work took {abs(drift.machine_ratio - 1):.1%} {less} in the new "
            "run"
        )
    return ", and ".join(words)
