"""Predicted memory on the terminal: the verdict, a bar for each stage, and what would fit."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from sdbench.analysis.case_words import case_words
from sdbench.plan.fit import Demand, Fit, fit_of
from sdbench.records import MemoryStage, Plan
from sdbench.report.terminal.lines import say_plain
from sdbench.runner.fit_of_sizes import SizeFit
from sdbench.runner.memory_fit import MemoryFit
from sdbench.words import size

FIT_WORDS: dict[Fit, str] = {
    "fits": "fits",
    "tight": "tight: it barely fits, or does not fit if the prediction is somewhat low",
    "unknown": "unknown: not all required facts are known",
    "swaps": "swaps: more than the free memory, so the system will swap or compress memory",
    "fails": "fails: more than the total memory",
}
STAGE_WORDS: dict[MemoryStage, str] = {
    "load": "load",
    "text_encoder": "text encoders",
    "vae_encode": "VAE encode",
    "denoising": "denoising",
    "vae_decode": "VAE decode",
}
_MEMORY_WORDS = {"device": "of the device's memory", "machine": "of the machine's memory"}
_BAR = 30


def fit_sentence(fit: MemoryFit, plan: Plan) -> str:
    """Whether a plan fits, and what of it fits least."""
    if fit.worst is None:
        return "no case is left to run"
    demand = fit.demands[fit.worst]
    if demand is None:
        return "unknown: the size of the model is unknown before it is downloaded"
    words = f"{FIT_WORDS[demand.fit]}; predicted for {case_words(plan.planned(fit.worst).case)}"
    if len(fit.demands) == 1:
        return words
    counted_fits = Counter(fit_of(one) for one in fit.demands.values())
    counts = ", ".join(f"{fit} {count}" for fit, count in counted_fits.items())
    return f"{words}, the worst of {len(fit.demands)} cases ({counts})"


def show_bars(fit: MemoryFit, plan: Plan, out: Console) -> None:
    """Of the case that fits least its stages, and what would make it fit."""
    demand = None if fit.worst is None else fit.demands[fit.worst]
    if fit.worst is None or demand is None:
        return
    for line in stage_bars(demand):
        out.print(f"  {line}", markup=False, soft_wrap=True)
    memory = plan.planned(fit.worst).memory
    if memory is not None and memory.from_sizes:
        say_plain(out, sizes_words(memory.from_sizes), lead="  ")
    if fit.command is not None:
        out.print(f"  to make it fit: {fit.command}", markup=False, soft_wrap=True)
    elif demand.fit in ("swaps", "fails"):
        out.print("  no setting of a case makes it fit: use a smaller model, or free memory")


def sizes_words(names: Sequence[str]) -> str:
    """What an upper estimate rests on."""
    return f"{', '.join(names)}: of an unknown class, so this is an upper estimate"


def show_sizes(sizes: Sequence[SizeFit], model: str, out: Console) -> None:
    """Whether a model fits at several sizes: for each one the verdict, the stages, the remedy."""
    out.print("")
    if all(one.memory is None for one in sizes):
        words = "unknown: the size of the model is unknown before it is downloaded"
        out.print(f"memory of {model}: {words}", markup=False, soft_wrap=True)
        return
    for one in sizes:
        case = one.plan.cases[0].case
        what = f"memory of {model}, {one.resolution} in {case.dtype}: {FIT_WORDS[one.fit.fit]}"
        out.print(what, markup=False, soft_wrap=True)
        show_bars(one.fit, one.plan, out)


def stage_bars(demand: Demand) -> list[str]:
    """A line for each stage and one for what is free, drawn to the same scale."""
    longest = max(demand.peak_bytes, demand.free_bytes or 0, 1)
    rows = [(STAGE_WORDS[stage], size_bytes, "█") for stage, size_bytes in demand.stages]
    lines = [_bar(words, size_bytes, longest, mark) for words, size_bytes, mark in rows]
    memory = _MEMORY_WORDS[demand.memory]
    if demand.free_bytes is None:
        return [*lines, f"{'free now':<13}  unknown {memory}"]
    return [*lines, f"{_bar('free now', demand.free_bytes, longest, '░')} {memory}"]


def _bar(words: str, size_bytes: float, longest: float, mark: str) -> str:
    length = max(1, round(_BAR * size_bytes / longest)) if size_bytes else 0
    return f"{words:<13}  {mark * length:<{_BAR}}  {size(size_bytes):>7}"
