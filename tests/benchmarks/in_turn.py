"""Our pass and a bare pass in turn, within one worker, until their ratio is known well enough.

Processes on a GPU host differ by half, so a difference of 1% shows only within a process. Here each
process is a worker under the real executor, telemetry on, and makes both kinds of pass in the order
ABBA (``in_turn_worker.py``). All processes load at once and then make a turn of pairs each, one
process at a time; a process that waits sleeps, and its executor sleeps with it. The first pair of a
turn does not count. Telemetry is on during both kinds of pass, so its own cost cancels here:
``telemetry_aa.py`` measures that.

Statistics. The unit is a four (ABBA, two pairs): drift that is linear over it, and whatever being
first in a pair costs, cancel. Times on a shared host have heavy tails, so the estimate of a process
is the 20% trimmed mean of the log ratios of its fours, with the error of Tukey and McLaughlin
(1963, Sankhya A 25: 331-352; see Wilcox, Introduction to Robust Estimation, section 3.3). The ratio
is the geometric mean over processes. Its 95% interval is the wider of two: Student's t over
processes, and the error within processes, so that processes that agree by luck do not end the
measurement. Rounds are added until the half-width is at most ``--half-width`` (Chow and Robbins,
1965, on such stopping), ``--pairs`` are made, or a further round would go beyond ``--seconds``.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lockstep

from sdbench.process.environment import worker_environment
from sdbench.process.events import Event, Phase
from sdbench.process.executor import Report, Stop, Task
from sdbench.process.sampler import Sample
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.stats.ratio import t_quantile

_TRIMMED = 0.2
# Fewer pairs of a process do not end the measurement before its time: their scatter is not known.
_FEWEST_PAIRS = 20
_LOAD_S = 600.0
# Never reached: the parent ends the worker.
_PASSES = 10**9


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of this mode."""
    group = parser.add_argument_group("--in-turn")
    group.add_argument(
        "--in-turn", action="store_true", help="Make both kinds of pass within each worker."
    )
    group.add_argument("--processes", type=int, default=4, help="Workers. [default: 4]")
    group.add_argument(
        "--turn-pairs", type=int, default=10, help="Pairs of a turn, an even number. [default: 10]"
    )
    group.add_argument(
        "--pairs", type=int, default=400, help="Most pairs of a process. [default: 400]"
    )
    group.add_argument(
        "--seconds", type=float, default=60.0, help="Time for all pairs. [default: 60]"
    )
    group.add_argument(
        "--half-width", type=float, default=0.01, help="Wanted 95%% half-width. [default: 0.01]"
    )
    group.add_argument("--json", action="store_true", help="Print JSON instead of a table.")


@dataclass(frozen=True)
class Pair:
    """A pass of sdbench and a bare one, one after the other."""

    sdbench_s: float
    bare_s: float

    @property
    def log_ratio(self) -> float:
        return math.log(self.sdbench_s / self.bare_s)


@dataclass(frozen=True)
class Estimate:
    """What the pairs of all processes say."""

    pairs: int
    ratio: float
    ci95: tuple[float, float]
    half_width: float
    half_width_between_processes: float
    half_width_within_processes: float
    spread: float
    middle_half: tuple[float, float]
    sdbench_s: float
    bare_s: float


def estimate(processes: Sequence[Sequence[Pair]]) -> Estimate:
    """The ratio from at least two processes of at least four pairs each."""
    centers, errors, freedom = [], [], 0
    for pairs in processes:
        logs = [pair.log_ratio for pair in pairs]
        fours = [(one + other) / 2 for one, other in zip(logs[::2], logs[1::2], strict=True)]
        center, error, free = _trimmed_mean(fours)
        centers.append(center)
        errors.append(error)
        freedom += free
    number = len(processes)
    center = statistics.fmean(centers)
    between = t_quantile(0.975, number - 1) * statistics.stdev(centers) / math.sqrt(number)
    within = t_quantile(0.975, freedom) * math.hypot(*errors) / number
    half = max(between, within)
    every = [pair for pairs in processes for pair in pairs]
    logs = [pair.log_ratio for pair in every]
    quarter, _, three_quarters = statistics.quantiles(logs, n=4)
    return Estimate(
        pairs=len(every),
        ratio=math.exp(center),
        ci95=(math.exp(center - half), math.exp(center + half)),
        half_width=half,
        half_width_between_processes=between,
        half_width_within_processes=within,
        spread=statistics.stdev(logs),
        middle_half=(math.exp(quarter), math.exp(three_quarters)),
        sdbench_s=statistics.median(pair.sdbench_s for pair in every),
        bare_s=statistics.median(pair.bare_s for pair in every),
    )


def _trimmed_mean(values: Sequence[float]) -> tuple[float, float, int]:
    """The 20% trimmed mean, its standard error and its degrees of freedom."""
    ordered = sorted(values)
    cut = int(_TRIMMED * len(ordered))
    kept = ordered[cut : len(ordered) - cut]
    winsorised = [kept[0]] * cut + kept + [kept[-1]] * cut
    share = len(kept) / len(ordered)
    error = statistics.stdev(winsorised) / (share * math.sqrt(len(ordered)))
    return statistics.fmean(kept), error, len(kept) - 1


class _Worker:
    """One worker, its executor in a thread of its own, both asleep while it is not their turn."""

    def __init__(self, number: int, job: dict[str, Any], folder: Path, turn_pairs: int) -> None:
        self._number = number
        self._file = folder / f"pairs-{number}.jsonl"
        self._fifo = folder / f"turns-{number}"
        os.mkfifo(self._fifo)
        # Read and write: neither side waits in open() for the other.
        self._turns = os.open(self._fifo, os.O_RDWR)
        self._turn_pairs = turn_pairs
        self._may_go = threading.Semaphore(0)
        self._waits = threading.Event()
        self._enough = False
        self._report: Report | None = None
        self._error: BaseException | None = None
        artifacts = folder / f"artifacts-{number}"
        artifacts.mkdir()
        self._job = job | {"artifacts": str(artifacts), "passes": _PASSES}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Return when the worker waits for a turn."""
        deadline = time.monotonic() + _LOAD_S
        while not self._waits.wait(1.0):
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise SystemExit(f"process {self._number} has no more pairs: {self._why()}")

    def make_turn(self) -> None:
        """Let the worker make one turn of pairs."""
        self._waits.clear()
        self._may_go.release()
        self.wait()

    def pairs(self) -> list[Pair]:
        """All pairs so far that count."""
        return [
            Pair(line["sdbench_s"], line["bare_s"])
            for line in self._lines()
            if (line["index"] - 1) % self._turn_pairs != 0
        ]

    def made_same_pictures(self) -> bool:
        """Whether both kinds of pass made the same pixels."""
        return bool(self._lines()[0]["same_pictures"])

    def end(self) -> int:
        """End the worker; how many samples its telemetry took."""
        self._enough = True
        self._may_go.release()
        self._thread.join(60.0)
        os.close(self._turns)
        telemetry = None if self._report is None else self._report.telemetry
        return 0 if telemetry is None else telemetry.samples

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]

    def _run(self) -> None:
        here = str(Path(__file__).absolute().parent)
        variables = {
            "SDBENCH_WORKER_PRELOAD": "in_turn_worker",
            "SDBENCH_IN_TURN_FIFO": str(self._fifo),
            "SDBENCH_IN_TURN_FILE": str(self._file),
            "SDBENCH_IN_TURN_PAIRS": str(self._turn_pairs),
            "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
        }
        environment = worker_environment(variables)
        task = Task("in-turn", sys.executable, environment, self._job, "spawn", 24 * 3600)
        try:
            with contextlib.closing(ProcessExecutor()) as executor:
                self._report = executor.run(task, self._supervise)
        except BaseException as error:
            self._error = error

    def _supervise(self, event: Event | None, sample: Sample | None) -> Stop | None:
        """Sleep, and the executor with it, where the worker is about to wait for its turn."""
        if isinstance(event, Phase) and event.name.startswith("pass "):
            made = int(event.name.removeprefix("pass ")) - 1
            if made % self._turn_pairs == 0:
                self._waits.set()
                self._may_go.acquire()
                if not self._enough:
                    os.write(self._turns, b"g")
        return Stop("budget", "the ratio is known, or the time is over") if self._enough else None

    def _why(self) -> str:
        if self._error is not None:
            return repr(self._error)
        if self._report is None:
            return "it takes too long"
        return f"exit code {self._report.exit_code}\n{self._report.stderr_tail}"


def measure(options: argparse.Namespace) -> None:
    """Run the workers until the ratio is known, and print it."""
    if options.processes < 2 or options.turn_pairs < 4 or options.turn_pairs % 2:
        raise SystemExit("--in-turn needs --processes of at least 2, --turn-pairs of 4, 6, 8, …")
    job = lockstep.job(options)
    with tempfile.TemporaryDirectory() as name:
        workers = [
            _Worker(number, job, Path(name), options.turn_pairs + 1)
            for number in range(1, options.processes + 1)
        ]
        try:
            for worker in workers:
                worker.wait()
            began = time.monotonic()
            found, stopped = _make_rounds(workers, options, began)
            seconds = time.monotonic() - began
            same = all(worker.made_same_pictures() for worker in workers)
        finally:
            samples = sum([worker.end() for worker in workers])
    document = {
        **{key: getattr(options, key) for key in lockstep.SETTINGS if key != "passes"},
        "ratio_of": "sdbench/bare",
        "processes": options.processes,
        **asdict(found),
        "stopped": stopped,
        "seconds": seconds,
        "same_pictures": same,
        "telemetry_samples": samples,
    }
    print(json.dumps(document) if options.json else _table(document))


def _make_rounds(
    workers: list[_Worker], options: argparse.Namespace, began: float
) -> tuple[Estimate, str]:
    """The estimate after the last round, and why no further one was made."""
    rounds = 0
    while True:
        round_began = time.monotonic()
        for worker in workers:
            worker.make_turn()
        rounds += 1
        now = time.monotonic()
        found = estimate([worker.pairs() for worker in workers])
        print(
            f"round {rounds}, {now - began:.0f} s: ratio {found.ratio:.4f}, half-width "
            f"{found.half_width:.4f}, spread {found.spread:.3f}, {found.pairs} pairs, "
            f"sdbench {found.sdbench_s:.4f} s, bare {found.bare_s:.4f} s",
            file=sys.stderr,
            flush=True,
        )
        made = rounds * options.turn_pairs
        if made >= _FEWEST_PAIRS and found.half_width <= options.half_width:
            return found, "known"
        if made + options.turn_pairs > options.pairs:
            return found, "most-pairs"
        if now - began + (now - round_began) > options.seconds:
            return found, "time-limit"


def _table(document: dict[str, Any]) -> str:
    setting = (
        f"{document['device']}, {document['model']}, {document['resolution']}, "
        f"{document['dtype']}, {document['batching']}, {document['images']} images, "
        f"{document['steps']} steps"
    )
    low, high = document["ci95"]
    least, most = document["middle_half"]
    pairs = f"{document['processes']} x {document['pairs'] // document['processes']}"
    same = "the same images" if document["same_pictures"] else "DIFFERENT images"
    return (
        "| setting | processes x pairs | sdbench/bare | 95% interval | spread of pairs | half of "
        "the pairs | sdbench s | bare s |\n|---|---|---:|---:|---:|---:|---:|---:|\n"
        f"| {setting} | {pairs} | {document['ratio']:.4f} | {low:.4f}–{high:.4f} "
        f"(± {document['half_width']:.4f}) | {document['spread']:.3f} | {least:.3f}–{most:.3f} | "
        f"{document['sdbench_s']:.4f} | {document['bare_s']:.4f} |\n"
        f"Stopped after {document['seconds']:.0f} s: {document['stopped']}. Both kinds of pass "
        f"made {same}."
    )
