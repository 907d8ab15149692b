"""The first screen."""

from collections.abc import Sequence

from sdbench.analysis.case_words import arm_words
from sdbench.analysis.run_summary import RunSummary
from sdbench.diagnosis.result import Choice, Diagnosis, Gain, Goal
from sdbench.records import Case, Plan
from sdbench.report.view.cases import settings_words
from sdbench.report.view.first_screen import answers_in_times, claims_words, subject_words
from sdbench.report.view.model import Advice, CaseView, Headline, Tone
from sdbench.report.view.setup import machine_lines, setup_of, setup_sentence
from sdbench.runs import LoadedRun
from sdbench.stats import DEFAULT_THRESHOLD

_USUAL_SIZE = "512x512"


def headline_of(
    loaded: LoadedRun, summary: RunSummary, diagnosis: Diagnosis, cells: Sequence[CaseView]
) -> Headline:
    """Right or wrong, how fast, what to use."""
    setup = setup_of(loaded, summary)
    tone, sentence = setup_sentence(setup)
    recommendation = diagnosis.recommendation
    advice = [entry for goal in recommendation.goals for entry in _advice(goal, loaded.run.plan)]
    timed = [cell for cell in cells if cell.seconds_per_picture is not None]
    main = max(
        (entry for entry in advice if entry.purpose == "one image"),
        key=lambda entry: size_rank(entry.choice.case),
        default=None,
    )
    main_cell = max(
        (cell for cell in timed if cell.summary.case.batching == "loop"),
        key=lambda cell: (size_rank(cell.summary.case), -len(cell.summary.case.words())),
        default=None,
    )
    return Headline(
        tone=_tone(diagnosis, cells),
        machine=machine_lines(loaded),
        setup_tone=tone,
        setup_sentence=sentence,
        setup=setup,
        fastest=min(advice, key=lambda entry: entry.choice.seconds_per_picture, default=None),
        quickest=min(timed, key=lambda cell: cell.seconds_per_picture or 0.0, default=None),
        advice=advice,
        no_advice=[goal.reason for goal in recommendation.goals if goal.reason is not None],
        main=main,
        main_cell=main_cell,
        subject=subject_words(loaded),
        answers=answers_in_times(cells, main, main_cell),
        claims=claims_words(diagnosis.claims, summary.device),
    )


def measurable_gains(choice: Choice) -> list[str]:
    """What the choice brings for certain: sentences whose interval lies wholly below 1."""
    return [gain.sentence for gain in choice.gains if gain.ci95 is not None and gain.ci95[1] < 1]


def size_rank(case: Case) -> tuple[bool, int]:
    """The usual size before all others, then the largest."""
    return case.resolution == _USUAL_SIZE, case.width * case.height


def _tone(diagnosis: Diagnosis, cells: Sequence[CaseView]) -> Tone:
    if any(entry.severity == "error" for entry in diagnosis.findings):
        return "bad"
    if not diagnosis.healthy:
        return "warning"
    measured = [cell for cell in cells if cell.summary.replicates]
    unchecked = not measured or all(cell.summary.correct == "unknown" for cell in measured)
    return "unknown" if unchecked else "good"


def _advice(goal: Goal, plan: Plan) -> list[Advice]:
    """For one image and for many; said once where both are the same settings."""
    found = []
    for purpose, choice in (("one image", goal.latency), ("many images", goal.throughput)):
        if choice is None:
            continue
        saving = [gain for gain in choice.gains if _saves(gain)]
        best = min(saving, key=lambda gain: gain.ratio or 0.0, default=None)
        found.append(
            Advice(
                purpose=purpose,  # type: ignore[arg-type]  # one of the two above
                settings=settings_words(choice.case) + arm_words(choice.arm, plan.arms),
                choice=choice,
                best_gain=None if best is None else best.sentence,
            )
        )
    return found


def _saves(gain: Gain) -> bool:
    """By more than what counts as a difference, and beyond chance where that can be told."""
    if gain.ratio is None or gain.ratio * (1 + DEFAULT_THRESHOLD) >= 1:
        return False
    return gain.ci95 is None or gain.ci95[1] < 1
