"""Up to which chip, macOS and torch sdbench's tables go, and what is assumed beyond them. Pure.

The tables are the catalogue of known issues, the texts of failures, and what a release of torch
needs. Nothing is refused because it is newer: each sentence here says what was assumed instead.
"""

from collections.abc import Iterator

from sdbench.knowledge.chips import KNOWN_FAMILIES, chip_family
from sdbench.knowledge.compatibility import NEWEST_TORCH, is_beyond_tables, newest_needs
from sdbench.knowledge.version_ranges import release

NEWEST_MACOS = 27
"""The newest of which the catalogue of known issues has reports."""


def beyond_chip(chip: str | None) -> str | None:
    """What is assumed of an Apple chip that no table knows; None of a known or unnamed one."""
    if chip is None or not chip.startswith("Apple ") or chip == "Apple processor":
        return None
    if chip_family(chip) in (*KNOWN_FAMILIES, "virtual"):
        return None
    return (
        f"this chip is not known to sdbench ({KNOWN_FAMILIES[0]} to {KNOWN_FAMILIES[-1]} are): no "
        "speed and no memory bandwidth are assumed, and no known issue of a single chip is "
        "applied to it"
    )


def beyond_macos(macos: str | None) -> str | None:
    """What is assumed of a macOS that is newer than the tables; None of any other."""
    version = release(macos)
    if version is None or version.major <= NEWEST_MACOS:
        return None
    return (
        f"macOS {version.major} is not known to sdbench (up to {NEWEST_MACOS} is): known issues "
        "without a fixed version are assumed to remain, and faults that are new in it are not "
        "listed"
    )


def beyond_torch(torch: str | None) -> str | None:
    """What is assumed of a torch that is newer than the tables; None of any other."""
    if not is_beyond_tables(torch):
        return None
    needs = newest_needs()
    return (
        f"torch {torch} is not known to sdbench (up to {NEWEST_TORCH} is): it is assumed to need "
        f"what torch {needs.since} needs (macOS {needs.macos}, Python {needs.python_from} or "
        "later), known issues without a fixed version are assumed to remain, and faults that are "
        "new in it are not listed"
    )


def beyond_tables(*, chip: str | None, macos: str | None, torch: str | None) -> Iterator[str]:
    """What is assumed of a Mac and its torch, a sentence for each part that is not known."""
    for words in (beyond_chip(chip), beyond_macos(macos), beyond_torch(torch)):
        if words is not None:
            yield words
