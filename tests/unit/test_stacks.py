"""From an environment's name to an interpreter and its versions; interpreters here are small
scripts."""

import json
import sys
from pathlib import Path

import pytest

from sdbench.errors import MachineError, UsageError
from sdbench.stacks import resolve_stack

COMPLETE = {"torch": "1.13.1", "diffusers": "0.31.0", "transformers": "4.40.0", "numpy": None}


def interpreter(folder: Path, script: str) -> Path:
    """Something that can be run in a Python's place."""
    path = folder / "bin" / "python"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def telling(folder: Path, packages: dict[str, str | None]) -> Path:
    answer = json.dumps({"python": "3.10.1", "packages": packages})
    return interpreter(folder, f"echo '{answer}'")


def test_current_is_this_interpreter() -> None:
    stack = resolve_stack("current")
    assert stack.interpreter == sys.executable
    assert {"torch", "diffusers", "transformers"} <= set(stack.packages)


def test_stack_is_found_by_its_interpreter_or_its_folder(tmp_path: Path) -> None:
    python = telling(tmp_path / "old", COMPLETE)
    for name in (python, tmp_path / "old"):
        stack = resolve_stack(str(name))
        assert stack.interpreter == str(python)
        assert stack.python == "3.10.1"
        assert stack.packages == {k: v for k, v in COMPLETE.items() if v is not None}


def test_link_in_a_virtual_environment_is_not_followed(tmp_path: Path) -> None:
    python = telling(tmp_path / "base", COMPLETE)
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(python)
    assert resolve_stack(str(tmp_path / "venv")).interpreter == str(link)


def test_stack_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no environment"):
        resolve_stack(str(tmp_path / "absent"))


def test_stack_without_torch_cannot_be_measured(tmp_path: Path) -> None:
    telling(tmp_path, {**COMPLETE, "torch": None, "diffusers": None})
    with pytest.raises(MachineError, match="torch, diffusers not installed"):
        resolve_stack(str(tmp_path))


@pytest.mark.parametrize("script", ["exit 3", "echo rubbish", "kill -9 $$"])
def test_interpreter_that_does_not_run_is_told(tmp_path: Path, script: str) -> None:
    interpreter(tmp_path, script)
    with pytest.raises(MachineError, match="does not run"):
        resolve_stack(str(tmp_path))


@pytest.mark.parametrize("answer", ["{}", "5"])
def test_interpreter_that_answers_something_else_is_told(tmp_path: Path, answer: str) -> None:
    interpreter(tmp_path, f"echo '{answer}'")
    with pytest.raises(MachineError):
        resolve_stack(str(tmp_path))
