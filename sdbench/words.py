"""Words that every part says alike."""


def counted(count: int, one: str, many: str = "") -> str:
    """``1 case``, ``3 cases``; ``many`` for what takes no plain s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def shortened(text: str, most: int = 80) -> str:
    """A name that somebody gave, cut off where nobody would read on."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
