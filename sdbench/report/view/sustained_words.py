"""How the speed of a process developed, with temperature and power: for ``sustain_minutes``."""

from collections.abc import Sequence

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.run_summary import sustained_of
from sdbench.report.view.model import SustainedCurve
from sdbench.report.view.passes import sustained_words
from sdbench.report.view.timelines import readings_of
from sdbench.runs import LoadedRun

_MOST_CURVES = 4


def sustained_curves(loaded: LoadedRun, rows: Sequence[CaseResult]) -> list[SustainedCurve]:
    """Of the first processes that were to go on for some minutes."""
    if not loaded.run.config.get("sustain_minutes"):
        return []
    found = []
    asked = [(row, entry) for row in rows for entry in row.replicates]
    for row, entry in asked[:_MOST_CURVES]:
        judged = sustained_of(entry)
        steady = entry.steady_passes
        if judged.first_s is None:
            continue
        begins = [one.begin_t or 0.0 for one in steady]
        readings = readings_of(loaded.files, loaded.timeline_name(entry))
        inside = [one for one in readings if begins[0] <= one.t]
        found.append(
            SustainedCurve(
                name=f"{row.name}, run {entry.block + 1}",
                sentence=f"{sustained_words(judged)}.",
                begin_s=[begin - begins[0] for begin in begins],
                pass_s=[one.duration_s for one in steady],
                slows_after_s=judged.slows_after_s,
                temperature_c=[
                    (one.t - begins[0], one.gpu_temperature_c)
                    for one in inside
                    if one.gpu_temperature_c is not None
                ],
                power_w=[
                    (one.t - begins[0], one.gpu_power_w)
                    for one in inside
                    if one.gpu_power_w is not None
                ],
            )
        )
    return found
