"""How many measured passes processes made, and why no more, in words."""

from collections import Counter
from collections.abc import Collection

from sdbench.schema import PassesStopped, Replicate
from sdbench.summary import RunSummary
from sdbench.words import counted

STOPPED_WORDS: dict[PassesStopped, str] = {
    "asked": "as many as configured",
    "start-up-equalled": "the steady ones lasted as long as the start-up",
    "median-known": "their median is known to 0.5%",
    "most-passes": "the most that a process makes",
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
    return f"Processes made {count_words(counts)}. Why no more: {reasons}."
