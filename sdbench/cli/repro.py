"""``sdbench repro``."""

from pathlib import Path

import click

from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json
from sdbench.cli.show import find_case
from sdbench.errors import StoreError, UsageError
from sdbench.quality.case_script import case_script
from sdbench.report.issue import issue_text
from sdbench.runner.collect_env import collect_env
from sdbench.schema import OUTCOME_SEVERITY, Arm, Run
from sdbench.store import LoadedRun, find_run, load_run
from sdbench.store.privacy import hide_host, redact, show_path

_SCRIPT, _ISSUE, _ENVIRONMENT = "repro.py", "issue.md", "environment.txt"
_NO_ENVIRONMENT = "unavailable: torch.utils.collect_env did not run in the stack's interpreter\n"


@click.command(name="repro")
@click.argument("run")
@click.argument("case")
@click.option("--arm", help="Which arm of the run. [default: the one that fared worst]")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files. [default: ./sdbench-repro-CASE]",
)
@click.option(
    "--results",
    "root",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds the run folders.",
)
@json_option
def command(
    run: str, case: str, arm: str | None, output: Path | None, root: Path, as_json: bool
) -> int:
    """Write what a bug report about one CASE of a RUN needs.

    A script of at most 60 lines that runs the case without sdbench and says its speed, its memory
    and its error against the CPU; the text of the issue; and what torch.utils.collect_env says.
    RUN and CASE are given as for show. Nothing is sent anywhere.
    """
    loaded = load_run(find_run(root, run))
    planned = loaded.run.plan.planned(find_case(loaded, case))
    chosen = _arm(loaded, planned.case_id, arm)
    attempts = [
        entry
        for entry in loaded.replicates
        if entry.case_id == planned.case_id and entry.arm == chosen.name
    ]
    simulated = loaded.run.simulated or any(entry.simulated for entry in attempts)
    console(err=True).print("Asking torch about its environment …")
    half = _half_weights_only(loaded.run)
    environment = _environment(loaded.run, chosen)
    files = {
        _SCRIPT: case_script(loaded.run, planned.case, chosen, half_weights_only=half),
        _ISSUE: issue_text(
            loaded.run,
            planned,
            chosen,
            attempts,
            simulated=simulated,
            has_environment=environment is not None,
        ),
        _ENVIRONMENT: environment or _NO_ENVIRONMENT,
    }
    folder = output or Path(f"sdbench-repro-{planned.case_id}")
    _write(folder, files)
    if as_json:
        print_json(
            {
                "run_id": loaded.run.run_id,
                "case_id": planned.case_id,
                "arm": chosen.name,
                "simulated": simulated,
                "script": str(folder / _SCRIPT),
                "issue": str(folder / _ISSUE),
                "environment": str(folder / _ENVIRONMENT),
            }
        )
        return 0
    out = console()
    if simulated:
        out.print("SIMULATED: no real device made these results; they are no bug to report.")
    out.print(f"Script:      {folder / _SCRIPT}", soft_wrap=True, markup=False)
    out.print(f"Issue text:  {folder / _ISSUE}", soft_wrap=True, markup=False)
    out.print(f"Environment: {folder / _ENVIRONMENT}", soft_wrap=True, markup=False)
    out.print("Read them before you pass them on. The script needs torch and diffusers only.")
    return 0


def _arm(loaded: LoadedRun, case_id: str, name: str | None) -> Arm:
    """The arm asked for, or the one in which the case ended worst."""
    arms = loaded.run.plan.arms
    if name is not None:
        for arm in arms:
            if arm.name == name:
                return arm
        raise UsageError(
            f"no arm {name!r} in {loaded.run.run_id}; there are "
            f"{', '.join(arm.name for arm in arms)}"
        )
    ended = {
        entry.arm: OUTCOME_SEVERITY.index(entry.outcome)
        for entry in reversed(loaded.replicates)
        if entry.case_id == case_id
    }
    return min(arms, key=lambda arm: ended.get(arm.name, len(OUTCOME_SEVERITY)))


def _half_weights_only(run: Run) -> bool:
    """Whether the model's folder, where it is still there, holds only half-precision files."""
    weights = list((Path(show_path(run.model.path)) / "unet").glob("*.safetensors"))
    return bool(weights) and all(".fp16." in path.name for path in weights)


def _environment(run: Run, arm: Arm) -> str | None:
    stack = run.stacks[arm.stack]
    told = collect_env(show_path(stack.interpreter))
    if told is None:
        return None
    return hide_host(redact(told))


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}") from error
