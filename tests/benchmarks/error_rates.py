"""How often are sdbench's verdicts wrong? Counted in simulated runs, where the truth is known.

    python tests/benchmarks/error_rates.py [--trials 4000]

Prints seven tables: one comparison after 3, 5 and 8 processes in several worlds; the same where
processes decide how many passes they make; measuring until decided; the false alarms of a CI job of
several cases; a busy machine; two separate runs on a machine that drifts between them and while
they run; and what shifting their ratio by the yardstick's would do. The worlds are those of
``tests/unit/simulated_runs.py``: noise between processes and passes, spikes, and heat drift laid
over the order in which sdbench runs its slots. Shares are in percent.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from simulated_runs import (
    STILL,
    USUAL,
    Wander,
    World,
    auto_estimates_of,
    busy_estimates_of,
    estimates_of,
    medians_of,
    separate_estimates_of,
)

from sdbench.stats import LOOKS, decide_family, look_at, paired_ratio

DELTA = 0.03
WORLDS = {
    "usual": USUAL,
    "still": STILL,
    "noisy": World(process_noise=0.03, spike_chance=0.10),
    "even": World(process_noise=0.003, pass_noise=0.003),
    "early heat": World(warm_after=0.1),
    "late heat": World(warm_after=1.0),
    "2 passes": World(steady_passes=1),
}
# A shared CI machine: neighbours, and clocks that nobody holds.
HOSTED = World(process_noise=0.03, pass_noise=0.03, spike_chance=0.05, heat=0.03)
# Two separate runs: 6 processes each, as in the runs that showed how far a machine drifts.
PROCESSES = 6
APART = (1.0, 1.10, 1.25, 1.50)
DRIFTS = (0.0, 0.02, 0.05, 0.15)
RATIOS = (1.0, 1 - DELTA, 1 + DELTA, 1.08, 1.10)


def one_comparison(trials: int) -> Iterator[str]:
    """False and true verdicts of one comparison."""
    yield f"One comparison, δ = {DELTA:.0%}, 95% intervals: faster / equivalent / slower in percent"
    yield _row("world", "P", *(f"true ×{ratio:.2f}" for ratio in RATIOS))
    for name, world in WORLDS.items():
        for blocks in (3, 5, 8):
            cells = [_counted(world, trials, blocks, ratio) for ratio in RATIOS]
            yield _row(name, str(blocks), *cells)


def auto_passes(trials: int) -> Iterator[str]:
    """The same with 8 processes that decide by themselves how many passes they make."""
    yield 'passes = "auto", a start-up of 16 s, 8 processes a side; below: truth in the interval'
    yield _row("passes of", "", *(f"true ×{ratio:.2f}" for ratio in RATIOS))
    for pass_s in (20.0, 1.0, 0.2):
        cells, covered = [], []
        for ratio in RATIOS:
            made = [*auto_estimates_of(USUAL, 9, trials // 4, 8, ratio, pass_s, 16.0)]
            found: Counter[str] = Counter(decide_family([one], DELTA)[0].verdict for one in made)
            cells.append(_cell(found, len(made)))
            intervals = [one.interval() for one in made]
            inside = sum(i is not None and i[0] <= ratio <= i[1] for i in intervals)
            covered.append(f"{100 * inside / len(made):.1f}")
        yield _row(f"{pass_s:g} s", "", *cells)
        yield _row("", "", *covered)


def until_decided(trials: int) -> Iterator[str]:
    """The same with looks after 3, 5, 8, 13, 21 blocks."""
    yield f"Until decided, looks after {LOOKS} blocks, 99% intervals"
    yield _row("world", "", *(f"true ×{ratio:.2f}" for ratio in RATIOS))
    for name in ("usual", "still", "noisy", "early heat"):
        cells, spent = [], []
        for ratio in RATIOS:
            found, blocks = _looked(WORLDS[name], trials, ratio)
            cells.append(_cell(found, trials))
            spent.append(f"{blocks:.1f} blocks")
        yield _row(name, "", *cells)
        yield _row("", "", *spent)


def ci_job(trials: int) -> Iterator[str]:
    """False alarms of a whole job, and what it finds."""
    yield "A CI job on a shared machine: any case called slower (false alarm), one slow case found"
    yield _row("cases", "P", "δ", "alarm at ×1", "alarm at ×1+δ", "×1.10", "×1.20", "×1.30")
    for cases in (2, 6):
        for blocks in (3, 5, 8):
            for threshold in (0.03, 0.05, 0.10):
                unchanged = _alarms(trials, blocks, threshold, [1.0] * cases)
                at_limit = _alarms(trials, blocks, threshold, [1 + threshold] * cases)
                power = [
                    _alarms(trials // 4, blocks, threshold, [slow] + [1.0] * (cases - 1))
                    for slow in (1.10, 1.20, 1.30)
                ]
                figures = (f"{100 * share:.1f}" for share in (unchanged, at_limit, *power))
                yield _row(str(cases), str(blocks), f"{threshold:.0%}", *figures)


def busy_machine(trials: int) -> Iterator[str]:
    """Other programs hold up some processes, which sdbench knows or does not know."""
    yield "Another program holds up some of 8 processes a side by 10 to 60%: known of, or not"
    yield _row("share", "known", *(f"true ×{ratio:.2f}" for ratio in RATIOS))
    for chance in (0.1, 0.3, 0.6):
        for marked in (False, True):
            cells = []
            for ratio in RATIOS:
                estimates = busy_estimates_of(USUAL, 5, trials, 8, ratio, chance, marked=marked)
                found: Counter[str] = Counter(
                    decide_family([one], DELTA)[0].verdict for one in estimates
                )
                cells.append(_cell(found, trials))
            yield _row(f"{chance:.0%}", "yes" if marked else "no", *cells)


def separate_runs(trials: int) -> Iterator[str]:
    """False and true verdicts of two runs that were made apart."""
    yield f"Two separate runs of {PROCESSES} processes; faster / equivalent / slower in percent"
    yield _row("known by", "drift", *(f"true ×{ratio:.2f}" for ratio in APART))
    for drift in DRIFTS:
        for correlation in (0.5, 0.75, 0.95):
            wander = Wander(between=drift, correlation=correlation)
            yield _apart(f"yardstick, r={correlation}", drift, wander, trials)
        for within in (0.0, 1.0):
            wander = Wander(between=drift, within=within, correlation=0.5)
            yield _apart(f"yardstick, within {within:.0f}x", drift, wander, trials)
        wander = Wander(between=drift, sensitivity=0.67, correlation=0.5)
        yield _apart("yardstick moves 2/3", drift, wander, trials)
        for earlier in (3, 6):
            wander = Wander(between=drift, earlier=earlier, correlation=0.5)
            yield _apart(f"{earlier} earlier runs", drift, wander, trials)
        quiet = Wander(between=drift, earlier=5, earlier_between=0.005, correlation=0.5)
        yield _apart("5 quiet earlier runs", drift, quiet, trials)
        yield _apart("prior 0.15", drift, Wander(between=drift), trials, yardstick=False)
        yield _apart("other torch", drift, Wander(between=drift), trials, same_software=False)


def shifted_by_yardstick(trials: int) -> Iterator[str]:
    """What a weight above 0 for the yardstick's ratio would do."""
    yield "The same, the ratio shifted by a share of the yardstick's (sdbench: 0)"
    yield _row("weight, r", "drift", *(f"true ×{ratio:.2f}" for ratio in APART))
    for drift in (0.02, 0.05, 0.15):
        for correlation in (0.5, 0.95):
            for weight in (0.0, 0.5, 1.0):
                wander = Wander(between=drift, correlation=correlation)
                yield _apart(f"{weight}, {correlation}", drift, wander, trials, weight=weight)


def _apart(name: str, drift: float, wander: Wander, trials: int, **more: Any) -> str:
    cells = []
    for ratio in APART:
        estimates = separate_estimates_of(wander, 3, trials, PROCESSES, ratio, **more)
        cells.append(
            _cell(Counter(decide_family([one], DELTA)[0].verdict for one in estimates), trials)
        )
    return _row(name, f"{drift:.2f}", *cells)


def _counted(world: World, trials: int, blocks: int, ratio: float) -> str:
    estimates = estimates_of(world, seed=blocks, trials=trials, blocks=blocks, ratios=[ratio])
    return _cell(Counter(decide_family(one, DELTA)[0].verdict for one in estimates), trials)


def _looked(world: World, trials: int, ratio: float) -> tuple[Counter[str], float]:
    random = np.random.default_rng(12)
    found: Counter[str] = Counter()
    spent = 0
    for _ in range(trials):
        ((base, new),) = medians_of(world, random, LOOKS[-1], [ratio])
        blocks: int | None = LOOKS[0]
        while blocks is not None:
            so_far = [{block: side[block] for block in range(blocks)} for side in (base, new)]
            look = look_at([paired_ratio(*so_far)], blocks, DELTA)
            blocks = look.next_look
        found[look.judgements[0].verdict] += 1
        spent += look.blocks
    return found, spent / trials


def _alarms(trials: int, blocks: int, threshold: float, ratios: list[float]) -> float:
    alarms = 0
    for estimates in estimates_of(HOSTED, 7, trials, blocks, ratios):
        alarms += any(one.verdict == "slower" for one in decide_family(estimates, threshold))
    return alarms / trials


def _cell(found: Counter[str], trials: int) -> str:
    shares = (100 * found[verdict] / trials for verdict in ("faster", "equivalent", "slower"))
    return " / ".join(f"{share:.1f}" for share in shares)


def _row(*cells: str) -> str:
    return "".join(f"{cell:<22}" for cell in cells).rstrip()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=4000)
    tables = {
        table.__name__: table
        for table in (
            *(one_comparison, auto_passes, until_decided, ci_job, busy_machine),
            *(separate_runs, shifted_by_yardstick),
        )
    }
    parser.add_argument("--only", choices=list(tables), help="one table")
    asked = parser.parse_args()
    trials, chosen = asked.trials, [asked.only] if asked.only else [*tables]
    for table in (tables[name] for name in chosen):
        for line in table(trials):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
