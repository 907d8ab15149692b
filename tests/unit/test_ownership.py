"""A run of somebody else decides nothing about what is executed here."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from every_write import points_of
from factories import Called, make_config, make_model, make_run, play
from faulty_disk import Fault, FaultyDisk

from sdbench import machine
from sdbench.errors import StoreError, UsageError
from sdbench.files.user_folders import STATE_VARIABLE, state_folder
from sdbench.knowledge.variables import is_tuning
from sdbench.process.executor import Report, Supervisor, Task
from sdbench.records import Run, StackInfo
from sdbench.runner.strangers_run import adopted, what_it_decides
from sdbench.runs import RunFolder, load_run
from sdbench.runs.ownership import digest, is_own, note_own
from sdbench.stacks import resolve_stack

NOT_OURS = "was not made by this installation of sdbench"


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """An interpreter that leaves a mark when it is started, whatever it is asked."""
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    script.chmod(0o755)
    return script


def own_run(config: Any = None, **fields: Any) -> Run:
    return make_run(config, **{"stacks": {"current": resolve_stack("current")}, **fields})


def keep(root: Path, run: Run) -> Path:
    folder = RunFolder.create(root, run)
    folder.close()
    return folder.path


def strangers(root: Path, run: Run | None = None, **changes: Any) -> Path:
    """A folder as it comes out of an archive: its run.json was never written here."""
    run = run or own_run()
    path = root / run.run_id
    path.mkdir(parents=True)
    document = msgspec.to_builtins(run) | changes
    (path / "run.json").write_text(json.dumps(document))
    return path


def stack_of(interpreter: Path) -> dict[str, Any]:
    current = resolve_stack("current")
    changed = StackInfo(
        interpreter=str(interpreter), python=current.python, packages=current.packages
    )
    return msgspec.to_builtins({"current": changed})  # type: ignore[no-any-return]


# --- whose it is ---------------------------------------------------------------------------------


def test_run_that_was_written_here_is_own_wherever_it_lies(results: Path, tmp_path: Path) -> None:
    path = keep(results, own_run())
    assert load_run(path).own
    moved = path.rename(tmp_path / "moved")
    assert load_run(moved).own


@pytest.mark.parametrize(
    "change",
    [
        {"label": "another"},
        {"preload": ["evil"]},
        {"machine_id": "x"},
        {"run_id": "20260102-030405-test-ffff"},
    ],
)
def test_changed_run_is_nobodys(results: Path, change: dict[str, Any]) -> None:
    path = keep(results, own_run())
    document = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(document | change))
    assert not load_run(path).own


def test_id_alone_proves_nothing(results: Path, tmp_path: Path) -> None:
    path = keep(results, own_run())
    copy = strangers(tmp_path / "else", load_run(path).run, preload=["evil"])
    assert load_run(copy).run.run_id == load_run(path).run.run_id
    assert not load_run(copy).own


def test_another_installation_does_not_own_it(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep(results, own_run())
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "other"))
    assert not load_run(path).own


def test_nothing_of_it_is_in_the_run(results: Path) -> None:
    path = keep(results, own_run())
    assert state_folder() not in path.parents
    text = (path / "run.json").read_text()
    assert str(load_run(path).run_sha256) not in text


def test_state_folder_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert note_own("a" * 64, "id") is None
    assert state_folder().stat().st_mode & 0o077 == 0
    assert (state_folder() / "own-runs").stat().st_mode & 0o077 == 0
    monkeypatch.delenv(STATE_VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    if sys.platform.startswith("linux"):
        assert state_folder() == tmp_path / "xdg" / "sdbench"


def test_torn_line_costs_no_other_run() -> None:
    note_own("a" * 64, "first")
    with open(state_folder() / "own-runs", "a", encoding="ascii") as notes:
        notes.write("\n" + "b" * 30)
    note_own("c" * 64, "third")
    assert is_own("a" * 64) and is_own("c" * 64) and not is_own("b" * 30 + "c")


@pytest.mark.parametrize("kind", ["short", "full", "EIO"])
def test_note_is_whole_and_durable_or_the_reason_is_given(tmp_path: Path, kind: str) -> None:
    whole = FaultyDisk(tmp_path)
    with whole.below():
        note_own("a" * 64, "first")
    for point in points_of([*whole.calls, "the end"]):
        if point.kind == kind:
            shutil.rmtree(state_folder(), ignore_errors=True)
            disk = FaultyDisk(tmp_path, Fault(point.at, point.kind))
            with disk.below():
                why_not = note_own("a" * 64, "first")
            assert why_not is not None or (is_own("a" * 64) and disk.tree("bare") == disk.tree())
            assert note_own("b" * 64, "second") is None and is_own("b" * 64)


@pytest.mark.parametrize("asked", ["", " ", "a", "a" * 63, "\n", "first"])
def test_only_whole_digests_count(asked: str) -> None:
    note_own("a" * 64, "first")
    assert not is_own(asked)


def test_state_that_cannot_be_written_costs_a_remark_and_no_run(
    call: Called, results: Path, tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "file"))
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'model = "synthetic/tiny"\ndevice = "cpu"\nsteps = 1\nimages = 1\npasses = 1\n'
        "replicates = 1\n[guard]\nmin_free_disk_bytes = 0\n[reference]\nbudget_s = 0\n"
        '[matrix]\nresolution = ["64x64"]\n'
    )
    code, _, err = call("run", plan, "-o", results, "--yes", script=play)
    assert code == 0, err
    assert "resume will ask whether to trust this run" in err


def test_notes_that_are_no_file_are_neither_waited_for_nor_read_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path))
    os.mkfifo(tmp_path / "own-runs")
    assert not is_own("0" * 64)
    assert "own-runs" in str(note_own("0" * 64, "run"))
    (tmp_path / "own-runs").unlink()
    (tmp_path / "own-runs").symlink_to("/dev/zero")
    assert not is_own("0" * 64)


def test_digest_is_of_the_bytes() -> None:
    assert digest(b"") != digest(b" ")


# --- resume --------------------------------------------------------------------------------------


def test_resume_of_a_strangers_run_starts_nothing(
    call: Called, results: Path, tmp_path: Path, evil: Path
) -> None:
    path = strangers(results, stacks=stack_of(evil))
    before = (path / "run.json").read_bytes()
    code, out, err = call("resume", path, script=play)
    assert (code, out) == (2, "")
    assert NOT_OURS in err and "--trust" in err and err.count("\n") == 1
    assert sys.executable in err and str(evil) not in err
    assert not (tmp_path / "executed").exists()
    assert (path / "run.json").read_bytes() == before


def test_trusted_strangers_run_goes_on_in_this_users_interpreter(
    call: Called, results: Path, tmp_path: Path, evil: Path
) -> None:
    interpreters: set[str] = set()

    def noting(task: Task, supervise: Supervisor) -> Report:
        interpreters.add(task.interpreter)
        return play(task, supervise)

    path = strangers(results, stacks=stack_of(evil))
    code, _, err = call("resume", path, "--trust", "--json", script=noting)
    assert code == 0, err
    assert interpreters == {sys.executable}
    assert not (tmp_path / "executed").exists()
    assert load_run(path).own  # what it is now, was written here


def test_own_run_is_not_asked_about(call: Called, results: Path) -> None:
    path = keep(results, own_run())
    code, _, err = call("resume", path, "--json", script=play)
    assert code == 0, err


def test_answer_at_the_terminal_decides(
    call: Called, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = strangers(results)
    answers = iter([False, True])
    questions: list[str] = []

    def confirm(text: str, **_: Any) -> bool:
        questions.append(text)
        return next(answers)

    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("click.confirm", confirm)
    assert call("resume", path, script=play)[0] == 2
    assert call("resume", path, script=play)[0] == 0
    assert all(NOT_OURS in question and "\n" not in question for question in questions)


def test_run_of_another_machine_says_how_to_go_on(call: Called, results: Path) -> None:
    path = strangers(results, machine_id="another")
    code, _, err = call("resume", path, "--trust", script=play)
    assert code == 3
    assert "begun on another machine" in err and "start a new run here" in err
    assert call("show", path)[0] == 0


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONPATH": "/tmp/x"},
        {"LD_PRELOAD": "/tmp/x.so"},
        {"DYLD_INSERT_LIBRARIES": "x.dylib"},
        {"SDBENCH_WORKER_PRELOAD": "evil"},
        {"PATH": "/tmp/x"},
        {"HF_HOME": "/tmp/x"},
        {"CUDA_INJECTION64_PATH": "evil.so"},
        {"OMP_TOOL_LIBRARIES": "evil.so"},
        {"PYTORCH_KERNEL_CACHE_PATH": "x"},
        {"PYTORCH_X": "../evil.so"},
        {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0"},
    ],
)
def test_strangers_variables_may_only_tune(
    call: Called, results: Path, env: dict[str, str]
) -> None:
    run = own_run(make_config(arm=[{"name": "mine", "env": env}]))
    code, _, err = call("resume", strangers(results, run), "--trust", script=play)
    assert code == 2
    assert NOT_OURS in err and "start a new run instead" in err and err.count("\n") == 1


def test_variable_that_tunes_is_shown_in_the_question() -> None:
    env = {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}
    run = adopted(own_run(make_config(arm=[{"name": "mine", "env": env}])), allow_pickle=False)
    told = what_it_decides(run)
    assert "variant mine sets PYTORCH_ENABLE_MPS_FALLBACK=1" in told
    assert f"current is {sys.executable}" in told and "the model is synthetic/tiny" in told


def test_interpreter_that_only_the_run_names_is_refused(evil: Path, tmp_path: Path) -> None:
    config = make_config(arm=[{"name": "mine", "stack": str(evil)}])
    run = make_run(config, stacks={str(evil): resolve_stack("current")})
    with pytest.raises(UsageError, match="an interpreter that only it names"):
        adopted(run, allow_pickle=False)
    assert not (tmp_path / "executed").exists()


def test_arm_without_its_stack_is_refused() -> None:
    with pytest.raises(StoreError, match="stacks: expected 'current'"):
        adopted(own_run(stacks={}), allow_pickle=False)


@pytest.mark.parametrize("given", [False, True])
def test_consent_to_pickle_is_the_command_lines(given: bool) -> None:
    run = own_run()
    run = msgspec.structs.replace(run, config={**run.config, "allow_pickle": not given})
    assert adopted(run, allow_pickle=given).config["allow_pickle"] is given


def test_strangers_model_is_not_downloaded(
    call: Called, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdbench.models.hub import Download
    from sdbench.models.resolve import ModelSource

    source = ModelSource("a/b", "StableDiffusionPipeline", 1, None, Download("a/b", ("x",), 1))
    monkeypatch.setattr("sdbench.runner.prepare.find_model", lambda *_, **__: source)
    run = own_run(make_config(model="a/b"), model=make_model("a/b"))
    code, _, err = call("resume", strangers(results, run), "--trust", script=play)
    assert code == 3 and "asks before it downloads" in err


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:512,backend:native", True),
        ("OMP_NUM_THREADS", "2", True),
        ("CUDA_VISIBLE_DEVICES", "0,1", True),
        ("NVIDIA_TF32_OVERRIDE", "0", True),
        ("OMP_NUM_THREADS", "2/../x", False),
        ("omp_num_threads", "2", False),
        ("PYTHONPATH", "x", False),
        ("", "", False),
        ("CUDA_MODULE_DATA_FILE", "x", False),
        ("OMP_NUM_THREADS", "2\n", False),
    ],
)
def test_tuning(name: str, value: str, expected: bool) -> None:
    assert is_tuning(name, value) is expected


# --- repro ---------------------------------------------------------------------------------------


def test_repro_of_a_strangers_run_starts_no_interpreter(
    call: Called, results: Path, tmp_path: Path, evil: Path
) -> None:
    path = strangers(results, stacks=stack_of(evil))
    code, out, err = call("repro", path, "64x64", "-o", tmp_path / "out")
    assert code == 0, err
    assert not (tmp_path / "executed").exists()
    assert NOT_OURS.removeprefix("was ") in out
    assert "unavailable" in (tmp_path / "out" / "environment.txt").read_text()
    assert "use_safetensors=True" in (tmp_path / "out" / "repro.py").read_text()


def test_repro_of_an_own_run_asks_its_interpreter(
    call: Called, results: Path, tmp_path: Path, evil: Path
) -> None:
    run = own_run(stacks=msgspec.convert(stack_of(evil), dict[str, StackInfo]))
    code, _, err = call("repro", keep(results, run), "64x64", "-o", tmp_path / "out")
    assert code == 0, err
    assert (tmp_path / "executed").exists()


def test_repro_describes_an_environment_that_the_user_names(
    call: Called, results: Path, tmp_path: Path, evil: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def collect_env(interpreter: str) -> str:
        asked.append(interpreter)
        return "torch 9"

    monkeypatch.setattr("sdbench.cli.repro.collect_env", collect_env)
    path = strangers(results, stacks=stack_of(evil))
    code, _, err = call("repro", path, "64x64", "-o", tmp_path / "out", "--stack", "current")
    assert code == 0, err
    assert asked == [sys.executable]
    told = (tmp_path / "out" / "environment.txt").read_text()
    assert "torch 9" in told and "may not be the run's" in told


def test_repro_reads_pickle_only_where_the_user_says_so(
    call: Called, results: Path, tmp_path: Path
) -> None:
    run = own_run()
    run = msgspec.structs.replace(run, config={**run.config, "allow_pickle": True})
    path, script = strangers(results, run), tmp_path / "out" / "repro.py"
    call("repro", path, "64x64", "-o", script.parent)
    assert "use_safetensors" in script.read_text()
    call("repro", path, "64x64", "-o", script.parent, "--allow-pickle")
    assert "use_safetensors" not in script.read_text()


def test_this_machine_is_not_what_makes_a_run_own(results: Path) -> None:
    path = strangers(results)
    assert load_run(path).run.machine_id == machine.machine_id()
    assert not load_run(path).own
    assert os.environ[STATE_VARIABLE]
