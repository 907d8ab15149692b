"""``sdbench board init``."""

from pathlib import Path

import click

from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json
from sdbench.submissions.repository import (
    found_in,
    not_empty,
    repository_files,
    write_repository,
)
from sdbench.words import counted, shell


@click.command(name="init", short_help="Write the files of a results repository.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--force",
    is_flag=True,
    help="Write into a folder that is not empty; files of the same names are replaced. "
    "[default: refuse]",
)
@json_option
def init_command(folder: Path, force: bool, as_json: bool) -> int:
    """Write the files of a results repository, to which others add bundles by pull requests.

    README, submissions/ for the bundles, templates for issues and pull requests, and a workflow for
    GitHub: it verifies what a pull request adds, and publishes the board of the main branch on
    GitHub Pages. The workflow has the least permissions and no secrets, and its actions are pinned
    by commit. It installs this version of sdbench.

    A folder with nothing but .git and a licence counts as empty. No git command is run.

    Exits with 2 if DIR is not empty.
    """
    found = found_in(folder)
    if found and not force:
        raise not_empty(folder, found)
    files = repository_files()
    replaced = write_repository(folder, files)
    if as_json:
        print_json({"path": str(folder), "files": sorted(files), "replaced": sorted(replaced)})
        return 0
    out = console()
    for path in sorted(files):
        again = " (replaced)" if path in replaced else ""
        out.print(f"  {path}{again}", markup=False, soft_wrap=True)
    out.print(f"{counted(len(files), 'file')} written to {folder}.", markup=False, soft_wrap=True)
    out.print("Nothing was sent. To go on:")
    git = ("git", "-C", folder)
    for words in (
        shell("git", "init", "--initial-branch", "main", folder),
        shell(*git, "add", "--all"),
        shell(*git, "commit", "-m", "A results repository of sdbench"),
    ):
        out.print(f"  {words}", markup=False, soft_wrap=True)
    out.print("README.md says what to set on GitHub.")
    return 0
