"""Options that several verbs share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

DEFAULT_ROOT = Path("results")
_F = TypeVar("_F", bound=Callable[..., Any])


def results_option(function: _F) -> _F:
    """``-o ROOT``: the folder that holds run folders."""
    return click.option(
        "-o",
        "--results",
        "root",
        type=click.Path(file_okay=False, path_type=Path),
        default=DEFAULT_ROOT,
        show_default=True,
        help="Folder that holds the run folders.",
    )(function)


def json_option(function: _F) -> _F:
    """``--json``: exactly one document on standard output."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON document on standard output."
    )(function)


def force_option(function: _F) -> _F:
    """``--force``: write over files of others too."""
    return click.option(
        "--force",
        is_flag=True,
        help="Overwrite files that sdbench did not write. [default: refuse]",
    )(function)
