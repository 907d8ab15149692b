"""``sdbench repro``."""

from pathlib import Path

import click
import msgspec

from sdbench.cli.completion import complete_case, complete_run, complete_stack
from sdbench.cli.options import force_option, json_option, results_option_alone
from sdbench.cli.output import console, print_json
from sdbench.cli.overwriting import WRITTEN_BY, spare_others
from sdbench.cli.show import find_case
from sdbench.errors import StoreError, UsageError
from sdbench.files.access import make_folder, write_file
from sdbench.plan.config import FEWEST_PASSES
from sdbench.privacy.redact_recorded import redacted, redacted_text, show_path
from sdbench.process.torch_environment import collect_env
from sdbench.records import OUTCOME_SEVERITY, Arm, Replicate, Run
from sdbench.repro.case_script import case_script
from sdbench.repro.issue import issue_text
from sdbench.runs import LoadedRun, find_run, load_run
from sdbench.stacks import resolve_stack

_SCRIPT, _ISSUE, _ENVIRONMENT = "repro.py", "issue.md", "environment.txt"
_NO_ENVIRONMENT = (
    "unavailable: torch.utils.collect_env did not run in the interpreter of the environment\n"
)
_NOT_OURS = (
    "unavailable: this run was not made by this installation of sdbench, so the interpreter that "
    "it names was not started. Run python -m torch.utils.collect_env where the run was made.\n"
)


@click.command(name="repro")
@click.argument("run", shell_complete=complete_run)
@click.argument("case", shell_complete=complete_case)
@click.option("--arm", help="Which arm of the run. [default: the one that fared worst]")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files. [default: ./sdbench-repro-CASE]",
)
@results_option_alone
@click.option(
    "--stack",
    metavar="S",
    shell_complete=complete_stack,
    help="Describe this environment in environment.txt: 'current', or a stack as for run. "
    "[default: the one that the run was made in, if the run is your own]",
)
@click.option(
    "--allow-pickle",
    is_flag=True,
    help=(
        "Let the script also read weights in pickle files. [default: as in the run, if it is your "
        "own]"
    ),
)
@force_option
@json_option
def command(
    run: str,
    case: str,
    arm: str | None,
    output: Path | None,
    root: Path,
    stack: str | None,
    allow_pickle: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Write the files for a bug report about one CASE of a RUN.

    A script of at most 60 lines that runs the case without sdbench and prints its speed, its memory
    and its error compared with the CPU; the text of the issue; and the output of
    torch.utils.collect_env. RUN and CASE are given as for show. Nothing is sent anywhere. The
    interpreter that a run names is started only if this installation made the run.
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
    folder = output or Path(f"sdbench-repro-{planned.case_id}")
    for name in (_SCRIPT, _ISSUE, _ENVIRONMENT):
        spare_others(folder / name, force=force)
    shown = _without_private_words(loaded.run)
    shown_arm = shown.plan.arms[loaded.run.plan.arms.index(chosen)]
    script = case_script(
        shown,
        planned.case,
        shown_arm,
        passes=_passes(loaded.run, attempts),
        half_weights_only=loaded.own and _half_weights_only(loaded.run),
        allow_pickle=allow_pickle or (loaded.own and loaded.run.config.get("allow_pickle") is True),
    )
    environment = _environment(loaded, chosen, stack)
    issue = issue_text(
        shown,
        redacted(planned),
        shown_arm,
        [redacted(entry) for entry in attempts],
        simulated=simulated,
        has_environment=environment is not None,
    )
    unavailable = _NO_ENVIRONMENT if loaded.own or stack else _NOT_OURS
    _write(
        folder,
        {
            _SCRIPT: script,
            _ISSUE: f"{issue}\n<!-- {WRITTEN_BY} -->\n",
            _ENVIRONMENT: f"# {WRITTEN_BY} repro\n{environment or unavailable}",
        },
    )
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
    if not loaded.own and stack is None:
        out.print(
            "This run was not made by this installation of sdbench, so no interpreter that it "
            "names was started. With --stack current the environment here is described instead.",
            soft_wrap=True,
        )
    if simulated:
        out.print("SIMULATED: no real device made these results; do not report them as a bug.")
    out.print(f"Script:      {folder / _SCRIPT}", soft_wrap=True, markup=False)
    out.print(f"Issue text:  {folder / _ISSUE}", soft_wrap=True, markup=False)
    out.print(f"Environment: {folder / _ENVIRONMENT}", soft_wrap=True, markup=False)
    out.print("Read the files before you publish them. The script needs torch and diffusers only.")
    return 0


def _passes(run: Run, attempts: list[Replicate]) -> int | None:
    """How many passes the script makes where a process decides that: as many as one of the run's.

    None: as configured.
    """
    if run.config.get("passes") != "auto":
        return None
    return max([FEWEST_PASSES, *(len(entry.of_kind("measured")) for entry in attempts)])


def _arm(loaded: LoadedRun, case_id: str, name: str | None) -> Arm:
    """The requested variant, or the one with the worst outcome of the case."""
    arms = loaded.run.plan.arms
    if name is not None:
        for arm in arms:
            if arm.name == name:
                return arm
        raise UsageError(
            f"no variant {name!r} in {loaded.run.run_id}; there are "
            f"{', '.join(arm.name for arm in arms)}"
        )
    ended = {
        entry.arm: OUTCOME_SEVERITY.index(entry.outcome)
        for entry in reversed(loaded.replicates)
        if entry.case_id == case_id
    }
    return min(arms, key=lambda arm: ended.get(arm.name, len(OUTCOME_SEVERITY)))


def _without_private_words(run: Run) -> Run:
    """The run as it may be published; of its settings the prompts are the only free text."""
    prompts = run.config.get("prompts")
    own = [redacted_text(one) if isinstance(one, str) else one for one in prompts or []]
    return msgspec.structs.replace(redacted(run), config={**run.config, "prompts": own})


def _half_weights_only(run: Run) -> bool:
    """Whether the model's folder, where it is still there, holds only half-precision files."""
    weights = list((Path(show_path(run.model.path)) / "unet").glob("*.safetensors"))
    return bool(weights) and all(".fp16." in path.name for path in weights)


def _environment(loaded: LoadedRun, arm: Arm, stack: str | None) -> str | None:
    """What torch says of its environment: the run's own, or one that the user names."""
    if stack is not None:
        interpreter = resolve_stack(stack).interpreter
    elif loaded.own and arm.stack in loaded.run.stacks:
        interpreter = show_path(loaded.run.stacks[arm.stack].interpreter)
    else:
        return None
    console(err=True).print("Collecting torch's description of the environment …")
    reported = collect_env(interpreter)
    if reported is None:
        return None
    where = f"collected in environment {stack}, which may not be the run's\n" if stack else ""
    return where + redacted_text(reported)


def _write(folder: Path, files: dict[str, str]) -> None:
    try:
        make_folder(folder)
        for name, text in files.items():
            write_file(folder / name, text.encode("utf-8"))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}") from error
