"""``sdbench stacks``: documents, exit codes, one-line errors."""

import importlib.metadata
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from stack_doubles import STACK, fake_uv

from sdbench.cli import main
from sdbench.errors import MachineError
from sdbench.stacks.catalogue import REQUIRED, shipped_stacks
from sdbench.stacks.created import INFO, stack_folder


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux, a uv that installs nothing, and images that are made without a worker."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    folder = fake_uv(tmp_path).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr("sdbench.cli.stacks.picture_maker", lambda executor: lambda _: STACK.torch)
    monkeypatch.setattr("sdbench.stacks.create._require_room", lambda stack, on: None)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def called(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.fixture
def rows(call: Any) -> Any:
    """Exit code and rows of a call with ``--json``, by name."""

    def called(*arguments: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = call("stacks", *arguments, "--json")
        return code, {row["name"]: row for row in json.loads(out)["stacks"]}

    return called


def broken(executor: object) -> Any:
    """Workers that die."""

    def make(interpreter: Path) -> str:
        raise MachineError("died of SIGSEGV")

    return make


def test_list_has_this_environment_and_all_that_is_shipped(rows: Any, call: Any) -> None:
    code, found = rows("list")
    assert (code, [*found]) == (0, ["current", *shipped_stacks()])
    assert found["current"]["state"] == "ready"
    old = found["torch-1.13"]
    assert (old["state"], old["python"], old["disk_bytes"]) == ("absent", "3.10", 3.6e9)
    assert [*old["packages"]] == [*REQUIRED]
    assert old["packages"]["torch"] == "1.13.1"
    assert re.search(
        r"torch-1\.13 +│ 1\.13\.1 +│ 0\.31\.0 +│ 3\.10 +│ not created .*stacks create torch-1\.13",
        call("stacks", "list")[1],
    )


def test_create_keeps_what_is_there(rows: Any, call: Any) -> None:
    code, made = rows("create", "torch-1.13")
    assert (code, made["torch-1.13"]["action"], made["torch-1.13"]["state"]) == (
        *(0, "created"),
        "ready",
    )
    assert made["torch-1.13"]["path"] == str(stack_folder("torch-1.13"))
    assert rows("create", "torch-1.13")[1]["torch-1.13"]["action"] == "kept"
    code, out, _ = call("stacks", "create", "torch-1.13")
    assert "torch-1.13 exists already: torch 1.13.1, diffusers 0.31.0, Python 3.10.1" in out
    assert "sdbench run --stack torch-1.13" in out


def test_spoilt_stack_is_listed_checked_and_made_anew(rows: Any) -> None:
    rows("create", "torch-1.13")
    (stack_folder("torch-1.13") / INFO).write_text("{}")
    spoilt = rows("list")[1]["torch-1.13"]
    assert (spoilt["state"], spoilt["reason"]) == ("spoilt", f"its {INFO} is missing or unreadable")
    code, checked = rows("check")
    assert (code, checked["torch-1.13"]["works"]) == (1, False)
    assert "sdbench stacks create torch-1.13" in checked["torch-1.13"]["problem"]
    again = rows("create", "torch-1.13")[1]["torch-1.13"]
    assert (again["action"], again["rebuilt_because"]) == ("rebuilt", spoilt["reason"])


def test_check_makes_a_picture(rows: Any, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rows("check") == (0, {})
    assert "sdbench stacks create" in call("stacks", "check")[1]
    rows("create", "torch-1.13")
    assert rows("check") == rows("check", "torch-1.13")
    assert rows("check")[1]["torch-1.13"]["works"]
    monkeypatch.setattr("sdbench.cli.stacks.picture_maker", broken)
    code, found = rows("check")
    assert code == 1
    assert found["torch-1.13"]["problem"].endswith("makes no image here: died of SIGSEGV")


def test_stack_that_is_named_and_not_there_does_not_pass_the_check(rows: Any) -> None:
    code, found = rows("check", "torch-2.5")
    assert (code, found["torch-2.5"]["works"]) == (1, False)


def test_remove(rows: Any) -> None:
    rows("create", "torch-1.13")
    assert rows("remove", "torch-1.13", "torch-2.5") == (
        0,
        {
            "torch-1.13": {"name": "torch-1.13", "removed": True},
            "torch-2.5": {"name": "torch-2.5", "removed": False},
        },
    )
    assert rows("list")[1]["torch-1.13"]["state"] == "absent"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["stacks", "create", "torch-9"],
            2,
            "no environment 'torch-9' comes with sdbench; did you mean 'torch-2.5'?",
        ),
        (["stacks", "create", "torch-1.13", "x"], 2, "no environment 'x' comes"),
        (["stacks", "create", "../x"], 2, "no environment '../x' comes"),
        (["stacks", "remove", "current"], 2, "no environment 'current' comes"),
        (["stacks", "check", "nothing"], 2, "no environment 'nothing' comes"),
        (["stacks", "create"], 2, "Missing argument 'NAME...'"),
        (["stacks", "mend"], 2, "No such command 'mend'"),
        (["run", "quick", "--stack", "torch-1.13"], 2, "with: sdbench stacks create torch-1.13"),
        (["run", "quick", "--stack", "torch-9"], 2, "expected 'current', or one of torch-1.13, "),
        (["doctor", "--python", "torch-1.13"], 2, "--python torch-1.13: expected"),
    ],
)
def test_errors_are_one_line(call: Any, arguments: list[str], code: int, words: str) -> None:
    found, out, err = call(*arguments)
    assert (found, out) == (code, "")
    assert re.fullmatch(r"sdbench: [^\n]+\n", err), err
    assert words in err


def test_nothing_is_made_when_one_name_is_wrong(call: Any) -> None:
    assert call("stacks", "create", "torch-1.13", "torch-9")[0] == 2
    assert not stack_folder("torch-1.13").exists()


def test_failure_is_told_in_one_line(call: Any, tmp_path: Path) -> None:
    fake_uv(tmp_path, install="echo 'error: \033[1mno such thing' >&2; exit 1")
    code, _, err = call("stacks", "create", "torch-1.13")
    assert code == 2
    assert err.splitlines()[-1].startswith(
        "sdbench: environment torch-1.13 could not be installed: "
    )
    assert "\033" not in err


def test_stack_that_does_not_work_here(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdbench.cli.stacks.picture_maker", broken)
    code, _, err = call("stacks", "create", "torch-1.13")
    assert code == 3
    assert err.splitlines()[-1] == (
        "sdbench: environment torch-1.13 makes no image here: died of SIGSEGV; next: sdbench doctor"
    )
    assert not stack_folder("torch-1.13").exists()


def test_arms_of_a_configuration_name_stacks(
    rows: Any, call: Any, tmp_path: Path, tiny_cache: Path
) -> None:
    rows("create", "torch-1.13")
    config = tmp_path / "plan.toml"
    arms = "".join(
        f'[[arm]]\nname = "{name}"\nstack = "{stack}"\n'
        for name, stack in {"old": "torch-1.13", "mine": "current"}.items()
    )
    config.write_text(f'model = "synthetic/tiny"\ndevice = "cpu"\n{arms}')
    code, out, err = call("run", str(config), "--dry-run", "--json")
    assert code == 0, err
    arms_planned = json.loads(out)["plan"]["arms"]
    assert [(arm["name"], arm["stack"]) for arm in arms_planned] == [
        ("old", "torch-1.13"),
        ("mine", "current"),
    ]
    ours = importlib.metadata.version("torch")
    assert f"torch 1.13.1 / {ours}, diffusers" in call("run", str(config), "--dry-run")[1]


def test_list_shows_this_environment_also_without_torch(
    call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdbench.stacks.resolve._own_packages", dict)
    code, out, _ = call("stacks", "list", "--json")
    here = json.loads(out)["stacks"][0]
    assert (code, here["state"], here["packages"]) == (0, "spoilt", {})
    assert here["reason"] == "torch, diffusers, transformers not installed"
    assert "sdbench doctor" in call("stacks", "list")[1]
