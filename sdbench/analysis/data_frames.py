"""A run as pandas frames, for notebooks: ``sdbench.load(run)``. The same rows are the CSV's.

Every frame has a column or index level for the run, the case, the variant and the process, so
frames can be joined with each other, and those of several runs put below one another.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.analysis.beside import beside_words
from sdbench.analysis.no_effect import settings_without_effect
from sdbench.analysis.run_summary import RunSummary, per_picture, summary_of
from sdbench.errors import UsageError
from sdbench.files.access import MIB
from sdbench.records import AXES, CORRECTNESS_SEVERITY, OUTCOME_SEVERITY, Case, Replicate, Run
from sdbench.runs import LoadedRun, find_run, load_run
from sdbench.runs.timelines import TimelinePoint, read_timeline

if TYPE_CHECKING:
    from pandas import DataFrame

FrameRow = dict[str, Any]

# A night is less than this.
_LARGEST_TIMELINE_BYTES = 256 * MIB
_SAMPLED = TimelinePoint.__struct_fields__[1:]

_SETTINGS = Case.__struct_fields__
_EFFICIENCY = ("pass_flops", "achieved_flops_per_s", "ceiling_flops_per_s", "ceiling_share")

_SPREAD = ("spread_between_passes", "spread_between_processes", "spread_dominated_by")
# Dtypes of columns whose names do not end in a unit.
_DTYPES = {
    **dict.fromkeys((one.name for one in msgspec.structs.fields(Case) if one.type is bool), "bool"),
    **dict.fromkeys(["simulated", "cold_cache", "last_attempt", "steady"], "bool"),
    **dict.fromkeys(["block", "attempt", "images", "processes", "replicates", "planned"], "int64"),
    **dict.fromkeys(["pass", "sample", "wrong_pictures", "passes_made"], "int64"),
    **dict.fromkeys(["seconds_per_picture", "correct_margin", "free_percent"], "float64"),
    "pass_flops": "Int64",
    "steps": "Int64",
    "guidance_scale": "float64",
    "ceiling_share": "float64",
    **dict.fromkeys(["spread_between_passes", "spread_between_processes"], "float64"),
    **dict.fromkeys(["seconds_per_picture_ci95_low", "seconds_per_picture_ci95_high"], "float64"),
}
_BY_UNIT = {"_s": "float64", "_w": "float64", "_c": "float64", "_bytes": "Int64"}
_LEVELS = {
    "outcome": [*reversed(OUTCOME_SEVERITY)],
    "correct": [*reversed(CORRECTNESS_SEVERITY)],
}


@dataclass(frozen=True)
class RunFrames:
    """A run as pandas frames; made by :func:`load`.

    ``cases``: one row per case and variant, by ``case_id`` and ``arm``; what ``sdbench show``
    tells. ``replicates``: one row per process, by ``replicate_id`` and ``attempt``; repeated
    attempts are all there, ``last_attempt`` marks those that count. ``passes``: one row per pass,
    by ``replicate_id``, ``attempt``, ``kind`` and ``pass``; ``steady`` marks measured passes from
    the second on. ``telemetry``: one row a sample, by ``replicate_id``, ``attempt`` and ``sample``;
    ``t_s`` counts from the process's first sample, ``phase`` is what the worker was doing.

    ``no_effect`` of cases and replicates names the settings that did nothing, parted by blanks.

    Names end in their unit (``_s``, ``_bytes``, ``_w``, ``_c``). What is not known is missing.
    Bytes are ``Int64``, outcomes and verdicts ordered categories (best first), times UTC.
    Frames are made when first asked for; ``telemetry`` reads a file per process.
    """

    loaded: LoadedRun
    """The records behind the frames."""

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.loaded.run.run_id

    @functools.cached_property
    def _summary(self) -> RunSummary:
        return summary_of(self.loaded)

    @functools.cached_property
    def cases(self) -> "DataFrame":
        """One row per case and variant."""
        return _frame(case_rows(self.loaded, self._summary), CASE_COLUMNS, ["case_id", "arm"])

    @functools.cached_property
    def replicates(self) -> "DataFrame":
        """One row per process."""
        rows = replicate_rows(self.loaded, self._summary)
        return _frame(rows, REPLICATE_COLUMNS, ["replicate_id", "attempt"])

    @functools.cached_property
    def passes(self) -> "DataFrame":
        """One row per pass."""
        rows = pass_rows(self.loaded)
        return _frame(rows, PASS_COLUMNS, ["replicate_id", "attempt", "kind", "pass"])

    @functools.cached_property
    def telemetry(self) -> "DataFrame":
        """One row a sample of memory, swap, pressure, heat and GPU."""
        return _telemetry_frame(self.loaded)

    def __repr__(self) -> str:
        run, summary = self.loaded.run, self._summary
        outcomes = ", ".join(f"{count} {name}" for name, count in summary.outcomes.items())
        marks = [] if summary.complete else ["not finished"]
        marks += ["SIMULATED: no real device made these numbers"] if summary.simulated else []
        lines = [
            " – ".join([f"sdbench run {run.run_id}", *marks]),
            f"  {run.model.name} on {run.device}, {run.machine.get('chip') or 'chip not known'}",
            f"  .cases       {len(summary.cases)} rows ({outcomes})",
            f"  .replicates  {len(self.loaded.attempts)} rows",
            f"  .passes      {sum(len(one.passes) for one in self.loaded.attempts)} rows",
            "  .telemetry   read when asked for",
        ]
        return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


def load(run: str | Path = "latest", results: str | Path = "results") -> RunFrames:
    """A run as pandas frames: ``cases``, ``replicates``, ``passes`` and ``telemetry``.

    ``run`` is a run folder, or in the folder ``results`` an id, the beginning of one or ``latest``.

    >>> import sdbench
    >>> run = sdbench.load("latest")
    >>> run.cases[["seconds_per_picture", "peak_memory_bytes", "correct"]]
    >>> run.replicates.groupby("attention_slicing")["steady_median_s"].median()

    Raises:
        sdbench.errors.UsageError: there is no such run, or several.
        sdbench.errors.StoreError: it cannot be read.
    """
    if not isinstance(run, (str, Path)):
        raise UsageError(f"load: expected a run's path or id, got {type(run).__name__}")
    return RunFrames(load_run(find_run(Path(results), str(run))))


# --- rows ----------------------------------------------------------------------------------------

REPLICATE_COLUMNS = (
    *("run_id", "machine_id", "device", "model", "torch", "images"),
    *_SETTINGS,
    *("replicate_id", "case_id", "arm", "block", "attempt", "outcome", "reason", "simulated"),
    *("start", "cold_cache", "started_utc", "wall_s", "import_s", "load_s"),
    *("peak_memory_bytes", "peak_memory_source", "swapped_out_bytes"),
    *("last_attempt", "first_pass_s", "steady_median_s", "seconds_per_picture"),
    *_EFFICIENCY,
    *("passes_made", "passes_stopped", "no_effect", "placed_on", "several_devices"),
)
CASE_COLUMNS = (
    *("run_id", "device", "model", "case_id", "arm", "images"),
    *_SETTINGS,
    *("outcome", "reason", "simulated", "seconds_per_picture"),
    *("seconds_per_picture_ci95_low", "seconds_per_picture_ci95_high", "processes"),
    *("steady_median_s", "first_pass_s", "prime_s", "load_s"),
    *("peak_memory_bytes", "peak_memory_source", "swap_delta_bytes"),
    *("correct", "correct_reason", "correct_margin", "content", "replicates", "planned"),
    *_EFFICIENCY,
    *("p90_s", *_SPREAD, "no_effect"),
    *("predicted_peak_bytes", "peak_bytes", "prediction_error", "several_devices"),
)
PASS_COLUMNS = (
    *("run_id", "replicate_id", "attempt", "kind", "pass", "case_id", "arm", "block"),
    *("last_attempt", "steady", "duration_s", "images", "wrong_pictures"),
    *("peak_bytes", "peak_source", "allocated_bytes", "driver_bytes", "recommended_max_bytes"),
)
TELEMETRY_COLUMNS = (
    *("run_id", "replicate_id", "attempt", "sample", "case_id", "arm", "block"),
    *("t_s", *_SAMPLED),
)


def case_rows(loaded: LoadedRun, summary: RunSummary) -> Iterator[FrameRow]:
    """A row for each case and variant; times per image in addition to those per pass."""
    run, images = loaded.run, summary.images
    for row in summary.cases:
        latency = row.latency_s
        low, high = latency.ci95 or (None, None)
        yield {
            **_settings(run, row.case),
            **_of(row, CASE_COLUMNS),
            **_of(row.efficiency, CASE_COLUMNS),
            "run_id": run.run_id,
            "device": run.device,
            "model": run.model.name,
            "images": images,
            "simulated": summary.simulated,
            "seconds_per_picture": per_picture(latency.median, images),
            "seconds_per_picture_ci95_low": per_picture(low, images),
            "seconds_per_picture_ci95_high": per_picture(high, images),
            "processes": latency.n,
            "steady_median_s": latency.median,
            "no_effect": _no_effect(row.no_effect),
            "several_devices": beside_words(run),
        }


def _settings(run: Run, case: Case) -> FrameRow:
    return {axis: run.setting(case, axis) for axis in AXES}


def _no_effect(settings: Iterable[str]) -> str | None:
    """Settings that did nothing, parted by blanks; None where none is known to have."""
    return " ".join(settings) or None


def _of(record: msgspec.Struct, columns: tuple[str, ...]) -> FrameRow:
    """What a record has of the columns."""
    return {name: getattr(record, name) for name in _in_common(type(record), columns)}


@functools.cache
def _in_common(kind: type[msgspec.Struct], columns: tuple[str, ...]) -> list[str]:
    return [name for name in kind.__struct_fields__ if name in columns]


def replicate_rows(loaded: LoadedRun, summary: RunSummary) -> Iterator[FrameRow]:
    """A row for each process, repeated attempts included."""
    run = loaded.run
    settings = {one.case_id: _settings(run, one.case) for one in run.plan.cases}
    counting = _counting(loaded)
    of_case = {row.key: row.efficiency for row in summary.cases}
    for entry in loaded.attempts:
        if (entry.case_id, entry.arm) not in of_case:  # a damaged file: nothing of the plan
            continue
        steady = entry.steady_median_s
        yield {
            **settings[entry.case_id],
            **_of(entry, REPLICATE_COLUMNS),
            **_of(of_case[entry.case_id, entry.arm].at(steady), REPLICATE_COLUMNS),
            "run_id": run.run_id,
            "machine_id": run.machine_id,
            "device": run.device,
            "model": run.model.name,
            "torch": entry.versions.get("torch"),
            "images": run.config["images"],
            "last_attempt": (entry.replicate_id, entry.attempt) in counting,
            "first_pass_s": entry.first_pass_s,
            "steady_median_s": steady,
            "seconds_per_picture": per_picture(steady, int(run.config["images"])),
            "passes_made": len(entry.of_kind("measured")),
            "no_effect": _no_effect(settings_without_effect([entry])),
            "placed_on": None if entry.placement is msgspec.UNSET else entry.placement.device,
            "several_devices": beside_words(run),
        }


def pass_rows(loaded: LoadedRun) -> Iterator[FrameRow]:
    """A row for each pass, warm-up and profiling passes included."""
    counting = _counting(loaded)
    for entry in loaded.attempts:
        for one in entry.passes:
            yield {
                **_names(loaded, entry),
                **_of(one, PASS_COLUMNS),
                **({} if entry.why_voided("times") is None else {"duration_s": None}),
                "pass": one.index,
                "last_attempt": (entry.replicate_id, entry.attempt) in counting,
                "steady": one.kind == "measured" and one.index > 1,
                "images": len(one.images),
                "wrong_pictures": sum(picture.broken is not None for picture in one.images),
            }


def timeline_of(folder: Path, name: str) -> list[TimelinePoint]:
    """A process's samples, each in its phase."""
    samples, phase = [], None
    for point in read_timeline(folder, name, _LARGEST_TIMELINE_BYTES):
        if point.phase is not None:
            phase = point.phase
        else:
            point.phase = phase
            samples.append(point)
    return samples


def _names(loaded: LoadedRun, entry: Replicate) -> FrameRow:
    return {
        "run_id": loaded.run.run_id,
        **{name: getattr(entry, name) for name in ("replicate_id", "attempt", "case_id", "arm")},
        "block": entry.block,
    }


def _counting(loaded: LoadedRun) -> set[tuple[str, int]]:
    return {(entry.replicate_id, entry.attempt) for entry in loaded.replicates}


# --- frames --------------------------------------------------------------------------------------


def _frame(rows: Iterator[FrameRow], columns: Sequence[str], index: list[str]) -> "DataFrame":
    """With the dtype that each name calls for, also where there is no row or nothing is known."""
    import pandas as pd

    found = list(rows)
    series = {name: _column(name)([row[name] for row in found]) for name in columns}
    return pd.DataFrame(series, columns=list(columns)).set_index(index)


def _telemetry_frame(loaded: LoadedRun) -> "DataFrame":
    """Process by process and a column at a time: a run may have millions of samples."""
    import numpy as np
    import pandas as pd

    parts = {name: [_column(name)([])] for name in ("sample", "t_s", *_SAMPLED)}
    processes, counts = [], []
    for entry in loaded.attempts:
        samples = timeline_of(loaded.files, loaded.timeline_name(entry))
        processes.append(_names(loaded, entry))
        counts.append(len(samples))
        parts["sample"].append(_column("sample")(range(len(samples))))
        parts["t_s"].append(_column("t_s")([one.t - samples[0].t for one in samples]))
        for name in _SAMPLED:
            parts[name].append(_column(name)([getattr(one, name) for one in samples]))
    reported = {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
    for name in (name for name in TELEMETRY_COLUMNS if name not in parts):
        values = np.array([one[name] for one in processes], dtype=object)
        reported[name] = _column(name)(np.repeat(values, np.array(counts, dtype=int)))
    frame = pd.DataFrame(reported, columns=list(TELEMETRY_COLUMNS))
    return frame.set_index(["replicate_id", "attempt", "sample"])


@functools.cache
def _column(name: str) -> Callable[[Any], Any]:
    import pandas as pd

    if name in _LEVELS:
        return lambda values: pd.Categorical(values, categories=_LEVELS[name], ordered=True)
    if name.endswith("_utc"):
        return lambda values: pd.to_datetime(
            pd.Series(values, dtype="string"), utc=True, format="ISO8601", errors="coerce"
        )
    unit = next((dtype for end, dtype in _BY_UNIT.items() if name.endswith(end)), "string")
    return lambda values: pd.Series(values, dtype=_DTYPES.get(name, unit))
