"""Predictions for Apple's chips before any Mac has run sdbench: seconds of an image, and the first
size that fails. Pure.

Times rest on ``knowledge/chip_figures.toml``, memory on ``plan/predicted_memory.py``, limits of
arrays on ``knowledge/attention_limits.py``. No figure here was measured on a Mac. Of a chip that is
not listed nothing is predicted, and neither of a model whose family no public report is of.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from sdbench.knowledge.chip_figures import Chip, ChipFigures, Report, load_chip_figures
from sdbench.models.family import family_of
from sdbench.models.resolve import find_model
from sdbench.plan.config import Config
from sdbench.plan.cost import Rates, work_flops
from sdbench.plan.predicted_time import (
    ExpectedRate,
    Reached,
    predict_time,
    reached_by,
    share_of_peak,
)
from sdbench.records import Case, DeviceKind, Dtype, ModelInfo, Plan

# The architecture that the reports of a family are of; all of them are with guidance.
_REPORTED_MODEL = {"sd": "synthetic/sd15", "sdxl": "synthetic/sdxl"}
_FAMILY_WORDS = {"sd": "Stable Diffusion 1 and 2", "sdxl": "SDXL"}
_GUIDANCE_SCALE = 7.5
NO_MAC_YET = "no Mac has run sdbench yet"


class RateBounds(NamedTuple):
    """Rates by data type: the expected ones, and the bounds of their intervals."""

    expected: Rates
    lowest: Rates
    highest: Rates


@dataclass(frozen=True)
class KnownChip:
    """The chip of a machine, as far as figures of it were published."""

    chip: Chip
    gpu_cores: int | None

    @property
    def words(self) -> str:
        """``Apple M4, 10 GPU cores``."""
        if self.gpu_cores is None:
            return f"{self.chip.name}, {self.chip.gpu_cores} GPU cores assumed"
        return f"{self.chip.name}, {self.gpu_cores} GPU cores"


def known_chip(machine: Mapping[str, Any], figures: ChipFigures | None = None) -> KnownChip | None:
    """Of a machine's record (``chip``, ``gpu_cores``); None where nothing is predicted of its
    chip."""
    name = machine.get("chip")
    chip = (figures or load_chip_figures()).named(name if isinstance(name, str) else None)
    if chip is None:
        return None
    cores = machine.get("gpu_cores")
    return KnownChip(chip, cores if isinstance(cores, int) and cores > 0 else None)


def share_of(report: Report, figures: ChipFigures) -> float:
    """What share of its chip's peak a report reached."""
    chip = figures.named(report.chip)
    assert chip is not None  # parse_chip_figures checks it
    config, case = _reported_work(report)
    return share_of_peak(
        work_flops(config, case, _reported_model(report.family)),
        report.steps if report.of == "image" else None,
        report.seconds,
        chip.peak_flops_per_s(report.gpu_cores),
    )


def reached(family: str, dtype: Dtype, figures: ChipFigures) -> Reached | None:
    """What the reports of a family in a data type reached; None of fewer than three of them."""
    return reached_by([share_of(one, figures) for one in _reports_of(family, dtype, figures)])


def expected_rate(
    known: KnownChip, model: ModelInfo, dtype: Dtype, figures: ChipFigures | None = None
) -> ExpectedRate | None:
    """The rate that a chip is expected to reach with a model; None where no reports tell."""
    figures = figures or load_chip_figures()
    family, _ = family_of(model.pipeline_class)
    found = None if family is None else reached(family, dtype, figures)
    if family is None or found is None:
        return None
    peak = known.chip.peak_flops_per_s(known.gpu_cores)
    return ExpectedRate(
        flops_per_s=peak * found.share,
        low=peak * found.low,
        high=peak * found.high,
        basis=(
            f"{known.words}: {peak / 1e12:.3g} TFLOP/s at most by published figures, of which "
            f"{found.reports} public reports of {_FAMILY_WORDS.get(family, family)} in {dtype} "
            f"reached {found.share:.0%}"
        ),
    )


def rates_of(machine: Mapping[str, Any], model: ModelInfo, device: DeviceKind) -> RateBounds | None:
    """The rates that a Mac is expected to reach; None on another device and where nothing is
    predicted."""
    known = known_chip(machine) if device == "mps" else None
    if known is None:
        return None
    dtypes: tuple[Dtype, ...] = ("float32", "float16")
    found = {dtype: rate for dtype in dtypes if (rate := expected_rate(known, model, dtype))}
    if not found:
        return None
    return RateBounds(
        {dtype: rate.flops_per_s for dtype, rate in found.items()},
        {dtype: rate.low for dtype, rate in found.items()},
        {dtype: rate.high for dtype, rate in found.items()},
    )


def expected_of(found: RateBounds | None) -> Rates | None:
    """The expected rates, where there are some."""
    return None if found is None else found.expected


def with_times(
    plan: Plan, config: Config, model: ModelInfo, machine: Mapping[str, Any], device: DeviceKind
) -> Plan:
    """The plan with the predicted time of each of its cases, where there is one.

    ``plan`` has the predicted memory: a case that needs more than the machine has will swap, and
    then the time is not that of the arithmetic.
    """
    known = known_chip(machine) if device == "mps" else None
    if known is None:
        return plan
    total = machine.get("memory_bytes")
    cases = []
    for planned in plan.cases:
        rate = expected_rate(known, model, planned.case.dtype)
        needed = 0 if planned.memory is None else planned.memory.process_bytes
        fits = not isinstance(total, int) or needed <= total
        if planned.skip_reason is None and rate is not None and fits:
            time = predict_time(config, planned.case, model, rate)
            planned = msgspec.structs.replace(planned, time=time)
        cases.append(planned)
    return msgspec.structs.replace(plan, cases=cases)


def why_not_predicted(
    plan: Plan, machine: Mapping[str, Any], model: ModelInfo, device: DeviceKind
) -> str | None:
    """One sentence where a Mac's times are not predicted; None where they are, or on no Mac."""
    if device != "mps" or any(one.time is not None for one in plan.cases):
        return None
    if known_chip(machine) is None:
        chip = machine.get("chip") or "this machine's chip"
        return f"no times are predicted for {chip}: sdbench has no published figures of it"
    if rates_of(machine, model, device) is None:
        return f"no times are predicted for {model.name}: no public report is of its family"
    return (
        "no times are predicted for these cases: too little work for a step, more memory than the "
        "machine has, or settings that no public report is of"
    )


def basis_words(figures: ChipFigures | None = None) -> str:
    """What predictions rest on, for a person."""
    scored = (figures or load_chip_figures()).scored_runs
    seen = NO_MAC_YET if not scored else f"compared with {scored} runs of real Macs so far"
    return f"predicted from published figures of the chip and public reports; {seen}"


def _reports_of(family: str, dtype: Dtype, figures: ChipFigures) -> Iterator[Report]:
    return (one for one in figures.report if (one.family, one.dtype) == (family, dtype))


@functools.cache
def _reported_model(family: str) -> ModelInfo:
    return find_model(_REPORTED_MODEL[family]).outline()


def _reported_work(report: Report) -> tuple[Config, Case]:
    """What the report's Mac computed: with guidance, from text, one image."""
    return _plain_config(report.steps or 1), Case(resolution=report.resolution, dtype=report.dtype)


def _plain_config(steps: int) -> Config:
    return Config(steps=steps, guidance_scale=_GUIDANCE_SCALE, scheduler="ddim")
