"""Every exit that is not 0 ends with a command to go on with, and that command can be parsed."""

import os
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from factories import Called, make_config, make_replicate, make_run, play, small_run
from test_cli import crashing

from sdbench.cli import cli
from sdbench.cli.next_step import with_next_step
from sdbench.errors import MachineError, ModelError, SdbenchError, StoreError, UsageError
from sdbench.process.executor import Report, Supervisor, Task
from sdbench.runs import RunFolder

COMMAND = re.compile(r"\bsdbench [a-z][^()]*")


def command_at_end(text: str) -> list[str]:
    """The words of the command that a text ends with, checked against the command line itself."""
    last = text.rstrip("\n").splitlines()[-1].rstrip(")")
    found = COMMAND.findall(last)
    assert found, last
    words = shlex.split(found[-1])[1:]
    parent = cli.make_context("sdbench", [*words], resilient_parsing=True)
    command = cli.get_command(parent, words[0])
    assert command is not None, words
    if "--help" not in words:
        command.make_context(words[0], [*words[1:]], parent=parent)
    return words


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "doctor"),
        (("stacks",), "stacks list"),
        (("cmopare", "a", "b"), "compare a b"),
        (("no-such-verb",), "--help"),
        (("run", "nothing-like-it"), "run --help"),
        (("run", "quick", "--set", "steps=many"), "run --help"),
        (("run", "quick", "--no-such-option"), "run --help"),
        (("show", "x"), "list"),
        (("diagnose", "x"), "list"),
        (("resume", "x"), "list"),
        (("repro", "x", "y"), "list"),
        (("report", "x"), "list"),
        (("compare", "x"), "list"),
        (("compare", "x", "--threshold", "2"), "compare --help"),
        (("explain", "no-such-file"), "explain --help"),
        (("localise", "--resolution", "1x1"), "localise --help"),
        (("stacks", "create", "x"), "stacks list"),
        (("models", "make", "x"), "models --help"),
        (("history", "x"), "run"),
    ],
)
def test_wrong_usage_ends_with_a_command(
    arguments: tuple[str, ...],
    expected: str,
    call: Called,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = call(*arguments)
    assert code == 2
    last = err.rstrip("\n").splitlines()[-1].rstrip(")")
    assert last.endswith(f"sdbench {expected}")
    if expected != "--help":
        command_at_end(err)


@pytest.mark.parametrize(
    ("error", "verb", "expected"),
    [
        (UsageError("w"), "show", "sdbench show --help"),
        (MachineError("w"), "run", "sdbench doctor"),
        (MachineError("w"), "doctor", "sdbench doctor --help"),
        (ModelError("w"), "run", "sdbench models"),
        (StoreError("w"), "show", "sdbench list"),
        (StoreError("w"), "run", "sdbench doctor"),
        (KeyboardInterrupt(), "run", "sdbench run 'my file'"),
        (OSError("w"), "list", "sdbench doctor"),
        (ValueError("a fault of ours"), "list", "sdbench doctor"),
        (UsageError("w").then("sdbench list"), "run", "sdbench list"),
        (UsageError("w").then_with("--yes"), "run", "sdbench run 'my file' --yes"),
    ],
)
def test_each_kind_of_error_has_its_command(error: Exception, verb: str, expected: str) -> None:
    line = with_next_step("what went wrong.", error, [verb, "my file"], verb)
    assert line == f"what went wrong; next: {expected}"


def test_message_that_ends_with_a_command_is_left_as_it_is() -> None:
    words = "no run called 'x' in results; see sdbench list"
    assert with_next_step(words, SdbenchError(words), ["show", "x"], "show") == words


@pytest.mark.usefixtures("tiny")
def test_run_that_ended_badly_ends_with_diagnose(call: Called, results: Path) -> None:
    code, _, err = call(*small_run(results), script=crashing)
    assert code == 1
    assert command_at_end(err)[0] == "diagnose"


@pytest.mark.usefixtures("tiny")
def test_run_that_was_stopped_ends_with_resume(call: Called, results: Path) -> None:
    def interrupting(task: Task, supervise: Supervisor) -> Report:
        os.kill(os.getpid(), signal.SIGINT)
        return play(task, supervise)

    code, _, err = call(*small_run(results), script=interrupting)
    assert code == 130
    assert command_at_end(err)[0] == "resume"


def kept(root: Path, **replicate: Any) -> Path:
    """A run of which one process is recorded."""
    run = make_run(make_config())
    folder = RunFolder.create(root, run)
    folder.append(make_replicate(run.plan.slots[0], **replicate))
    folder.close()
    return folder.path


def test_diagnosis_of_a_stopped_run_ends_with_resume(call: Called, results: Path) -> None:
    code, _, err = call("diagnose", kept(results))
    assert code == 1
    assert command_at_end(err)[0] == "resume"


def test_gate_that_could_judge_nothing_ends_with_a_command(call: Called, results: Path) -> None:
    path = kept(results)
    code, _, err = call("compare", path, path, "--fail-on", "any")
    assert code == 1
    assert command_at_end(err)[0] in ("show", "compare")
