"""Nothing that tells whose machine it is, and no secret, reaches a result file."""

from pathlib import Path

import msgspec
import pytest
from factories import make_config, make_facts, make_stack
from factories import make_run as make_run_record

from sdbench.errors import MachineError
from sdbench.models.resolve import ModelSource
from sdbench.models.traits import traits_from
from sdbench.plan.cost import Estimate
from sdbench.plan.fit import Room
from sdbench.plan.order import make_plan
from sdbench.privacy.redact_recorded import (
    hidden_run,
    hide_path,
    recorded_environment,
    redact,
    show_path,
    shown_run,
)
from sdbench.process.find_device import FoundDevice
from sdbench.records import Run
from sdbench.runner.memory_fit import MemoryFit
from sdbench.runner.prepare import Prepared, make_run
from sdbench.runner.request import Request

TOKEN = "hf_abcdefghijklmnopqrstuvwxyz012345"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ada"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


def prepared_with(model_folder: Path, interpreter: Path) -> Prepared:
    config = make_config(model=str(model_folder), arm=[{"name": "mine", "stack": str(interpreter)}])
    stack = msgspec.structs.replace(make_stack(torch="2.0"), interpreter=str(interpreter))
    return Prepared(
        request=Request(),
        config=config,
        device=FoundDevice("cpu"),
        stacks={str(interpreter): stack},
        model=ModelSource(str(model_folder), "StableDiffusionPipeline", 10, model_folder),
        plan=make_plan(config, "cpu"),
        estimate=Estimate(1.0, 1, 1),
        at_most=Estimate(1.0, 1, 1),
        memory=MemoryFit(Room("cpu"), {}),
        facts=make_facts(),
        machine={"chip": "Test", "cores_physical": 2, "memory_bytes": 8_000_000_000},
        traits=traits_from("StableDiffusionPipeline", {}),
        resolved={},
    )


def run_of(prepared: Prepared) -> Run:
    model = msgspec.structs.replace(prepared.model.outline(), sha256="0" * 64)
    return hidden_run(make_run(prepared, model))


def test_home_becomes_a_tilde(home: Path) -> None:
    assert redact(f"cannot open {home}/x/y.bin") == "cannot open ~/x/y.bin"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/Users/grace/a.py", "/Users/<user>/a.py"),
        ("/home/grace/a.py:3", "/home/<user>/a.py:3"),
        ("in '/Users/grace'", "in '/Users/<user>'"),
    ],
)
def test_other_home_folders_lose_their_names(home: Path, text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "token",
    [
        "hf_abcdefghijklmnopqrstuvwxyz012345",
        "ghp_abcdefghijklmnopqrstuvwxyz012345",
        "sk-abcdefghijklmnopqrstuvwxyz012345",
    ],
)
def test_access_token_is_replaced(token: str) -> None:
    text = redact(f"401 for url with token={token}: refused")
    assert token not in text
    assert text == "401 for url with token=<token>: refused"


def test_ordinary_words_stay() -> None:
    text = "hf_hub offline, sk-learn 1.0, MPS backend out of memory (8.00 GB)"
    assert redact(text) == text


def test_only_variables_that_matter_are_recorded_and_no_secret() -> None:
    environment = {
        "PYTORCH_ENABLE_MPS_FALLBACK": "1",
        "SDBENCH_WORKER_PRELOAD": "stand_in",
        "HF_HUB_TOKEN": "hf_abcdefghijklmnopqrstuvwxyz012345",
        "CUDA_API_KEY": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "SSH_AUTH_SOCK": "/tmp/agent",
        "OMP_NUM_THREADS": "2",
    }
    assert recorded_environment(environment) == {
        "OMP_NUM_THREADS": "2",
        "PYTORCH_ENABLE_MPS_FALLBACK": "1",
        "SDBENCH_WORKER_PRELOAD": "stand_in",
    }


def test_recorded_values_are_redacted(home: Path) -> None:
    assert recorded_environment({"SDBENCH_CACHE": f"{home}/cache"}) == {"SDBENCH_CACHE": "~/cache"}


def test_folder_beside_the_home_folder_is_not_taken_for_it(home: Path) -> None:
    assert redact(f"{home}-old/a.py") == f"{home}-old/a.py"


def test_run_file_names_no_home_folder(home: Path) -> None:
    run = run_of(prepared_with(home / "models" / "mine", home / "venv" / "bin" / "python"))
    assert str(home) not in msgspec.json.encode(run).decode()


def test_run_file_holds_no_secret_of_an_arm() -> None:
    prepared = prepared_with(Path("/models/x"), Path("/usr/bin/python3"))
    config = make_config(arm=[{"name": "mine", "env": {"HF_TOKEN": TOKEN}}])
    changed = msgspec.structs.replace(prepared.plan, arms=list(config.arm))
    prepared = Prepared(
        **{
            **{name: getattr(prepared, name) for name in Prepared.__dataclass_fields__},
            "config": config,
            "plan": changed,
        }
    )
    assert TOKEN not in msgspec.json.encode(run_of(prepared)).decode()


def arms_with(**env: str) -> Run:
    """A run whose only variant has these variables."""
    return make_run_record(make_config(arm=[{"name": "mine", "env": env}]))


def test_secret_variable_of_an_arm_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_API_KEY", raising=False)
    hidden = hidden_run(arms_with(MY_API_KEY="1234"))
    assert "1234" not in msgspec.json.encode([hidden.plan, hidden.config]).decode()
    with pytest.raises(MachineError, match=r"^variant mine was given MY_API_KEY, .* a secret"):
        shown_run(hidden)


@pytest.mark.parametrize("name", ["MY_API_KEY", "HUB_ACCESS"])
def test_secret_variable_of_an_arm_is_found_in_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, TOKEN)
    run = arms_with(**{name: TOKEN, "PLAIN": "kept"})  # told by its name or by its value
    hidden = hidden_run(run)
    assert TOKEN not in msgspec.json.encode(hidden).decode()
    assert hidden.plan.arms[0].env["PLAIN"] == "kept"
    assert shown_run(hidden).plan == run.plan


def as_user(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    monkeypatch.setattr("sdbench.privacy.redact_recorded._user_name", lambda: name)


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("{home}", "~"),
        ("{home}/venv/bin/python", "~/venv/bin/python"),
        ("{home}/grace/x", "~/<user>/x"),
        ("{home}-old/x", "{parent}/ada-old/x"),
        ("/data/grace/models", "/data/<user>/models"),
        ("/data/grace_2/grace.old/x", "/data/<user>_2/<user>.old/x"),
        ("/Volumes/grace's disk/x", "/Volumes/<user>'s disk/x"),
        ("/data/gracenote/disgrace/grace2", "/data/gracenote/disgrace/grace2"),
        ("grace", "<user>"),
        ("current", "current"),
    ],
)
def test_hidden_path_is_shown_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, path: str, hidden: str
) -> None:
    as_user(monkeypatch, "grace")
    places = {"home": str(home), "parent": str(home.parent)}
    real, expected = path.format(**places), hidden.format(**places)
    assert hide_path(real) == expected
    assert hide_path(expected) == expected  # a run is hidden again at each resume
    assert show_path(expected) == real


def test_without_a_user_name_paths_outside_the_home_folder_stay(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, None)
    assert hide_path("/data/grace/models") == "/data/grace/models"
    assert show_path(hide_path(f"{home}/grace")) == f"{home}/grace"


@pytest.mark.parametrize("text", ["/opt/lib:{home}/lib", "file://{home}/x", "/mnt/backup{home}/x"])
def test_home_folder_inside_a_variable_is_shown_again(home: Path, text: str) -> None:
    value = text.format(home=home)
    assert str(home) not in hide_path(value)
    assert show_path(hide_path(value)) == value


def test_paths_in_the_home_folder_are_found_again(home: Path) -> None:
    run = run_of(prepared_with(home / "models" / "mine", home / "venv" / "bin" / "python"))
    shown = shown_run(run)
    assert shown.model.path == str(home / "models" / "mine")
    (stack,) = shown.stacks.values()
    assert stack.interpreter == str(home / "venv" / "bin" / "python")


@pytest.mark.parametrize("shared", ["/Users/Shared", "/home/lab"])
def test_paths_in_a_shared_folder_are_found_again(home: Path, shared: str) -> None:
    run = run_of(prepared_with(Path(shared, "model"), Path(shared, "venv/bin/python")))
    shown = shown_run(run)
    assert shown.model.path == f"{shared}/model"
    (stack,) = shown.stacks.values()
    assert stack.interpreter == f"{shared}/venv/bin/python"
