"""Words that every part says alike."""

import shlex
from collections.abc import Iterable


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
