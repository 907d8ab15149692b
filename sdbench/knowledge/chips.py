"""Families of Apple's chips, by the names that macOS and torch have for a chip."""

import re
from collections.abc import Sequence
from typing import Literal, get_args

Chip = Literal["M1", "M2", "M3", "M4", "M5", "virtual"]
KNOWN_FAMILIES: tuple[str, ...] = tuple(family for family in get_args(Chip) if family != "virtual")
"""The families of real chips that the catalogue of known issues distinguishes, oldest first."""


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


def chip_of_machine(name: str | None, virtual: object) -> str | None:
    """The name of an Apple chip that says that it is virtual, also where macOS's name does not.

    ``virtual`` is whether the machine is a virtual one, as far as that is known. Names of other
    chips stay as they are.
    """
    if virtual is not True or name is None or not name.startswith("Apple "):
        return name
    return name if chip_family(name) == "virtual" else f"{name} (Virtual)"
