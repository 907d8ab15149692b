"""Compare the predictions for Macs with what runs of real Macs measured.

    python tools/score_predictions.py RUN...

A run's predictions are those that it recorded before it measured anything. Runs on the stand-in, on
recorded or virtual machines and on other devices are named and not scored. The exit code is 0 where
something was scored, 1 where nothing was, 2 for a path that is no run. After scoring a run, raise
``scored_runs`` in ``sdbench/knowledge/chip_figures.toml``.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from sdbench.analysis.case_words import case_words
from sdbench.analysis.predicted_time import ScoredTime, share_inside
from sdbench.analysis.run_summary import CaseSummary, RunSummary, is_virtual, summary_of
from sdbench.errors import SdbenchError
from sdbench.models.family import family_of
from sdbench.plan.predicted_time import CONFIDENCE, is_plain
from sdbench.report.view.time_words import scored_words
from sdbench.runner.first_failing_size import FailingSize, first_failing_size
from sdbench.runner.session import config_of
from sdbench.runs import LoadedRun, load_run
from sdbench.words import printable, size

_FAILED = ("crashed", "timeout", "guard", "oom", "failed")


def why_not_scored(loaded: LoadedRun) -> str | None:
    """Why a run says nothing of a real Mac; None where it does."""
    run = loaded.run
    if run.device != "mps":
        return f"measured on {run.device}, not on mps"
    if run.simulated:
        return "simulated: a stand-in device or a recorded machine"
    if run.identity("virtual") is True or any(map(is_virtual, loaded.replicates)):
        return "a virtual Mac, whose times are no Mac's"
    return None


def run_lines(loaded: LoadedRun, summary: RunSummary) -> Iterator[str]:
    """What was predicted and what was measured, a line for each case and figure."""
    for row in summary.cases:
        name = case_words(row.case)
        if row.scored_time is not None:
            yield f"  time    {name}: {scored_words(row.scored_time)}"
        if row.prediction_error is not None:
            yield (
                f"  memory  {name}: predicted {size(row.predicted_peak_bytes)}, measured "
                f"{size(row.peak_bytes)} ({row.prediction_error:+.0%})"
            )
    yield from size_lines(loaded, summary)


def size_lines(loaded: LoadedRun, summary: RunSummary) -> Iterator[str]:
    """The first failing size of plain cases, as far as square sizes of the run tell."""
    total = loaded.run.machine.get("memory_bytes")
    family, _ = family_of(loaded.run.model.pipeline_class)
    if family not in ("sd", "sdxl") or not isinstance(total, int):
        return
    squares = [
        row for row in summary.cases if is_plain(row.case) and row.case.width == row.case.height
    ]
    for dtype in dict.fromkeys(row.case.dtype for row in squares):
        rows = [row for row in squares if row.case.dtype == dtype and row.planned]
        found = first_failing_size(config_of(loaded.run), loaded.run.model, dtype, total)
        yield f"  size    {dtype}: {failing_words(found, rows)}"


def failing_words(found: FailingSize, rows: list[CaseSummary]) -> str:
    """``predicted from 896 (896–1024), measured: fails at 1024, 768 completes: as predicted``."""
    fails = [row.case.width for row in rows if row.outcome in _FAILED or row.correct == "broken"]
    works = [row.case.width for row in rows if row.outcome == "ok" and row.correct != "broken"]
    measured = f"fails at {min(fails)}" if fails else "none fails"
    measured += f", {max(works)} completes" if works else ""
    predicted = "no failing size"
    if found.fails_from is not None:
        predicted = f"from {found.fails_from} ({found.earliest}–{found.latest})"
    early = found.earliest is None or min(fails, default=found.earliest) < found.earliest
    late = found.latest is not None and max(works, default=0) >= found.latest
    words = "as predicted"
    if early and fails:
        words = "fails earlier than predicted"
    elif late:
        words = "completes beyond the predicted size"
    return f"predicted {predicted}, measured: {measured}: {words}"


def verdict(scored: list[ScoredTime]) -> str:
    """How often the intervals held, of how often they should."""
    share = share_inside(scored)
    if share is None:
        return "Nothing was scored."
    return (
        f"{share:.0%} of {len(scored)} predicted times are inside their intervals, which are made "
        f"for {CONFIDENCE:.0%}."
    )


def main(paths: list[str]) -> int:
    """Score runs; the exit code."""
    scored: list[ScoredTime] = []
    for path in paths:
        try:
            scored += score_run(load_run(Path(path)))
        except SdbenchError as error:
            print(f"score_predictions: {error}", file=sys.stderr)
            return 2
    print(verdict(scored))
    return 0 if scored else 1


def score_run(loaded: LoadedRun) -> list[ScoredTime]:
    """Print how the predictions of a run did; the scored times."""
    run = loaded.run
    print(f"{printable(run.run_id)} ({printable(str(run.machine.get('chip')))})")
    reason = why_not_scored(loaded)
    if reason is not None:
        print(f"  not scored: {reason}")
        return []
    summary = summary_of(loaded)
    for line in run_lines(loaded, summary):
        print(printable(line))
    found = [row.scored_time for row in summary.cases if row.scored_time is not None]
    if not found:
        print("  no time was predicted in this run, or none was measured")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="+", help="a run folder")
    sys.exit(main(parser.parse_args().run))
