"""Says whether the depth of an operator's sums explains an error: rounding, or a fault. Pure."""

from sdbench.localise.ranking import JudgedCall, Rounding
from sdbench.words import counted

_COARSE = {
    "tf32": "within rounding of TF32",
    "float16": "within rounding of sums in float16",
    "bfloat16": "within rounding of sums in bfloat16",
}


def rounding_word(entry: JudgedCall) -> str:
    """In a few words: within rounding, beyond rounding, no bound known, or in which type only."""
    words: dict[Rounding, str] = {
        "within": "within rounding",
        "within-coarse": _COARSE.get(entry.comparison.coarse or "", "within coarser rounding"),
        "beyond": "beyond rounding",
        "unknown": "no bound known",
    }
    return words[entry.rounding]


def rounding_sentence(entry: JudgedCall) -> str:
    """``Sums of 576 terms: the error is 5.2 times what rounding allows (0.002): beyond …``."""
    comparison, multiple = entry.comparison, entry.of_bound
    if comparison.depth is None or comparison.bound is None or multiple is None:
        if entry.rounding == "beyond":
            return "No rounding makes a finite number infinite or NaN: beyond rounding."
        return "No bound of its rounding error is known."
    words = (
        f"Sums of {counted(comparison.depth, 'term')}: the error is {multiple:.2g} times what "
        f"rounding allows ({comparison.bound:.2g}): {rounding_word(entry)}."
    )
    if comparison.coarse is None or comparison.coarse_bound is None or multiple <= 1:
        return words
    how = "products in TF32" if comparison.coarse == "tf32" else f"sums in {comparison.coarse}"
    return f"{words[:-1]} ({how} allow {comparison.coarse_bound:.2g})."
