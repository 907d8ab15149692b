"""The figures of one pair of rows, and what speaks against them."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from sdbench.analysis.case_result import CaseResult, Figures
from sdbench.analysis.comparability import Objections, objections_to
from sdbench.analysis.pairs import Pair
from sdbench.analysis.run_summary import slowed_by_others
from sdbench.stats import Drift, RatioEstimate, paired_ratio, welch_ratio, with_drift

Measure = Literal["steady", "first_pass", "memory"]
MEASURES: tuple[Measure, ...] = ("steady", "first_pass", "memory")
# These hold back speed and leave memory as it is.
_SPEED_ONLY = {
    *("throttled", "heat-unknown", "virtual-device", "virtual-mac", "work-differs"),
    "beside-others",
}


@dataclass(frozen=True)
class PairEstimate:
    """A pair with its three ratios: steady time, first pass, peak memory.

    ``drift`` is between two separate runs, and contained in the ratios of times.
    """

    pair: Pair
    objections: Objections
    figures: dict[Measure, tuple[Figures, Figures]]
    ratios: dict[Measure, RatioEstimate]
    drift: Drift | None = None

    def void(self, measure: Measure) -> list[str]:
        """Why this measure gets no verdict, whatever its numbers say."""
        codes = [code for code in [self.objections.incorrect, *self.objections.void] if code]
        if measure == "memory":
            codes = [code for code in codes if code not in _SPEED_ONLY]
            if len({source for row in self.pair.rows for source in _memory_sources(row)}) > 1:
                codes.append("memory-source-differs")
        return codes


def estimate_pair(
    pair: Pair, *, by_machine: bool = False, drift: Drift | None = None
) -> PairEstimate:
    """Take a pair's figures and estimate its ratios; a side that is missing has none.

    The block in which a run was stopped counts where both sides were measured in it.
    """
    base, new = pair.base, pair.new
    cut = _cut_block(pair) | _planned_for_one(pair) | _apart(pair) | _out_of_order(pair)
    taken: dict[Measure, tuple[Figures, Figures]] = {
        "steady": (base.steady_s if base else {}, new.steady_s if new else {}),
        "first_pass": _equally_cold(base, new),
        "memory": (base.peak_memory_bytes if base else {}, new.peak_memory_bytes if new else {}),
    }
    figures = {
        measure: (_without(sides[0], cut), _without(sides[1], cut))
        for measure, sides in taken.items()
    }
    return PairEstimate(
        pair=pair,
        objections=objections_to(pair, by_machine=by_machine),
        figures=figures,
        ratios={measure: _ratio(pair, measure, *figures[measure], drift) for measure in MEASURES},
        drift=drift,
    )


def _cut_block(pair: Pair) -> set[int]:
    """The last block, where a stop left one side of it without any process, good or bad.

    When to stop has nothing to do with which side is faster, so its figure may go, and the blocks
    before it keep their verdict. A process that ended without a figure is another matter.
    """
    begun = [row.replicates for row in pair.rows if row.replicates]
    if not pair.interleaved or len(begun) < 2:
        return set()
    last = [max(entry.block for entry in replicates) for replicates in begun]
    return {max(last)} if max(last) - min(last) == 1 else set()


def _planned_for_one(pair: Pair) -> set[int]:
    """Blocks that one side alone has in the plan: it was decided, or a budget put the other off."""
    blocks = [row.blocks for row in pair.rows if row.blocks is not None]
    return {*(blocks[0] ^ blocks[1])} if pair.interleaved and len(blocks) == 2 else set()


def _apart(pair: Pair) -> set[int]:
    """Blocks whose two sides were measured on two machines of a fleet: no difference cancels."""
    if not pair.interleaved or len(pair.rows) < 2:
        return set()
    base, new = ({entry.block: entry.machine_id for entry in row.replicates} for row in pair.rows)
    return {block for block in base.keys() & new.keys() if base[block] != new[block]}


def _out_of_order(pair: Pair) -> set[int]:
    """Blocks of which one side was measured only after the other side's next block had begun.

    That is so where a process was repeated later; what drifted meanwhile does not cancel. Machines
    of a fleet have blocks of their own, side by side.
    """
    if not pair.interleaved or len(pair.rows) < 2:
        return set()
    machines = {entry.machine_id for row in pair.rows for entry in row.replicates}
    overtaken = set()
    for machine in machines:
        base, new = (
            {e.block: e.started_utc for e in row.replicates if e.machine_id == machine}
            for row in pair.rows
        )
        overtaken |= _overtaken(base, new) | _overtaken(new, base)
    return overtaken


def _overtaken(own: dict[int, str], other: dict[int, str]) -> set[int]:
    """Blocks that began on the own side after a later block had on the other."""
    overtaken, earliest_later = set(), None
    for block in sorted(own.keys() | other.keys(), reverse=True):
        if block in own and block in other and earliest_later and earliest_later < own[block]:
            overtaken.add(block)
        if block in other:
            earliest_later = min(earliest_later or other[block], other[block])
    return overtaken


def _without(figures: Figures, blocks: Collection[int]) -> Figures:
    return {block: figure for block, figure in figures.items() if block not in blocks}


def _ratio(
    pair: Pair, measure: Measure, base: Figures, new: Figures, drift: Drift | None
) -> RatioEstimate:
    if measure == "memory":
        return _plain_ratio(pair, base, new, exact=True)  # its peak repeats to the byte
    ratio = _plain_ratio(pair, base, new)
    busy = {entry.block for row in pair.rows for entry in row.replicates if slowed_by_others(entry)}
    if busy & (base.keys() | new.keys()):
        quiet = _plain_ratio(pair, _without(base, busy), _without(new, busy))
        ratio = dataclasses.replace(ratio, undisturbed=quiet)
    return ratio if drift is None else with_drift(ratio, drift)


def _plain_ratio(pair: Pair, base: Figures, new: Figures, *, exact: bool = False) -> RatioEstimate:
    if pair.interleaved:
        return paired_ratio(base, new, exact=exact)
    return welch_ratio([*base.values()], [*new.values()], exact=exact)


def _equally_cold(base: CaseResult | None, new: CaseResult | None) -> tuple[Figures, Figures]:
    """First passes without the blocks in which one side alone met cold caches (PROTOCOL 4)."""
    if base is None or new is None:
        return (base.first_pass_s if base else {}, new.first_pass_s if new else {})
    unlike = _cold_blocks(base) ^ _cold_blocks(new)
    return _without(base.first_pass_s, unlike), _without(new.first_pass_s, unlike)


def _cold_blocks(row: CaseResult) -> set[int]:
    return {entry.block for entry in row.replicates if entry.cold_cache}


def _memory_sources(row: CaseResult) -> set[str | None]:
    return {entry.peak_memory_source for entry in row.replicates if entry.outcome == "ok"}
