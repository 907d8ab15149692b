"""How far from the device's limit a case is, or a run came, in a sentence."""

from sdbench.efficiency import CaseEfficiency
from sdbench.summary import RunSummary
from sdbench.telemetry import StageName

_STAGE_WORDS: dict[StageName, str] = {
    "text_encoder": "text encoder",
    "denoising": "denoising",
    "vae_decode": "VAE decode",
}


def efficiency_words(found: CaseEfficiency) -> str:
    """``27.6 TFLOP a pass, 6.91 TFLOP/s: 35% of the 20 TFLOP/s that large products reach …``."""
    if found.pass_flops is None:
        return f"not known ({found.unavailable['pass_flops']})"
    words = f"{_flops(found.pass_flops)} a pass"
    if found.counted_in is not None:
        words += f" (counted in {found.counted_in})"
    if found.achieved_flops_per_s is not None:
        words += f", {rate_words(found.achieved_flops_per_s)}"
        if found.ceiling_share is not None and found.ceiling_flops_per_s is not None:
            limit = f"{rate_words(found.ceiling_flops_per_s)} that large products reach here"
            words += f": {found.ceiling_share:.0%} of the {limit}"
    stages = [
        f"{_STAGE_WORDS[stage.stage]} {stage.ceiling_share:.0%}"
        for stage in found.stages
        if stage.ceiling_share is not None
    ]
    if stages:
        words += f"; in the profiling pass {', '.join(stages)}"
    return words


def efficiency_sentence(summary: RunSummary) -> str | None:
    """How near its limit the device came in a run; None where that is not known."""
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
    return (
        f"Efficiency: {low if low == high else f'{low} to {high}'} of the rate of large matrix "
        f"products here ({rates})."
    )


def _flops(count: int) -> str:
    return f"{count / 1e12:.3g} TFLOP" if count >= 1e11 else f"{count / 1e9:.3g} GFLOP"


def rate_words(flops_per_s: float) -> str:
    """``6.91 TFLOP/s``."""
    return f"{_flops(round(flops_per_s))}/s"
