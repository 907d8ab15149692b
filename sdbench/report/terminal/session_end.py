"""The end of a session on the terminal: the table, where things are, what to do next."""

from collections import Counter
from pathlib import Path

import msgspec
from rich.console import Console

from sdbench.analysis.cut_prompts import cut_sentences, measured_prompts
from sdbench.analysis.run_summary import RunSummary
from sdbench.analysis.time_shares import TimeShares
from sdbench.diagnosis.diagnose import above
from sdbench.diagnosis.result import Diagnosis
from sdbench.plan.cost import estimate_run
from sdbench.process.import_failures import ImportFailure
from sdbench.records import Run
from sdbench.report.terminal.lines import say_plain
from sdbench.report.terminal.tables import render_summary
from sdbench.report.view import diagnosed
from sdbench.report.view.telemetry_words import prediction_lines
from sdbench.report.view.time_words import scored_lines
from sdbench.report.view.use_words import use_lines
from sdbench.runner.predictions import expected_of, rates_of
from sdbench.runner.prepare import Prepared
from sdbench.runner.request import DEFAULT_CONFIG
from sdbench.runner.session import SessionResult
from sdbench.runs import load_run
from sdbench.words import counted, duration, shell

_DOCS_CONFIG = "mps-docs"
_SHOWN_PICTURES = 4


def show_table(sat: SessionResult, run: Run, out: Console) -> None:
    """What to use, then the table, then what there is to know about both and where to read on."""
    diagnosis = diagnosed(load_run(Path(sat.summary.path)))
    for line in use_lines(diagnosis.recommendation, run):
        say_plain(out, line, style="bold")
    _show_reached(sat.summary, out)
    if not run.model.trained:
        out.print(
            f"Images are noise by design: {run.model.name} has random weights (time and memory are "
            "the real architecture's). “Same as CPU” therefore does not exclude numbers too large "
            "for float16, which real weights may cause."
        )
    for line in prediction_lines(sat.summary):
        say_plain(out, line, lead="! ")
    for line in scored_lines(sat.summary.cases):
        say_plain(out, line)
    for line in _picture_words(Path(sat.summary.path), run):
        out.print(line, markup=False, soft_wrap=True)
    for line in _cut_words(Path(sat.summary.path), run):
        say_plain(out, line)
    say_plain(out, _shares_words(sat.shares))
    path = shell(sat.summary.path)
    out.print(f"Results, images included: {sat.summary.path}", markup=False, soft_wrap=True)
    out.print(f"Details: sdbench show {path} CASE", markup=False, soft_wrap=True)
    if len(run.plan.arms) > 1 or run.config.get("until_decided"):
        out.print(f"Verdicts: sdbench compare {path}", markup=False, soft_wrap=True)
    say_plain(out, _findings_words(diagnosis, sat))


def _show_reached(summary: RunSummary, out: Console) -> None:
    """The table of the cases that were begun; of the others only how many there are."""
    not_reached = [row for row in summary.cases if row.planned and not row.replicates]
    begun = [row for row in summary.cases if row not in not_reached]
    if not begun:
        render_summary(summary, out)
        return
    render_summary(msgspec.structs.replace(summary, cases=begun), out)
    if not_reached:
        words = f"{len(not_reached)} of {counted(len(summary.cases), 'case')} not reached"
        say_plain(out, f"{words}: sdbench resume {shell(summary.path)}")


def import_words(failure: ImportFailure, summary: RunSummary) -> list[str]:
    """The error in one line, its cause, the remedy, and where the whole error is kept."""
    measured = sum(row.outcome == "ok" for row in summary.cases)
    before = f" and {counted(measured, 'case')} measured before" if measured else ""
    return [
        f"sdbench: {failure.sentence}",
        *([] if failure.cause is None else [f"  {failure.cause}"]),
        f"  → {failure.remedy}",
        f"  The complete error{before}: sdbench show {shell(summary.path)}",
    ]


def _picture_words(path: Path, run: Run) -> list[str]:
    """Where the images of one pass are and what they should show, for a trained model."""
    if not run.model.trained or run.image_to_image is not None:
        return []
    prompts = run.config["prompts"]
    for replicate in load_run(path).replicates:
        for entry in replicate.of_kind("measured"):
            return [
                f"Image: {path / 'images' / image.pixels_sha256}.png – "
                f"{prompts[index % len(prompts)]}"
                for index, image in enumerate(entry.images[:_SHOWN_PICTURES])
            ]
    return []


def _cut_words(path: Path, run: Run) -> list[str]:
    """Prompts that were cut, where nothing could be said of that before the run."""
    sentences = cut_sentences(measured_prompts(load_run(path).replicates))
    return [
        f"note: {sentence}"
        for number, sentence in sentences.items()
        if not any(remark.startswith(f"prompt {number + 1} ") for remark in run.prompt_remarks)
    ]


def _findings_words(diagnosis: Diagnosis, sat: SessionResult) -> str:
    """How much is wrong, and where it is said what."""
    codes = Counter(entry.code for entry in above(diagnosis.findings))
    words = diagnosis.headline.rstrip(".")
    if codes:
        listed = ", ".join(
            code if count == 1 else f"{count} {code}" for code, count in codes.items()
        )
        words += f" ({counted(codes.total(), 'finding')}: {listed})"
    command = f"sdbench diagnose {shell(sat.summary.path)}"
    return f"Diagnosis: {words}. Causes, claims and code to use: {command}"


def _shares_words(shares: TimeShares) -> str:
    parts = (
        ("making images", shares.passes_s),
        ("loading the model", shares.load_s),
        ("importing torch in each process", shares.import_s),
        ("waiting for the machine", shares.waited_s),
        ("comparing with the CPU", shares.comparing_s),
        ("the rest", shares.rest_s),
    )
    words = ", ".join(f"{spent / shares.wall_s:.0%} {what}" for what, spent in parts if spent)
    return f"Took {duration(shares.wall_s)}: {words}."


def offer_docs(prepared: Prepared, sat: SessionResult, out: Console) -> None:
    """After a default run on a GPU: the plan that tests the documentation, and its hours."""
    if prepared.config.name != DEFAULT_CONFIG or prepared.device.kind == "cpu":
        return
    from sdbench.plan.for_model import resolve_for
    from sdbench.plan.order import make_plan
    from sdbench.plan.read_config import load_config

    config = resolve_for(load_config(_DOCS_CONFIG), prepared.traits).config
    plan = make_plan(config, prepared.device.kind)
    model, kind = prepared.model.outline(), prepared.device.kind
    rates = expected_of(rates_of(prepared.machine, model, kind))
    guess = estimate_run(config, plan, model, kind, prepared.cores, rates).duration_s
    # Corrected by how far the estimate of this run was off.
    expected = sum(sat.pace.estimates[slot.case_id] for slot in prepared.plan.slots)
    taken = sum(sat.pace.slot_s(slot.case_id) for slot in prepared.plan.slots)
    hours = guess * taken / expected / 3600
    out.print(
        f"To test what the documentation claims about Apple silicon: sdbench run {_DOCS_CONFIG} "
        f"(about {hours:.1f} hours here)."
    )
