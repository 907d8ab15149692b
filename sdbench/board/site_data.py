"""The data of a site: JSON in columns, in pieces that a browser reads one after another.

``data/board.json`` names the pieces and holds the words that rows have in common,
``data/submissions.json`` the runs, ``data/cases-0000.json`` and on the rows, in the order of the
table. Each has a twin ``.js`` for the browser, which may not read ``.json`` from a folder.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from sdbench import __version__
from sdbench.board.rows import Image, Row, Submission
from sdbench.board.table import Placed, Table, empty_table
from sdbench.errors import StoreError, UsageError
from sdbench.files.access import MIB, read_inside, write_inside
from sdbench.records import Bytes, Count, Outcome
from sdbench.words import shortened

FORMAT = 1
DATA = "data"
BOARD_FILE, SUBMISSIONS_FILE = "board.json", "submissions.json"
PIECE_ROWS = 10_000
_MOST_BYTES = 512 * MIB
_MOST_PIECE_BYTES = 16 * MIB
_MOST_ROWS = 3_000_000
# Seconds of one image: nothing that is measured takes no time.
_ImageSeconds = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that was refused, by its SHA-256."""

    bundle_sha256: str
    code: str
    reason: str


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of rows, each once; a column of a piece holds places in its list."""

    case_id: list[str]
    arm: list[str]
    torch: list[str]
    diffusers: list[str]
    resolution: list[str]
    dtype: list[str]
    setting: list[str]
    outcome: list[Outcome]
    peak_memory_source: list[str | None]
    image: list[Image]
    why_not_ranked: list[str | None]


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """``board.json``. ``same_as`` names, for a bundle that counts for nothing, the one that holds
    the same measurement. ``content`` is a digest of all runs: files of one build have the same."""

    format: int
    sdbench_version: str
    content: str
    rows: int
    ranked: int
    machines: int
    models: int
    pieces: int
    words: Words
    refused: list[Refused]
    same_as: dict[str, str]


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as columns of equal length. ``place`` is 0 of a row that is not ranked."""

    content: str
    submission: list[Count]
    place: list[Count]
    case_id: list[Count]
    arm: list[Count]
    torch: list[Count]
    diffusers: list[Count]
    resolution: list[Count]
    dtype: list[Count]
    setting: list[Count]
    outcome: list[Count]
    peak_memory_source: list[Count]
    image: list[Count]
    why_not_ranked: list[Count]
    seconds_per_image: list[_ImageSeconds | None]
    seconds_low: list[_ImageSeconds | None]
    seconds_high: list[_ImageSeconds | None]
    n: list[Count]
    peak_memory_bytes: list[Bytes | None]


@dataclass(frozen=True)
class Site:
    """A site's data as it was read."""

    board: Board
    table: Table


def board_of(table: Table, refused: Sequence[Refused], same_as: dict[str, str]) -> Board:
    """What ``board.json`` says of a table in order."""
    return Board(
        format=FORMAT,
        sdbench_version=__version__,
        content=content_of(table.submissions),
        rows=len(table),
        ranked=int((table.columns["place"] > 0).sum()),
        machines=len({run.machine_id for run in table.submissions}),
        models=len({(run.model, run.model_sha256) for run in table.submissions}),
        pieces=-(-len(table) // PIECE_ROWS),
        words=Words(**table.words),
        refused=sorted(refused, key=lambda one: one.bundle_sha256),
        same_as=dict(sorted(same_as.items())),
    )


def content_of(submissions: Sequence[Submission]) -> str:
    """A digest of runs in their order, by their bundles."""
    names = "\n".join(run.bundle_sha256 or run.run_id for run in submissions)
    return hashlib.sha256(names.encode(errors="backslashreplace")).hexdigest()


def pieces_of(table: Table) -> Iterator[Piece]:
    """The pieces of a table in order; NaN is null in JSON."""
    content = content_of(table.submissions)
    for at in range(0, len(table), PIECE_ROWS):
        columns = {n: column[at : at + PIECE_ROWS].tolist() for n, column in table.columns.items()}
        peaks = columns.pop("peak_memory_bytes")
        whole = [None if peak != peak else int(peak) for peak in peaks]
        yield Piece(content=content, **columns, peak_memory_bytes=whole)


def write_data(
    site: Path, placed: Sequence[Placed], refused: Sequence[Refused], same_as: dict[str, str]
) -> Board:
    """Write the data of a site, without scripts and pages.

    Raises:
        OSError: it cannot be written.
    """
    board, submissions, pieces = encode_site(placed, refused, same_as)
    write_documents(site, board, submissions, pieces)
    return board


def encode_site(
    placed: Sequence[Placed], refused: Sequence[Refused], same_as: dict[str, str]
) -> tuple[Board, list[Submission], list[Piece]]:
    """The documents of :func:`write_data`."""
    table = empty_table().with_rows([one.row for one in placed]).in_order()
    return board_of(table, refused, same_as), table.submissions, [*pieces_of(table)]


def write_documents(
    site: Path, board: Board, submissions: Sequence[Submission], pieces: Iterable[Piece]
) -> None:
    """Write the JSON files, ``board.json`` last. Raises as :func:`write_data`."""
    for number, piece in enumerate(pieces):
        _write(site, f"{piece_name(number)}.json", piece)
    _write(site, SUBMISSIONS_FILE, submissions)
    _write(site, BOARD_FILE, board)


def _write(site: Path, name: str, document: Any) -> None:
    write_inside(site, DATA, name, data=msgspec.json.encode(document) + b"\n", flushed=False)


def piece_name(number: int) -> str:
    """The name of a piece without its ending."""
    return f"cases-{number:04}"


def load_site(site: Path) -> list[Row]:
    """The rows of a site, in the order of its table.

    Raises:
        UsageError: there is no site.
        StoreError: its data cannot be read.
    """
    return [one.row for one in read_site(site).table.placed()]


def read_site(site: Path) -> Site:
    """The data of a site, checked. Raises as :func:`load_site`."""
    try:
        board = _read(site, BOARD_FILE, Board)
    except FileNotFoundError:
        raise UsageError(
            f"{shortened(str(site))}: no board there ({DATA}/{BOARD_FILE} is missing); "
            "sdbench board build makes one"
        ) from None
    if board.format != FORMAT:
        raise StoreError(
            f"{shortened(str(site))}: a board of format {board.format}, and this sdbench knows "
            f"{FORMAT}; build it again"
        )
    if not (0 <= board.rows <= _MOST_ROWS and board.pieces == -(-board.rows // PIECE_ROWS)):
        raise StoreError(
            f"{shortened(str(site))}: {BOARD_FILE}: {board.rows} rows in {board.pieces} pieces"
        )
    try:
        submissions = _read(site, SUBMISSIONS_FILE, list[Submission])
        table = _table(site, board, submissions)
    except FileNotFoundError as error:
        raise StoreError(f"{shortened(str(site))}: a file of {DATA}/ is missing") from error
    except (ValueError, OverflowError) as error:
        raise StoreError(
            f"{shortened(str(site))}: its data do not fit together; build it again"
        ) from error
    return Site(board, table)


def _table(site: Path, board: Board, submissions: list[Submission]) -> Table:
    """The table of all pieces.

    Raises:
        ValueError: columns are not of one length, a number stands for nothing, or files are of
            two builds.
        OverflowError: a number has more than 64 bits.
    """
    import numpy as np

    if content_of(submissions) != board.content:
        raise ValueError("submissions of another build")
    words = msgspec.structs.asdict(board.words)
    empty = empty_table()
    parts = [empty.columns]
    rows = 0
    for number in range(board.pieces):
        name = f"{piece_name(number)}.json"
        piece = _read(site, name, Piece, most_bytes=_MOST_PIECE_BYTES)
        if piece.content != board.content:
            raise ValueError("a piece of another build")
        rows += len(piece.n)
        if rows > board.rows:
            raise ValueError("more rows than the board has")
        columns = {
            name: np.array(getattr(piece, name), column.dtype)
            for name, column in empty.columns.items()
        }
        if any(len(column) != len(piece.n) for column in columns.values()):
            raise ValueError("columns of different length")
        for name, column in columns.items():
            count = len(submissions) if name == "submission" else len(words.get(name, ()))
            if (name in words or name == "submission") and len(column) and column.max() >= count:
                raise ValueError("a number stands for nothing")
        if (np.isnan(columns["seconds_low"]) != np.isnan(columns["seconds_high"])).any():
            raise ValueError("half an interval")
        parts.append(columns)
    together = {name: np.concatenate([one[name] for one in parts]) for name in empty.columns}
    return Table(submissions, words, together)


def _read(site: Path, name: str, kind: Any, most_bytes: int = _MOST_BYTES) -> Any:
    try:
        return msgspec.json.decode(read_inside(site, DATA, name, most_bytes=most_bytes), type=kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{shortened(str(site))}: {DATA}/{name}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StoreError(f"{shortened(str(site))}: {DATA}/{name}: {error}") from error
