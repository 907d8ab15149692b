"""Runs that never happened: noise, spikes and heat drift laid over the order sdbench really uses.

What the statistics are held against. The truth is known here, so errors can be counted.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sdbench.plan import order_slots
from sdbench.stats import RatioEstimate, paired_ratio
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


def standard_error(share: float, trials: int) -> float:
    """Of a share counted in that many trials."""
    return math.sqrt(share * (1 - share) / trials)
