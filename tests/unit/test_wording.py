"""Every text of the project is plain technical English: words that it does not use.

``AVOIDED`` has for each word or phrase the term that is used instead. ``TERMS`` are the terms of
the field where people read; keys, options, tags and names in code keep theirs (``arm``, ``stack``,
``picture``), so a term next to punctuation of code does not count.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted(path.relative_to(ROOT) for path in (ROOT / "sdbench").rglob("*.py"))
DOCUMENTS = [
    *(Path(name) for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")),
    *sorted(path.relative_to(ROOT) for path in (ROOT / "sdbench" / "report").rglob("*.html")),
]

AVOIDED = {
    r"tells? (?:of|apart)|told apart": "report, distinguish",
    r"mend(?:s|ed|ing)?": "fix",
    r"held? (?:it |them )?against": "compare with",
    r"dear(?:er|est)": "expensive",
    r"that is none": "a sentence with the thing in it",
    r"ends? well|ended well": "complete",
    r"end(?:s|ed)? badly|bad end": "crash, fail, time out",
    r"last words": "end of the error output",
    r"for ever": "forever",
    r"fared?|fares": "outcome",
    r"go(?:es|ing)? without": "lack",
    r"besides?": "next to, compared with, in addition to",
    r"whatever it takes": "without asking",
    r"all the same": "nevertheless",
    r"to look at": "say what is shown",
}
TERMS = {
    r"pictures?": "image",
    r"arms?": "variant",
    r"stacks?": "environment",
}
"""Terms of the code for which people read others."""

EXCEPTIONS = {
    "a picture of ",  # a prompt that the content check reads
    "of arm, stack",  # values of an option
    "arm, stack, or a setting",
    "by arm",
    "by stack",
    "arm: ",  # a configuration key in an error
    "A stack is",  # where the command `stacks` is explained
    "torch stack",  # software on top of each other
    "Python stack",
    "Stacks of",
    "sdbench stack",
}
"""Texts that may contain such a term."""

_ANY_AVOIDED = re.compile(rf"\b(?:{'|'.join(AVOIDED)})\b")
_ANY_TERM = re.compile("|".join(TERMS))
_CODE = r"[-\w./`\[\]<>=_$#@:\"'{}\\()]"


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string with a blank in it, docstrings included; no names, no code."""
    parts: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):  # an f-string comes before its parts
        if isinstance(node, ast.JoinedStr):
            parts.update(map(id, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_code = node.value.count("\n") > 1 and re.search(r"^(import|def) ", node.value, re.M)
            if (" " in node.value.strip() or id(node) in parts) and not is_code:
                yield node.lineno, re.sub(r"``.*?``|`[^`\n]*`", "``", node.value, flags=re.S)


def prose_of(path: Path) -> str:
    """A document or page template without code, tags and addresses."""
    text = path.read_text()
    if path.name == "CHANGELOG.md":
        text = text.partition("## [Unreleased]")[2].partition("\n## [")[0]
    if path.suffix == ".html":
        return re.sub(r"{{.*?}}|{%.*?%}|<[^>]*>", " ", text, flags=re.S)
    text = re.sub(r"^ {4,}.*$", "", text, flags=re.M)
    text = re.sub(r"^ *```.*?^ *```$|<!--.*?-->", "", text, flags=re.S | re.M)
    return re.sub(r"``.*?``|`[^`\n]*`|\]\([^)]*\)", "``", text)


def faults_in(text: str) -> Iterator[str]:
    """Each word of a text that is not used, with what is used instead."""
    for pattern, better in AVOIDED.items() if _ANY_AVOIDED.search(text) else ():
        for found in re.finditer(rf"\b(?:{pattern})\b", text):
            yield f"{found[0]!r} (use: {better})"
    if not _ANY_TERM.search(text):
        return
    for words in EXCEPTIONS:
        text = text.replace(words, "")
    for pattern, better in TERMS.items():
        for found in re.finditer(rf"(?<!{_CODE})(?:{pattern})(?!{_CODE[:-1]}]|\.\w)", text):
            yield f"{found[0]!r} (use: {better})"


@pytest.mark.parametrize("folder", sorted({path.parent for path in CODE}), ids=str)
def test_texts_use_plain_words(folder: Path) -> None:
    faults = [
        f"{path}:{line}: {fault}"
        for path in CODE
        if path.parent == folder
        for line, text in texts_of(ROOT / path)
        for fault in faults_in(text)
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("folder", sorted({path.parent for path in DOCUMENTS}), ids=str)
def test_documents_use_plain_words(folder: Path) -> None:
    faults = [
        f"{path}: {fault}"
        for path in DOCUMENTS
        if path.parent == folder
        for fault in faults_in(prose_of(ROOT / path))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        ("The kernel tells of it.", True),
        ("A picture of the arm.", True),
        ("An image of the variant, --arm NAME, ``arm``.", False),
        ("The first pass is told apart.", True),
        ("sdbench stacks create", False),
    ],
)
def test_faults_are_found(text: str, faulty: bool) -> None:
    assert bool([*faults_in(text)]) == faulty


def labels_in(screen: str) -> set[str]:
    """What stands at the beginning of lines, before two blanks, and the heads of tables."""
    labels = set(re.findall(r"^(\w+) {2}", screen, re.M))
    for head in re.findall(r"^(.*┃.*)$", screen, re.M):
        labels.update(name.strip() for name in head.split("┃"))
    return labels


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "tests" / "data" / "goldens").glob("*.txt")),
    ids=lambda path: path.stem,
)
def test_labels_of_screens_use_the_terms_of_the_field(path: Path) -> None:
    of_code = {"arm", "arms", "stack", "stacks", "picture", "pictures", "s/picture"}
    assert not labels_in(path.read_text()) & of_code


def test_labels_are_found() -> None:
    screen = "stack    current: Python 3.11\ncase ┃ arm ┃ s/image\n  stacks    Make environments"
    assert labels_in(screen) == {"stack", "case", "arm", "s/image"}
