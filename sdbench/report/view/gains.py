"""Which recommendations have a gain that was measured."""

from sdbench.diagnosis.result import Choice


def measurable_gains(choice: Choice) -> list[str]:
    """What the choice brings for certain: sentences whose interval lies wholly below 1."""
    return [gain.sentence for gain in choice.gains if gain.ci95 is not None and gain.ci95[1] < 1]
