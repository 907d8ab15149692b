"""Children are started by the path of a script: the current folder never gets onto their path."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import sdbench
from sdbench.process.child_environment import child_environment
from sdbench.process.environment import worker_environment
from sdbench.process.launch import WORKER_FOLDER
from sdbench.process.torch_environment import RUN_PROGRAM, collect_env

PACKAGE = Path(sdbench.__file__).parent


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        (":", ""),
        ("/a:", "/a"),
        (":/a::/b", "/a:/b"),
        ("lib:/a:.", "/start/lib:/a:/start"),
        ("../x", "/start/../x"),
    ],
)
def test_pythonpath_names_absolute_folders_only(given: str, expected: str) -> None:
    child = child_environment({"PYTHONPATH": given, "A": "1"}, Path("/start"))
    assert child == {"PYTHONPATH": expected, "A": "1"}


def test_environment_without_a_pythonpath_gets_none() -> None:
    assert child_environment({"A": "1"}) == {"A": "1"}


def test_arms_own_pythonpath_reaches_its_worker_and_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arm = {"PYTHONPATH": "mine:", "SDBENCH_WORKER_PRELOAD": "stand_in"}
    environment = worker_environment(arm, {"PYTHONPATH": "/users"})
    assert environment["PYTHONPATH"] == f"{tmp_path}/mine"
    assert environment["SDBENCH_WORKER_PRELOAD"] == "stand_in"


def started_by_name(source: str) -> list[int]:
    """Lines in which a command has ``-m`` or ``-c`` and no ``-I``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.List, ast.Tuple))
        and {"-m", "-c"}
        & (words := {part.value for part in node.elts if isinstance(part, ast.Constant)})
        and "-I" not in words
    ]


def test_no_child_is_started_by_name_or_by_code() -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := started_by_name(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_rule_sees_what_it_should() -> None:
    assert started_by_name("run([python, '-m', 'torch'])") == [1]
    assert started_by_name("run([python, '-I', '-c', PROGRAM])") == []


def test_scripts_are_named_absolutely() -> None:
    assert os.path.isabs(WORKER_FOLDER)
    assert os.path.isabs(RUN_PROGRAM)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder that holds modules called like those that are wanted; each leaves a mark."""
    mark = tmp_path / "executed"
    folder = tmp_path / "here"
    for name in ("torch", "pip", "numpy"):
        (folder / name).mkdir(parents=True)
        for file in ("__init__.py", "__main__.py"):
            (folder / name / file).write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", ":")
    return mark


def test_folder_called_torch_in_the_current_folder_is_not_executed(
    tmp_path: Path, trap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a torch of two files in the place of the real one."""
    real = tmp_path / "site" / "torch" / "utils"
    real.mkdir(parents=True)
    (real.parent / "__init__.py").touch()
    (real / "__init__.py").touch()
    (real / "collect_env.py").write_text(
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'pip'], capture_output=True)\n"
        "print('the real one')\n"
    )
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path / 'site'}:")
    assert collect_env(sys.executable) == "the real one\n"
    assert not trap.exists()


def test_script_is_run_without_the_current_folder_on_its_path(tmp_path: Path, trap: Path) -> None:
    script = tmp_path / "reproduce.py"
    script.write_text("import sys\nprint(__name__, sys.argv[1:])\nimport pip\n")
    done = subprocess.run(
        [sys.executable, RUN_PROGRAM, "", "script", str(script), "mps"],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "__main__ ['mps']\n"
    assert not trap.exists()
