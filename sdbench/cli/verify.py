"""``sdbench verify``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json, print_next

if TYPE_CHECKING:
    from sdbench.bundles.verify import Verified

# Of libraries that multiply for numpy: in their own threads they wait longer than they compute on
# arrays of the size of an image.
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@click.command(name="verify")
@click.argument("file", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@json_option
def command(file: tuple[Path, ...], as_json: bool) -> int:
    """Check bundles: safe to read, unchanged, and everything in them follows from the records.

    FILE is a file that 'sdbench bundle' wrote. It is read in memory, and nothing is extracted.
    Checked are the form of the archive, hashes, whether all records are there once and in the order
    of the seed, images (also with the references in the package), every figure and verdict
    (computed again from the records), and whether times, memory, rates and versions can be. The
    first reason to refuse a file ends its check.

    What this cannot prove: whoever edits the raw records consistently is not found out. What could
    not be compared with anything is listed as not checked.

    Exits with 0 if all files are ok, and with 1 if one is refused.
    """
    limit_threads()
    from sdbench.bundles.verify import verify_file

    results = [verify_file(path) for path in file]
    if as_json:
        print_json({"files": [msgspec.to_builtins(entry) for entry in results]})
    else:
        out = console()
        for entry in results:
            for line in _lines(entry):
                out.print(line, markup=False, soft_wrap=True)
    refused = [entry for entry in results if entry.status == "refused"]
    if refused:
        print_next("sdbench", "verify", "--help")
    return 1 if refused else 0


def limit_threads() -> None:
    """One thread for the libraries that multiply for numpy; before numpy is imported."""
    for name in _THREADS:
        os.environ.setdefault(name, "1")


def _lines(entry: "Verified") -> list[str]:
    if entry.status == "refused":
        return [f"refused  {entry.path}: {entry.reason} ({entry.code})"]
    made = "simulated" if entry.simulated else "recorded as real"
    where = ", in a virtual machine" if entry.virtual else ""
    lines = [f"ok       {entry.path}: {made}{where}; {_publishable_words(entry)}"]
    lines += [f"         not checked: {words}" for words in entry.not_checked]
    return lines


def _publishable_words(entry: "Verified") -> str:
    blockers = [] if entry.publishable is None else entry.publishable.blockers
    if not blockers:
        return "publishable"
    more = f", and {len(blockers) - 1} more" if blockers[1:] else ""
    return f"not publishable: {blockers[0].code}{more}"
