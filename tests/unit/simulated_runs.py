"""Runs that never happened: noise, spikes and heat drift laid over the order sdbench really uses.

What the statistics are held against. The truth is known here, so errors can be counted.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sdbench.plan.order import order_slots
from sdbench.stats import Drift, RatioEstimate, drift_between, paired_ratio, welch_ratio, with_drift
from sdbench.worker.pass_count import why_enough


@dataclass(frozen=True)
class World:
    """How a machine misbehaves. Shares: 0.015 is 1.5%."""

    process_noise: float = 0.015
    """Standard deviation between processes (layout, placement)."""
    pass_noise: float = 0.01
    steady_passes: int = 4
    spike_chance: float = 0.03
    """Of each pass: something else ran, and it took 10 to 60% longer."""
    heat: float = 0.05
    """How much slower the machine is when it is warm."""
    warm_after: float = 0.35
    """The share of the run after which two thirds of the warming are done."""


USUAL = World()
STILL = World(heat=0.0, spike_chance=0.0)


def medians_of(
    world: World, random: np.random.Generator, blocks: int, ratios: list[float]
) -> list[tuple[dict[int, float], dict[int, float]]]:
    """For each case the process medians of base and new by block; ``ratios`` are the truth."""
    names = [f"case-{index}" for index in range(len(ratios))]
    slots = order_slots(names, ["base", "new"], blocks, seed=int(random.integers(1 << 30)))
    times = np.arange(len(slots)) / len(slots)
    level = 1 + world.heat * (1 - np.exp(-times / world.warm_after))
    shape = len(slots), world.steady_passes
    passes = np.exp(random.normal(0, world.pass_noise, shape))
    spiked = random.random(shape) < world.spike_chance
    passes *= np.where(spiked, random.uniform(1.1, 1.6, shape), 1.0)
    process = np.exp(random.normal(0, world.process_noise, len(slots)))
    medians = np.median(passes, axis=1) * process * level
    sides: list[tuple[dict[int, float], dict[int, float]]] = [({}, {}) for _ in ratios]
    for slot, median in zip(slots, medians, strict=True):
        case = names.index(slot.case_id)
        is_new = slot.arm == "new"
        sides[case][is_new][slot.block] = float(median) * (ratios[case] if is_new else 1.0)
    return sides


def estimates_of(
    world: World, seed: int, trials: int, blocks: int, ratios: list[float]
) -> Iterator[list[RatioEstimate]]:
    """One comparison after another."""
    random = np.random.default_rng(seed)
    for _ in range(trials):
        sides = medians_of(world, random, blocks, ratios)
        yield [paired_ratio(base, new) for base, new in sides]


def busy_estimates_of(
    world: World, seed: int, trials: int, blocks: int, ratio: float, chance: float, *, marked: bool
) -> Iterator[RatioEstimate]:
    """One case while another program comes and goes: it holds up that share of the processes.

    Such a process takes 10 to 60% longer as a whole. ``marked``: sdbench has seen which they are.
    """
    random = np.random.default_rng(seed)
    for _ in range(trials):
        (sides,) = medians_of(world, random, blocks, [ratio])
        busy = set()
        for side in sides:
            for block in side:
                if random.random() < chance:
                    side[block] *= random.uniform(1.1, 1.6)
                    busy.add(block)
        estimate = paired_ratio(*sides)
        if busy and marked:
            base, new = (
                {block: time for block, time in side.items() if block not in busy} for side in sides
            )
            estimate = dataclasses.replace(estimate, undisturbed=paired_ratio(base, new))
        yield estimate


@dataclass(frozen=True)
class Wander:
    """How a machine drifts between separate runs, and what the yardstick sees of it."""

    between: float = 0.05
    """Standard deviation of the log of a run's time."""
    within: float = 0.5
    """The same for how far the machine walks within one run, as a share of ``between``."""
    correlation: float = 0.75
    """Of the drift that the case meets with the one that the yardstick meets."""
    sensitivity: float = 1.0
    """How far the yardstick moves when the case moves by one."""
    process_noise: float = 0.015
    reading_noise: float = 0.01
    """Of one of the two readings in a process."""
    earlier: int = 0
    """Runs made before, which are a history."""
    earlier_between: float | None = None
    """``between`` when those were made; None: the same."""


@dataclass(frozen=True)
class SeparateRun:
    """Process medians of a case and of the yardstick."""

    case: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    yardstick: "np.ndarray[tuple[int], np.dtype[np.float64]]"


def separate_run(
    wander: Wander, random: np.random.Generator, processes: int, ratio: float, between: float
) -> SeparateRun:
    """One run that is made by itself."""

    def states() -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        steps = random.normal(0, wander.within * between / math.sqrt(processes), processes)
        return random.normal(0, between) + np.cumsum(steps)

    met, alone = states(), states()
    seen = wander.correlation * met + math.sqrt(1 - wander.correlation**2) * alone
    noise = random.normal(0, wander.process_noise, processes)
    readings = random.normal(0, wander.reading_noise, (2, processes)).mean(axis=0)
    readings += random.normal(0, wander.process_noise / 2, processes)
    return SeparateRun(ratio * np.exp(met + noise), np.exp(wander.sensitivity * seen + readings))


def separate_estimates_of(
    wander: Wander,
    seed: int,
    trials: int,
    processes: int,
    ratio: float,
    *,
    prior: float = 0.15,
    same_software: bool = True,
    yardstick: bool = True,
    weight: float = 0.0,
) -> Iterator[RatioEstimate]:
    """Two runs, one after the other, as ``compare`` judges them; ``ratio`` is the truth.

    ``weight`` is by how much of the yardstick's ratio the ratio would be shifted; sdbench does not.
    """
    random = np.random.default_rng(seed)
    before = wander.between if wander.earlier_between is None else wander.earlier_between
    for _ in range(trials):
        earlier = [
            float(np.median(separate_run(wander, random, processes, 1.0, before).case))
            for _ in range(wander.earlier)
        ]
        base = separate_run(wander, random, processes, 1.0, wander.between)
        new = separate_run(wander, random, processes, ratio, wander.between)
        readings = [[*map(float, run.yardstick)] if yardstick else [] for run in (base, new)]
        drift: Drift = drift_between(
            readings[0], readings[1], [earlier], prior, same_software=same_software
        )
        estimate = with_drift(welch_ratio([*base.case], [*new.case]), drift)
        assert estimate.log is not None
        yield dataclasses.replace(estimate, log=estimate.log - weight * (drift.machine_log or 0))


def auto_estimates_of(
    world: World, seed: int, trials: int, blocks: int, ratio: float, pass_s: float, start_s: float
) -> Iterator[RatioEstimate]:
    """One case with ``passes = "auto"``: each process makes as many passes as a worker would.

    Its passes take about so many seconds, its start-up as many as that.
    """
    random = np.random.default_rng(seed)
    for _ in range(trials):
        slots = order_slots(["case"], ["base", "new"], blocks, seed=int(random.integers(1 << 30)))
        sides: tuple[dict[int, float], dict[int, float]] = ({}, {})
        for place, slot in enumerate(slots):
            level = 1 + world.heat * (1 - math.exp(-place / len(slots) / world.warm_after))
            level *= pass_s * math.exp(random.normal(0, world.process_noise))
            level *= ratio if slot.arm == "new" else 1.0
            times = [2 * pass_s]
            while why_enough("auto", times, start_s=start_s) is None:
                spiked = random.random() < world.spike_chance
                spike = random.uniform(1.1, 1.6) if spiked else 1.0
                times.append(level * spike * math.exp(random.normal(0, world.pass_noise)))
            sides[slot.arm == "new"][slot.block] = float(np.median(times[1:]))
        yield paired_ratio(*sides)
