"""The data of a site as scripts: a page in a folder may run a script and may not read a file.

Each file is one call, ``sdbenchBoard("kind", number, {…})``. Numbers are rounded to what the table
shows; the exact ones are in the JSON files.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from sdbench.board import site_data
from sdbench.board.rows import Submission
from sdbench.board.site_data import Board
from sdbench.board.table import Table

_COLUMNS = (
    *("submission", "place", "torch", "diffusers", "resolution", "dtype", "setting"),
    *("image", "why_not_ranked", "n"),
)


def script(kind: str, number: int, document: dict[str, Any]) -> bytes:
    """A call with a document."""
    return b'sdbenchBoard("%s",%d,%s);\n' % (kind.encode(), number, msgspec.json.encode(document))


def board_script(board: Board) -> bytes:
    """How many rows and pieces there are, and the words of rows."""
    words = {
        name: getattr(board.words, name)
        for name in ("torch", "diffusers", "resolution", "dtype", "setting", "image")
    }
    words["why"] = board.words.why_not_ranked
    return script("board", 0, {"rows": board.rows, "pieces": board.pieces, "words": words})


def submissions_script(
    submissions: Sequence[Submission],
    machine_page: Callable[[str], str],
    model_page: Callable[[str, str | None], str],
) -> bytes:
    """What holds for all rows of a run, and the pages of its machine and its model."""
    columns: dict[str, list[Any]] = {
        "chip": [run.chip for run in submissions],
        "ram": [run.memory_class for run in submissions],
        "os": [run.system for run in submissions],
        "device": [run.device for run in submissions],
        "model": [run.model for run in submissions],
        "machine": [run.machine_id for run in submissions],
        "label": [run.label or "" for run in submissions],
        "cores": ["" if run.gpu_cores is None else str(run.gpu_cores) for run in submissions],
        "machine_page": [machine_page(run.machine_id) for run in submissions],
        "model_page": [model_page(run.model, run.model_sha256) for run in submissions],
    }
    document: dict[str, Any] = {"columns": {}, "words": {}}
    for name, values in columns.items():
        places: dict[Any, int] = {}
        document["columns"][name] = [places.setdefault(value, len(places)) for value in values]
        document["words"][name] = list(places)
    return script("submissions", 0, document)


def piece_scripts(table: Table) -> Iterator[bytes]:
    """The pieces of a table in order: places in the lists of words, seconds, megabytes."""
    columns = {name: table.columns[name] for name in _COLUMNS}
    columns["why"] = columns.pop("why_not_ranked")
    columns["seconds"] = table.columns["seconds_per_image"].round(5)
    columns["low"] = table.columns["seconds_low"].round(5)
    columns["high"] = table.columns["seconds_high"].round(5)
    columns["memory"] = (table.columns["peak_memory_bytes"] / 1e6).round()
    for number, at in enumerate(range(0, len(table), site_data.PIECE_ROWS)):
        part = slice(at, at + site_data.PIECE_ROWS)
        yield script("piece", number, {name: one[part].tolist() for name, one in columns.items()})
