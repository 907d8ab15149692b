"""The data of a site: JSON in columns, in pieces that a browser reads one after another.

``data/board.json`` names the pieces and holds the words that rows have in common,
``data/submissions.json`` the runs, ``data/cases-0000.json`` and on the rows, in the order of the
table. Each has a twin ``.js`` for the browser, which may not read ``.json`` from a folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from sdbench import __version__
from sdbench.board.ranking import Placed
from sdbench.board.rows import Image, Row, Submission
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


_WORD_COLUMNS = Words.__struct_fields__


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """``board.json``. ``same_as`` names, for a bundle that counts for nothing, the one that holds
    the same measurement."""

    format: int
    sdbench_version: str
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
    ci95: list[tuple[_ImageSeconds, _ImageSeconds] | None]
    n: list[Count]
    peak_memory_bytes: list[Bytes | None]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A site's data as it was read."""

    board: Board
    rows: list[Row]


def encode_site(
    placed: Sequence[Placed], refused: Sequence[Refused], same_as: dict[str, str]
) -> tuple[Board, list[Submission], list[Piece]]:
    """The documents of rows in the order of the table."""
    numbers: dict[int, int] = {}
    submissions: list[Submission] = []
    for one in placed:
        run = one.row.submission
        if id(run) not in numbers:
            numbers[id(run)] = len(submissions)
            submissions.append(run)
    columns: dict[str, list[int]] = {}
    tables: dict[str, list[Any]] = {}
    rows = [one.row for one in placed]
    for name in _WORD_COLUMNS[:-1]:
        columns[name], tables[name] = _coded([getattr(row, name) for row in rows])
    columns["why_not_ranked"], tables["why_not_ranked"] = _coded([one.why for one in placed])
    columns["submission"] = [numbers[id(one.row.submission)] for one in placed]
    columns["place"] = [one.place for one in placed]
    pieces = [
        Piece(
            **{name: column[at : at + PIECE_ROWS] for name, column in columns.items()},
            seconds_per_image=[row.seconds_per_image for row in rows[at : at + PIECE_ROWS]],
            ci95=[row.ci95 for row in rows[at : at + PIECE_ROWS]],
            n=[row.n for row in rows[at : at + PIECE_ROWS]],
            peak_memory_bytes=[row.peak_memory_bytes for row in rows[at : at + PIECE_ROWS]],
        )
        for at in range(0, len(rows), PIECE_ROWS)
    ]
    board = Board(
        format=FORMAT,
        sdbench_version=__version__,
        rows=len(rows),
        ranked=sum(one.place > 0 for one in placed),
        machines=len({run.machine_id for run in submissions}),
        models=len({(run.model, run.model_sha256) for run in submissions}),
        pieces=len(pieces),
        words=Words(**tables),
        refused=sorted(refused, key=lambda one: one.bundle_sha256),
        same_as=dict(sorted(same_as.items())),
    )
    return board, submissions, pieces


def _coded(values: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """Places in a list of the different values, in the order in which they appear."""
    places: dict[Any, int] = {}
    return [places.setdefault(value, len(places)) for value in values], list(places)


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


def write_documents(
    site: Path, board: Board, submissions: Sequence[Submission], pieces: Sequence[Piece]
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
    return read_site(site).rows


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
    rows: list[Row] = []
    try:
        submissions = _read(site, SUBMISSIONS_FILE, list[Submission])
        for number in range(board.pieces):
            name = f"{piece_name(number)}.json"
            piece = _read(site, name, Piece, most_bytes=_MOST_PIECE_BYTES)
            rows += _rows(board.words, submissions, piece)
            if len(rows) > board.rows:
                raise ValueError("more rows than the board has")
    except FileNotFoundError as error:
        raise StoreError(f"{shortened(str(site))}: a file of {DATA}/ is missing") from error
    except (IndexError, ValueError) as error:
        raise StoreError(
            f"{shortened(str(site))}: its data do not fit together; build it again"
        ) from error
    return Site(board=board, rows=rows)


def _rows(words: Words, submissions: Sequence[Submission], piece: Piece) -> Iterator[Row]:
    """The rows of a piece.

    Raises:
        ValueError: its columns are not of one length.
        IndexError: a number stands for nothing.
    """
    names = [name for name in _WORD_COLUMNS if name != "why_not_ranked"]
    texts = [[getattr(words, name)[at] for at in getattr(piece, name)] for name in names]
    for run, seconds, ci95, n, memory, *values in zip(
        piece.submission,
        piece.seconds_per_image,
        piece.ci95,
        piece.n,
        piece.peak_memory_bytes,
        *texts,
        strict=True,
    ):
        yield Row(
            submission=submissions[run],
            seconds_per_image=seconds,
            ci95=ci95,
            n=n,
            peak_memory_bytes=memory,
            **dict(zip(names, values, strict=True)),
        )


def _read(site: Path, name: str, kind: Any, most_bytes: int = _MOST_BYTES) -> Any:
    try:
        return msgspec.json.decode(read_inside(site, DATA, name, most_bytes=most_bytes), type=kind)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{shortened(str(site))}: {DATA}/{name}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StoreError(f"{shortened(str(site))}: {DATA}/{name}: {error}") from error


def by_bundle(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each bundle, by its SHA-256."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        sha256 = row.submission.bundle_sha256
        if sha256 is not None:
            found.setdefault(sha256, []).append(row)
    return found
