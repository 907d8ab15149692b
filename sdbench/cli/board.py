"""``sdbench board``."""

import click

from sdbench.cli.board_build import build_command
from sdbench.cli.board_init import init_command


@click.group(name="board")
def command() -> None:
    """A board: one table over the runs of many machines.

    A site is a folder of files. It works from a disk or from any web server, loads nothing from a
    network and needs no program behind it.

    \b
    sdbench board init board                     a repository to which others add bundles
    sdbench board build submissions -o site      a site of all bundles in a folder, or renewed

    Both take --json.
    """


command.add_command(build_command)
command.add_command(init_command)
