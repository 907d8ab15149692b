"""Sentences, pairs of columns and commands on a console. Imports no more than rich."""

import re
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from sdbench.words import printable

_LEAST_SENTENCE = 20
_LEAST_SHARE = 0.6  # of the width, for a sentence behind its lead
_BEFORE_COMMAND = ": sdbench "
_NO_BREAK = "\ue000"  # of private use: rich breaks lines at a no-break space, too
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:s|min|h|B|[kMGT]B|[GT]FLOP(?:/s)?|it/s|W|J|°C|times)\b)")


def harmless(text: str) -> str:
    """Text of others, in which no markup and no terminal escape takes effect."""
    return escape(printable(text))


def columns_of(markup: str) -> int:
    """How many columns of a terminal a text takes that may hold markup."""
    return cell_len(plain(markup))


def plain(markup: str) -> str:
    """The text without its markup."""
    return Text.from_markup(markup).plain if "[" in markup else markup


def say(console: Console, about: str, lead: str = "", style: str = "") -> None:
    """A sentence in markup behind ``lead``. A terminal gets it wrapped at words and indented as
    far as it begins, unless that is too far; where there is none, it stays one line.

    Commands to be pasted are not for this: they must stay one line (:func:`print_command`).
    """
    if not console.is_terminal:
        console.print(f"{lead}{about}", style=style or None, soft_wrap=True)
        return
    if console.width - columns_of(lead) < _LEAST_SHARE * console.width:
        blanks = " " * (len(lead) - len(lead.lstrip(" ")))
        about, lead = f"{lead[len(blanks) :]}{about}", blanks
    indent = columns_of(lead)
    width = max(_LEAST_SENTENCE, console.width - indent)
    whole = Text.from_markup(_BEFORE_UNIT.sub(_NO_BREAK, about))
    for line in whole.wrap(console, width) or [Text()]:
        line.rstrip()
        line.plain = line.plain.replace(_NO_BREAK, " ")
        words = Text.assemble(Text.from_markup(lead), line)
        console.print(words, style=style or None, soft_wrap=True)
        lead = " " * indent


def say_plain(console: Console, text: str, lead: str = "", style: str = "") -> None:
    """A sentence without markup, as :func:`say`. A command at its end (``…: sdbench show X``) is
    not broken: where both do not fit a line of the terminal, it gets one of its own."""
    words, before, command = text.rpartition(_BEFORE_COMMAND)
    if not before or not console.is_terminal or columns_of(lead) + len(text) <= console.width:
        say(console, harmless(text), lead=lead, style=style)
        return
    say(console, harmless(f"{words}:"), lead=lead, style=style)
    print_command(console, f"sdbench {command}", lead=" " * (columns_of(lead) + 2))


def print_command(console: Console, command: str, lead: str = "") -> None:
    """A command as it is, to be pasted: the terminal may fold it, but no line break gets in."""
    console.print(f"{lead}[cyan]{harmless(command)}[/]", soft_wrap=True)


def render_lines(lines: Iterable[tuple[str, str]], console: Console) -> None:
    """Two columns: what, and what about it."""
    print_lines([(what, harmless(about)) for what, about in lines], console)


def print_lines(lines: Sequence[tuple[str, str]], console: Console, least: int = 0) -> None:
    """As :func:`render_lines`, the second column in rich's markup; ``least`` is the fewest
    characters of the first column, so that several groups of lines are aligned."""
    width = max([least, *(len(what) for what, _ in lines)])
    for what, about in lines:
        say(console, about, lead=f"[bold]{what:<{width}}[/]  ")
