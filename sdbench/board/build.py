"""``sdbench board build``: bundles and run folders into a static site, only what is new anew."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from sdbench import __version__
from sdbench.board.browser_data import board_script, piece_scripts, submissions_script
from sdbench.board.file_index import FileIndex, state_of
from sdbench.board.inputs import Input, bundle_bytes, find_inputs, read_bundle
from sdbench.board.names import machine_page, model_page
from sdbench.board.pages import Page, assets, pages_of
from sdbench.board.parquet import parquet_of
from sdbench.board.ranking import once_each
from sdbench.board.rows import Row
from sdbench.board.site_data import (
    BOARD_FILE,
    DATA,
    Board,
    Refused,
    board_of,
    piece_name,
    pieces_of,
    read_site,
    write_documents,
)
from sdbench.board.table import Table, empty_table
from sdbench.errors import StoreError, UsageError
from sdbench.files.access import MIB, make_folder, read_inside, remove_inside, write_inside
from sdbench.words import shortened

PARQUET_FILE = "board.parquet"
_PAGES_FILE = "pages.json"
_MOST_BYTES = 512 * MIB
# What every file of that name begins with that sdbench wrote.
_MARK, _HEAD_BYTES = b'"sdbench_version":', 200
_PIECE = re.compile(r"cases-([0-9]{4,})\.js(?:on)?")


class RefusedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that counts for nothing, and why."""

    path: str
    code: str
    reason: str


class SameFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that counts for nothing, since another holds the same measurement."""

    path: str
    same_as: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified now; the rest was verified before, with the same version of sdbench."""

    bundles: int
    seconds: float
    bundles_per_second: float | None


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """What ``board build --json`` prints. ``parquet`` is None where pyarrow is missing."""

    path: str
    bundles: int
    rows: int
    ranked: int
    machines: int
    models: int
    new: int
    reused: int
    verification: Verification
    refused: list[RefusedFile]
    duplicates: list[SameFile]
    pages: int
    pages_written: int
    parquet: str | None
    seconds: float


class _Seen:
    """What is known of each bundle, by SHA-256, and the time that verifying took.

    ``table`` is what an earlier build left, ``new`` the rows of what was verified since.
    ``same_as`` are bundles that counted for nothing, as they hold the measurement of another.
    """

    def __init__(
        self,
        table: Table | None = None,
        refused: Sequence[Refused] = (),
        same_as: Mapping[str, str] | None = None,
    ) -> None:
        self.table = empty_table() if table is None else table
        self.new: dict[str, list[Row]] = {}
        self.runs = {run.bundle_sha256: run for run in self.table.submissions}
        self.refused = {one.bundle_sha256: one for one in refused}
        self.same_as = dict(same_as or {})
        self.verified = 0
        self.verified_s = 0.0

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self.runs or sha256 in self.refused or sha256 in self.same_as

    def verify(self, data: bytes, source: Input, sha256: str) -> None:
        """Verify a bundle and keep what was found."""
        started = time.perf_counter()
        read = read_bundle(data, str(source.path))
        self.verified += 1
        self.verified_s += time.perf_counter() - started
        self.same_as.pop(sha256, None)
        if read.rows:
            self.new[sha256] = read.rows
            self.runs[sha256] = read.rows[0].submission
        else:
            self.refused[sha256] = Refused(
                bundle_sha256=sha256,
                code=read.verified.code or "no-rows",
                reason=read.verified.reason or "no case of it was measured",
            )


def build(
    paths: Sequence[Path],
    site: Path,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Built:
    """Make or renew a site of exactly the runs in some places.

    Args:
        paths: bundles, run folders, and folders of them.
        site: the site's folder; it is made, or holds a board already, or nothing.
        progress: called after each input, with the number of those read and of all.

    Raises:
        UsageError: a path is unfit, or the folder holds something else.
        StoreError: a run cannot be read, or the site's data cannot be used or written.
    """
    started = time.perf_counter()
    inputs = find_inputs(paths)
    known, index = _known(site), FileIndex(site)
    sources: dict[str, Input] = {}
    duplicates: list[SameFile] = []
    for number, source in enumerate(inputs, start=1):
        sha256 = _looked_at(source, index, known)
        if sha256 in sources:
            duplicates.append(SameFile(path=str(source.path), same_as=str(sources[sha256].path)))
        sources.setdefault(sha256, source)
        progress(number, len(inputs))
    table, same_as = _counted(sources, known)
    refused = [known.refused[sha256] for sha256 in sources if sha256 in known.refused]
    try:
        _begin(site)
        board, written = _write_site(site, table, refused, same_as)
    except OSError as error:
        raise StoreError(f"{shortened(str(site))}: cannot be written: {error.strerror}") from error
    index.keep()
    duplicates += [
        SameFile(path=str(sources[sha256].path), same_as=str(sources[other].path))
        for sha256, other in board.same_as.items()
    ]
    rate = known.verified / known.verified_s if known.verified else None
    return Built(
        path=str(site),
        bundles=len(table.submissions),
        rows=board.rows,
        ranked=board.ranked,
        machines=board.machines,
        models=board.models,
        new=known.verified,
        reused=len(sources) - known.verified,
        verification=Verification(
            bundles=known.verified,
            seconds=round(known.verified_s, 3),
            bundles_per_second=None if rate is None else round(rate, 2),
        ),
        refused=[
            RefusedFile(path=str(sources[one.bundle_sha256].path), code=one.code, reason=one.reason)
            for one in board.refused
        ],
        duplicates=duplicates,
        pages=written.pages,
        pages_written=written.pages_written,
        parquet=written.parquet,
        seconds=round(time.perf_counter() - started, 3),
    )


def _counted(sources: Mapping[str, Input], known: _Seen) -> tuple[Table, dict[str, str]]:
    """The rows that count, in order, and the bundles that hold the measurement of another."""
    left = {sha256: known.same_as[sha256] for sha256 in sources if sha256 in known.same_as}
    for sha256, other in [*left.items()]:
        if other not in sources:  # the one that counted is gone
            del left[sha256]
            known.verify(bundle_bytes(sources[sha256]), sources[sha256], sha256)
    runs, same_as = once_each(known.runs[sha256] for sha256 in sources if sha256 in known.runs)
    chosen = {run.bundle_sha256 for run in runs}
    kept = known.table.of_submissions(
        run.bundle_sha256 in chosen for run in known.table.submissions
    )
    new = [row for sha256, rows in known.new.items() if sha256 in chosen for row in rows]
    return kept.with_rows(new).in_order(), same_as | {
        one: same_as.get(other, other) for one, other in left.items()
    }


def _begin(site: Path) -> None:
    """Make a new site an empty board, so that it is known as one if this build is stopped."""
    make_folder(site)
    if not os.listdir(site):
        empty = board_of(empty_table(), [], {})
        _write(site, f"{DATA}/{BOARD_FILE}", msgspec.json.encode(empty))


class _Written(msgspec.Struct, frozen=True):
    pages: int
    pages_written: int
    parquet: str | None


def _write_site(
    site: Path, table: Table, refused: Sequence[Refused], same_as: dict[str, str]
) -> tuple[Board, _Written]:
    board = board_of(table, refused, same_as)
    runs = table.submissions
    with ThreadPoolExecutor(1) as background:  # pyarrow leaves the interpreter to others meanwhile
        later = background.submit(parquet_of, table)
        scripts = {
            f"{DATA}/submissions.js": submissions_script(runs, machine_page, model_page),
            f"{DATA}/board.js": board_script(board),
        }
        for number, data in enumerate(piece_scripts(table)):
            _write(site, f"{DATA}/{piece_name(number)}.js", data)
        for name, data in (scripts | assets()).items():
            _write(site, name, data)
        parquet = later.result()
    if parquet is not None:
        _write(site, f"{DATA}/{PARQUET_FILE}", parquet)
    pages = [*pages_of(board, table, parquet=parquet is not None)]
    pages_written = _write_pages(site, pages)
    write_documents(site, board, runs, pieces_of(table))
    _remove_others(site, {page.name for page in pages}, board.pieces, parquet=parquet is not None)
    place = None if parquet is None else str(site / DATA / PARQUET_FILE)
    return board, _Written(len(pages), pages_written, place)


def _remove_others(site: Path, pages: Container[str], pieces: int, *, parquet: bool) -> None:
    """Remove what an earlier build left and this one did not make."""
    for folder in ("machines", "models"):
        for name in _names(site / folder):
            if name.endswith(".html") and f"{folder}/{name}" not in pages:
                remove_inside(site, folder, name)
    for name in _names(site / DATA):
        piece = _PIECE.fullmatch(name)
        if (piece and int(piece[1]) >= pieces) or (name == PARQUET_FILE and not parquet):
            remove_inside(site, DATA, name)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _known(site: Path) -> _Seen:
    """What another build of this version left there.

    Nothing of another version is believed, and nothing of a build that was stopped.
    """
    try:
        entries = os.listdir(site)
    except FileNotFoundError:
        return _Seen()
    except OSError as error:
        raise UsageError(f"{shortened(str(site))}: {error.strerror}") from error
    if not entries:
        return _Seen()
    try:
        head = read_inside(site, DATA, BOARD_FILE, most_bytes=_MOST_BYTES)[:_HEAD_BYTES]
    except OSError:
        head = b""
    if _MARK not in head:
        raise UsageError(
            f"{shortened(str(site))}: there is something else in it, and no board; choose a new "
            "folder with -o"
        )
    try:
        known = read_site(site)
    except StoreError:
        return _Seen()
    if known.board.sdbench_version != __version__:
        return _Seen()
    return _Seen(known.table, known.board.refused, known.board.same_as)


def _looked_at(source: Input, index: FileIndex, known: _Seen) -> str:
    """The SHA-256 of an input, verified now where it was not before."""
    state = state_of(source)
    unchanged = index.sha256(source, state)
    if unchanged is not None and unchanged in known:
        return unchanged
    data = bundle_bytes(source)
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 not in known:
        known.verify(data, source, sha256)
    index.note(source, state, sha256)
    return sha256


def _write(site: Path, name: str, data: bytes) -> None:
    write_inside(site, *name.split("/"), data=data, flushed=False)


def _write_pages(site: Path, pages: Sequence[Page]) -> int:
    """Write the pages that are new or say something else than before; how many that were."""
    before = _pages_before(site)
    written = 0
    for page in pages:
        if before.get(page.name) != page.digest or not os.path.exists(site / page.name):
            _write(site, page.name, page.encoded())
            written += 1
    digests = {page.name: page.digest for page in pages}
    _write(site, f"{DATA}/{_PAGES_FILE}", msgspec.json.encode(digests))
    return written


def _pages_before(site: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(
            read_inside(site, DATA, _PAGES_FILE, most_bytes=_MOST_BYTES), type=dict[str, str]
        )
    except (OSError, msgspec.MsgspecError, ValueError, RecursionError):
        return {}
