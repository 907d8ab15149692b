"""How often are verdicts wrong, for real? Many variants in one interleaved run, every pair judged.

    python tests/benchmarks/real_pairs.py OUT                  21 variants: 210 pairs
    python tests/benchmarks/real_pairs.py OUT --only-judge     of the run that lies in OUT already

Some variants are slowed inside the pipeline by ``tests/faults/sdbench_test_slowdown.py``, all
others are alike; a seed draws which. Each pair of variants is judged as ``sdbench compare --by
arm`` judges two variants, as a family of its own. Pairs share variants, so they are not
independent: the share of false verdicts is unbiased, its error larger than that of as many separate
runs.

About 20 minutes on two cores on which nothing else runs. Exits with 1 where more than 5% of the
pairs that are alike get a verdict, or a slow-down is called faster.
"""

import argparse
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

from sdbench.analysis.case_result import CaseResult, rows_of
from sdbench.analysis.estimates import estimate_pair
from sdbench.analysis.pairs import Pair
from sdbench.comparison.verdicts import judge_pairs
from sdbench.runs import load_run
from sdbench.stats import CONFIDENCE, DEFAULT_THRESHOLD

FAULTS = Path(__file__).parents[1] / "faults"
SETTINGS = (
    *("model=synthetic/tiny", "device=cpu", "images=1", "steps=4", "passes=auto", "start=spawn"),
    *("reference.budget_s=0", 'matrix={resolution=["64x64"]}', "guard.min_free_disk_bytes=0"),
)
_MOST_FALSE_SHARE = 0.05


def arms(alike: int, slowed: int, slowdown: float, seed: int) -> str:
    """The TOML of the variants, in an order drawn by the seed; all have the same preload."""
    factors = [1.0] * alike + [slowdown] * slowed
    random.Random(seed).shuffle(factors)
    rows = []
    for index, factor in enumerate(factors):
        name = f"{'alike' if factor == 1 else 'slowed'}-{index:02}"
        preload = 'SDBENCH_WORKER_PRELOAD = "sdbench_test_slowdown"'
        slowed_by = f'SDBENCH_TEST_SLOWDOWN = "{factor}"'
        rows.append(f'{{ name = "{name}", env = {{ {preload}, {slowed_by} }} }}')
    return f"variant = [{', '.join(rows)}]"


def measure(out: Path, replicates: int, arms_toml: str) -> None:
    """One run of all variants, interleaved."""
    paths = str(FAULTS), os.environ.get("PYTHONPATH")
    path = os.pathsep.join(path for path in paths if path)
    run = [sys.executable, "-m", "sdbench", "run", "quick", "--yes", "-o", str(out)]
    for setting in (arms_toml, f"replicates={replicates}", *SETTINGS):
        run += ["--set", setting]
    subprocess.run(run, check=True, env={**os.environ, "PYTHONPATH": path})


def verdict(base: CaseResult, new: CaseResult) -> str:
    """What comparing these two variants alone says of the time of an image."""
    pair = Pair(
        key=(base.summary.case_id, new.arm.name),
        case=base.summary.case,
        labels=(base.arm.name, new.arm.name),
        arm=None,
        base=base,
        new=new,
        interleaved=True,
        axis="arm",
    )
    (case,) = judge_pairs([estimate_pair(pair)], DEFAULT_THRESHOLD, CONFIDENCE)
    return case.verdict


def main() -> int:
    """Measure, judge every pair, print how many verdicts are false and how many are found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--alike", type=int, default=16)
    parser.add_argument("--slowed", type=int, default=5)
    parser.add_argument("--slowdown", type=float, default=1.1)
    parser.add_argument("--replicates", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only-judge", action="store_true")
    asked = parser.parse_args()
    if not asked.only_judge:
        toml = arms(asked.alike, asked.slowed, asked.slowdown, asked.seed)
        measure(asked.out, asked.replicates, toml)
    (newest,) = sorted(asked.out.glob("*/run.json"))[-1:]
    rows = rows_of(load_run(newest.parent))
    missing = [row.name for row in rows if row.summary.replicates < row.summary.planned]
    if missing or any(row.summary.outcome != "ok" for row in rows):
        print(f"not complete, so nothing is proven: {', '.join(missing) or 'processes failed'}")
        return 1
    found: dict[str, Counter[str]] = {"alike": Counter(), "slower": Counter(), "faster": Counter()}
    for base, new in combinations(rows, 2):
        slow = [row.arm.name.startswith("slowed") for row in (base, new)]
        truth = "alike" if slow[0] == slow[1] else "slower" if slow[1] else "faster"
        found[truth][verdict(base, new)] += 1
    for truth, counts in found.items():
        print(f"in truth {truth}: {sum(counts.values())} pairs, called {dict(counts)}")
    alike = found["alike"]
    false = alike["slower"] + alike["faster"]
    reversed_ = found["slower"]["faster"] + found["faster"]["slower"]
    right = found["slower"]["slower"] + found["faster"]["faster"]
    unlike = sum(found["slower"].values()) + sum(found["faster"].values())
    of_alike = sum(alike.values())
    print(f"false {false} of {of_alike}, found {right} of {unlike}, reversed {reversed_}")
    return int(false > _MOST_FALSE_SHARE * of_alike or reversed_ > 0)


if __name__ == "__main__":
    sys.exit(main())
