"""From loaded runs to a story: reads what runs have kept, then lays it out.

Findings, recommendation and verdicts are ``insight``'s, times and outcomes ``summary``'s, ratios
``comparison``'s; here they are only combined.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from sdbench.analysis.case_result import CaseResult, rows_of
from sdbench.analysis.case_words import case_words, process_name
from sdbench.analysis.run_summary import memory_limit_bytes, summary_of
from sdbench.comparison import (
    Comparison,
    History,
    compare_axis,
    compare_runs,
    history_of,
    pasts_around,
)
from sdbench.correctness.artifact_files import Artifacts, most_pixels
from sdbench.correctness.equality import check_equality
from sdbench.diagnosis.diagnose import diagnose
from sdbench.diagnosis.result import Diagnosis
from sdbench.errors import SdbenchError
from sdbench.models.family import kind_of_pipeline
from sdbench.report.view.cases import cells_of
from sdbench.report.view.efficiency_words import efficiency_sentence
from sdbench.report.view.findings import finding_stories
from sdbench.report.view.headline import headline_of
from sdbench.report.view.model import Comparisons, Report, RunReport
from sdbench.report.view.schedule import schedules_of
from sdbench.report.view.setup import environment_lines, marks_of, method_lines
from sdbench.report.view.stages import divergence_of, stages_of
from sdbench.report.view.summary_words import spread_lines
from sdbench.report.view.sustained_words import sustained_curves
from sdbench.report.view.telemetry_words import prediction_lines
from sdbench.report.view.timelines import timelines_of
from sdbench.runs import LoadedRun
from sdbench.runs.reading import without_collecting
from sdbench.runs.voided import voided_by

# A line through fewer would be an opinion.
_MIN_HISTORY = 3


def build_report(runs: Sequence[LoadedRun]) -> Report:
    """The story of one run, or of several with their comparison first.

    What cannot be read or compared is said in the story; nothing is raised for it. A run goes by
    its id, never by where it lies on somebody's disk: pages travel.
    """
    schedules = schedules_of(runs)
    runs = [
        dataclasses.replace(loaded, path=Path(loaded.run.run_id), folder=loaded.files)
        for loaded in runs
    ]
    stories = [build_run_report(loaded) for loaded in runs]
    return Report(
        title=_title(runs),
        runs=stories,
        comparisons=_comparisons(runs),
        history=_history(runs),
        schedules=schedules,
    )


@without_collecting()
def diagnosed(
    loaded: LoadedRun,
    rows: Sequence[CaseResult] | None = None,
    artifacts: Artifacts | None = None,
) -> Diagnosis:
    """The diagnosis of a run; ``rows`` are ``rows_of(loaded)`` if there already.

    ``artifacts`` are its images and latents; None: those in its folder.
    """
    equalities = check_equality(
        loaded.run,
        loaded.replicates,
        loaded.compared,
        artifacts or Artifacts(loaded.files, most_pixels(loaded.run.plan)),
    )
    return diagnose(loaded, equalities, rows)


@without_collecting()
def build_run_report(loaded: LoadedRun, *, details: bool = True) -> RunReport:
    """Everything one run has to say; without ``details`` no more than fits on one screen.

    (Left out are the times of each process, timelines, stages and divergence.)
    """
    run, summary = loaded.run, summary_of(loaded)
    rows = rows_of(loaded, summary)
    diagnosis = diagnosed(loaded, rows)
    recommended = {
        (choice.case_id, choice.arm)
        for goal in diagnosis.recommendation.goals
        for choice in (goal.latency, goal.throughput)
        if choice is not None
    }
    cells = cells_of(rows, recommended, processes=details)
    detailed = rows if details else []
    limit = memory_limit_bytes(run, loaded.replicates)
    # A timeline is drawn from the file, in which a counter that failed its selftest still is.
    drawn = [] if {"footprint", "available", "swap"} & voided_by(run.selftest).keys() else detailed
    timelines, timelines_left_out = timelines_of(loaded, drawn, limit)
    stages, stages_left_out = stages_of(detailed)
    divergence, divergence_left_out = divergence_of(detailed)
    names = {planned.case_id: case_words(planned.case) for planned in run.plan.cases}
    return RunReport(
        summary=summary,
        diagnosis=diagnosis,
        label=run.label,
        created_utc=run.created_utc,
        marks=[*marks_of(loaded, summary)],
        missing=_missing(loaded),
        notes=[
            *prediction_lines(summary),
            *(note for note in diagnosis.notes if note not in loaded.warnings),
        ],
        headline=headline_of(loaded, summary, diagnosis, cells),
        cells=cells,
        timelines=timelines,
        timelines_left_out=timelines_left_out,
        sustained=sustained_curves(loaded, detailed),
        divergence=divergence,
        divergence_left_out=divergence_left_out,
        stages=stages,
        stages_left_out=stages_left_out,
        efficiency=efficiency_sentence(summary),
        findings=finding_stories(diagnosis.findings, names),
        environment=environment_lines(loaded),
        method=method_lines(loaded, summary),
        spread=[*spread_lines(summary)],
    )


def _missing(loaded: LoadedRun) -> list[str]:
    """Unreadable lines and timelines not written; what else is missing the verdict says."""
    found = [*loaded.warnings]
    for entry in loaded.replicates:
        if entry.telemetry_missing:
            found.append(
                f"{process_name(entry, loaded.run)}: no timeline, {entry.telemetry_missing}"
            )
    return found


def _title(runs: Sequence[LoadedRun]) -> str:
    if len(runs) > 1:
        return f"{len(runs)} runs compared"
    (loaded,) = runs
    kind = kind_of_pipeline(loaded.run.model.pipeline_class)
    return f"{kind} on {loaded.run.device}: {loaded.run.label or loaded.run.run_id}"


def _comparisons(runs: Sequence[LoadedRun]) -> Comparisons:
    """Every later run against the first; of a run with several variants, the variants."""
    shown: list[Comparison] = []
    refused: list[str] = []
    for loaded in runs:
        if len(loaded.run.plan.arms) > 1:
            try:
                shown.append(compare_axis([loaded], "arm"))
            except SdbenchError as error:
                refused.append(str(error))
    base, *others = runs
    around = pasts_around(runs) if others else {}
    for new in others:
        try:
            by_machine = new.run.machine_id != base.run.machine_id
            own = {base.files.absolute(), new.files.absolute()}
            pasts = [past for path, past in around.items() if path not in own]
            shown.append(compare_runs(base, new, by_machine=by_machine, pasts=pasts))
        except SdbenchError as error:
            refused.append(f"{base.run.run_id} and {new.run.run_id}: {error}")
    return Comparisons(shown=shown, refused=refused)


def _history(runs: Sequence[LoadedRun]) -> History | None:
    if len(runs) < _MIN_HISTORY or len({loaded.run.machine_id for loaded in runs}) > 1:
        return None
    history = history_of(runs, runs[0].run.machine_id)
    return history if len(history.runs) >= _MIN_HISTORY else None
