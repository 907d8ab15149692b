"""TOML that somebody wrote: a regular file of bearable size, and what is wrong in one sentence."""

import re
import sys
from pathlib import Path
from typing import Any

from sdbench.files.access import MIB, TOO_DEEP, read_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# 100,000 resolutions are 1 MB.
MOST_BYTES = 8 * MIB
# The parser's time grows with the square of the parts of a dotted key; ours have at most three.
_MOST_PARTS = 32
_PART = r"""(?:[A-Za-z0-9_-]{1,100}|"[^"\n]{0,100}"|'[^'\n]{0,100}')[ \t]{0,8}\.[ \t]{0,8}"""
_DOTTED = re.compile(rf"(?<![A-Za-z0-9_\"'-])(?:{_PART}){{{_MOST_PARTS}}}")


class TomlError(ValueError):
    """What is wrong with a text or file, in one sentence without its name."""


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML document in a file.

    Raises:
        FileNotFoundError: there is none.
        TomlError: it cannot be read, or is no TOML.
    """
    try:
        data = read_file(path, MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TomlError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise TomlError("cannot be read: its name holds a NUL byte") from None
    if data.startswith(b"\xef\xbb\xbf"):
        raise TomlError("begins with a byte order mark (BOM): save it as UTF-8 without one")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TomlError("is UTF-16: save it as UTF-8")
    try:
        return parse_toml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TomlError(f"cannot be read: not UTF-8 ({error})") from None


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML document.

    Raises:
        TomlError: it is none, or says what no parser can bear.
    """
    dotted = _DOTTED.search(text)
    if dotted is not None:
        number = 1 + text.count("\n", 0, dotted.start())
        raise TomlError(f"line {number}: a key of more than {_MOST_PARTS} dotted parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TomlError(f"not valid TOML: {error}") from None
    except RecursionError:
        raise TomlError(TOO_DEEP) from None
    except ValueError as error:  # a number of more digits than Python reads
        raise TomlError(f"not valid TOML: {str(error).partition(';')[0]}") from None
