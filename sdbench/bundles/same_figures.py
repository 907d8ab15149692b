"""Whether two documents say the same, whatever computed the last digits of their numbers."""

import math
from collections.abc import Iterator
from typing import Any

from sdbench.words import shortened

_SAME_DIGITS = 1e-9


def first_difference(claimed: Any, computed: Any) -> str | None:
    """The place and the values of the first difference; None where there is none."""
    return next(_differences(claimed, computed, ""), None)


def _differences(claimed: Any, computed: Any, place: str) -> Iterator[str]:
    if isinstance(claimed, dict) and isinstance(computed, dict):
        for key in computed.keys() - claimed.keys():
            yield f"{_below(place, key)} is missing"
        for key, value in claimed.items():
            if key in computed:
                yield from _differences(value, computed[key], _below(place, key))
            else:
                yield f"{_below(place, key)} follows from no record"
    elif isinstance(claimed, list) and isinstance(computed, list):
        if len(claimed) != len(computed):
            yield f"{place} has {len(claimed)} entries, and the records give {len(computed)}"
        for number, pair in enumerate(zip(claimed, computed, strict=False)):
            yield from _differences(*pair, f"{place}[{number}]")
    elif not _same(claimed, computed):
        values = f"{_shown(claimed)}, and the records give {_shown(computed)}"
        yield f"{place} is {values}"


def _below(place: str, key: str) -> str:
    return f"{place}.{shortened(key)}" if place else shortened(key)


def _same(claimed: Any, computed: Any) -> bool:
    numbers = isinstance(claimed, int | float), isinstance(computed, int | float)
    if all(numbers) and not isinstance(claimed, bool) and not isinstance(computed, bool):
        try:
            return math.isclose(claimed, computed, rel_tol=_SAME_DIGITS, abs_tol=1e-12)
        except OverflowError:  # a whole number of hundreds of digits
            return False
    return type(claimed) is type(computed) and bool(claimed == computed)


def _shown(value: Any) -> str:
    return shortened(repr(value), 60)
