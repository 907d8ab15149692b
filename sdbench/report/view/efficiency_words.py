"""Describes a case's operations per second compared with those of large matrix products of its
dtype.

The share is of a rate that was measured, not of a limit: what runs in other kernels may be above.
"""

from sdbench.analysis.efficiency import CaseEfficiency, product_words
from sdbench.analysis.run_summary import RunSummary
from sdbench.analysis.telemetry import StageName
from sdbench.records import Dtype

EXPLAINED = (
    "Rates are compared with that of large matrix products of the case's dtype, measured on this "
    "device. It is not a limit: a stage above 100% uses kernels other than matrix products "
    "(convolutions, attention)."
)
_STAGE_WORDS: dict[StageName, str] = {
    "text_encoder": "text encoder",
    "vae_encode": "VAE encode",
    "denoising": "denoising",
    "vae_decode": "VAE decode",
}


def efficiency_words(found: CaseEfficiency, dtype: Dtype) -> str:
    """``27.6 TFLOP a pass, 6.91 TFLOP/s: 35% of the rate of large float16 matrix products …``."""
    if found.pass_flops is None:
        return f"not known ({found.unavailable['pass_flops']})"
    words = f"{_flops(found.pass_flops)} per pass"
    if found.counted_in is not None:
        words += f" (counted in {found.counted_in})"
    if found.achieved_flops_per_s is not None:
        words += f", {rate_words(found.achieved_flops_per_s)}"
        if found.ceiling_share is not None and found.ceiling_flops_per_s is not None:
            words += f": {share_words(found.ceiling_share, dtype)} "
            words += f"({rate_words(found.ceiling_flops_per_s)} here)"
    stages = [
        f"{_STAGE_WORDS[stage.stage]} {stage_share_words(stage.ceiling_share)}"
        for stage in found.stages
        if stage.ceiling_share is not None
    ]
    if stages:
        words += f"; of that rate in the profiling pass: {', '.join(stages)}"
    return words


def stage_share_words(share: float) -> str:
    """``83%``, ``212% (other kernels)``: a stage that exceeds the rate of matrix products does not
    compute by them."""
    return f"{share:.0%} (other kernels)" if share > 1 else f"{share:.0%}"


def share_words(share: float, dtype: Dtype) -> str:
    """``35% of the rate of large float16 matrix products``, with what being above it means."""
    words = f"{share:.0%} of the rate of {product_words(dtype)}"
    return f"{words}, so it uses other kernels" if share > 1 else words


def efficiency_sentence(summary: RunSummary) -> str | None:
    """At what share of the rate of matrix products a run's cases were computed; None: not known."""
    found = [row.efficiency for row in summary.cases]
    shares = [one.ceiling_share for one in found if one.ceiling_share is not None]
    if not shares:
        return None
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    limits: dict[str, list[float]] = {}
    for row in summary.cases:
        if row.efficiency.ceiling_flops_per_s is not None:
            limits.setdefault(row.case.dtype, []).append(row.efficiency.ceiling_flops_per_s)
    rates = ", ".join(f"{dtype} {rate_words(max(limits[dtype]))}" for dtype in sorted(limits))
    above = "; above 100% kernels other than matrix products ran" if max(shares) > 1 else ""
    return (
        f"Efficiency: {low if low == high else f'{low} to {high}'} of the rate of large matrix "
        f"products here ({rates}){above}."
    )


def _flops(count: int) -> str:
    return f"{count / 1e12:.3g} TFLOP" if count >= 1e11 else f"{count / 1e9:.3g} GFLOP"


def rate_words(flops_per_s: float) -> str:
    """``6.91 TFLOP/s``."""
    return f"{_flops(round(flops_per_s))}/s"
