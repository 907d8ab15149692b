"""Compares what two checkouts print and write, to the byte, figures and images included.

python tools/same_output.py [--without-words] OTHER_CHECKOUT

Both render every output that tests/unit/golden_outputs.py lists, of the runs of this checkout, with
the same interpreter and libraries, each in a process of its own. Exits with 1 if an output differs,
and if a command failed in both checkouts: that their outputs are the same then proves nothing.

``--without-words`` compares only what a change of wording must leave alone: the names and order of
the outputs, exit codes, JSON keys with their structure and plain values, and in sentences the
numbers, options, configuration keys and paths (with counts and without order, because a new
sentence may name them in another one).
Drawings and the pixels of figures are left out, because they contain words.
"""

import argparse
import difflib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_RENDERER = ROOT / "tests" / "unit" / "golden_outputs.py"
_MOST_LINES = 12
_WIDTH = 120
_BEFORE = 30  # characters that are shown before a difference
# golden_outputs.py also asks for comparisons that must be refused, with exit code 2.
_REFUSING = ("compare", "history")


_DRAWING = re.compile(r"(<svg [^>]*>\s*)(<title.*?</title>)(<desc.*?</desc>).*?</svg>", re.S)
_KEPT = re.compile(
    r"--[a-z][a-z-]+"  # options
    r"|(?<![\w])(?:~|\.{1,2})?/?(?:[\w.-]+/)+[\w.-]+"  # paths
    r"|[a-z_]+\.[a-z_]+\s?="  # configuration keys
    r"|\d+(?:[.,]\d+)*"  # numbers
)
_UNITS = ("s/picture", "s/image")


def rendered(checkout: Path, scratch: Path) -> dict[str, bytes]:
    """Every part of every output of a checkout, by ``command line/part``."""
    working, target = scratch / "working", scratch / "outputs"
    working.mkdir(parents=True)
    # No folder but the checkout comes before the installed packages.
    variables = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}
    paths = (_RENDERER, working, target, checkout)
    command = [sys.executable, *map(str, paths)]
    done = subprocess.run(command, cwd=working, env=variables, check=False)
    if done.returncode != 0:
        sys.exit(f"the outputs of {checkout} could not be rendered")
    files = (path for path in sorted(target.rglob("*")) if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in files}


def without_words(outputs: dict[str, bytes]) -> dict[str, bytes]:
    """What of each part no change of wording may change."""
    return {
        name: _without_words(data)
        for name, data in outputs.items()
        if not (name.endswith(".png") and f"{name[:-4]}.svg" in outputs)
    }


def _without_words(data: bytes) -> bytes:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return data
    try:
        return json.dumps(_plain(json.loads(text)), indent=1).encode()
    except ValueError:
        return "\n".join(_kept(_DRAWING.sub(r"\2\3", text))).encode()


def _plain(value: object) -> object:
    """A JSON value whose sentences are reduced to what they contain besides words."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, str) and " " in value:
        return _kept(value)
    return value


def _kept(text: str) -> list[str]:
    found = Counter(part for part in _KEPT.findall(text) if part not in _UNITS)
    return [f"{part} × {count}" for part, count in sorted(found.items())]


def differences(before: dict[str, bytes], now: dict[str, bytes]) -> Iterator[str]:
    """Each part that is not the same in both, with the first lines that differ."""
    for name in sorted({*before, *now}):
        if name not in now:
            yield f"{name}: no longer there"
        elif name not in before:
            yield f"{name}: was not there before"
        elif before[name] != now[name]:
            yield "\n".join([f"{name}: differs", *_lines_apart(before[name], now[name])])


def failed_alike(before: dict[str, bytes], now: dict[str, bytes]) -> Iterator[str]:
    """Each command that neither checkout could carry out, with its exit code and error output."""
    for name in sorted({*before, *now}):
        command, _, part = name.rpartition("/")
        code = now.get(name, b"")
        if part != "exit code" or before.get(name) != code or code in (b"0\n", b"1\n"):
            continue
        if code != b"2\n" or command.split()[1] not in _REFUSING:
            said = now.get(f"{command}/standard error", b"").decode().strip()
            yield f"{command}: failed in both with exit code {code.decode().strip()}: {said}"


def _lines_apart(before: bytes, now: bytes) -> list[str]:
    try:
        # A figure is a single line: a tag each is easier to read.
        old, new = (re.split(r"\n|(?<=>)(?=<)", data.decode()) for data in (before, now))
    except UnicodeDecodeError:
        return [f"    {len(before)} bytes before, {len(now)} bytes now"]
    lines: list[str] = []
    for kind, i, i_end, j, j_end in difflib.SequenceMatcher(None, old, new).get_opcodes():
        if kind != "equal":
            pairs = itertools.zip_longest(old[i:i_end], new[j:j_end])
            lines += [line for was, is_now in pairs for line in _pair(was, is_now)]
    more = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], f"    … and {more} more lines"] if more > 0 else lines


def _pair(was: str | None, is_now: str | None) -> Iterator[str]:
    alike = itertools.takewhile(
        lambda pair: pair[0] == pair[1], zip(was or "", is_now or "", strict=False)
    )
    start = max(0, sum(1 for _ in alike) - _BEFORE)
    for sign, line in (("-", was), ("+", is_now)):
        if line is not None:
            yield f"    {sign} {_cut(line, start)}"


def _cut(line: str, start: int) -> str:
    """The part of a long line in which it differs."""
    if len(line) <= _WIDTH:
        return line
    return f"{'…' * (start > 0)}{line[start : start + _WIDTH]}{'…' * (len(line) > start + _WIDTH)}"


def main() -> int:
    """Render both, compare, and keep the outputs where they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="another checkout, for instance an older one")
    parser.add_argument(
        "--without-words", action="store_true", help="compare what a change of wording keeps"
    )
    asked = parser.parse_args()
    other: Path = asked.other.resolve()
    scratch = Path(tempfile.mkdtemp(prefix="sdbench-same-output-"))
    before, now = rendered(other, scratch / "before"), rendered(ROOT, scratch / "now")
    if asked.without_words:
        before, now = without_words(before), without_words(now)
    found, failures = [*differences(before, now)], [*failed_alike(before, now)]
    for words in (*found, *failures):
        print(words)
    if found or failures:
        print(f"{len(found)} of {len(now)} files differ, {len(failures)} commands failed in both.")
        print(f"The outputs are in {scratch}")
        return 1
    shutil.rmtree(scratch)
    outputs = len({name.partition("/")[0] for name in now})
    how = "without words" if asked.without_words else "to the byte"
    print(f"{outputs} outputs ({len(now)} files) are the same {how}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
