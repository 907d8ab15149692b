"""The one writer of other people's text into Markdown: it is read as it was written, and no more.

No markup, no link, nobody mentioned, no way out of a code span or a code block.
"""

import re
from collections.abc import Sequence

from sdbench.words import printable

_MARKUP = re.compile(r"([\\`*{}\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_LEAD = re.compile(r"^(\s*)(\d{1,9}(?=[.)](?:\s|$))|(?=[#+=-]))")
_LINK = re.compile(r"([@#](?=\w)|:(?=//)|www(?=\.))", re.IGNORECASE)
_TICKS = re.compile(r"`+")
_SHORTEST_FENCE = 4
_NUMBERS = {
    *("s/image", "95% interval", "first pass", "peak memory", "swap", "time new/base"),
    *("base s/image", "new s/image", "time", "share", "of matrix products", "GPU cores", "RAM"),
    *("it/s", "processes"),
}


def plain(text: str) -> str:
    """Others' text in a line or a cell: shown as it is, and nothing else.

    A comment between keeps GitHub from linking addresses and from calling people and issues, which
    escaping does not.
    """
    escaped = _LEAD.sub(r"\1\2\\", _MARKUP.sub(r"\\\1", printable(text)))
    return _LINK.sub(r"\1<!-- -->", escaped)


def code_span(text: str) -> str:
    """Others' text as code in a line, whatever backticks it has; not for cells of a table."""
    text = printable(text)
    if not text.strip():
        return "` `"
    fence = "`" * (_longest_ticks(text) + 1)
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def code_block(lines: Sequence[str], language: str) -> str:
    """Others' lines as they are; the fence is longer than any run of backticks in them."""
    shown = [printable(line) for line in lines]
    fence = "`" * max(_SHORTEST_FENCE, *(_longest_ticks(line) + 1 for line in shown), 0)
    return "\n".join([f"{fence}{language}", *shown, fence])


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are Markdown already. Columns whose names say so are set to the right."""
    rules = ["---:" if name in _NUMBERS else "---" for name in names]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rules, *rows))


def _longest_ticks(text: str) -> int:
    return max(map(len, _TICKS.findall(text)), default=0)
