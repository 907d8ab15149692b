"""``sdbench compare``."""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sdbench.analysis.provenance import provenance
from sdbench.analysis.run_summary import per_picture, summary_of
from sdbench.cli.completion import complete_axis, complete_baseline, complete_run
from sdbench.cli.options import json_option, results_option, save_baseline_option, with_option
from sdbench.cli.output import console, print_json, print_next, write_text
from sdbench.cli.session import keep_baseline
from sdbench.comparison import (
    CANNOT_TELL,
    Comparison,
    Expectations,
    FailOn,
    bisect_code,
    compare_axis,
    compare_runs,
    exit_code,
    failing,
    load_expectations,
    pasts_beside,
    why_closed,
)
from sdbench.comparison.sentence import refused_words
from sdbench.errors import SdbenchError, UsageError
from sdbench.records import AXES, Run
from sdbench.report.export.junit import junit_of_comparison
from sdbench.report.terminal.comparison import render_comparison
from sdbench.runs import LoadedRun, find_run, load_run
from sdbench.runs.baselines import baseline_run, check_baseline_name
from sdbench.stats import DEFAULT_THRESHOLD


@click.command(name="compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=complete_run)
@click.option(
    "--by",
    metavar="AXIS",
    shell_complete=complete_axis,
    help="Compare inside each run: arm, stack, or a setting such as attention_slicing; its first "
    "value is the base. With 'machine': two runs from two machines.",
)
@click.option(
    "--baseline",
    metavar="NAME",
    shell_complete=complete_baseline,
    help="The base is the run that was saved under this name with --save-baseline.",
)
@save_baseline_option
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True),
    help="Smallest difference that counts, as a fraction: 0.03 is 3%. [default: 0.03, or that of "
    "the run if it was measured until decided]",
)
@click.option(
    "--fail-on",
    "conditions",
    multiple=True,
    type=click.Choice(["slower", "wrong", "undecided", "any"]),
    help="Exit with 1 if a case is slower; if its image is wrong or it no longer completes "
    "(wrong); if it has no verdict (undecided); any: slower or wrong. With any of these also "
    "if nothing could be judged.",
)
@click.option(
    "--bisect",
    is_flag=True,
    help="Exit with 0 for good, 1 for bad, 125 for undecided, as 'git bisect run' requires.",
)
@click.option(
    "--expect",
    "expected",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help='File with the expected outcomes of cases, TOML or JSON: "case-id" = "crashed".',
)
@click.option(
    "--rerun",
    is_flag=True,
    help="Measure both RUNs again, interleaved in one new run until it is decided, and compare "
    "that run. Both must be your own, and their environments must still exist unchanged.",
)
@click.option("--yes", "-y", is_flag=True, help="With --rerun: do not ask for confirmation.")
@click.option(
    "--junit",
    "junit_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Also write JUnit XML to this file.",
)
@with_option
@results_option
@json_option
def command(
    runs: tuple[str, ...],
    by: str | None,
    baseline: str | None,
    saved_as: str | None,
    threshold: float | None,
    conditions: tuple[FailOn, ...],
    bisect: bool,
    expected: Path | None,
    rerun: bool,
    yes: bool,
    junit_path: Path | None,
    site: Path | None,
    root: Path,
    as_json: bool,
) -> int:
    """Compare A with B, with a verdict whose error rate is controlled.

    With two RUNS the first is the base, and their cases are compared one by one. With --by the
    values of an axis are compared inside each of the RUNS, over several machines if there are
    several. Each is a path, an id, the beginning of an id, or 'latest'. Ratios are new / base:
    above 1 is slower.

    A machine drifts between separate runs, so the interval of their ratio includes that drift, and
    small differences remain undecided. With --rerun both sides are measured again, interleaved,
    which cancels the drift.

    With --baseline the base is a saved run: sdbench compare latest --baseline main. With
    --save-baseline the last RUN is saved under that name, unless a condition of --fail-on holds.

    With --with one RUN is placed among the verified runs of similar machines of a board: the same
    chip, GPU cores and memory. Simulated and virtual runs have no place, and the machine's own runs
    on the board do not count.
    """
    if site is not None:
        others = (by, baseline, saved_as, threshold, expected, junit_path)
        if (
            len(runs) != 1
            or bisect
            or rerun
            or conditions
            or any(one is not None for one in others)
        ):
            raise UsageError("--with: expected one RUN, and no option but --results and --json")
        from sdbench.cli.compare_with import compare_with

        return compare_with(runs[0], root, site, as_json=as_json)
    if threshold is not None and math.isnan(threshold):  # which no range excludes
        raise UsageError("--threshold: expected a number above 0, got nan")
    try:
        expectations = load_expectations(expected) if expected else None
        if saved_as is not None:
            check_baseline_name(saved_as)
        paths = [] if baseline is None else [baseline_run(root, baseline)]
        paths += [find_run(root, name) for name in runs]
        loaded = [load_run(path) for path in paths]
        if rerun:
            made, code = _again(loaded, by, threshold, root, yes=yes)
            if code:
                return CANNOT_TELL if bisect else code
            loaded, by = [made], "arm"
        comparison = _compare(loaded, by, threshold, expectations)
    except SdbenchError as error:
        if not bisect:
            raise
        # 2 or 3 would tell git that this commit is bad.
        console(err=True).print(f"sdbench: {error}", markup=False, soft_wrap=True)
        return CANNOT_TELL
    _show(comparison, loaded, conditions, junit_path, json_wanted=as_json)
    if bisect:
        return bisect_code(comparison, conditions)
    closed = why_closed(comparison, conditions)
    if closed is not None:
        console(err=True).print(f"sdbench: {closed}", markup=False, soft_wrap=True)
    code = exit_code(comparison, conditions)
    if saved_as is not None and not code:
        keep_baseline(root, saved_as, loaded[-1].path, complete=summary_of(loaded[-1]).complete)
    if code:
        repeatable = all(one.own for one in loaded) and not refused_words(comparison.cases)
        print_next(*_next_command(comparison, conditions, repeatable=repeatable))
    return code


def _next_command(
    comparison: Comparison, conditions: Collection[FailOn], *, repeatable: bool
) -> list[str]:
    """Decide what is open; look at wrong images; see in a report what became slower.

    ``repeatable``: whether the runs can be measured again here, and may be compared.
    """
    paths = [side.path for side in (comparison.base, *comparison.new) if side.path is not None]
    paths = [*dict.fromkeys(paths)]
    if not paths:
        return ["sdbench", "list"]
    if failing(comparison, [one for one in ("wrong",) if {one, "any"} & {*conditions}]):
        return ["sdbench", "diagnose", paths[-1]]
    if failing(comparison, [one for one in ("slower",) if {one, "any"} & {*conditions}]):
        return ["sdbench", "report", *paths]
    if len(paths) == 2 and comparison.by is None and repeatable:
        return ["sdbench", "compare", *paths, "--rerun"]
    return ["sdbench", "show", paths[-1]]


def _document(comparison: Comparison, runs: Sequence[LoadedRun]) -> dict[str, Any]:
    """The comparison, with seconds per pass and an image of both sides, and what measured them."""
    document: dict[str, Any] = msgspec.to_builtins(comparison)
    for case in document["cases"]:
        for side in ("base", "new"):
            case[f"{side}_seconds_per_pass"] = case[f"{side}_s"]
            case[f"{side}_seconds_per_picture"] = per_picture(case[f"{side}_s"], case["images"])
    document["runs"] = [{"run_id": one.run.run_id, **provenance(one.run)} for one in runs]
    return document


def _again(
    runs: Sequence[LoadedRun], by: str | None, threshold: float | None, root: Path, *, yes: bool
) -> tuple[LoadedRun, int]:
    """The run that repeats two runs, and an exit code if it did not complete."""
    from sdbench.cli.rerun import rerun

    if by is not None or len(runs) != 2:
        raise UsageError("--rerun: expected two runs and no --by")
    wanted = DEFAULT_THRESHOLD if threshold is None else threshold
    return rerun(runs[0], runs[1], root, wanted, yes=yes)


def _compare(
    runs: Sequence[LoadedRun],
    by: str | None,
    threshold: float | None,
    expectations: Expectations | None,
) -> Comparison:
    decided = runs[0].run.config.get("until_decided") or {}
    if threshold is None:
        threshold = float(decided.get("threshold", DEFAULT_THRESHOLD))
    if by == "machine" or (by is None and len(runs) > 1):
        if len(runs) != 2:
            what = "--by machine" if by else "without --by"
            raise UsageError(f"{what}: expected two runs, got {len(runs)}")
        return compare_runs(
            runs[0],
            runs[1],
            threshold=threshold,
            by_machine=by == "machine",
            expectations=expectations,
            pasts=pasts_beside(runs),
        )
    if by is None:
        by = str(decided.get("by", "arm"))
        if by == "arm" and len(runs[0].run.plan.arms) < 2:
            axes = _axes_of(runs[0].run)
            here = f", here {' or '.join(axes)}" if axes else ""
            raise UsageError(f"expected a second run to compare with, or --by AXIS{here}")
    return compare_axis(runs, by, threshold=threshold, expectations=expectations)


def _axes_of(run: Run) -> list[str]:
    """The settings of which a run has more than one value."""
    cases = [planned.case for planned in run.plan.cases]
    return [axis for axis in AXES if len({run.setting(case, axis) for case in cases}) > 1]


def _show(
    comparison: Comparison,
    runs: Sequence[LoadedRun],
    conditions: Collection[FailOn],
    junit_path: Path | None,
    *,
    json_wanted: bool,
) -> None:
    if junit_path is not None:
        # Without a condition a report that shows nothing as failed would be of no use.
        failed = failing(comparison, conditions or ["any"])
        closed = why_closed(comparison, conditions)
        write_text(junit_path, junit_of_comparison(comparison, failed, closed))
    if json_wanted:
        print_json(_document(comparison, runs))
    else:
        render_comparison(comparison, console())
