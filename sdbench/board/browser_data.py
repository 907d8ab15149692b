"""The data of a site as scripts: a page in a folder may run a script and may not read a file.

Each file is one call, ``sdbenchBoard("kind", number, {…})``. Numbers are rounded to what the table
shows; the exact ones are in the JSON files.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from sdbench.board.rows import Submission
from sdbench.board.site_data import Board, Piece

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


def piece_script(number: int, piece: Piece) -> bytes:
    """The rows of a piece: places in the lists of words, seconds, megabytes."""
    document: dict[str, Any] = {name: getattr(piece, name) for name in _COLUMNS}
    document["why"] = document.pop("why_not_ranked")
    document["seconds"] = [_rounded(value) for value in piece.seconds_per_image]
    document["low"] = [None if one is None else _rounded(one[0]) for one in piece.ci95]
    document["high"] = [None if one is None else _rounded(one[1]) for one in piece.ci95]
    document["memory"] = [
        None if value is None else round(value / 1e6) for value in piece.peak_memory_bytes
    ]
    return script("piece", number, document)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
