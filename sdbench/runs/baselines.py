"""Baselines: names in a results folder that point to runs in it. No run is copied."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sdbench.errors import StoreError, UsageError
from sdbench.files.access import MIB, read_inside, write_inside
from sdbench.runs.folder import not_writable
from sdbench.runs.reading import list_runs
from sdbench.words import did_you_mean, shell, shortened

BASELINES_FILE = "baselines.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """``baselines.json``: run ids by name."""

    schema: int = 1
    baselines: dict[str, str] = {}


def check_baseline_name(name: str) -> None:
    """Refuse a name before anything is measured for it.

    Raises:
        UsageError: it is not one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"baseline {shortened(name)!r}: expected a name of letters, digits, '.', '_' or '-', "
            "at most 64"
        )


def read_baselines(root: Path) -> dict[str, str]:
    """Run ids by the names that point to them; empty where none was saved.

    Raises:
        StoreError: the file cannot be read or is not one.
    """
    try:
        data = read_inside(root, BASELINES_FILE, most_bytes=MIB)
        return msgspec.json.decode(data, type=_File).baselines
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise StoreError(f"{root / BASELINES_FILE}: {error.strerror or error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StoreError(f"{root / BASELINES_FILE} is no file of baselines: {error}") from error


def save_baseline(root: Path, name: str, run: Path) -> None:
    """Let a name point to a run in the results folder; it no longer points to another.

    Raises:
        UsageError: the name is none, or the run is not in that folder.
        StoreError: the file cannot be read or written.
    """
    check_baseline_name(name)
    if run.resolve().parent != root.resolve():
        raise UsageError(
            f"--save-baseline: {run} is not in the results folder {root}; name its folder with "
            "--results"
        )
    pointers = {**read_baselines(root), name: run.resolve().name}
    saved = _File(baselines=dict(sorted(pointers.items())))
    try:
        data = msgspec.json.format(msgspec.json.encode(saved), indent=2)
        write_inside(root, BASELINES_FILE, data=data + b"\n")
    except OSError as error:
        raise not_writable(f"cannot write {root / BASELINES_FILE}", error) from error


def baseline_run(root: Path, name: str) -> Path:
    """The folder of the run that a name points to.

    Raises:
        UsageError: there is no such name, or its run is no longer there.
        StoreError: the file of baselines cannot be read.
    """
    known = read_baselines(root)
    listing = shell("sdbench", "list", "--results", root)
    if name not in known:
        raise UsageError(
            f"no baseline {shortened(name)!r} in {root}; {did_you_mean(name, known)}see {listing}"
        )
    # The file may be anybody's, so its ids are only compared with the folders that there are.
    for path in list_runs(root):
        if path.name == known[name]:
            return path
    raise UsageError(
        f"baseline {name!r}: its run {shortened(known[name])!r} is no longer in {root}; "
        f"see {listing}"
    )


def names_by_run(baselines: Mapping[str, str]) -> dict[str, list[str]]:
    """The names that point to each run, in their order."""
    found: dict[str, list[str]] = {}
    for name, run_id in baselines.items():
        found.setdefault(run_id, []).append(name)
    return found
