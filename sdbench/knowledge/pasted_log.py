"""Parses an error output or a pasted log: which error ended the process, and which error caused
which.

A log may hold several tracebacks. Python joins those of one failure by a sentence: "The above
exception was the direct cause of the following exception" (the first is the cause), "During
handling of the above exception, another exception occurred" (two errors, the second in the code
that handled the first). Lines of source code in a traceback are no messages and are left out. Pure.
"""

import itertools
import re

_ANSI = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
# tqdm's bar: a percentage padded to three, the bar, counts and times in brackets.
_BAR = re.compile(r"\r?(?:  \d| \d\d|\d{3})%\|[^|\r\n]{0,400}\|[^\]\r\n]{0,400}\]")

_TRACEBACK = re.compile(r"^.{0,200}Traceback \(most recent call last\)", re.MULTILINE)
_DIRECT = "The above exception was the direct cause of the following exception"
# Not that of a SyntaxError, which names no function and whose source line is the message.
_FRAME = re.compile(r'^.{0,60}? {0,8}File "[^"\n]{0,600}", line \d{1,9}, in .{0,200}$')
_EXCEPTION = re.compile(
    r"^(?:\S{0,60}: |[|!>\s]{0,8}|E {1,8})?"
    r"(?P<type>(?:[A-Za-z_][\w]{0,60}\.){0,8}[A-Z]\w{0,80}"
    r"(?:Error|Exception|Interrupt|Exit|Warning|NotFound|Failure))(?:: (?P<message>.{0,2000}))?$"
)


def without_progress(text: str) -> str:
    """A text without progress bars and terminal colours, so that words interrupted by them are
    joined again."""
    return _BAR.sub("", _ANSI.sub("", text))


def without_code(text: str) -> str:
    """A text without the source lines that tracebacks quote, and without the marks below them."""
    kept: list[str] = []
    after_frame = False
    for line in text.split("\n"):
        if after_frame and line[:4].isspace() and not _FRAME.match(line):
            continue
        after_frame = _FRAME.match(line) is not None
        kept.append(line)
    return "\n".join(kept)


def incidents(text: str) -> list[list[str]]:
    """The failures of a text, in the order in which they were written; of each its links.

    A link is a part of the text with one error in it; the links of an incident were joined by
    "direct cause", the first is the root. What stands before the first traceback, warnings and an
    abort without one, is an incident of its own. The text is one that :func:`without_code` gave.
    """
    starts = [match.start() for match in _TRACEBACK.finditer(text)]
    if not starts:
        return [[text]]
    edges = [0, *starts, len(text)]
    parts = [text[begin:end] for begin, end in itertools.pairwise(edges)]
    found: list[list[str]] = []
    for part in parts:
        if found and _DIRECT in found[-1][-1][-300:]:
            found[-1].append(part)
        elif part.strip():
            found.append([part])
    return found


def from_last_exception(text: str) -> str | None:
    """The text from its last exception's line on, with the frames above it; None if there is no
    such line."""
    lines = text.split("\n")
    for index in range(len(lines) - 1, -1, -1):
        match = _EXCEPTION.match(lines[index].rstrip())
        if match is not None and not match["type"].endswith("Warning"):
            while index > 0 and _FRAME.match(lines[index - 1]):
                index -= 1
            return "\n".join(lines[index:])
    return None


def last_exception(text: str) -> tuple[str, str] | None:
    """Type and first line of the last exception that a text reports; None if there is none."""
    for line in reversed(text.split("\n")):
        match = _EXCEPTION.match(line.rstrip())
        if match is not None and not match["type"].endswith("Warning"):
            return match["type"], (match["message"] or "").strip()
    return None


def root_exception(error_output: str) -> str | None:
    """``Type: message`` of the first error of the last traceback's chain; None without a chain."""
    last = incidents(without_code(without_progress(error_output)))[-1]
    root = last_exception(last[0]) if len(last) > 1 else None
    return None if root is None else ": ".join(part for part in root if part)[:400]


_LAST_WORDS = re.compile(
    r"(?:Assertion failed|failed assertion|LLVM ERROR|libc\+\+abi|OMP: Error|objc\[\d+\]:"
    r"|Terminating app|dyld(?:\[\d+\])?:|Fatal Python error|Symbol not found|fatal error)",
)


def last_words(error_output: str) -> str | None:
    """The line that a process wrote just before native code ended it.

    That is the last line of those that native code writes before it aborts; None if none is there.
    """
    found = None
    for line in without_progress(error_output).split("\n"):
        match = _LAST_WORDS.search(line)
        if match is not None:
            found = line.strip()
    return None if found is None else " ".join(found.split())[-400:]


def last_line(error_output: str) -> str | None:
    """The last line that is not blank and no progress bar; None if there is none."""
    lines = [line.strip() for line in without_progress(error_output).splitlines()]
    return next((line for line in reversed(lines) if line), None)


# Both wordings of a failed lazy import (transformers' and diffusers' _LazyModule).
_LAZY = re.compile(
    r"Failed to import [\w.]{1,200} because of the following error"
    r"(?: \(look up to see its traceback\))?:\s{0,20}"
)


def innermost_message(message: str) -> str:
    """The inner message of one that wraps another: its first line that says what happened."""
    inner = _LAZY.sub("", message).strip()
    lines = [line.strip() for line in (inner or message).splitlines() if line.strip()]
    return lines[0] if lines else ""
