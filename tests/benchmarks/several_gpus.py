"""Several GPUs of one host: what a run takes on 1, 2, 4 of them, and whether they disturb one
another.

``python tests/benchmarks/several_gpus.py [CONFIG] [-- MORE OPTIONS OF sdbench run]`` makes the same
run on 1, 2, 4, … devices (as many as there are) and prints for each the wall time, how many times
as fast that is, and the result of the run's own test: a pass beside others over a pass alone, with
its 95% interval. The plan has as many blocks as there are devices, and 3 at least, so that all are
busy. ``--device cpu --counts 1,2`` does it with groups of cores. Nothing else may run on the host
meanwhile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sdbench.machine.facts import Unavailable
from sdbench.machine.gpu.nvml import list_gpus


def main() -> int:
    """Measure and print a table; 1 where a run did not complete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", nargs="?", default="default")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--counts", help="numbers of devices, e.g. 1,2,4")
    parser.add_argument("-o", "--results", type=Path, help="keep the runs here")
    parser.add_argument("more", nargs="*", help="options of sdbench run, after --")
    options = parser.parse_args()
    counts = _counts(options.counts, options.device)
    more = ["--set", f"replicates={max(3, *counts)}", *options.more]
    with tempfile.TemporaryDirectory() as scratch:
        root = options.results or Path(scratch)
        print(f"{'devices':>7}  {'wall time':>9}  {'speed-up':>8}  beside / alone (95% interval)")
        first_s: float | None = None
        failed = False
        for count in counts:
            wall_s, document = _run(options.config, options.device, count, root, more)
            first_s = first_s or wall_s
            failed |= document is None
            words = "failed" if document is None else _beside(document)
            print(f"{count:7}  {wall_s:8.0f}s  {first_s / wall_s:7.2f}×  {words}", flush=True)
    return int(failed)


def _counts(text: str | None, device: str) -> list[int]:
    if text is not None:
        return [int(part) for part in text.split(",")]
    gpus = list_gpus() if device == "cuda" else []
    if isinstance(gpus, Unavailable):
        sys.exit(f"no GPUs: {gpus.unavailable}")
    return [count for count in (1, 2, 4, 8) if count <= len(gpus)] or sys.exit("no GPUs")


def _run(
    config: str, device: str, count: int, root: Path, more: list[str]
) -> tuple[float, dict[str, Any] | None]:
    devices = ",".join(f"{device}:{number}" for number in range(count))
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sdbench", "run", config, "-o", str(root), "--yes", "--json"),
            *("--devices", devices, "--label", f"several-gpus-{count}", *more),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    wall_s = time.monotonic() - began
    return wall_s, json.loads(done.stdout) if done.returncode in (0, 1) and done.stdout else None


def _beside(document: dict[str, Any]) -> str:
    found = document.get("beside")
    if found is None:
        return "one device"
    if found.get("ratio") is None or found.get("ratio_low") is None:
        return f"{found['verdict']}: {found['reason']}"
    low, high = found["ratio_low"], found["ratio_high"]
    alone, beside = (
        " ".join(f"{s:.4f}" for s in found[f"{side}_s"]) for side in ("alone", "beside")
    )
    return (
        f"{found['ratio']:.4f} ({low:.4f} to {high:.4f}), {found['verdict']}, {found['case_id']}\n"
        f"{'':30}alone {alone} s\n{'':30}beside {beside} s"
    )


if __name__ == "__main__":
    raise SystemExit(main())
