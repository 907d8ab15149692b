"""How many measured passes processes made, and why no more, in words."""

from collections import Counter
from collections.abc import Collection

from sdbench.analysis.run_summary import RunSummary
from sdbench.records import PassesStopped, Replicate
from sdbench.stats import STABLE_SHARE, Sustained
from sdbench.words import counted, duration, seconds

STOPPED_WORDS: dict[PassesStopped, str] = {
    "asked": "as many as configured",
    "start-up-equalled": "the steady passes lasted as long as the start-up",
    "median-known": "their median is known to 0.5%",
    "most-passes": "the maximum of a process",
    "pictures-vary": "an image came out differently every time",
    "time-limit": "there was no time for more",
}


def count_words(counts: Collection[int]) -> str:
    """``3 passes``, ``3 to 17 passes``."""
    low, high = min(counts), max(counts)
    return counted(low, "pass", "passes") if low == high else f"{low} to {high} passes"


def replicate_words(replicate: Replicate) -> str:
    """``12 measured passes (their median is known to 0.5%)``."""
    words = counted(len(replicate.of_kind("measured")), "measured pass", "measured passes")
    if replicate.passes_stopped is None:
        return words
    return f"{words} ({STOPPED_WORDS[replicate.passes_stopped]})"


def sustained_words(found: Sustained) -> str:
    """``95.2% stable: 2.00 s a pass in the first minute, 2.60 s at the end …``."""
    if found.first_s is None or found.plateau_s is None or found.change is None:
        return f"not judged: {found.reason}"
    assert found.stability is not None
    verdict = "stable" if found.stability >= STABLE_SHARE else "not stable"
    words = (
        f"{found.stability:.1%} of its speed kept ({verdict}; 3DMark's limit is "
        f"{STABLE_SHARE:.0%}): {seconds(found.first_s)} per pass in the first minute, "
        f"{seconds(found.plateau_s)} at the end"
    )
    if found.slows_after_s is None:
        return f"{words}; no moment of slowing down was found"
    after = duration(found.slows_after_s)
    return f"{words} ({found.change - 1:+.0%}); slower from {after} on"


def sustained_lines(summary: RunSummary) -> list[str]:
    """One line for each process that was to go on for some minutes."""
    several = sum(len(row.sustained) for row in summary.cases) > 1
    return [
        (f"{row.case_id}, {row.arm}: " if several else "") + sustained_words(found)
        for row in summary.cases
        for found in row.sustained
    ]


def passes_sentence(summary: RunSummary) -> str | None:
    """How many passes the processes of a run made, and why no more; None: as configured."""
    counts = [count for row in summary.cases for count in row.passes_made if count]
    stopped: Counter[PassesStopped] = Counter()
    for row in summary.cases:
        stopped.update(row.passes_stopped)
    if not counts or not set(stopped) - {"asked"}:
        return None
    reasons = ", ".join(
        f"{STOPPED_WORDS[reason]} ({count})" for reason, count in stopped.most_common()
    )
    return f"Processes made {count_words(counts)}. Reason to stop: {reasons}."
