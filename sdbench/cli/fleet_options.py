"""Options that the commands of ``sdbench fleet`` share."""

from pathlib import Path

import click

scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Address of a Dask scheduler that runs already, like tls://host:8786.",
)
hosts_option = click.option(
    "--hosts",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Instead of --scheduler: a TOML file with machines to reach by ssh. The scheduler runs "
    "here for as long as the command does, and a worker on each of them.",
)
yes_option = click.option(
    "--yes",
    "-y",
    is_flag=True,
    help="Let every machine do what `sdbench run` asks about: download a model, run for long. With "
    "--hosts also: install environments there.",
)
certificates_option = click.option(
    "--certificates",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder with the fleet's certificates, made by `sdbench fleet certificates`. Required "
    "with tls://.",
)
insecure_option = click.option(
    "--insecure",
    is_flag=True,
    help="Allow tcp:// without encryption, with a scheduler on this machine only.",
)
machines_option = click.option(
    "--machines",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of machines to wait for before the first slot is given. Others may join later.",
)
silent_option = click.option(
    "--silent-after",
    "silent_s",
    type=click.FloatRange(1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds after which a machine that is not heard of counts as vanished.",
)
patience_option = click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds to wait for a machine while none is at work, before the fleet ends.",
)
fleet_argument = click.argument("fleet", default="latest")
