"""The one writer of other people's values into Python: each is a literal, a name or plain words.

What a run says is text: a step count may hold a statement, a model's name a quote and a line break.
So nothing of it is put into a script but through here. Pure.
"""

import keyword
import math
import re
from typing import Any

from sdbench.errors import StoreError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_LONGEST_COMMENT = 1000
# What could end a docstring, or be read as an escape in one.
_OUT_OF_WORDS = re.compile(r"[\"'\\]")


def literal(value: Any) -> str:
    """Python for a plain value: text, number, truth, None, or lists and dicts of those.

    Raises:
        StoreError: the value is of another type, or a number that is not finite.
    """
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        items = (f"{literal(key)}: {literal(one)}" for key, one in value.items())
        return f"{{{', '.join(items)}}}"
    if value is None or isinstance(value, (bool, str)):
        # repr escapes what is not printable: line breaks, terminal escapes, surrogates. A subclass
        # of str could have a repr of its own.
        return repr(str(value) if isinstance(value, str) else value)
    return number(value)


def number(value: Any) -> str:
    """Python for a finite number that is no truth value.

    Raises:
        StoreError: it is something else.
    """
    if type(value) not in (int, float) or not math.isfinite(value):
        raise StoreError(f"expected a finite number to write into a script, got {_quoted(value)}")
    return repr(value)


def whole(value: Any) -> str:
    """Python for a whole number.

    Raises:
        StoreError: it is something else.
    """
    if type(value) is not int:
        raise StoreError(f"expected a whole number to write into a script, got {_quoted(value)}")
    return repr(value)


def name(text: Any) -> str:
    """A name as Python knows it, of letters, digits and underscores, at most 100.

    Raises:
        StoreError: it is something else.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text) or keyword.iskeyword(text):
        raise StoreError(f"expected a name to write into a script, got {_quoted(text)}")
    return text


def comment(text: Any) -> str:
    """Text for a comment: one line, 1000 characters at most."""
    line = "".join(char if char.isprintable() else "?" for char in str(text))
    return line if len(line) <= _LONGEST_COMMENT else f"{line[: _LONGEST_COMMENT - 1]}…"


def words(text: Any) -> str:
    """Text for a docstring: as for a comment, and without quotes and backslashes."""
    return _OUT_OF_WORDS.sub("?", comment(text))


def _quoted(value: Any) -> str:
    return repr(value)[:60]
