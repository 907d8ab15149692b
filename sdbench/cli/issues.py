"""``sdbench issues``."""

from collections.abc import Sequence

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdbench.cli.completion import complete_issue
from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json
from sdbench.knowledge.browse_issues import (
    browse,
    issue_document,
    link_words,
    settings_words,
    since_words,
)
from sdbench.knowledge.known_issues import KnownIssue, load_known_issues
from sdbench.report.terminal.lines import say_plain
from sdbench.words import counted

_WIDE = 120
"""Columns from which on the table has room for all that it says."""
_IN_FULL = 3
"""So few issues are shown with all that is known of them."""


@click.command(name="issues")
@click.argument("word", required=False)
@click.option("--torch", metavar="V", help="Only what may be met with this release of torch.")
@click.option("--macos", metavar="V", help="Only what may be met on this release of macOS.")
@click.option(
    "--id",
    "issue_id",
    metavar="ID",
    shell_complete=complete_issue,
    help="Show this one in full.",
)
@json_option
def command(
    word: str | None, torch: str | None, macos: str | None, issue_id: str | None, as_json: bool
) -> int:
    """Browse the catalogue of known issues: symptom, settings, since, fixed in, links.

    WORD is looked for in names, texts, symptoms, settings and links. It needs no run: run and
    diagnose name the issues that a case meets. Issues whose releases are not known are listed for
    every version. At most three are shown in full. Exits with 0 also when none matches.
    """
    found = browse(load_known_issues(), word=word, issue_id=issue_id, torch=torch, macos=macos)
    if as_json:
        asked = {"word": word, "id": issue_id, "torch": torch, "macos": macos}
        print_json({**asked, "issues": [issue_document(entry) for entry in found]})
        return 0
    out = console()
    if not found:
        out.print("No known issue matches. All of them: sdbench issues")
    elif len(found) <= _IN_FULL:
        for entry in found:
            _show_in_full(entry, macos, out)
    elif out.width >= _WIDE:
        out.print(_table(found))
    else:
        for entry in found:
            _show_short(entry, out)
    if len(found) > _IN_FULL:
        out.print(f"{counted(len(found), 'known issue')}. One in full: sdbench issues --id ID")
    return 0


def _cells(entry: KnownIssue) -> tuple[str, ...]:
    return (
        ", ".join(entry.symptoms),
        settings_words(entry) or "any",
        since_words(entry) or "–",
        entry.fixed_in or "–",
        ", ".join(map(link_words, entry.links)),
    )


def _table(entries: Sequence[KnownIssue]) -> Table:
    table = Table(show_edge=False, pad_edge=False, show_lines=True)
    longest = max(len(entry.id) for entry in entries)
    table.add_column("issue", overflow="fold", min_width=longest)
    for column in ("symptom", "settings", "since", "fixed in", "links"):
        table.add_column(column, overflow="fold")
    for entry in entries:
        name = f"[bold]{escape(entry.id)}[/]\n{escape(entry.title)}"
        table.add_row(name, *map(escape, _cells(entry)))
    return table


def _show_short(entry: KnownIssue, out: Console) -> None:
    """A name and what is in the table's columns, for a narrow terminal."""
    symptoms, settings, since, fixed, links = _cells(entry)
    out.print(f"[bold]{escape(entry.id)}[/]  {escape(entry.title)}")
    rows = (
        ("symptom", symptoms or "–"),
        ("settings", settings),
        ("since", f"{since}; fixed in {fixed}"),
        ("links", links),
    )
    _rows(rows, out)


def _show_in_full(entry: KnownIssue, macos: str | None, out: Console) -> None:
    symptoms, settings, since, fixed, _ = _cells(entry)
    out.print(f"[bold]{escape(entry.id)}[/]  {escape(entry.title)}")
    rows = (
        ("what happens", entry.what),
        ("symptom", symptoms or "–"),
        ("settings", settings),
        ("since", since),
        ("fixed in", fixed),
        ("what to do", entry.advice(macos)),
        ("confidence", entry.confidence),
        *(("link", link) for link in entry.links),
    )
    _rows(rows, out)


def _rows(rows: Sequence[tuple[str, str]], out: Console) -> None:
    for name, words in rows:
        say_plain(out, words, lead=f"  {name + ':':<14}")
    out.print()
