"""What a board is built from: bundles and run folders, found, verified and turned into rows."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sdbench.analysis.run_summary import is_virtual
from sdbench.board.rows import Row, rows_of
from sdbench.bundles.format import MOST_BUNDLE_BYTES, RECORDS_MEMBER, RUN_MEMBER, SUFFIX
from sdbench.bundles.installation import this_installation
from sdbench.bundles.publishable import publishable
from sdbench.bundles.refusal import RefusedError
from sdbench.bundles.summary import examine
from sdbench.bundles.verify import Verified, accept
from sdbench.bundles.write import bundle_of
from sdbench.errors import UsageError
from sdbench.files.access import open_file
from sdbench.runs import load_run
from sdbench.words import shortened


@dataclass(frozen=True)
class Input:
    """A bundle or a run folder; ``absolute`` is its place however it was named."""

    path: Path
    kind: Literal["bundle", "run"]
    absolute: str


@dataclass(frozen=True)
class Read:
    """An input that was verified: its rows, none of one that was refused."""

    sha256: str
    verified: Verified
    rows: list[Row]


def find_inputs(paths: Sequence[Path]) -> list[Input]:
    """Bundles and run folders, sorted; folders are searched, and links in them not followed.

    Raises:
        UsageError: a path is not there, or is neither.
    """
    found: dict[str, Input] = {}
    for path in paths:
        if path.is_dir():
            within = [*_within(path)]
            if not within:
                raise UsageError(f"{shortened(str(path))}: no bundle (*{SUFFIX}) and no run in it")
        elif path.is_file():
            within = [_input(path, "bundle")]
        else:
            raise UsageError(
                f"{shortened(str(path))}: expected a bundle, a run or a folder of them"
            )
        found.update({one.absolute: one for one in within})
    return [found[place] for place in sorted(found)]


def _input(path: Path, kind: Literal["bundle", "run"]) -> Input:
    return Input(path, kind, os.path.abspath(path))


def _within(folder: Path) -> Iterator[Input]:
    """Of a folder; what is inside a run folder belongs to that run."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"{shortened(str(folder))}: {error.strerror}") from error
    if any(entry.name == RUN_MEMBER and entry.is_file(follow_symlinks=False) for entry in entries):
        yield _input(folder, "run")
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _within(Path(entry.path))
        elif entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
            yield _input(Path(entry.path), "bundle")


def bundle_bytes(source: Input) -> bytes:
    """The bytes of a bundle; a run folder is bundled in memory, without anything private.

    Raises:
        UsageError: it cannot be read.
        StoreError: a run that cannot be read or bundled.
    """
    if source.kind == "run":
        return bundle_of(source.path, this_installation()).data
    try:
        with open_file(source.path) as file:
            return file.read(MOST_BUNDLE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shortened(str(source.path))}: {error.strerror}") from error


def read_bundle(data: bytes, path: str) -> Read:
    """Verify a bundle and lay it out as rows; ``path`` is what its verification calls it."""
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        accepted = accept(data, path)
    except RefusedError as error:
        refused = Verified(path=path, status="refused", code=error.code, reason=error.reason)
        return Read(sha256, refused, [])
    verified = accepted.verified
    assert verified.publishable is not None  # of one that is ok
    rows = rows_of(
        accepted.examined,
        measured_sha256=hashlib.sha256(accepted.members[RECORDS_MEMBER]).hexdigest(),
        bundle_sha256=sha256,
        verified=True,
        virtual=verified.virtual,
        publishable=verified.publishable,
    )
    return Read(sha256, verified, rows)


def rows_of_run(folder: Path) -> list[Row]:
    """The rows of a run folder as it is: not verified, under the machine's own recorded id.

    Raises:
        UsageError: there is no run.
        StoreError: it cannot be read.
    """
    loaded = load_run(folder)
    examined = examine(loaded)
    virtual = loaded.run.identity("virtual")
    if any(map(is_virtual, loaded.replicates)):
        virtual = True
    return rows_of(
        examined,
        measured_sha256="",
        virtual=virtual if isinstance(virtual, bool) else None,
        publishable=publishable(examined),
    )
