"""One line of a Markdown table, to paste into a thread: a machine and how fast it is."""

from collections.abc import Sequence

from sdbench.analysis.iterations import iterations_words
from sdbench.analysis.no_effect import marked
from sdbench.analysis.run_summary import device_facts
from sdbench.quoting.markdown_text import plain, table
from sdbench.records import Run
from sdbench.report.view import CaseView, RunReport
from sdbench.report.view.setup import VIRTUAL_GPU, gpu_words
from sdbench.report.view.summary_words import interval_words
from sdbench.runs import LoadedRun
from sdbench.words import memory_words, seconds, size, system_words

_NAMES = (
    *("chip", "GPU cores", "RAM", "OS", "torch", "model", "settings"),
    *("s/image", "it/s", "95% interval", "processes", "peak memory", "verdict", "date"),
)


def rows_of_runs(runs: Sequence[LoadedRun], stories: Sequence[RunReport]) -> str:
    """Names and a line per run: of the fastest settings that are recommended.

    Where nothing may be recommended it is the fastest case that was measured, whose verdict then
    says what is wrong with it or not known of it. The GPU of a virtual machine has no times here.
    """
    rows = [_row(loaded, story) for loaded, story in zip(runs, stories, strict=True)]
    return table(_NAMES, rows) + "\n"


def _row(loaded: LoadedRun, story: RunReport) -> list[str]:
    run, cell = loaded.run, _chosen(story)
    facts = device_facts(loaded.replicates)
    cores = facts.get("gpu_cores") or run.identity("gpu_cores")
    chip = gpu_words(facts) if run.device == "cuda" else None
    timed = None if any(mark.word == VIRTUAL_GPU for mark in story.marks) else cell
    return [
        plain(str(chip or run.machine.get("chip") or run.machine.get("architecture") or "–")),
        plain(str(cores or "–")),
        memory_words(run.machine.get("memory_bytes")),
        plain(system_words(run.machine, run.machine_facts) or "–"),
        plain(_torch(run, cell)),
        plain(run.model.name),
        plain(_settings(run, cell)),
        "–" if timed is None else seconds(timed.seconds_per_picture),
        "–" if timed is None else _rate(timed),
        "–" if timed is None else interval_words(timed.ci95),
        "–" if cell is None else f"{cell.summary.replicates}/{cell.summary.planned}",
        "–" if cell is None else size(cell.summary.peak_memory_bytes),
        _verdict(story, cell),
        plain(run.created_utc[:10]),
    ]


def _rate(cell: CaseView) -> str:
    return iterations_words(cell.iterations_per_second).removesuffix(" it/s")


def _chosen(story: RunReport) -> CaseView | None:
    head = story.headline
    if head.fastest is not None:
        key = head.fastest.choice.case_id, head.fastest.choice.arm
        return next(cell for cell in story.cells if cell.summary.key == key)
    if head.quickest is not None:
        return head.quickest
    return next((cell for cell in story.cells if cell.summary.replicates), None)


def _torch(run: Run, cell: CaseView | None) -> str:
    stacks = {arm.name: run.stacks.get(arm.stack) for arm in run.plan.arms}
    stack = stacks.get(cell.summary.arm) if cell else next(iter(run.stacks.values()), None)
    return "–" if stack is None else stack.packages.get("torch", "–")


def _settings(run: Run, cell: CaseView | None) -> str:
    """Everything that a time depends on: ``mps, 512x512, 20 steps, sliced, float16``."""
    steps = f"{run.config.get('steps')} steps"
    if cell is None:
        return f"{run.device}, {steps}"
    case = cell.summary.case
    dtype = [] if case.dtype in case.words() else [case.dtype]
    words = ", ".join([run.device, case.resolution, steps, *case.words(), *dtype])
    return marked(words, case, cell.summary.no_effect)


def _verdict(story: RunReport, cell: CaseView | None) -> str:
    words = [mark.word for mark in story.marks if mark.word != "PRELOAD"]
    if cell is None:
        return ", ".join([*words, "nothing measured"])
    if cell.summary.outcome != "ok":
        words.append(cell.outcome_words)
    return plain(", ".join([*words, cell.picture_words]))
