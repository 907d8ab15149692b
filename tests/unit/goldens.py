"""Outputs as text that is kept with the tests. As a script (``make goldens``) it records them.

Everything is kept byte for byte, except

- figures: title and description of the drawing;
- images (data URIs and PNG files): size and a hash of the pixels;
- numbers with more than ``DIGITS`` significant digits are rounded to so many: scipy 1.14 and 1.17
  have quantiles of t that differ by 2e-11 of their value, and last digits may depend on the
  processor;
- pages: a hash of the text after that, and its words without markup, style and script;
- other texts longer than ``LONGEST``: such a hash, with the first and the last lines;
- what is nearly the same as another output (``Output.like``): the lines that differ.

``tools/same_output.py`` compares all of it to the byte, but needs two checkouts.
"""

import base64
import difflib
import hashlib
import io
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from golden_outputs import (
    HELP,
    ROOT,
    TOGETHER,
    Output,
    fixed_surroundings,
    lay_out,
    outputs_of,
    render,
    tracked_runs,
)

FOLDER = ROOT / "tests" / "data" / "goldens"
DIGITS = 7
LONGEST = 4_000
"""Characters of a text that is kept whole, if it is not for people."""

_HEAD = "######## "
_ENDS = 3  # lines that are kept of either end
_FIGURE = re.compile(r"(<svg [^>]*>)(<title.*?</title>)(<desc.*?</desc>).*?</svg>", re.S)
_PICTURE = re.compile(r"data:image/(\w+);base64,([A-Za-z0-9+/=]+)")
_LONG_NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d{5,}(?:e[-+]?\d+)?(?![\w.])")
_MARKUP = re.compile(r"<(style|script)>.*?</\1>|<[^>]*>", re.S)


def recorded(group: str) -> dict[str, str]:
    """What is kept of a group's outputs, by command line."""
    text = (FOLDER / f"{group}.txt").read_bytes().decode()
    parts = re.split(rf"^{_HEAD}(.*)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def kept(outputs: Iterable[Output]) -> Iterator[tuple[str, str]]:
    """Command lines, and what is to be kept of their outputs as they are now."""
    texts: dict[str, str] = {}
    for output in outputs:
        text = texts[output.name] = as_text(render(output))
        if output.like is None:
            yield output.name, _shortened(text, output.whole)
        else:
            lines = [*_changes(texts[output.like.name], text, around=0)][2:]
            yield output.name, _shortened("".join([f"(as {output.like.name})\n", *lines]))


def as_text(parts: Mapping[str, bytes]) -> str:
    """An output in one text, without what may differ between machines."""
    return "".join(
        f"-- {name}\n{text}" if text.endswith("\n") else f"-- {name}\n{text}\n-- no line break\n"
        for name, data in parts.items()
        for text in [_part(name, data, parts)]
        if (name, data) != ("exit code", b"0\n")
    )


def difference(recorded: str, now: str) -> str:
    """A diff for people."""
    return "".join(_changes(recorded, now, around=3))


def _changes(recorded: str, now: str, around: int) -> Iterator[str]:
    before, after = (text.splitlines(keepends=True) for text in (recorded, now))
    return difflib.unified_diff(before, after, "recorded", "now", n=around)


def _part(name: str, data: bytes, parts: Mapping[str, bytes]) -> str:
    if not name.endswith(".png"):
        text = _FIGURE.sub(r"\1\2\3</svg>", data.decode())
        text = _PICTURE.sub(lambda uri: f"{uri[1]} {_pixels(base64.b64decode(uri[2]))}", text)
        return _LONG_NUMBER.sub(lambda number: _rounded(number[0]), text)
    if name.replace(".png", ".svg") in parts:
        return "the same figure\n"
    return f"{_pixels(data)}\n"


def _rounded(number: str) -> str:
    digits = number.partition("e")[0].replace(".", "").lstrip("-0")
    return f"{float(number):.{DIGITS}g}" if len(digits) > DIGITS else number


def _pixels(data: bytes) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return "{} {}x{} {}".format(picture.mode, *picture.size, _hash(picture.tobytes()))


def _hash(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"


def _shortened(text: str, whole: bool = False) -> str:
    lines = text.splitlines(keepends=True)
    summary = f"({len(lines)} lines, {_hash(text.encode())})\n"
    if "<!doctype html>\n" in lines and whole:
        words = (line.strip() for line in _MARKUP.sub("", text).splitlines())
        return "".join([summary, *(f"{line}\n" for line in words if line)])
    if whole or len(text) <= LONGEST:
        return text
    return "".join([*lines[:_ENDS], summary, *lines[-_ENDS:]])


def record() -> None:
    """Write down what every output is now."""
    runs = tracked_runs()
    names = [run.name for run in runs]
    for old in FOLDER.glob("*.txt"):
        old.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        lay_out(folder, runs)
        with fixed_surroundings(folder):
            for group in (HELP, TOGETHER, *names):
                texts = kept(outputs_of(group, names))
                sections = "".join(f"{_HEAD}{name}\n{text}" for name, text in texts)
                (FOLDER / f"{group}.txt").write_bytes(sections.encode())


if __name__ == "__main__":
    record()
