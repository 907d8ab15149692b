"""``sdbench board build``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json, print_next
from sdbench.cli.verify import limit_threads
from sdbench.words import counted, duration

if TYPE_CHECKING:
    from sdbench.board.build import Built

_SHOWN = 10
_EVERY = 25


@click.command(name="build")
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    "site",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="SITE",
    required=True,
    help="Folder of the site: a new or empty one, or a board to renew.",
)
@json_option
def build_command(paths: tuple[Path, ...], site: Path, as_json: bool) -> int:
    """Make or renew a site of bundles and run folders.

    PATH is a bundle, a run folder, or a folder that is searched for both. Each bundle is verified
    as by 'sdbench verify'; a run folder is bundled in memory first, without anything private. The
    site holds exactly what is found: a bundle that is no longer there is no longer on it.

    Only what is new is read and verified; what this version of sdbench verified before is known by
    its SHA-256. Places are given to cases of verified runs of real machines with right images and
    without anything that slowed the machine. Everything else is shown with the reason why it has
    no place; wrong images are shown as wrong. Machines are never merged, and the same measurement
    counts once. Bundles that are refused count for nothing.

    The data are written into SITE/data as JSON and, where pyarrow is installed
    (pip install "sdbench[board]"), as Parquet.

    Exits with 0 if all bundles are ok, and with 1 if one is refused; the site is written anyway.
    """
    limit_threads()
    from sdbench.board.build import build

    built = build(paths, site, progress=_show_progress)
    if as_json:
        print_json(msgspec.to_builtins(built))
    else:
        for line in _lines(built):
            console().print(line, markup=False, soft_wrap=True)
    if built.refused:
        print_next("sdbench", "verify", built.refused[0].path)
    return 1 if built.refused else 0


def _show_progress(done: int, of: int) -> None:
    """How far it is, to a terminal only."""
    if sys.stderr.isatty() and (done % _EVERY == 0 or done == of):
        end = "\n" if done == of else "\r"
        console(err=True).print(f"{done:,} of {of:,} looked at", end=end, markup=False)


def _lines(built: "Built") -> list[str]:
    verification = built.verification
    what = f"{counted(built.rows, 'case')} of {counted(built.bundles, 'bundle')}"
    machines = counted(built.machines, "machine")
    took = f"{counted(built.pages, 'page')}, {built.pages_written} of them written now"
    lines = [
        f"{what} from {machines}, {built.ranked} ranked: {built.path}/index.html",
        f"{built.new} verified now, {built.reused} known; {took}; {duration(built.seconds)}",
    ]
    if verification.bundles_per_second is not None:
        lines[-1] += (
            f", {verification.seconds:.1f} s of it for verification "
            f"({verification.bundles_per_second:g} bundles a second)"
        )
    if built.parquet is None:
        lines.append('No Parquet file: pyarrow is not installed (pip install "sdbench[board]").')
    for one in built.refused[:_SHOWN]:
        lines.append(f"refused    {one.path}: {one.reason} ({one.code})")
    for same in built.duplicates[:_SHOWN]:
        lines.append(f"duplicate  {same.path}: the same measurement as {same.same_as}")
    more = len(built.refused[_SHOWN:]) + len(built.duplicates[_SHOWN:])
    return [*lines, *([f"and {more} more: --json lists all"] if more else [])]
