"""Whether a run's times may be called undisturbed where several devices measured at once. Pure."""

from sdbench.records import BesideOthers, Run
from sdbench.words import counted

MARK = "SEVERAL DEVICES"
"""The mark of a run whose times were not shown to be undisturbed."""


def others_at_work(run: Run) -> int:
    """How many other devices may have disturbed the times of a run; 0 where it was shown that they
    do not."""
    shown = run.beside is not None and run.beside.verdict == "undisturbed"
    return 0 if shown or not run.devices else len(run.devices) - 1


def beside_words(run: Run) -> str | None:
    """What keeps the times of a run from being called undisturbed; None where nothing does."""
    others = others_at_work(run)
    if not others:
        return None
    found = run.beside
    lead = f"measured while {counted(others, 'other device')} worked: not shown to be undisturbed"
    if found is None:
        return f"{lead} (not tested)"
    if found.verdict == "disturbed":
        lead = f"measured while {counted(others, 'other device')} worked, and disturbed by that"
    return f"{lead} ({ratio_words(found) or found.reason})"


def ratio_words(found: BesideOthers) -> str | None:
    """The result of the test in words; None where there is no ratio."""
    ratio, low, high = found.ratio, found.ratio_low, found.ratio_high
    if ratio is None or low is None or high is None:
        return None
    return (
        f"a pass takes {ratio:.3f} times as long as on one device alone, 95% interval "
        f"{low:.3f} to {high:.3f}; undisturbed is within {found.threshold:.0%}"
    )
