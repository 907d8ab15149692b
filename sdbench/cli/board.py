"""``sdbench board``."""

import click

from sdbench.cli.board_init import init_command


@click.group(name="board")
def command() -> None:
    """A board: one table over the runs of many machines."""


command.add_command(init_command)
