"""Words that every part says alike."""


def counted(count: int, one: str, many: str = "") -> str:
    """``1 case``, ``3 cases``; ``many`` for what takes no plain s."""
    return f"{count} {one if count == 1 else many or one + 's'}"
