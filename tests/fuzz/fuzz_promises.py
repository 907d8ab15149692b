"""What must hold of every call, whatever was read: each function yields what does not."""

import ast
import base64
import csv
import functools
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

from fuzz_pictures import is_stranger
from fuzz_subjects import MARKER
from fuzz_values import CANARY, SECRET
from fuzz_verbs import FRAMES, SOUND

_CODES = {0, 1, 2, 3}
_DIRECTIONS = {"RLE", "LRE", "RLO", "LRO", "RLI", "LRI", "FSI", "PDF", "PDI"}
_PLAIN = {"\n", "\t", "\r"}
_EMBEDDED = re.compile(r"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")
_CODE_IN_MARKDOWN = re.compile(r"^(`{3,})python\n(.*?)^\1", re.MULTILINE | re.DOTALL)
_STRANGE = {"link_open", "image", "html_inline", "html_block"}


@dataclass
class Call:
    """One call of the command line and all that came of it."""

    line: tuple[str, ...]
    code: int = 0
    out: str = ""
    err: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    raised: list[str] = field(default_factory=list)
    """Tracebacks that nobody foresaw, the innermost place last."""
    noted: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    endless: str | None = None
    """Where a call was that did not end."""

    @property
    def verb(self) -> str:
        return self.line[0]

    @property
    def texts(self) -> Iterator[tuple[str, str]]:
        """Everything that was written, by where."""
        yield "standard output", self.out
        yield "standard error", self.err
        for name, data in self.files.items():
            if not name.endswith((".png", ".webp", ".jpg")):
                yield name, data.decode("utf-8", "replace")


def broken_promises(call: Call, *, strangers: bool) -> Iterator[str]:
    """What does not hold. ``strangers``: the input has images that are not the run's."""
    if call.endless is not None:
        yield f"it does not end: {call.endless}"
    yield from (f"a fault nobody foresaw: {one}" for one in call.raised)
    yield from (f"it tries what reading must not: {one}" for one in call.noted)
    yield from (f"it changes {one}" for one in call.changed)
    if call.endless or call.raised or call.noted:
        return
    yield from _ending(call)
    for where, text in call.texts:
        yield from _letters(where, text)
        if MARKER in text:
            yield f"{where} shows a file from outside the run"
        # What is said on standard error is for the person at this terminal.
        if "--share" in call.line and SECRET in text and where != "standard error":
            yield f"{where} shows a secret"
    yield from _output(call)
    for name, data in call.files.items():
        yield from _file(name, data)
    if strangers and call.verb != "explain":
        yield from _pictures(call)


def _ending(call: Call) -> Iterator[str]:
    allowed = {0, 1, 2, 125} if "--bisect" in call.line else _CODES
    if call.code not in allowed:
        yield f"exit code {call.code}"
    lines = call.err.splitlines()
    if call.code in (2, 3) and call.verb != FRAMES:
        if not any(line.startswith("sdbench: ") for line in lines):
            yield f"exit code {call.code} without a line that says why"
        if call.out.strip() and "--json" in call.line:
            yield f"exit code {call.code} after a document"
    # One damaged run hides no other.
    if call.verb in ("list", "history") and "--json" in call.line:
        if call.code != 0:
            yield f"exit code {call.code} although one run is sound"
        elif SOUND not in call.out and call.verb == "list":
            yield "the sound run is not listed"


@functools.lru_cache(maxsize=4096)
def _is_plain(letter: str) -> bool:
    if letter in _PLAIN:
        return True
    if unicodedata.category(letter) in ("Cc", "Cs", "Co", "Zl", "Zp"):
        return False
    return unicodedata.bidirectional(letter) not in _DIRECTIONS


def _letters(where: str, text: str) -> Iterator[str]:
    """No terminal escapes, nothing that changes the direction, no half of a letter."""
    odd = sorted({letter for letter in set(text) if not _is_plain(letter)})
    if odd:
        yield f"{where} holds {odd!r}"


def _output(call: Call) -> Iterator[str]:
    """What standard output is said to hold."""
    if call.code not in (0, 1) or call.verb == FRAMES:
        return
    kind = call.line[call.line.index("-f") + 1] if "-f" in call.line else None
    if "--json" in call.line or kind in ("json", "pytest-benchmark"):
        yield from _json(call.out)
    elif kind == "csv":
        yield from _csv(call.out)
    elif kind == "junit":
        yield from _xml(call.out)
    elif kind in ("md", "row"):
        yield from _markdown(call.out, "standard output")


def _json(text: str) -> Iterator[str]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} in a document")

    try:
        document = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        yield f"no JSON: {error}"
        return
    for snippet in _snippets(document):
        yield from _python(snippet, "a snippet")
    if isinstance(document, dict) and isinstance(document.get("config"), dict):
        yield from _configuration(document["config"])


def _configuration(config: dict[str, Any]) -> Iterator[str]:
    """Of a configuration that was accepted: no process fails only when it is started."""
    for arm in config.get("arm", ()):
        for name, value in arm["env"].items():
            if not name or "=" in name or "\0" in name + value:
                yield f"a variable with which nothing can be started: {name!r}"
    names = [arm["name"].casefold() for arm in config.get("arm", ())]
    if len(set(names)) < len(names) or not names:
        yield f"variants that cannot be told apart: {names!r}"


def _snippets(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key == "snippet" and isinstance(one, str):
                yield one
            yield from _snippets(one)
    elif isinstance(value, list):
        for one in value:
            yield from _snippets(one)


def _csv(text: str) -> Iterator[str]:
    rows = [*csv.reader(io.StringIO(text))]
    if len({len(row) for row in rows}) > 1:
        yield "rows of different lengths"
    for row in rows[1:]:
        for cell in row:
            if cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not _is_number(cell):
                yield f"a formula in a cell: {cell[:60]!r}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _xml(text: str) -> Iterator[str]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        yield f"no XML: {error}"
        return
    if any(CANARY in str(one.tag) or CANARY in " ".join(one.attrib) for one in root.iter()):
        yield "others' text became markup of XML"


def _markdown(text: str, where: str) -> Iterator[str]:
    for token in _markdown_parser().parse(text):
        for part in (token, *(token.children or ())):
            # An image of ours may have others' words for those who cannot see it.
            said = part.attrs if part.type == "image" else f"{part.attrs} {part.content}"
            if part.type in _STRANGE and CANARY in str(said):
                yield f"{where}: others' text became {part.type}"
    for _, code in _CODE_IN_MARKDOWN.findall(text):
        yield from _python(code, f"a snippet in {where}")


@functools.cache
def _markdown_parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _python(text: str, where: str) -> Iterator[str]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        yield f"{where} is no Python: {error}"
        return
    for node in ast.walk(tree):
        names = [getattr(node, name, None) for name in ("id", "attr", "arg", "name", "module")]
        if CANARY in names:
            yield f"{where}: others' text became code"


def _file(name: str, data: bytes) -> Iterator[str]:
    if name.endswith(".py"):
        yield from _python(data.decode("utf-8", "replace"), name)
    elif name.endswith(".md"):
        yield from _markdown(data.decode("utf-8", "replace"), name)
    elif name.endswith(".xml"):
        yield from _xml(data.decode("utf-8", "replace"))
    elif name.endswith(".html"):
        yield from _page(data.decode("utf-8", "replace"), name)


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.odd: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag in ("script", "style")
        for name, value in attrs:
            address = name in ("href", "src", "action") and CANARY in (value or "")
            if name.startswith("on") or CANARY in name or address:
                self.odd.append(f"{tag} {name}={value}"[:100])
        if CANARY in tag:
            self.odd.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script and CANARY in data:
            self.odd.append("text in a script")


def _page(text: str, name: str) -> Iterator[str]:
    parser = _Elements()
    parser.feed(text)
    if parser.odd:
        yield f"{name}: others' text became markup: {parser.odd[:3]}"


def _pictures(call: Call) -> Iterator[str]:
    """An image whose content is not its name's is not shown as the run's."""
    shown = [data for name, data in call.files.items() if name.endswith((".png", ".webp", ".jpg"))]
    for name, data in call.files.items():
        if name.endswith(".html"):
            found = _EMBEDDED.findall(data.decode("utf-8", "replace"))
            shown += [base64.b64decode(text) for text in found]
    if any(is_stranger(data) for data in shown):
        yield "it shows an image that the run has not made"
