"""A run as pytest-benchmark stores one, so that ``pytest-benchmark compare`` reads it.

A round is a process: its steady median, because processes are sdbench's unit of repetition. Format
of pytest-benchmark 3.2 to 5 (``Stats.fields`` and ``BenchmarkSession.save``).
"""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import msgspec

from sdbench.analysis.beside import beside_words
from sdbench.analysis.case_result import rows_of
from sdbench.analysis.run_summary import summary_of
from sdbench.runs import LoadedRun
from sdbench.stats import tukey_outliers

_FORMAT = "5.0.0"


def pytest_benchmark_document(loaded: LoadedRun) -> dict[str, Any]:
    """Cases without a steady time are left out: the format has no way to say so."""
    run, summary, benchmarks = loaded.run, summary_of(loaded), []
    beside = beside_words(run)
    for row in rows_of(loaded, summary):
        found, steady = row.summary, (entry.steady_median_s for entry in row.replicates)
        times = [time for time in steady if time is not None]
        if not times:
            continue
        benchmarks.append(
            {
                "group": run.model.name,
                "name": row.name,
                "fullname": f"sdbench::{found.case_id}{row.of_arm.strip()}",
                "params": msgspec.to_builtins(found.case),
                "param": None,
                "extra_info": {
                    "simulated": summary.simulated,
                    "first_pass_s": found.first_pass_s,
                    "peak_memory_bytes": found.peak_memory_bytes,
                    "outcome": found.outcome,
                    "correct": found.correct,
                    "no_effect": found.no_effect,
                    **({} if beside is None else {"several_devices": beside}),
                },
                "options": {"disable_gc": False, "timer": "monotonic", "min_rounds": len(times)},
                "stats": _stats(times),
            }
        )
    machine = run.machine
    return {
        "machine_info": {
            "node": run.machine_id,
            "processor": machine.get("chip"),
            "machine": machine.get("architecture"),
            "system": machine.get("system"),
            "release": machine.get("release"),
            "python_version": next(iter(run.stacks.values())).python,
            "cpu": {"brand_raw": machine.get("chip"), "count": machine.get("cores_logical")},
        },
        "commit_info": {"id": run.run_id, "dirty": False, "branch": run.label or run.run_id},
        "benchmarks": benchmarks,
        "datetime": run.created_utc,
        "version": _FORMAT,
    }


def _stats(times: Sequence[float]) -> dict[str, Any]:
    """All the statistics that its tables show."""
    mean = statistics.fmean(times)
    deviation = statistics.stdev(times) if len(times) > 1 else 0.0
    low, middle, high = (
        statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [times[0]] * 3
    )
    beyond_iqr = len(tukey_outliers(dict(enumerate(times))))
    beyond_deviation = sum(abs(time - mean) > deviation for time in times)
    inside = [
        time for time in times if low - 1.5 * (high - low) <= time <= high + 1.5 * (high - low)
    ]
    return {
        "min": min(times),
        "max": max(times),
        "mean": mean,
        "stddev": deviation,
        "rounds": len(times),
        "median": middle,
        "iqr": high - low,
        "q1": low,
        "q3": high,
        "iqr_outliers": beyond_iqr,
        "stddev_outliers": beyond_deviation,
        "outliers": f"{beyond_deviation};{beyond_iqr}",
        "ld15iqr": min(inside),
        "hd15iqr": max(inside),
        "ops": 1 / mean,
        "total": math.fsum(times),
        "data": [*times],
        "iterations": 1,
    }
