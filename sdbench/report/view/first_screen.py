"""What the first screen of a run's page answers: what was measured, in figures and in words."""

from collections.abc import Iterator, Sequence

from sdbench.analysis.reasons import UNLIKE
from sdbench.analysis.run_summary import device_facts
from sdbench.comparison.result import CaseComparison, Comparison, SideInfo, Verdict
from sdbench.diagnosis.result import Claim
from sdbench.records import Plan, Run
from sdbench.report.view.comparison_words import VERDICT_WORDS, change_words
from sdbench.report.view.model import Advice, Answer, CaseView, SideAnswer, Tone
from sdbench.report.view.setup import gpu_words
from sdbench.runs import LoadedRun
from sdbench.words import counted, machine_words

_NAMED_SIZES = 3
_ORDER: tuple[Verdict, ...] = ("incorrect", "slower", "faster", "equivalent", "inconclusive")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def subject_words(loaded: LoadedRun) -> list[str]:
    """What every number depends on: machine, torch, model, sizes, steps, processes."""
    run = loaded.run
    gpu = gpu_words(device_facts(loaded.replicates)) if run.device == "cuda" else ""
    machine = machine_words(run.machine, run.machine_facts, unknown="an unknown machine")
    releases = [stack.packages.get("torch") for stack in run.stacks.values()]
    torch = ", ".join(dict.fromkeys(release for release in releases if release))
    return [
        gpu or f"{machine}, {run.device}",
        *([f"torch {torch}"] if torch else []),
        run.model.title + ("" if run.model.trained else " (random weights)"),
        *([] if run.image_to_image is None else [run.mode_words]),
        _sizes(run.plan),
        *_work(run),
        processes_words(run),
    ]


def date_words(created_utc: str) -> str:
    """``22 Nov 2026``; what is no date stays as it is."""
    year, _, rest = created_utc[:10].partition("-")
    month, _, day = rest.partition("-")
    if not (year.isdecimal() and day.isdecimal() and month in map("{:02}".format, range(1, 13))):
        return created_utc
    return f"{int(day)} {_MONTHS[int(month) - 1]} {year}"


def _sizes(plan: Plan) -> str:
    sizes = [*dict.fromkeys(planned.case.resolution for planned in plan.cases)]
    if len(sizes) <= _NAMED_SIZES:
        return ", ".join(sizes)
    return f"{', '.join(sizes[:_NAMED_SIZES])} and {len(sizes) - _NAMED_SIZES} more sizes"


def _work(run: Run) -> Iterator[str]:
    """Steps and scheduler; where cases have their own, that they do."""
    cases = [planned.case for planned in run.plan.cases]
    steps = {run.setting(case, "steps") for case in cases}
    schedulers = {run.setting(case, "scheduler") for case in cases}
    if len(steps) == 1 and None not in steps:
        yield f"{next(iter(steps))} steps"
    elif steps:
        yield "different numbers of steps"
    if len(schedulers) == 1 and None not in schedulers:
        yield str(next(iter(schedulers)))


def processes_words(run: Run) -> str:
    """``3 processes per case``."""
    most = max((run.plan.processes(one.case_id, one.arm) for one in run.plan.slots), default=0)
    return f"{counted(most, 'process', 'processes')} per case"


def answers_of(comparison: Comparison) -> list[SideAnswer]:
    """For each new side what its cases come to, in words."""
    sides = dict.fromkeys(case.new for case in comparison.cases)
    return [_side(comparison, side) for side in sides]


def _side(comparison: Comparison, side: str) -> SideAnswer:
    cases = [case for case in comparison.cases if case.new == side]
    found = {
        verdict: [case for case in cases if case.verdict == verdict]
        for verdict in _ORDER
        if any(case.verdict == verdict for case in cases)
    }
    only = next(iter(found)) if len(found) == 1 else None
    if only in ("faster", "slower"):
        change = f"{_range_words(cases)} time"
    elif any(UNLIKE & {*case.refused} for case in cases) and only == "inconclusive":
        change = "not comparable"
    elif only is not None:
        change = VERDICT_WORDS[only]
    else:
        change = ", ".join(f"{len(of)} {VERDICT_WORDS[verdict]}" for verdict, of in found.items())
    details = [
        f"{VERDICT_WORDS[verdict]}: {_range_words(found[verdict])} time"
        for verdict in (("slower", "faster") if only is None else ())
        if verdict in found
    ]
    new = next((one for one in comparison.new if one.label == side), comparison.new[0])
    return SideAnswer(
        base=_name(comparison.base, comparison),
        new=_name(new, comparison),
        tone=_tone(cases),
        change=change,
        details=[*details, _counted_words(cases, only)],
    )


def _counted_words(cases: Sequence[CaseComparison], only: Verdict | None) -> str:
    if only is None or len(cases) == 1:
        return counted(len(cases), "case")
    return f"{len(cases)} of {len(cases)} cases {VERDICT_WORDS[only]}"


def _name(side: SideInfo, comparison: Comparison) -> str:
    """A variant or a value by its name, a whole run by its id."""
    return side.label if comparison.by is not None else side.run_id or side.label


def _tone(cases: Sequence[CaseComparison]) -> Tone:
    verdicts = {case.verdict for case in cases}
    if verdicts & {"incorrect", "slower"}:
        return "bad"
    return "good" if verdicts and "inconclusive" not in verdicts else "unknown"


def _range_words(cases: Sequence[CaseComparison]) -> str:
    """``26 to 42% less`` of ratios that all lie on one side of 1; of one case with its interval."""
    ratios = sorted(case.ratio for case in cases if case.ratio is not None)
    if not ratios:
        return "another"
    low, high = change_words(ratios[-1]), change_words(ratios[0])
    if ratios[0] > 1:
        low, high = high, low
    if low == high:
        return low
    number, _, unit = low.partition("% ")
    return f"{number} to {high}" if high.endswith(f"% {unit}") else f"{low} to {high}"


def claims_words(claims: Sequence[Claim], device: str) -> str | None:
    """``1 of 6 documented claims can be tested on cuda: e inconclusive``; None without any."""
    if not claims:
        return None
    ids = dict.fromkeys(claim.id for claim in claims)
    verdicts: dict[str, list[str]] = {}
    for claim in claims:
        if claim.verdict != "not-applicable":
            verdicts.setdefault(claim.verdict, []).append(claim.id)
    tested = dict.fromkeys(name for of in verdicts.values() for name in of)
    words = f"{len(tested)} of {len(ids)} documented claims can be tested on {device}"
    each = "; ".join(f"{', '.join(dict.fromkeys(of))} {found}" for found, of in verdicts.items())
    return f"{words}: {each}" if each else words


def answers_in_times(
    cells: Sequence[CaseView], main: Advice | None, main_cell: CaseView | None
) -> list[Answer]:
    """One image, and its share where several are made together at the same size and settings."""
    one = main_cell
    if main is not None:
        key = main.choice.case_id, main.choice.arm
        one = next((cell for cell in cells if cell.summary.key == key), main_cell)
    if one is None or one.seconds_per_picture is None:
        return []
    found = [Answer(purpose="one image", cell=one)]
    size, arm = one.summary.case.resolution, one.summary.arm
    batches = [
        cell
        for cell in cells
        if cell.seconds_per_picture is not None
        and cell.summary.case.batching != "loop"
        and (cell.summary.case.resolution, cell.summary.arm) == (size, arm)
        and cell.tone != "bad"
    ]
    ranked = sorted(
        batches, key=lambda cell: (not cell.recommended, len(cell.summary.case.words()))
    )
    return [*found, *(Answer(purpose="many images", cell=cell) for cell in ranked[:1])]
