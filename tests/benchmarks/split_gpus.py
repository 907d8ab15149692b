"""``batching = "split"`` on several GPUs: images per second against loop and batch, equality.

    python tests/benchmarks/split_gpus.py --gpus 2,4 -o FOLDER --json FILE
    python tests/benchmarks/split_gpus.py --device cpu -o FOLDER --set model=builtin/shapes \
        --set 'matrix.resolution=["64x64"]'

For each number of GPUs one run of ``split_gpus.toml`` in which torch finds so many
(``CUDA_VISIBLE_DEVICES``); on the CPU one run with two processes. The run's own records are read:
the time of a split over that of the loop and of the batch, paired by block, with its 95% interval,
whether its images are the loop's, and the memory of each process. FILE is written after each run.

Exits with 1 where a case did not complete, or an image of a split differs from the loop's.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from sdbench.analysis.case_result import CaseResult, rows_of
from sdbench.analysis.estimates import estimate_pair
from sdbench.correctness.artifact_files import Artifacts, most_pixels
from sdbench.correctness.equality import check_equality
from sdbench.diagnosis.evidence import paired
from sdbench.runs import LoadedRun, load_run

CONFIG = Path(__file__).with_suffix(".toml")


def main() -> int:
    """Make the runs and print what each says; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--gpus", default="2,4", help="numbers of GPUs, one run each")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    counts = [None] if options.device == "cpu" else [int(one) for one in options.gpus.split(",")]
    documents = []
    for count in counts:
        folder = options.output / (options.device if count is None else f"{count}-gpus")
        folder.mkdir(parents=True)
        documents.append(measured(folder, options.device, options.set, count))
        sys.stdout.write(json.dumps(documents[-1], indent=1) + "\n")
        if options.json is not None:
            options.json.write_text(json.dumps(documents, indent=1) + "\n")
    return int(not all(one["complete"] and one["equal"] for one in documents))


def measured(folder: Path, device: str, settings: list[str], count: int | None) -> dict[str, Any]:
    """One run, and what its records say."""
    command = [sys.executable, "-m", "sdbench", "run", str(CONFIG), "--device", device, "--yes"]
    for setting in settings:
        command += ["--set", setting]
    environment = dict(os.environ)
    if count is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(count)))
    subprocess.run([*command, "-o", str(folder)], env=environment, check=False)
    (run,) = folder.glob("*/run.json")
    return told(load_run(run.parent))


def told(loaded: LoadedRun) -> dict[str, Any]:
    """Figures of a run: of each case, of the split against the others, and of its images."""
    rows = {row.summary.case.batching: row for row in rows_of(loaded)}
    artifacts = Artifacts(loaded.files, most_pixels(loaded.run.plan))
    verdicts = {
        tuple(one.case_ids): one.verdict
        for one in check_equality(loaded.run, loaded.replicates, loaded.compared, artifacts)
        if one.kind == "batching"
    }
    split, loop = rows["split"], rows["loop"]
    equal = verdicts.get((split.summary.case_id, loop.summary.case_id), "unknown")
    return {
        "run": loaded.run.run_id,
        "complete": all(row.summary.outcome == "ok" for row in rows.values()),
        "cases": {name: figures(row, loaded) for name, row in rows.items()},
        "split_over": {name: ratio(rows[name], split) for name in ("loop", "batch")},
        "equality": equal,
        "equal": equal in ("identical", "same"),
    }


def figures(row: CaseResult, loaded: LoadedRun) -> dict[str, Any]:
    """Rate, memory and number of processes of a case."""
    seconds = row.summary.latency_s.median
    passes = [one for entry in row.replicates for one in entry.of_kind("measured")]
    return {
        "outcome": row.summary.outcome,
        "reason": row.summary.reason,
        "images_per_s": None if seconds is None else loaded.run.config["images"] / seconds,
        "processes": next((entry.processes for entry in row.replicates), None),
        "peak_memory_bytes": row.summary.peak_memory_bytes,
        "process_peak_bytes": passes[-1].process_peak_bytes if passes else None,
        "correct": row.summary.correct,
    }


def ratio(base: CaseResult, new: CaseResult) -> dict[str, Any]:
    """Time of a pass over that of another case, paired by block."""
    found = estimate_pair(paired(base, new)).ratios["steady"]
    return {"ratio": found.ratio, "ci95": found.interval(), "n": found.n}


if __name__ == "__main__":
    sys.exit(main())
