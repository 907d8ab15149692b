"""Words, numbers and others' text, as every part says them alike."""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST_TYPED = 200  # what is longer was not typed, and comparing takes time


def close_to(word: str, known: Iterable[str], most: int = 3, *, likeness: float = 0.6) -> list[str]:
    """Of the known words those that a mistyped one probably meant, the likeliest first.

    ``likeness`` is difflib's ratio, from 0 to 1, from which on two words are alike.
    """
    by_fold = {one.casefold(): one for one in known}
    if len(word) > _LONGEST_TYPED:
        return []
    near = difflib.get_close_matches(word.casefold(), by_fold, n=most, cutoff=likeness)
    return [by_fold[one] for one in near]


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """``did you mean 'x'? ``, to stand before a list of what there is; empty if none is alike."""
    near = close_to(word, known, most=1, likeness=likeness)
    return f"did you mean {near[0]!r}? " if near else ""


def counted(count: int, one: str, many: str = "") -> str:
    """``1 case``, ``3 cases``; ``many`` for what takes no plain s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def ranges(numbers: Iterable[int]) -> str:
    """``1, 2, 5 to 9``: ascending numbers, three or more in a row as a range."""
    rows: list[list[int]] = []
    for number in numbers:
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(
        f"{row[0]} to {row[-1]}" if len(row) > 2 else ", ".join(map(str, row)) for row in rows
    )


def shortened(text: str, most: int = 80) -> str:
    """A text of others for a message of one line; what is too long is cut, its length said."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def shell(*words: object) -> str:
    """A command to paste into a shell: names of others' folders are quoted where they need it."""
    return shlex.join(str(word) for word in words)


def seconds(value: float | None) -> str:
    """``0.812 s``, ``12.3 s``; three significant figures, ``–`` for unknown."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:.0f} s"
    return f"{value:.3g} s" if value < 10 else f"{value:.1f} s"


def duration(value: float) -> str:
    """A waiting time: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if value < 90:
        return f"{max(1, round(value))} s"
    minutes = round(value / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def size(value: float | None) -> str:
    """Bytes as ``812 MB`` or ``3.4 GB`` (powers of ten, as disks and Activity Monitor count)."""
    if value is None:
        return "–"
    magnitude = abs(value)
    if magnitude >= 1e9:
        return f"{value / 1e9:.1f} GB"
    if magnitude >= 1e6:
        return f"{value / 1e6:.0f} MB"
    return f"{value / 1e3:.0f} kB" if magnitude >= 1e3 else f"{value:.0f} B"


def gigabytes(size_bytes: float) -> str:
    """Always in GB, ``0.3 GB`` too, so that sizes can be looked for and added up."""
    return f"{size_bytes / 1e9:.1f} GB"


def memory_words(value: object) -> str:
    """A machine's memory as it is sold: in powers of two, of which systems report a little less."""
    return f"{round(value / 2**30)} GB" if isinstance(value, (int, float)) else "–"


def system_words(machine: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> str:
    """``macOS 15.1``, ``Linux 6.8.0``, from a run's record of its machine.

    ``facts`` is the longer record, which of a Mac holds the version where the short one of an older
    sdbench has the kernel's.
    """
    system, release = machine.get("system"), machine.get("release")
    reported = ((facts or {}).get("identity") or {}).get("os_version")
    if system == "Darwin" and isinstance(reported, str):
        release = reported
    if system == "Darwin" and not _is_kernel_version(release):
        system = "macOS"
    words = [system, release]
    return " ".join(str(word) for word in words if word)


def _is_kernel_version(release: object) -> bool:
    """Darwin was 20 to 25 where macOS was 11 to 15 and then 26: no macOS has these numbers."""
    major = str(release).partition(".")[0]
    return major.isdecimal() and int(major) in range(20, 26)


def machine_words(
    machine: Mapping[str, Any], facts: Mapping[str, Any] | None = None, *, unknown: str
) -> str:
    """``Apple M1, 8 cores, 16 GB, macOS 15.1``; what is not known is left out.

    ``unknown`` stands for a chip of which not even the architecture is known.
    """
    cores, memory = machine.get("cores_physical"), machine.get("memory_bytes")
    words = [
        str(machine.get("chip") or machine.get("architecture") or unknown),
        f"{cores} cores" if cores else "",
        memory_words(memory) if memory else "",
        system_words(machine, facts),
    ]
    return ", ".join(word for word in words if word)


def device_words(facts: Mapping[str, Any], device: str) -> str:
    """``Apple M1, gpu cores 8, recommended max 11.5 GB``, from what a worker reported of it.

    Metal recommends a maximum; on CUDA the same fact is the memory of the GPU.
    """
    words = [str(facts["name"])] if facts.get("name") else []
    for name, fact in facts.items():
        label = name.removesuffix("_bytes").replace("_", " ")
        if name == "recommended_max_bytes" and device == "cuda":
            label, fact = "memory", memory_words(fact)
        if name == "name" or fact is None or fact is False:
            continue
        if fact is True:
            words.append(label)
        else:
            in_bytes = name.endswith("_bytes") and isinstance(fact, int)
            words.append(f"{label} {size(fact) if in_bytes else fact}")
    return ", ".join(words) or "nothing reported"


def printable(text: str) -> str:
    """Text that is not ours: terminal escapes in it are shown, not obeyed."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; ``signal 99`` for a number that this system has no name for."""
    import signal  # a tenth of the time that --help takes

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
