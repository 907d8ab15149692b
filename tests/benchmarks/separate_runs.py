"""Are separate runs of one unchanged thing left alone, for real? Runs one after another, all pairs.

    python tests/benchmarks/separate_runs.py OUT                     A/A: 28 pairs
    python tests/benchmarks/separate_runs.py OUT --busy              a busy core in every second run
    python tests/benchmarks/separate_runs.py OUT --slowdown 1.25     every second run is slowed
    python tests/benchmarks/separate_runs.py OUT --interleaved --slowdown 1.25
    python tests/benchmarks/separate_runs.py OUT --only-compare      what lies in OUT already

Each run measures ``synthetic/tiny`` at 128x128 on the CPU, 6 processes of 5 passes. Runs go to OUT,
or are those that lie there; then every run is compared with every later one as ``sdbench compare``
does, with the runs that lie beside it as history. The slow-down is made inside the pipeline by
``tests/faults/sdbench_test_slowdown.py``, so the yardstick does not feel it.

Prints a row for each run and a count of verdicts for pairs that are alike, slower and faster in
truth. Exits with 1 when more than one of 28 pairs has a false verdict, or any a reversed one.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

FAULTS = Path(__file__).parents[1] / "faults"
RUNS = 8
SETTINGS = (
    *("model=synthetic/tiny", "device=cpu", "images=1", "steps=10", "passes=5", "replicates=6"),
    *("reference.budget_s=0", 'matrix={resolution=["128x128"]}'),
    *("prompts=['a photo of an astronaut riding a horse on mars']", "guard.min_free_disk_bytes=0"),
    "timeout_s=1200",  # where other programs run
)
_MOST_FALSE_SHARE = 1 / 28


def measure(out: Path, label: str, slowdown: float, *more: str) -> None:
    """One run; the slow-down is the worker's environment's."""
    environment = {
        **os.environ,
        "SDBENCH_WORKER_PRELOAD": "sdbench_test_slowdown",
        "TEST_SLOWDOWN": str(slowdown),
        # It changes nothing, and is on record: as another release of diffusers would be.
        "DIFFUSERS_VERBOSITY": "warning" if slowdown == 1 else "error",
    }
    paths = str(FAULTS), environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    run = [sys.executable, "-m", "sdbench", "run", "quick", "--yes", "-o", str(out)]
    run += ["--label", label, "--json"]
    for setting in (*SETTINGS, *more):
        run += ["--set", setting]
    subprocess.run(
        run, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def measure_all(out: Path, runs: int, slowdown: float, more: list[str], *, busy: bool) -> None:
    """The runs, every second one disturbed or slowed."""
    for index in range(runs):
        odd = index % 2 == 1
        other = (
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy and odd else None
        )
        try:
            factor = slowdown if odd else 1.0
            measure(out, f"{factor}{' busy' if other else ''}", factor, *more)
        finally:
            if other is not None:
                other.kill()
                other.wait()


def interleaved(out: Path, slowdown: float, more: list[str]) -> int:
    """Two variants of one run."""
    slowed = (
        f'SDBENCH_WORKER_PRELOAD = "sdbench_test_slowdown", SDBENCH_TEST_SLOWDOWN = "{slowdown}"'
    )
    arms = f'variant = [{{ name = "as-it-is" }}, {{ name = "changed", env = {{ {slowed} }} }}]'
    measure(out, f"variants {slowdown}", 1.0, arms, *more)
    compare = [sys.executable, "-m", "sdbench", "compare", "latest", "-o", str(out), "--json"]
    document = subprocess.run(compare, check=True, capture_output=True).stdout
    (case,) = json.loads(document)["cases"]
    print(f"interleaved, true ×{slowdown}: {case['verdict']} ×{case['ratio']:.3f} {case['ci95']}")
    return int(case["verdict"] != ("slower" if slowdown > 1 else "equivalent"))


def compare_all(out: Path) -> int:
    """All pairs, each judged as ``sdbench compare`` judges it; 1 where too many are wrong."""
    from sdbench.comparison import compare_runs, pasts_beside
    from sdbench.runs import list_runs, load_run

    runs = [load_run(path) for path in list_runs(out)]
    runs = [run for run in runs if len(run.run.plan.arms) == 1]
    print(f"{'run':<34}{'label':<12}{'median s':>9}{'spread':>8}{'yardstick ms':>14}")
    for run in runs:
        medians, units = [], []
        for entry in run.replicates:
            steady = [one.duration_s for one in entry.of_kind("measured") if one.index > 1]
            medians.append(math.log(statistics.median(steady)))
            if entry.yardstick and entry.yardstick.before_s and entry.yardstick.after_s:
                units.append(1e3 * math.sqrt(entry.yardstick.before_s * entry.yardstick.after_s))
        print(
            f"{run.run.run_id:<34}{run.run.label or '':<12}"
            f"{math.exp(statistics.median(medians)):>9.4f}{statistics.stdev(medians):>8.3f}"
            f"{statistics.median(units) if units else math.nan:>14.2f}"
        )
    counts: dict[str, Counter[str]] = {"alike": Counter(), "slower": Counter(), "faster": Counter()}
    for base, new in combinations(runs, 2):
        true = _factor(new.run.label) / _factor(base.run.label)
        truth = "alike" if true == 1 else "slower" if true > 1 else "faster"
        comparison = compare_runs(base, new, pasts=pasts_beside([base, new]))
        (case,) = comparison.cases
        source = case.drift.source if case.drift else "-"
        counts[truth][f"{case.verdict} ({source})"] += 1
        if case.verdict not in ("inconclusive", "equivalent"):
            print(
                f"  {base.run.run_id} → {new.run.run_id} true ×{true:.2f}: {case.verdict} "
                f"×{case.ratio:.3f} {case.ci95} {case.drift}"
            )
    print()
    wrong = reversed_ = 0
    for truth, found in counts.items():
        if found:
            print(f"{truth}, {found.total()} pairs: {dict(found)}")
        for words, count in found.items():
            verdict = words.split()[0]
            wrong += count * (truth == "alike" and verdict in ("faster", "slower"))
            reversed_ += count * (
                truth != "alike" and verdict in ({"faster", "slower"} - {truth} | {"equivalent"})
            )
    alike = counts["alike"].total()
    print(f"false verdicts: {wrong} of {alike}; reversed: {reversed_}")
    return int(reversed_ > 0 or wrong > max(1, alike * _MOST_FALSE_SHARE))


def _factor(label: str | None) -> float:
    return float((label or "1").split()[0])


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--slowdown", type=float, default=1.0)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--interleaved", action="store_true")
    parser.add_argument("--start", default="spawn", help="fork: a sixth of the time, on Linux")
    parser.add_argument("--set", dest="more", action="append", default=[], help="as for run")
    parser.add_argument("--only-compare", action="store_true")
    asked = parser.parse_args()
    more = [f"start={asked.start}", *asked.more]
    if asked.interleaved:
        return interleaved(asked.out, asked.slowdown, more)
    if not asked.only_compare:
        measure_all(asked.out, asked.runs, asked.slowdown, more, busy=asked.busy)
    return compare_all(asked.out)


if __name__ == "__main__":
    sys.exit(main())
