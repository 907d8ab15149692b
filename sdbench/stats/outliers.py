"""Labels outliers and never deletes them (PROTOCOL 14)."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

K = TypeVar("K")
# Tukey 1977: "outside" and "far out", in interquartile ranges beyond the quartiles.
_OUTSIDE, _FAR_OUT = 1.5, 3.0
# Of fewer figures none can lie outside its own fences far enough to mean something.
_FEWEST = 5


@dataclass(frozen=True)
class Outlier(Generic[K]):
    """One value that is an outlier."""

    key: K
    value: float
    degree: Literal["outside", "far-out"]


def tukey_outliers(figures: Mapping[K, float]) -> list[Outlier[K]]:
    """The figures beyond Tukey's fences, in their order; none among fewer than five."""
    if len(figures) < _FEWEST:
        return []
    low, _, high = statistics.quantiles(figures.values(), n=4, method="inclusive")
    found: list[Outlier[K]] = []
    for key, value in figures.items():
        beyond = max(low - value, value - high)
        if beyond > _FAR_OUT * (high - low):
            found.append(Outlier(key, value, "far-out"))
        elif beyond > _OUTSIDE * (high - low):
            found.append(Outlier(key, value, "outside"))
    return found
