"""Whole runs that were never run: a plan, and a replicate in every slot of it."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from factories import make_config, make_replicate, make_run

from sdbench.plan.config import Config
from sdbench.records import Record, Replicate, Run, Slot, Yardstick
from sdbench.runs import LoadedRun, RunFolder

Fields = dict[str, Any]
Times = Callable[[Slot], float]
MODEL_SHA = "c" * 64


def steady(seconds: float = 1.0, noise: float = 0.005, seed: int = 1) -> Times:
    """About so many seconds in every process, scattered by a share."""

    def time_of(slot: Slot) -> float:
        source = random.Random(f"{seed}/{slot.replicate_id}")
        return seconds * (1 + source.gauss(0, noise))

    return time_of


def yardstick(
    seconds: float = 0.010, noise: float = 0.004, seed: int = 1
) -> Callable[[Slot], Fields]:
    """A process's yardstick: about so many seconds on a machine that stands still."""
    time_of = steady(seconds, noise, seed)

    def fields_of(slot: Slot) -> Fields:
        return {
            "yardstick": Yardstick(version=1, before_s=time_of(slot), after_s=1.001 * time_of(slot))
        }

    return fields_of


def by_arm(**seconds: float) -> Times:
    """Another time in each variant."""
    return lambda slot: steady(seconds[slot.arm])(slot)


def measured(
    times: Times | None = None,
    *,
    config: Config | None = None,
    path: Path = Path("results/x"),
    fields: Callable[[Slot], Fields] = lambda slot: {},
    skip: Callable[[Slot], bool] = lambda slot: False,
    **run_fields: Any,
) -> LoadedRun:
    """A run whose processes all ended well: a first pass of twice, steady passes of ``times``.

    The machine stood still, as its yardstick shows.
    """
    time_of, still = times or steady(), yardstick()
    run = make_run(config or one_case(), **run_fields)
    attempts = [
        make_replicate(
            slot,
            **{
                "times": (2 * time_of(slot), time_of(slot)),
                "peak_memory_bytes": 1_000_000_000,
                "peak_memory_source": "rss",
                **still(slot),
                **fields(slot),
            },
        )
        for slot in run.plan.slots
        if not skip(slot)
    ]
    return LoadedRun(path, run, [], attempts)


def ended_as(outcome: str, **fields: Any) -> Fields:
    """Fields of a process that ended so and measured no pass."""
    return {"outcome": outcome, "passes": [], **fields}


MATRIX_OF_200 = {
    "resolution": [f"{64 * i}x64" for i in range(1, 26)],
    "attention_slicing": [False, True],
    "warmup": [False, True],
    "dtype": ["float32", "float16"],
}


def one_case(replicates: int = 8, **document: Any) -> Config:
    """One small case, or what else the document says."""
    if "matrix" not in document and "case" not in document:
        document["matrix"] = {"resolution": ["64x64"]}
    return make_config(replicates=replicates, **document)


def two_arms(replicates: int = 8, **document: Any) -> Config:
    """Variants ``old`` and ``new``, interleaved."""
    return one_case(replicates, arm=[{"name": "old"}, {"name": "new"}], **document)


def kept(root: Path, loaded: LoadedRun) -> Path:
    """The run as a folder with its records; returns its path."""
    folder = RunFolder.create(root, loaded.run)
    records: list[Record] = [*loaded.started, *loaded.attempts, *loaded.comparisons]
    for record in records:
        folder.append(record)
    folder.close()
    return folder.path


def changed(loaded: LoadedRun, **fields: Any) -> LoadedRun:
    """The same with other fields in ``run.json``."""
    return LoadedRun(loaded.path, replace(loaded.run, **fields), [], loaded.attempts)


def replace(run: Run, **fields: Any) -> Run:
    return msgspec.structs.replace(run, **fields)


def replicate_of(loaded: LoadedRun, arm: str, block: int) -> Replicate:
    """One process."""
    return next(entry for entry in loaded.replicates if (entry.arm, entry.block) == (arm, block))
