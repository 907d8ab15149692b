"""Puts changed inputs through every reading verb for as long as one likes (``make fuzz``).

    python tests/fuzz/fuzz.py [--minutes 60 | --inputs N] [--seed N] [--found FOLDER] [--only KIND]

First each place of each document is changed once in each way (``fuzz_batches.py``) and every text
of a run is a hostile one (``fuzz_hostile.py``); then inputs are drawn until the time is up.
Prints how many inputs were tried, how many calls of each verb there were and how they ended. Of
each fault the smallest input found is kept in ``FOLDER/NUMBER`` with a text that says what broke.
Exits with 1 if there is one. The same seed gives the same inputs in the same order.
``--coverage FILE`` measures which branches of the code that reads (``fuzz_readers.py``) were taken,
in this and in earlier calls with that file, and is slower.
"""

import argparse
import contextlib
import faulthandler
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit"), str(ROOT / "tests" / "fuzz")]

from fuzz_batches import all_batches  # noqa: E402
from fuzz_box import WAITING_S, Box  # noqa: E402
from fuzz_hostile import hostile  # noqa: E402
from fuzz_mutations import Mutation, Subject, ways_for  # noqa: E402
from fuzz_readers import Reached  # noqa: E402  (before what it counts)
from fuzz_subjects import all_subjects  # noqa: E402
from fuzz_trees import Tree, write_tree  # noqa: E402
from fuzz_trials import Bench, Finding, Trial, minimal  # noqa: E402
from fuzz_verbs import all_lines  # noqa: E402

KINDS = (
    *(["run"] * 6 + ["config"] * 6 + ["log"] * 3 + ["picture"] * 3 + ["recording"] * 4),
    *(["model"] * 3 + ["expectations"] * 2 + ["bundle"] * 3 + ["site"] * 2 + ["fleet"] * 3),
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


@dataclass
class Hunt:
    """Tries inputs, counts them, and keeps what broke."""

    bench: Bench
    found: Path
    stop_at_first: bool = False
    inputs: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def systematic(self, subjects: list[Subject], options: argparse.Namespace) -> None:
        """What is tried before anything is drawn: each single change, and hostile texts."""
        for batch in all_batches(subjects, options.every):
            if not options.only or _DRAWN_AS.get(batch.kind, batch.kind) in options.only:
                _ends_at_last()
                self.inputs[f"{batch} (single changes)"] += len(batch.names)
                for finding in self.bench.of_batch(batch):
                    if self._is_new(finding):
                        files = {k: v for k, v in batch.tree.items() if k.startswith(finding.name)}
                        keep(self.found, len(self.faults), f"one of {batch}", finding, files)
        for subject in subjects:
            if subject.kind == "run" and (not options.only or "run" in options.only):
                _ends_at_last()
                self.inputs["run (hostile texts)"] += 1
                files = hostile(subject, options.seed)
                for finding in self.bench.of_files(subject, files, all_lines("run")):
                    if self._is_new(finding):
                        keep(self.found, len(self.faults), f"hostile {subject}", finding, files)

    def drawn(self, trial: Trial) -> None:
        """An input at random."""
        _ends_at_last()
        self.inputs[trial.subject.kind] += 1
        for finding in self.bench.findings(trial):
            if self._is_new(finding):
                files, smallest = minimal(self.bench, trial, finding)
                ways = ", ".join(f"{one.way}({one.seed})" for one in trial.mutations)
                keep(self.found, len(self.faults), f"{trial.subject}: {ways}", smallest, files)

    def _is_new(self, finding: Finding) -> bool:
        """Count a fault, and print a new one."""
        self.faults[finding.key] += 1
        if self.faults[finding.key] > 1 or len(self.faults) > _MOST_KEPT:
            return False
        print(f"FOUND {len(self.faults)}: {finding.what} ({finding.line})", flush=True)
        if self.stop_at_first:
            raise StopIteration
        return True

    def lines(self) -> Iterator[str]:
        """What was tried, how the calls ended, and the faults."""
        yield "inputs: " + ", ".join(f"{n} {kind}" for kind, n in self.inputs.most_common())
        for verb in sorted(self.bench.calls):
            ends = sorted((code, n) for (of, code), n in self.bench.codes.items() if of == verb)
            words = ", ".join(f"{n} ended with {code}" for code, n in ends)
            yield f"  {verb:10} {self.bench.calls[verb]:6} calls{': ' if words else ''}{words}"
        yield from (f"fault, {n} times: {key}" for key, n in self.faults.items())
        yield f"{len(self.faults)} faults{f', kept in {self.found}' if self.faults else ''}"


_DRAWN_AS = {
    "artifact": "run",
    "timeline": "run",
    "weights": "model",
    "json": "model",
    "macos": "recording",
    "written": "run",
    "opened": "run",
    "marker": "fleet",
}
"""The kind of subject that has such files."""


def _ends_at_last() -> None:
    """What does not even answer to signals ends, with the place."""
    faulthandler.dump_traceback_later(10 * WAITING_S, exit=True)


def keep(folder: Path, number: int, about: str, finding: Finding, files: Tree) -> None:
    """The input, and what it breaks."""
    place = folder / f"{number:03}"
    shutil.rmtree(place, ignore_errors=True)
    write_tree(files, place / "input", place / "outside")
    (place / "what.txt").write_text(
        f"{finding.what}\n\nkey: {finding.key}\ncalled: {' '.join(finding.line)}\ninput: {about}\n",
        encoding="utf-8",
        errors="backslashreplace",
    )


def main() -> int:
    """Try, count, keep what broke; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--inputs", type=int, help="draw so many, however long it takes")
    parser.add_argument(
        "--coverage", metavar="FILE", help="count branches of the readers, those in FILE included"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="one in so many single changes")
    parser.add_argument("--found", type=Path, default=ROOT / "fuzz-found")
    parser.add_argument("--only", choices=sorted(set(KINDS)), action="append", default=[])
    parser.add_argument("--stop-at-first", action="store_true", help="end with the first fault")
    options = parser.parse_args()
    reached = Reached(options.coverage) if options.coverage else None
    os.environ["SDBENCH_STATE"] = tempfile.mkdtemp(prefix="sdbench-fuzz-state-")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sdbench-fuzz-") as folder:
        subjects = all_subjects()
        hunt = Hunt(open_bench(Path(folder), subjects), options.found, options.stop_at_first)
        with contextlib.suppress(StopIteration):
            hunt.systematic(subjects, options)
            for trial in trials(subjects, options):
                hunt.drawn(trial)
        faulthandler.cancel_dump_traceback_later()
    minutes = (time.monotonic() - began) / 60
    print(f"{sum(hunt.inputs.values())} inputs in {minutes:.1f} minutes, seed {options.seed}")
    print(*hunt.lines(), sep="\n")
    if reached is not None:
        print(*reached.lines(), sep="\n")
    return 1 if hunt.faults else 0


if __name__ == "__main__":
    sys.exit(main())
