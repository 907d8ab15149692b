"""Numbers and names out of text, if they can be true; else :class:`Unavailable` with the reason."""

import re

from sdbench.machine.facts import Unavailable

MIB = 1 << 20
# The largest Macs have 1.5 TB of memory and 32 cores, the largest servers some TB and hundreds of
# cores; the limits leave room for many years and none for nonsense.
LEAST_MEMORY_BYTES = 256 * MIB
MOST_MEMORY_BYTES = 64 << 40
MOST_CORES = 4096
# Swap traffic since the machine started may be many times its disk.
MOST_TRAFFIC_BYTES = 1 << 60


def shown(text: str) -> str:
    """A few words of a text that was not understood, fit for one line on a screen."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text[:200]).split())
    return f"“{words[:40]}…”" if len(words) > 40 else f"“{words}”"


def whole(text: str, what: str, least: int, most: int) -> int | Unavailable:
    """A whole number within bounds."""
    found = re.fullmatch(r"\s*(-?[0-9]{1,100})\s*", text)
    if found is None:
        return Unavailable(f"{what}: {shown(text)} is not a whole number")
    number = int(found[1])
    return number if least <= number <= most else impossible(what, text)


def impossible(what: str, value: object) -> Unavailable:
    """Why a number is not believed."""
    return Unavailable(f"{what}: {shown(str(value))} is impossible")


def memory_size(text: str) -> int | Unavailable:
    """A machine's memory in bytes."""
    return whole(text, "memory size", LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES)


def core_count(text: str) -> int | Unavailable:
    """A number of cores."""
    return whole(text, "number of cores", 1, MOST_CORES)


def name_of(text: str, what: str) -> str | Unavailable:
    """A name of a thing: one short line that can be printed."""
    name = text.strip()
    if not 0 < len(name) <= 100 or not name.isprintable():
        return Unavailable(f"{what}: {shown(text)} is not a name")
    return name
