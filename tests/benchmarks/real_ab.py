"""Is an unchanged system left alone and a slower one found, for real? Two variants of one
environment.

    python tests/benchmarks/real_ab.py --slowdown 1.0     A/A: no case may be faster or slower
    python tests/benchmarks/real_ab.py --slowdown 1.1     A/B: every case has to be slower

Runs two cases of ``quick`` with 8 processes of 4 steady passes in each variant, the second variant
slowed inside the pipeline by ``tests/faults/sdbench_test_slowdown.py``, and compares them. About 9
minutes on 2 cores each; for a machine on which nothing else runs. Exits with 1 when a verdict is
wrong. What this does not know itself goes to ``sdbench run``: ``--dry-run`` shows what it would
take. On a machine whose processes differ by 7% and more among each other, 8 of them tell 10%
rarely; measure on until it is told, or until 21 of them did not:

    python tests/benchmarks/real_ab.py --only attention_slicing=false --until-decided

and on a GPU take a case in which the GPU does not wait for Python:

    python tests/benchmarks/real_ab.py --config tests/benchmarks/real_ab_gpu.toml
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

FAULTS = Path(__file__).parents[1] / "faults"
QUICK = "quick"
# The fewest cases of quick that still are a family: slicing off and on.
ONLY = ("resolution=128x128", "warmup=false", "batching=loop")


def arms(slowdown: float) -> str:
    """The TOML of two variants; the environment is theirs alone."""
    slowed = (
        f'SDBENCH_WORKER_PRELOAD = "sdbench_test_slowdown", SDBENCH_TEST_SLOWDOWN = "{slowdown}"'
    )
    return f'variant = [{{ name = "as-it-is" }}, {{ name = "changed", env = {{ {slowed} }} }}]'


def main() -> int:
    """Run and compare; 0 when all verdicts are right."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Other options are those of sdbench run.",
        allow_abbrev=False,
    )
    parser.add_argument("--slowdown", type=float, default=1.1, help="1.0: unchanged")
    parser.add_argument("--config", default=QUICK, help="as sdbench run takes it")
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("-o", "--output", default="results", help="where the run goes")
    asked, for_run = parser.parse_known_args()
    run = [sys.executable, "-m", "sdbench", "run", asked.config, "--yes", "-o", asked.output]
    run += ["--label", f"slowed-{asked.slowdown}"]
    for setting in (
        arms(asked.slowdown),
        f"replicates={asked.replicates}",
        f"passes={asked.passes}",
        "start=spawn",
    ):
        run += ["--set", setting]
    for selection in ONLY if asked.config == QUICK else ():
        run += ["--only", selection]
    run += for_run
    if "--dry-run" in for_run:
        return subprocess.run(run, check=False).returncode
    subprocess.run(run, check=True)
    compare = [sys.executable, "-m", "sdbench", "compare", "latest", "--by", "arm"]
    compare += ["-o", asked.output]
    subprocess.run(compare, check=True)
    document = subprocess.run([*compare, "--json"], check=True, capture_output=True).stdout
    verdicts = {case["verdict"] for case in json.loads(document)["cases"]}
    if asked.slowdown > 1:
        return int(verdicts != {"slower"})
    return int(bool(verdicts & {"faster", "slower", "incorrect"}))


if __name__ == "__main__":
    # The workers of both variants inherit it, so that the slow-down alone differs between them.
    paths = str(FAULTS), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    sys.exit(main())
