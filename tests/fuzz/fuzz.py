"""Puts changed inputs through every reading verb for as long as one likes (``make fuzz``).

    python tests/fuzz/fuzz.py [--minutes 60 | --inputs N] [--seed N] [--found FOLDER] [--only KIND]

Prints how many inputs were tried, how many calls of each verb there were and how they ended. Of
each fault the smallest input found is kept in ``FOLDER/NUMBER`` with a text that says what broke.
Exits with 1 if there is one. The same seed gives the same inputs in the same order.
``--coverage FILE`` measures which branches of the code that reads (``fuzz_readers.py``) were taken,
in this and in earlier calls with that file, and is slower.
"""

import argparse
import faulthandler
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit"), str(ROOT / "tests" / "fuzz")]

from fuzz_box import WAITING_S, Box  # noqa: E402
from fuzz_mutations import Mutation, Subject, ways_for  # noqa: E402
from fuzz_readers import Reached  # noqa: E402  (before what it counts)
from fuzz_subjects import all_subjects  # noqa: E402
from fuzz_trees import Tree, write_tree  # noqa: E402
from fuzz_trials import Bench, Finding, Trial, minimal  # noqa: E402

KINDS = (
    *(["run"] * 6 + ["config"] * 6 + ["log"] * 3 + ["picture"] * 3 + ["recording"] * 4),
    *(["model"] * 3 + ["expectations"] * 2),
)
"""Kinds of subject; the more often one is there, the likelier. A run takes five times as long."""
_MOST_KEPT = 50


def drawn(subjects: list[Subject], random: Random, kinds: tuple[str, ...] = KINDS) -> Trial:
    """The next input."""
    kind = random.choice(kinds)
    subject = random.choice([one for one in subjects if one.kind == kind])
    ways = ways_for(kind)
    changes = tuple(
        Mutation(random.choice(ways), random.randrange(1 << 32))
        for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5)))
    )
    return Trial(subject, changes, random.randrange(1 << 32))


def open_bench(folder: Path, subjects: list[Subject], **settings: float) -> Bench:
    """A bench in an empty folder."""
    sound = next(one for one in subjects if one.name == "small")
    bench = Bench(Box(folder), sound, **settings)  # type: ignore[arg-type]
    bench.prepare(subjects)
    return bench


def trials(subjects: list[Subject], options: argparse.Namespace) -> Iterator[Trial]:
    """Inputs until the time is up."""
    random = Random(options.seed)
    kinds = tuple(kind for kind in KINDS if kind in options.only) or KINDS
    end = time.monotonic() + options.minutes * 60
    for number in itertools.count():
        over = time.monotonic() > end if options.inputs is None else number >= options.inputs
        if over:
            return
        yield drawn(subjects, random, kinds)


def keep(folder: Path, number: int, trial: Trial, finding: Finding, files: Tree) -> None:
    """The input, and what it breaks."""
    place = folder / f"{number:03}"
    shutil.rmtree(place, ignore_errors=True)
    write_tree(files, place / "input", place / "outside")
    ways = ", ".join(f"{one.way}({one.seed})" for one in trial.mutations)
    (place / "what.txt").write_text(
        f"{finding.what}\n\nkey: {finding.key}\ncalled: {' '.join(finding.line)}\n"
        f"subject: {trial.subject.kind} {trial.subject.name}\nchanges: {ways}\n",
        encoding="utf-8",
        errors="backslashreplace",
    )


def main() -> int:
    """Try, count, keep what broke; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--inputs", type=int, help="so many, however long it takes")
    parser.add_argument(
        "--coverage", metavar="FILE", help="count branches of the readers, those in FILE included"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--found", type=Path, default=ROOT / "fuzz-found")
    parser.add_argument("--only", choices=sorted(set(KINDS)), action="append", default=[])
    parser.add_argument("--stop-at-first", action="store_true", help="end with the first fault")
    options = parser.parse_args()
    reached = Reached(options.coverage) if options.coverage else None
    os.environ["SDBENCH_STATE"] = tempfile.mkdtemp(prefix="sdbench-fuzz-state-")
    inputs: Counter[str] = Counter()
    faults: dict[str, int] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sdbench-fuzz-") as folder:
        subjects = all_subjects()
        bench = open_bench(Path(folder), subjects)
        for trial in trials(subjects, options):
            # What does not even answer to signals ends here, with the place.
            faulthandler.dump_traceback_later(10 * WAITING_S, exit=True)
            inputs[trial.subject.kind] += 1
            for finding in bench.findings(trial):
                faults[finding.key] = faults.get(finding.key, 0) + 1
                if faults[finding.key] == 1 and len(faults) <= _MOST_KEPT:
                    print(f"FOUND {len(faults)}: {finding.what} ({finding.line})", flush=True)
                    if not options.stop_at_first:
                        files, smallest = minimal(bench, trial, finding)
                        keep(options.found, len(faults), trial, smallest, files)
            if faults and options.stop_at_first:
                break
        faulthandler.cancel_dump_traceback_later()
    minutes = (time.monotonic() - began) / 60
    print(f"{sum(inputs.values())} inputs in {minutes:.1f} minutes, seed {options.seed}")
    print("inputs:", ", ".join(f"{count} {kind}" for kind, count in inputs.most_common()))
    for verb in sorted(bench.calls):
        ends = sorted((code, n) for (of, code), n in bench.codes.items() if of == verb)
        words = ", ".join(f"{n} ended with {code}" for code, n in ends)
        print(f"  {verb:10} {bench.calls[verb]:6} calls: {words}")
    for key, count in faults.items():
        print(f"fault, {count} times: {key}")
    print(f"{len(faults)} faults{f', kept in {options.found}' if faults else ''}")
    if reached is not None:
        print(*reached.lines(), sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
