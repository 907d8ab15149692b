"""``sdbench submit``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from rich.console import Console

from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json, print_next
from sdbench.words import size

if TYPE_CHECKING:
    from sdbench.submissions.submit import Candidate


@click.command(name="submit")
@click.argument("file", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "repository",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Checkout of the results repository on this machine.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be added and where; write nothing.")
@json_option
def command(file: tuple[Path, ...], repository: Path, dry_run: bool, as_json: bool) -> int:
    """Add bundles to the checkout of a results repository.

    FILE is a file that 'sdbench bundle' wrote. It is verified as by 'sdbench verify', must be
    publishable, and is copied to submissions/MACHINE/RUN.sdbench.zip. The git commands that make a
    pull request of it are printed; sdbench runs none of them and opens no network connection.

    A bundle whose only blocker is that its images are wrong is accepted: a board shows it as wrong
    and never ranks it. If one of the files is refused, none is copied.

    \b
    sdbench submit RUN.sdbench.zip --to board --dry-run   shows what would be added
    sdbench submit RUN.sdbench.zip --to board             copies it

    Exits with 1 if a file is refused; its first blocker is named.
    """
    from sdbench.cli.verify import limit_threads

    limit_threads()
    from sdbench.submissions.repository import check_repository
    from sdbench.submissions.submit import add, git_commands, judge_file

    check_repository(repository)
    judged = [judge_file(one, repository) for one in file]
    candidates = [one.candidate for one in judged]
    refused = [one for one in candidates if one.status == "refused"]
    if not refused and not dry_run:
        candidates = add(judged, repository)
    commands = [] if refused else git_commands(candidates, repository)
    if as_json:
        print_json(
            {
                "to": str(repository),
                "dry_run": dry_run,
                "files": [msgspec.to_builtins(one) for one in candidates],
                "commands": commands,
            }
        )
    else:
        _show(candidates, commands, console())
    if refused:
        print_next("sdbench", "verify", refused[0].path)
    return 1 if refused else 0


_WORDS = {
    "new": "would be added",
    "added": "added",
    "present": "is there already",
    "refused": "refused",
}


def _show(candidates: Sequence["Candidate"], commands: Sequence[str], out: Console) -> None:
    for one in candidates:
        words = f"{_WORDS[one.status]}: {one.path}"
        if one.status == "refused":
            remedy = f" {one.remedy}" if one.remedy else ""
            words += f": {one.reason}{remedy} ({one.code})"
        else:
            words += f" → {one.target} ({size(one.bytes)}, SHA-256 {one.sha256})"
        out.print(words, markup=False, soft_wrap=True)
        if one.shown_as_wrong:
            out.print("  Its images are wrong: a board shows it as wrong and never ranks it.")
    if any(one.status == "refused" for one in candidates):
        out.print("Nothing was copied.")
    if commands:
        out.print("Nothing was sent. To make a pull request of it:")
        for command_line in commands:
            out.print(f"  {command_line}", markup=False, soft_wrap=True)
