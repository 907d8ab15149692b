"""Each writer of others' text, and the opener of files in a run, called by themselves.

What a run says is checked when it is read, so little of what is hostile reaches a writer through a
verb. A writer must hold without that.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from fuzz_values import CANARY

from sdbench.files.access import read_inside
from sdbench.quoting import markdown_text, python_source
from sdbench.report.export import junit
from sdbench.report.html import page
from sdbench.words import printable

NAMES_INSIDE = ("sound", "../outside", "below/file", "/etc/hosts", "link", "", ".", "..", "x\0y")
"""Of files to open in a folder; the first alone may be."""


class NotOpenedError(Exception):
    """The file was refused."""


def open_by_name(folder: Path, name: str) -> Iterator[str]:
    """Open what a batch's number says, in the folder ``in``."""
    asked = NAMES_INSIDE[int(name)]
    try:
        read_inside(folder / "in", asked, most_bytes=999)
    except (OSError, ValueError) as error:  # NUL
        raise NotOpenedError(str(error)) from None
    yield from ()


def write_text(folder: Path, name: str) -> Iterator[str]:
    """Put a text through each writer."""
    text = (folder / name).read_bytes().decode("utf-8", "surrogatepass")
    yield from _python(text)
    cell = markdown_text.plain(text)
    shown = {
        "printable": printable(text),
        "markdown_text.plain": cell,
        "markdown_text.code_span": markdown_text.code_span(text),
        "markdown_text.code_block": "".join(markdown_text.code_block([text], "").split("\n")),
        "page.code": "".join(page._code(text).split("\n")),
    }
    for writer, made in shown.items():
        if not made.isprintable():
            yield f"{writer} lets pass what does not print: {made!r:.80}"
    if f"<{CANARY}" in cell.replace(f"\\<{CANARY}", ""):
        yield f"markdown_text.plain lets markup pass: {cell!r:.80}"
    yield from _xml(text)


def _python(text: str) -> Iterator[str]:
    words, comment = python_source.words(text), python_source.comment(text)
    source = f'"""{words}"""\nx = {python_source.literal(text)}  # {comment}\n'
    try:
        said, given = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        yield f"python_source writes no Python: {error}"
        return
    if not (isinstance(said, ast.Expr) and isinstance(given, ast.Assign)):
        yield "python_source lets a text become code"
    elif ast.literal_eval(given.value) != text:
        yield "python_source.literal writes another text"
    if not (words + comment).isprintable() or max(len(words), len(comment)) > 1000:
        yield "a comment of more than one line, or of any length"


def _xml(text: str) -> Iterator[str]:
    suite = ElementTree.Element("testsuite")
    junit._child(junit._test(suite, text, text), "failure", text, "x")
    try:
        (test,) = ElementTree.fromstring(ElementTree.tostring(suite, encoding="utf-8"))
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        yield f"the JUnit file is no XML: {error}"
        return
    if not all(value.isprintable() for value in test.attrib.values()) or len(test) != 1:
        yield "a JUnit test has what does not print, or is another"
