"""``sdbench compare BASE NEW --rerun``: both sides again, interleaved in one new run."""

from pathlib import Path

from sdbench.cli.output import console
from sdbench.cli.run import agree, measure
from sdbench.cli.session import exit_code
from sdbench.errors import UsageError
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.report.terminal.model_progress import prepare_model
from sdbench.runner.prepare import prepare
from sdbench.runner.request import Request
from sdbench.runner.rerun import again
from sdbench.runs import LoadedRun, load_run
from sdbench.words import shell


def rerun(
    base: LoadedRun, new: LoadedRun, root: Path, threshold: float, *, yes: bool
) -> tuple[LoadedRun, int]:
    """Measure both sides until decided; returns the new run and 0, or why it was not completed.

    That is an exit code: 130 where the user stopped it, 3 where an environment cannot be imported.

    Raises:
        UsageError: a side cannot be made again, or the user does not agree.
    """
    config = again(base, new, threshold)
    consent = all(loaded.run.config.get("allow_pickle") is True for loaded in (base, new))
    request = Request(
        config=config.name,
        made=config,
        label=f"{base.run.run_id} against {new.run.run_id}"[:200],
        allow_pickle=consent,
    )
    executor = ProcessExecutor()
    try:
        prepared = prepare(request, executor)
        agree(prepared, root, yes=yes)
        model = prepare_model(prepared.model, console(err=True))
        if model.sha256 != base.run.model.sha256:
            raise UsageError(f"--rerun: {model.name} has changed since {base.run.run_id} was made")
        sat, _ = measure(prepared, model, root, executor)
    finally:
        executor.close()
    code = 0 if sat.end in ("complete", "budget") else exit_code(sat)
    if code:
        path = shell(sat.summary.path)
        console(err=True).print(
            f"not complete; all measurements are kept. Continue with: sdbench resume {path}; then: "
            f"sdbench compare {path}",
            markup=False,
            soft_wrap=True,
        )
    return load_run(Path(sat.summary.path)), code
