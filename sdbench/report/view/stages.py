"""What the profiling passes tell: where time goes, and how latents part from the CPU's."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.efficiency import StageEfficiency
from sdbench.analysis.telemetry import STAGE_NAMES, StageName
from sdbench.records import CORRECTNESS_SEVERITY, Divergence, Pass, Stage
from sdbench.report.view.model import DivergenceCurve, StageRow, StageShare

MAX_STAGE_ROWS = 12
MAX_CURVES = 8
STAGE_WORDS = {
    "text_encoder": "text encoder",
    "vae_encode": "VAE encode",
    "denoising_step": "denoising",
    "vae_decode": "VAE decode",
    "other": "the rest",
}


def stages_of(rows: Sequence[CaseResult]) -> tuple[list[StageRow], str | None]:
    """One profiled pass a row, the longest first if not all fit; and what is left out."""
    found = [_stage_row(row, profiled) for row in rows if (profiled := _profiled(row)) is not None]
    if len(found) <= MAX_STAGE_ROWS:
        return found, None
    longest = sorted(found, key=lambda entry: entry.total_s, reverse=True)[:MAX_STAGE_ROWS]
    return longest, f"The {MAX_STAGE_ROWS} longest of {len(found)} cases are shown."


def _profiled(row: CaseResult) -> Pass | None:
    """The last profiling pass with stages."""
    for replicate in reversed(row.replicates):
        for entry in replicate.of_kind("profile"):
            if entry.stages:
                return entry
    return None


def _stage_row(row: CaseResult, profiled: Pass) -> StageRow:
    stages = profiled.stages or []
    calls = Counter(stage.stage for stage in stages)
    spent = {
        name: sum(stage.duration_s for stage in stages if stage.stage == name) for name in calls
    }
    rest = profiled.duration_s - sum(spent.values())
    if rest > 0:
        spent["other"] = rest
    total = sum(spent.values())
    reported = row.summary.efficiency
    efficiencies = {entry.stage: entry for entry in reported.stages}
    return StageRow(
        name=row.name,
        total_s=total,
        stages=[
            StageShare(
                stage=name,
                words=STAGE_WORDS.get(name, name.replace("_", " ")),
                calls=calls[name],
                seconds=seconds,
                share=seconds / total if total else 0.0,
                peak_bytes=_peak(stages, name),
                flops_per_s=None
                if (one := _named(efficiencies, name)) is None
                else one.achieved_flops_per_s,
                share_of_ceiling=None if one is None else one.ceiling_share,
            )
            for name, seconds in spent.items()
        ],
        flops_per_s=reported.achieved_flops_per_s,
        share_of_ceiling=reported.ceiling_share,
        not_known="; ".join(dict.fromkeys(reported.unavailable.values())) or None,
    )


def _named(efficiencies: Mapping[StageName, StageEfficiency], stage: str) -> StageEfficiency | None:
    name = STAGE_NAMES.get(stage)
    return None if name is None else efficiencies.get(name)


def _peak(stages: Sequence[Stage], name: str) -> int | None:
    peaks = [
        stage.footprint_peak_bytes if stage.peak_bytes is None else stage.peak_bytes
        for stage in stages
        if stage.stage == name
    ]
    return max((peak for peak in peaks if peak is not None), default=None)


def divergence_of(rows: Sequence[CaseResult]) -> tuple[list[DivergenceCurve], str | None]:
    """One image a row, the one furthest away; the worst rows first if not all fit."""
    found: list[tuple[tuple[int, float], DivergenceCurve]] = []
    for row in rows:
        curves = [(record, curve) for record in row.compared for curve in record.divergence]
        if not curves:
            continue
        record, worst = max(curves, key=lambda pair: _excess(pair[1]))
        rank = CORRECTNESS_SEVERITY.index(record.verdict), -_excess(worst)
        curve = DivergenceCurve(
            name=row.name,
            step=worst.step,
            rel_l2=worst.rel_l2,
            allowed_rel_l2=worst.allowed_rel_l2,
        )
        found.append((rank, curve))
    if len(found) <= MAX_CURVES:
        return [curve for _, curve in found], None
    worst_first = sorted(found, key=lambda pair: pair[0])[:MAX_CURVES]
    sentence = (
        f"The {MAX_CURVES} cases of {len(found)} with the largest differences from the CPU are "
        "shown."
    )
    return [curve for _, curve in worst_first], sentence


def _excess(curve: Divergence) -> float:
    """The largest distance over what is allowed; what is not finite is furthest."""
    if None in curve.rel_l2:
        return float("inf")
    ratios = [
        distance / allowed
        for distance, allowed in zip(curve.rel_l2, curve.allowed_rel_l2, strict=True)
        if distance is not None and allowed
    ]
    return max(ratios, default=max((entry or 0.0 for entry in curve.rel_l2), default=0.0))
