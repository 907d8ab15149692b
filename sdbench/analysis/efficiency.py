"""Operations per second of a case compared with those of large matrix products on its device. Pure.

The operations are those of matrix products, convolutions and attention, a multiply-add counting
two, as torch.utils.flop_counter counts them from the shapes. They are compared with the rate of
large square matrix products in the case's dtype, measured in the same variant just before the run.
That is no limit: what runs in other kernels may be beyond it (convolutions on CUDA multiply float32
in TF32, plain products do not; some CPUs have faster convolutions than products).
"""

import math
from collections.abc import Iterable, Sequence

import msgspec

from sdbench.analysis.telemetry import STAGE_NAMES, StageName
from sdbench.records import Case, CountedFlops, Dtype, MatmulRate, Replicate


class StageEfficiency(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the profiling pass, the device synchronised at both ends."""

    stage: StageName
    flops: int
    duration_s: float
    achieved_flops_per_s: float | None
    ceiling_share: float | None


class CaseEfficiency(msgspec.Struct, frozen=True, kw_only=True):
    """A case in a variant; ``unavailable`` says why one is None.

    ``pass_flops`` are those of a measured pass (all images), ``achieved_flops_per_s`` is over the
    steady latency, ``ceiling_share`` what that is of ``ceiling_flops_per_s``, which is the rate of
    what ``ceiling_of`` names (that of all devices where several make a pass together) and no
    limit: what is above it ran in other kernels. ``counted_in``
    names the variant whose torch counted, where that is another.
    """

    pass_flops: int | None
    achieved_flops_per_s: float | None
    ceiling_flops_per_s: float | None
    ceiling_share: float | None
    stages: list[StageEfficiency] = []
    counted_in: str | None = None
    ceiling_of: str | None = None
    unavailable: dict[str, str] = {}

    def at(self, latency_s: float | None) -> "CaseEfficiency":
        """The same at another latency: one process's compared with the case's."""
        achieved = None if self.pass_flops is None else _rate(self.pass_flops, latency_s)
        return msgspec.structs.replace(
            self,
            achieved_flops_per_s=achieved,
            ceiling_share=_share(achieved, self.ceiling_flops_per_s),
        )


def case_efficiency(
    case: Case,
    arm: str,
    replicates: Sequence[Replicate],
    of_all_arms: Iterable[Replicate],
    ceilings: Iterable[MatmulRate],
    latency_s: float | None,
) -> CaseEfficiency:
    """Operations, rate and share of the rate of matrix products of a case in a variant.

    ``of_all_arms`` are the case's replicates in every variant: the shapes are the same in each, so
    a variant whose torch cannot count takes the count of one that can. ``latency_s`` is the steady
    one.
    """
    unavailable: dict[str, str] = {}
    counter = _counter(replicates) or _counter(of_all_arms)
    flops = None if counter is None else counter.flops
    if flops is None:
        unavailable["pass_flops"] = _why_not_counted(replicates)
    elif latency_s is None:
        unavailable["achieved_flops_per_s"] = "no steady latency"
    of_one, why = _ceiling(arm, case, ceilings)
    devices = devices_of(replicates)
    ceiling = None if of_one is None else devices * of_one
    if ceiling is None:
        unavailable["ceiling_flops_per_s"] = why
    achieved = None if flops is None else _rate(flops.measured_pass, latency_s)
    return CaseEfficiency(
        pass_flops=None if flops is None else flops.measured_pass,
        achieved_flops_per_s=achieved,
        ceiling_flops_per_s=ceiling,
        ceiling_share=_share(achieved, ceiling),
        stages=[] if flops is None else _stages(flops, replicates, of_one),
        ceiling_of=None if ceiling is None else product_words(case.dtype, devices),
        counted_in=None if counter is None or counter.arm == arm else counter.arm,
        unavailable=unavailable,
    )


def product_words(dtype: Dtype, devices: int = 1) -> str:
    """What rates are compared with."""
    words = f"large {dtype} matrix products"
    return words if devices == 1 else f"{words} on {devices} devices"


def devices_of(replicates: Iterable[Replicate]) -> int:
    """How many devices make a pass together; the processes of a split share a CPU."""
    counts = (
        entry.processes
        for entry in replicates
        if entry.processes and entry.device.get("kind") != "cpu"
    )
    return max(counts, default=1)


def _counter(replicates: Iterable[Replicate]) -> Replicate | None:
    return next((entry for entry in replicates if entry.flops is not None), None)


def _why_not_counted(replicates: Sequence[Replicate]) -> str:
    reported = (entry.flops_missing for entry in replicates if entry.flops_missing is not None)
    return next(reported, "not counted" if replicates else "not run")


def _ceiling(arm: str, case: Case, ceilings: Iterable[MatmulRate]) -> tuple[float | None, str]:
    for entry in ceilings:
        if (entry.arm, entry.dtype) == (arm, case.dtype):
            return entry.flops_per_s, entry.reason or ""
    return None, "not measured"


def _stages(
    flops: CountedFlops, replicates: Sequence[Replicate], ceiling: float | None
) -> list[StageEfficiency]:
    """Stage times are those of the profiling pass: the timed passes have no marks inside."""
    for replicate in replicates:
        for entry in replicate.of_kind("profile"):
            spent: dict[StageName, list[float]] = {}
            for stage in entry.stages or []:
                name = STAGE_NAMES.get(stage.stage)
                if name is not None:
                    spent.setdefault(name, []).append(stage.duration_s)
            return [
                _stage(name, getattr(flops, name), math.fsum(times), ceiling)
                for name, times in spent.items()
            ]
    return []


def _stage(
    name: StageName, flops: int, duration_s: float, ceiling: float | None
) -> StageEfficiency:
    achieved = _rate(flops, duration_s)
    return StageEfficiency(
        stage=name,
        flops=flops,
        duration_s=duration_s,
        achieved_flops_per_s=achieved,
        ceiling_share=_share(achieved, ceiling),
    )


def _rate(flops: int, duration_s: float | None) -> float | None:
    return flops / duration_s if duration_s else None


def _share(achieved: float | None, ceiling: float | None) -> float | None:
    return None if achieved is None or ceiling is None else achieved / ceiling
