"""Families of Apple's chips, by the names that macOS and torch have for a chip."""

import re
from collections.abc import Sequence
from typing import Literal

Chip = Literal["M1", "M2", "M3", "M4", "M5", "virtual"]


def chip_family(name: str | None) -> str | None:
    """``M5`` of ``Apple M5 Max``, ``virtual`` of a virtual Mac's; None of any other or no name."""
    if name is None:
        return None
    if "(virtual)" in name.lower() or name.startswith("VirtualApple") or "Paravirtual" in name:
        return "virtual"
    found = re.search(r"\bApple (M\d+)\b", name)
    return found[1] if found else None


def is_one_of(chips: Sequence[str], name: str | None) -> bool:
    """Whether a chip is of one of these families; of none given, any is, an unknown one too."""
    return not chips or chip_family(name) in chips
