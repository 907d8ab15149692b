"""Words that every part says alike."""

import shlex


def counted(count: int, one: str, many: str = "") -> str:
    """``1 case``, ``3 cases``; ``many`` for what takes no plain s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def shortened(text: str, most: int = 80) -> str:
    """A text of others for a message of one line; what is too long is cut, its length said."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def shell(*words: object) -> str:
    """A command to paste into a shell: names of others' folders are quoted where they need it."""
    return shlex.join(str(word) for word in words)
