"""Is the predicted memory what a process takes? Predicted against measured, model by model.

    python tests/benchmarks/memory_prediction.py
    python tests/benchmarks/memory_prediction.py --device cuda --remove --json FILE \
        --models synthetic/sd15,synthetic/sdxl --sizes 512x512,1024x1024
    python tests/benchmarks/memory_prediction.py --device cuda --set 'matrix.offload=["model"]'

For each model and size one run of one process, one image, 2 steps and 2 passes (on the CPU the
second one takes more), in the data type of the model's family on that device. The run's own records
are read: the highest memory of loading and of the timed passes against the prediction, and each
stage of the profiling pass. A run that fails is a row with its reason, and the next one begins.
``--remove`` deletes a synthetic model after its last run. FILE is written after each row, so that
what is measured is kept if the time is over.

Exits with 1 when a prediction is off by more than 10%, or one that was to fit did not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sdbench.analysis.predicted_peak import LARGE_ERROR, prediction_error
from sdbench.analysis.run_summary import summary_of
from sdbench.analysis.telemetry import STAGE_NAMES
from sdbench.files.user_folders import cache_folder
from sdbench.models import synthetic
from sdbench.models.catalogue import SYNTHETIC
from sdbench.records import Replicate
from sdbench.runs import load_run

CONFIG = """
name = "memory-prediction"
steps = {steps}
images = 1
passes = 2
replicates = 1
max_minutes = 30
[guard]
min_free_disk_bytes = 0
[reference]
budget_s = 0
[matrix]
resolution = ["{size}"]
"""


@dataclass
class Row:
    """One run; bytes. ``stages`` are of the profiling pass: stage to predicted and measured."""

    model: str
    size: str
    settings: str = ""
    dtype: str = ""
    fit: str = ""
    outcome: str = "failed"
    reason: str | None = None
    predicted_bytes: int | None = None
    measured_bytes: int | None = None
    source: str | None = None
    stages: dict[str, tuple[int, int | None]] = field(default_factory=dict)

    @property
    def error(self) -> float | None:
        """Predicted over measured, minus 1."""
        return prediction_error(self.predicted_bytes, self.measured_bytes)

    @property
    def bad(self) -> bool:
        """Whether the prediction was wrong; of a failure, whether it said that it fits."""
        if self.error is not None:
            return abs(self.error) > LARGE_ERROR
        return self.outcome == "oom" and self.fit in ("fits", "tight")


def measure(out: Path, model: str, size: str, arguments: argparse.Namespace) -> Row:
    """One run in processes of its own."""
    row = Row(model, size, " ".join(arguments.set))
    config = out / "plan.toml"
    config.write_text(CONFIG.format(steps=arguments.steps, size=size))
    command = [sys.executable, "-m", "sdbench", "run", str(config), "--model", model]
    command += ["--device", arguments.device]
    for setting in arguments.set:
        command += ["--set", setting]
    try:
        planned = run([*command, "--dry-run", "--json"], arguments.timeout_s)
        row.fit = json.loads(planned.stdout)["memory"]["fit"]
        done = run([*command, "--yes", "--json", "-o", str(out / "runs")], arguments.timeout_s)
        read(row, Path(json.loads(done.stdout)["path"]))
    except subprocess.TimeoutExpired:
        row.reason = f"took longer than {arguments.timeout_s:.0f} s"
    except (ValueError, KeyError):
        failed = done if row.fit else planned
        row.reason = (failed.stderr.strip().splitlines() or ["no output"])[-1][:200]
    return row


def run(command: list[str], timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """A command, ended with all that it started when its time is over."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()  # sdbench ends its worker first
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def read(row: Row, folder: Path) -> None:
    """What a run has recorded."""
    loaded = load_run(folder)
    (found,) = summary_of(loaded).cases
    (planned,) = loaded.run.plan.cases
    row.dtype, row.outcome, row.reason = found.case.dtype, found.outcome, found.reason
    row.predicted_bytes, row.measured_bytes = found.predicted_peak_bytes, found.peak_bytes
    row.source = found.peak_memory_source
    if planned.memory is None or not loaded.replicates:
        return
    measured = measured_stages(loaded.replicates[-1])
    row.stages = {
        stage.stage: (stage.peak_bytes, measured.get(stage.stage))
        for stage in planned.memory.stages
    }


def measured_stages(replicate: Replicate) -> dict[str, int | None]:
    """The highest memory in each stage of the profiling pass, and while the model was loaded."""
    highest: dict[str, int | None] = {"load": replicate.load_peak_bytes}
    for one in replicate.of_kind("profile"):
        for stage in one.stages or []:
            name = STAGE_NAMES.get(stage.stage)
            if name is not None and stage.peak_bytes is not None:
                highest[name] = max(highest.get(name) or 0, stage.peak_bytes)
    return highest


def remove(model: str) -> None:
    """Give the disk of a synthetic model back."""
    if model in SYNTHETIC:
        synthetic.remove(SYNTHETIC[model], cache_folder())


def show(row: Row) -> None:
    """A line for the peak, and one for each stage."""
    what = f"{row.model} {row.size} {row.settings}".strip()
    print(
        f"{what:<44}{row.dtype:<10}{row.fit:<8}{megabytes(row.predicted_bytes):>10}"
        f"{megabytes(row.measured_bytes):>10}{share(row.error):>8}  {row.outcome}"
        f"{'  <-- wrong' if row.bad else ''}"
    )
    if row.reason:
        print(f"    {row.reason}")
    for name, (predicted, measured) in row.stages.items():
        error = share(prediction_error(predicted, measured))
        print(
            f"    {name:<58}{megabytes(predicted):>10}{megabytes(measured):>10}{error:>8}",
            flush=True,
        )


def share(error: float | None) -> str:
    """``+3.4%``; nothing for unknown."""
    return "" if error is None else f"{error:+.1%}"


def megabytes(size_bytes: int | None) -> str:
    """``5,061``; ``–`` for unknown."""
    return "–" if size_bytes is None else f"{size_bytes / 1e6:,.0f}"


def listed(text: str) -> list[str]:
    """The words of a list with commas."""
    return [word for word in text.split(",") if word]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    parser.add_argument("--models", type=listed, default=["synthetic/tiny", "builtin/shapes"])
    parser.add_argument("--sizes", type=listed, default=["512x512", "1024x1024"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], help="as of sdbench run")
    parser.add_argument("--timeout-s", type=float, default=1200, help="of one run")
    parser.add_argument("--remove", action="store_true", help="delete each model after its runs")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    arguments = parser.parse_args()
    rows: list[Row] = []
    print(f"{'MB':<44}{'':<18}{'predicted':>10}{'measured':>10}{'error':>8}")
    for model in arguments.models:
        for size in arguments.sizes:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(Path(folder), model, size, arguments)
            rows.append(row)
            show(row)
            if arguments.json is not None:
                written = [asdict(one) | {"error": one.error} for one in rows]
                arguments.json.write_text(json.dumps(written, indent=1) + "\n")
        if arguments.remove:
            remove(model)
    wrong = sum(row.bad for row in rows)
    compared = sum(row.error is not None for row in rows)
    print(f"{compared} of {len(rows)} compared, {wrong} wrong by more than {LARGE_ERROR:.0%}")
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.exit(main())
