"""The rows of a site as one Parquet file, a column for every field; needs pyarrow."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sdbench.board.table import NUMBERS, TEXTS, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OF_RUN = (
    *("bundle_sha256", "run_id", "label", "created_utc", "sdbench_version", "machine_id"),
    *("chip", "system", "device", "model", "model_sha256"),
)
_FLAGS = ("verified", "simulated", "virtual", "publishable")
_WHOLE = ("gpu_cores", "memory_bytes")


def parquet_of(table: Table) -> bytes | None:
    """The file; None where pyarrow is not installed (``pip install "sdbench[board]"``).

    A place of 0 in the table is null in the file.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return None
    import numpy as np

    runs, where = table.submissions, table.columns["submission"]
    arrays: dict[str, Any] = {}
    for name in _OF_RUN:
        arrays[name] = _texts(pa, [getattr(run, name) for run in runs], where)
    arrays["blockers"] = _texts(pa, [",".join(run.blockers) for run in runs], where)
    for name, kind in (
        *((name, pa.bool_()) for name in _FLAGS),
        *((n, pa.int64()) for n in _WHOLE),
    ):
        known = np.array([getattr(run, name) for run in runs], np.float64)[where]
        arrays[name] = _numbers(pa, known).cast(kind)
    for name in TEXTS:
        arrays[name] = _texts(pa, table.words[name], table.columns[name])
    for name in NUMBERS:
        arrays[name] = _numbers(pa, table.columns[name])
    arrays["peak_memory_bytes"] = arrays["peak_memory_bytes"].cast(pa.int64())
    arrays["n"] = _numbers(pa, table.columns["n"].astype(np.float64)).cast(pa.int64())
    places = table.columns["place"].astype(np.float64)
    arrays["place"] = _numbers(pa, np.where(places == 0, np.nan, places)).cast(pa.int64())
    file = io.BytesIO()
    pq.write_table(pa.table(arrays), file, compression="zstd")
    return file.getvalue()


# Arrays are made of their bytes: pyarrow.array() imports pandas, which takes a second.


def _numbers(pa: Any, values: "NDArray[Any]") -> Any:
    """Doubles; NaN is null."""
    import numpy as np

    known = ~np.isnan(values)
    bits = np.packbits(known, bitorder="little").tobytes()
    data = np.where(known, values, 0.0).astype(np.float64).tobytes()
    buffers = [pa.py_buffer(bits), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.float64(), len(values), buffers)


def _texts(pa: Any, words: Sequence[str | None], where: "NDArray[Any]") -> Any:
    """Texts by their places in a list; None is null."""
    import numpy as np

    encoded = [b"" if word is None else word.encode(errors="backslashreplace") for word in words]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    buffers = [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(encoded))]
    values = pa.Array.from_buffers(pa.large_string(), len(words), buffers)
    known = np.array([word is not None for word in words], bool)[where]
    bits = pa.py_buffer(np.packbits(known, bitorder="little").tobytes())
    places = pa.py_buffer(where.astype(np.int32).tobytes())
    index = pa.Array.from_buffers(pa.int32(), len(where), [bits, places])
    return pa.DictionaryArray.from_arrays(index, values)
