"""``sdbench stacks``."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sdbench.cli.completion import complete_shipped_stack
from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json, print_next
from sdbench.errors import MachineError
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import StackInfo
from sdbench.runner.try_stack import picture_maker
from sdbench.stacks.catalogue import (
    ShippedStack,
    decisive,
    lock_path,
    read_lock,
    shipped_stack,
    shipped_stacks,
    this_platform,
)
from sdbench.stacks.create import create, prove, remove
from sdbench.stacks.created import StackState, examine, interpreter_in
from sdbench.stacks.resolve import missing_packages, own_environment
from sdbench.stacks.uv import Tell
from sdbench.words import duration, printable, size

_names = click.argument(
    "names",
    nargs=-1,
    required=True,
    metavar="NAME...",
    shell_complete=complete_shipped_stack,
)


@click.group(name="stacks")
def command() -> None:
    """Environments for comparing torch releases: list, create, remove, check.

    An environment is a separate environment with one release of torch and everything else pinned,
    made by uv from a lock file that comes with sdbench. `torch-1.13` and `torch-2.5` have the same
    diffusers, transformers and numpy, so that torch alone differs; `current` is the environment
    that sdbench runs in. Environments are kept in the cache folder (SDBENCH_CACHE).

    \b
    sdbench stacks create torch-1.13 torch-2.5         once; on Linux gigabytes are downloaded
    sdbench run --stack torch-1.13 --stack torch-2.5   measures both, interleaved in one run
    sdbench compare latest --by stack                  compares them

    To compare other versions, install them into environments of your own and give their paths:
    sdbench run --stack old-venv --stack new-venv. Each of the four takes --json.
    """


@command.command(name="list", short_help="List the environments and their state.")
@json_option
def list_command(as_json: bool) -> int:
    """List the environments, whether they are created, and whether they are unchanged."""
    found = [examine(stack) for stack in shipped_stacks().values()]
    current = own_environment()
    rows = [_current_row(current), *map(_row, found)]
    if as_json:
        print_json({"stacks": rows})
        return 0
    table = Table(show_edge=False, pad_edge=False)
    for column in ("environment", "torch", "diffusers", "Python", "state"):
        table.add_column(column, overflow="fold")
    missing = ", ".join(missing_packages(current))
    here = f"this environment; without {missing}: sdbench doctor" if missing else "this environment"
    states = [here, *map(_state_words, found)]
    for row, state in zip(rows, states, strict=True):
        versions = row["packages"]
        torch, diffusers = (versions.get(name, "–") for name in ("torch", "diffusers"))
        cells = (row["name"], torch, diffusers, row["python"], state)
        table.add_row(*(escape(printable(cell)) for cell in cells))
    console().print(table)
    return 0


@command.command(name="create", short_help="Create environments from their lock files.")
@_names
@json_option
def create_command(names: tuple[str, ...], as_json: bool) -> int:
    """Create environments: install them from their lock files, check the versions, make a small
    image.

    Existing unchanged environments are kept; others are made again, and the reason is shown. Needs
    uv (`pip install uv`), the network and some minutes; uv caches its downloads, so a second time
    takes seconds. If it is stopped, nothing incomplete is left.
    """
    stacks = [shipped_stack(name) for name in names]
    rows = []
    with _executor() as executor:
        for stack in stacks:
            started = time.monotonic()
            with _progress(stack) as tell:
                made = create(stack, picture_maker(executor), tell)
            row = _row(made.found) | {"action": made.action, "rebuilt_because": made.reason}
            rows.append(row)
            if not as_json:
                words = "exists already"
                if made.action != "kept":
                    words = f"is ready after {duration(time.monotonic() - started)}"
                if made.reason is not None:
                    words += f" (made again: {made.reason})"
                _say(f"{stack.name} {words}: {_versions_words(row)}, in {row['path']}")
    if as_json:
        print_json({"stacks": rows})
    else:
        options = " ".join(f"--stack {stack.name}" for stack in stacks)
        _say(f"Measure with: sdbench run {options}")
    return 0


@command.command(name="remove", short_help="Delete environments.")
@_names
@json_option
def remove_command(names: tuple[str, ...], as_json: bool) -> int:
    """Delete created environments. The downloads of uv stay in its cache (`uv cache clean`)."""
    stacks = [shipped_stack(name) for name in names]
    rows = []
    for stack in stacks:
        with _progress(stack) as tell:
            there = remove(stack, tell)
        rows.append({"name": stack.name, "removed": there})
        if not as_json:
            _say(f"{stack.name} {'is removed' if there else 'was not created'}")
    if as_json:
        print_json({"stacks": rows})
    return 0


@command.command(name="check", short_help="Check that environments are unchanged and work.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_shipped_stack)
@json_option
def check_command(names: tuple[str, ...], as_json: bool) -> int:
    """Check created environments: versions as in the lock file, and a small image. [default: all]

    Exits with 1 if one is not created, was changed, or cannot make an image.
    """
    stacks = [shipped_stack(name) for name in names]
    found = [examine(stack) for stack in stacks or shipped_stacks().values()]
    if not names:
        found = [entry for entry in found if entry.state != "absent"]
    rows = []
    with _executor() as executor:
        for entry in found:
            with _progress(entry.stack) as tell:
                tell("making a small image with it")
                problem = _problem(entry, executor)
            rows.append(_row(entry) | {"works": problem is None, "problem": problem})
            if not as_json:
                _say(f"{entry.stack.name}: {problem or 'works'}")
    if as_json:
        print_json({"stacks": rows})
    elif not rows:
        _say("No environment is created yet. Make one with: sdbench stacks create torch-1.13")
    spoilt = [row["name"] for row in rows if not row["works"]]
    if spoilt:
        print_next("sdbench", "stacks", "create", *spoilt)
    return int(bool(spoilt))


def _row(found: StackState) -> dict[str, Any]:
    """An environment for the JSON document; the versions of one not ready are those it
    will have."""
    stack, info = found.stack, found.info if found.state == "ready" else None
    lock = read_lock(lock_path(stack, this_platform()))
    return {
        "name": stack.name,
        "state": found.state,
        "reason": found.reason,
        "python": stack.python if info is None else info.python,
        "packages": decisive(lock.versions if info is None else info.packages),
        "path": str(found.folder),
        "disk_bytes": int(stack.disk_bytes[this_platform()]),
    }


def _current_row(here: StackInfo) -> dict[str, Any]:
    missing = missing_packages(here)
    return {
        "name": "current",
        "state": "spoilt" if missing else "ready",
        "reason": f"{', '.join(missing)} not installed" if missing else None,
        "python": here.python,
        "packages": here.packages,
        "path": str(Path(here.interpreter).parent.parent),
        "disk_bytes": None,
    }


def _state_words(found: StackState) -> str:
    if found.state == "ready":
        return "ready"
    make = f"sdbench stacks create {found.stack.name}"
    if found.state == "spoilt":
        return f"changed: {found.reason}; {make}"
    return f"not created (about {size(found.stack.disk_bytes[this_platform()])}): {make}"


def _versions_words(row: dict[str, Any]) -> str:
    versions = row["packages"]
    return f"torch {versions['torch']}, diffusers {versions['diffusers']}, Python {row['python']}"


def _problem(found: StackState, executor: ProcessExecutor) -> str | None:
    """Why an environment cannot be measured in; None if it can."""
    if found.state != "ready":
        return _state_words(found)
    try:
        prove(found.stack, interpreter_in(found.folder), picture_maker(executor))
    except MachineError as error:
        return str(error)
    return None


def _say(text: str) -> None:
    console().print(printable(text), markup=False, soft_wrap=True)


@contextlib.contextmanager
def _progress(stack: ShippedStack) -> Iterator[Tell]:
    """Shows progress: in one updated line on a terminal, else line by line."""
    out = console(err=True)
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(stack.name, total=None)

        def tell(line: str) -> None:
            words = printable(f"{stack.name}: {line}")
            bar.update(task, description=words)
            if not out.is_terminal:
                out.print(words, markup=False, soft_wrap=True)

        yield tell


@contextlib.contextmanager
def _executor() -> Iterator[ProcessExecutor]:
    """Runs workers; being told to end is like Ctrl-C, so that everything is cleared away."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    with contextlib.closing(ProcessExecutor()) as executor:
        yield executor
