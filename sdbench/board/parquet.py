"""The rows of a site as one Parquet file, a column for every field; needs pyarrow."""

import io
from collections.abc import Sequence
from typing import Any

from sdbench.board.ranking import Placed
from sdbench.board.rows import Submission

_OF_RUN = (
    *("bundle_sha256", "verified", "run_id", "label", "created_utc", "sdbench_version"),
    *("machine_id", "chip", "gpu_cores", "memory_bytes", "system", "device", "simulated"),
    *("virtual", "model", "model_sha256", "publishable"),
)
_OF_ROW = (
    *("case_id", "arm", "torch", "diffusers", "resolution", "dtype", "setting", "outcome"),
    *("seconds_per_image", "n", "peak_memory_bytes", "peak_memory_source", "image"),
)


def parquet_of(placed: Sequence[Placed]) -> bytes | None:
    """The file; None where pyarrow is not installed (``pip install "sdbench[board]"``)."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return None
    runs: dict[int, int] = {}
    submissions: list[Submission] = []
    for one in placed:
        run = one.row.submission
        if id(run) not in runs:
            runs[id(run)] = len(submissions)
            submissions.append(run)
    where = pa.array([runs[id(one.row.submission)] for one in placed], pa.int32())
    columns: dict[str, Any] = {
        name: pa.array([getattr(run, name) for run in submissions], _type(pa, name)).take(where)
        for name in _OF_RUN
    }
    blockers = pa.array([",".join(run.blockers) for run in submissions], pa.string())
    columns["blockers"] = blockers.take(where)
    rows = [one.row for one in placed]
    for name in _OF_ROW:
        columns[name] = pa.array([getattr(row, name) for row in rows], _type(pa, name))
    for at, name in enumerate(("seconds_low", "seconds_high")):
        columns[name] = pa.array([row.ci95 and row.ci95[at] for row in rows], pa.float64())
    columns["place"] = pa.array([one.place or None for one in placed], pa.int32())
    columns["why_not_ranked"] = pa.array([one.why for one in placed], pa.string())
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


def _type(pa: Any, name: str) -> Any:
    """Fixed, so that a board without a single value of a column has the same schema."""
    if name in ("verified", "simulated", "virtual", "publishable"):
        return pa.bool_()
    if name in ("gpu_cores", "memory_bytes", "n", "peak_memory_bytes"):
        return pa.int64()
    return pa.float64() if name == "seconds_per_image" else pa.string()
