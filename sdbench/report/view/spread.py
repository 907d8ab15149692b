"""Where the scatter of a case comes from, and which processes were held up, in words."""

from collections.abc import Iterator, Sequence

from sdbench.analysis.run_summary import CaseSummary
from sdbench.stats.nested import Dominant

_HELP: dict[Dominant, str] = {
    "processes": "more processes, or a quieter host, would make it more precise",
    "passes": "more passes (--set passes=…) would make it more precise",
    "both": "more processes, or a quieter host, would make it more precise; more passes a little",
}


def spread_words(row: CaseSummary) -> str:
    """``processes differ by 25%, passes by 2%: more processes, or a quieter host, would …``."""
    passes, processes = row.spread_between_passes, row.spread_between_processes
    reported = []
    if processes is not None and row.spread_dominated_by == "passes":
        reported.append("processes do not differ by more than their passes explain")
    elif processes is not None:
        reported.append(f"processes differ by {share(processes)}")
    if passes is not None:
        reported.append(
            f"passes by {share(passes)}" if reported else f"passes differ by {share(passes)}"
        )
    if row.spread_dominated_by == "unknown":
        reported.append(f"which matters more is unknown ({row.spread_reason or 'not run'})")
        return ", ".join(reported)
    return f"{', '.join(reported)}: {_HELP[row.spread_dominated_by]}"


def share(part: float) -> str:
    """``25%``, ``2.1%``, ``0.3%``."""
    return f"{part:.0%}" if part >= 0.095 else f"{part:.1%}"


def widest(rows: Sequence[CaseSummary]) -> Iterator[tuple[CaseSummary, int]]:
    """Of the rows that the same thing makes uncertain the one most so, and how many others."""
    for dominant in ("processes", "both", "passes"):
        alike = [row for row in rows if row.spread_dominated_by == dominant]
        if alike:
            yield max(alike, key=_extent), len(alike) - 1


def _extent(row: CaseSummary) -> float:
    between = row.spread_between_passes if row.spread_dominated_by == "passes" else None
    return (row.spread_between_processes if between is None else between) or 0.0
