"""An import error ends a run at once with 3, its innermost cause and what to do about it."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import Called, make_report, play, small_run

from sdbench.process.executor import Report, Supervisor, Task
from sdbench.process.import_failures import import_error, innermost
from sdbench.runs import list_runs, load_run

CHAIN = [
    "RuntimeError: Failed to import diffusers.pipelines because of the following error",
    "ImportError: cannot import name 'cached_download'\nfrom 'huggingface_hub'",
]
INNERMOST = "ImportError: cannot import name 'cached_download' from 'huggingface_hub'"


def failed(phase: str = "import", causes: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    chain = CHAIN if causes is None else causes
    kind, _, message = (chain or ["RuntimeError: no reason"])[0].partition(": ")
    return {
        "event": "error",
        "type": kind,
        "message": message,
        "phase": phase,
        "causes": chain,
        **fields,
    }


def raising(*events: dict[str, Any], **report: Any) -> Callable[[Task, Supervisor], Report]:
    """Every worker begins to import and then says this."""

    def script(task: Task, supervise: Supervisor) -> Report:
        heard = [{"event": "phase", "name": "import", "t": 1.0}, *events]
        return make_report(heard, **{"exit_code": 1, **report})

    return script


@pytest.mark.usefixtures("tiny")
def test_the_first_worker_that_cannot_import_ends_the_run(call: Called, results: Path) -> None:
    code, out, err = call(*small_run(results, "--set", "replicates=4"), script=raising(failed()))
    assert code == 3
    line, cause, remedy = err[err.index("sdbench: ") :].splitlines()[:3]
    assert line == f"sdbench: this environment cannot import what a run needs: {INNERMOST}"
    assert cause.startswith("  An old diffusers (before 0.26)")
    assert (
        remedy.startswith("  → Install a newer diffusers") and "sdbench doctor --python" in remedy
    )
    assert "Traceback" not in err and out == ""
    (path,) = list_runs(results)
    (kept,) = load_run(path).replicates
    assert (kept.outcome, kept.last_phase) == ("failed", "import"), "one, and not four"


@pytest.mark.usefixtures("tiny")
def test_json_is_one_document_and_resume_ends_in_the_same_way(call: Called, results: Path) -> None:
    arguments = small_run(results, "--set", "replicates=3", "--json")
    code, out, err = call(*arguments, script=raising(failed()))
    document = json.loads(out)
    assert (code, document["complete"]) == (3, False)
    assert INNERMOST in err
    assert call("resume", document["path"], script=raising(failed()))[0] == 3
    assert len(load_run(Path(document["path"])).replicates) == 2


@pytest.mark.usefixtures("tiny")
def test_a_missing_package_is_to_be_installed(call: Called, results: Path) -> None:
    missing = failed(causes=["ModuleNotFoundError: No module named 'diffusers'"])
    err = call(*small_run(results), script=raising(missing))[2]
    assert "-m pip install diffusers" in err


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "script",
    [
        raising(exit_code=-signal.SIGABRT),
        raising(failed("load")),
        raising(failed(kind="oom")),
    ],
    ids=["a death", "another phase", "out of memory"],
)
def test_other_ends_are_rows_like_any(script: Any, call: Called, results: Path) -> None:
    assert call(*small_run(results, "--set", "replicates=2"), script=script)[0] == 1
    assert len(load_run(list_runs(results)[0]).replicates) == 2


@pytest.mark.usefixtures("tiny")
def test_a_broken_arm_is_found_before_anything_is_measured(
    call: Called, results: Path, tmp_path: Path
) -> None:
    config = tmp_path / "arms.toml"
    config.write_text(
        'name = "arms"\nmodel = "synthetic/tiny"\ndevice = "cpu"\nsteps = 1\nimages = 1\n'
        'replicates = 3\nstart = "spawn"\n[matrix]\nresolution = ["64x64"]\n'
        "[guard]\nmin_free_disk_bytes = 0\n[reference]\nbudget_s = 0\n"
        '[[arm]]\nname = "good"\n[[arm]]\nname = "bad"\nenv = {BROKEN = "1"}\n'
    )

    def script(task: Task, supervise: Supervisor) -> Report:
        if "BROKEN" in task.environment:
            return raising(failed())(task, supervise)
        return play(task, supervise)

    code, _, err = call("run", str(config), "-o", str(results), script=script)
    assert code == 3
    assert f"the environment of variant bad cannot import what a run needs: {INNERMOST}" in err
    assert [entry.arm for entry in load_run(list_runs(results)[0]).replicates] == ["bad"]


@pytest.mark.usefixtures("tiny")
def test_an_arm_that_once_was_imported_is_not_called_broken(call: Called, results: Path) -> None:
    count = 0

    def script(task: Task, supervise: Supervisor) -> Report:
        nonlocal count
        if task.job.keys() & {"ceilings", "reference"}:
            return play(task, supervise)
        count += 1
        return play(task, supervise) if count == 1 else raising(failed())(task, supervise)

    assert call(*small_run(results, "--set", "replicates=3"), script=script)[0] == 1
    assert count == 3


def test_innermost_cause_falls_back_to_the_exception_itself() -> None:
    report = make_report([failed(causes=[])], exit_code=1)
    error = import_error(report)
    assert error is not None and innermost(error) == "RuntimeError: no reason"
    assert import_error(make_report([failed()], exit_code=-6)) is None
    assert import_error(make_report([])) is None
