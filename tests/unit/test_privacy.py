"""Nothing that tells whose machine it is, and no secret, reaches a result file."""

import os
from pathlib import Path

import msgspec
import pytest
from factories import make_config, make_stack

from sdbench.estimate import Estimate
from sdbench.models.resolve import ModelSource
from sdbench.plan import make_plan
from sdbench.runner.prepare import Prepared, Request, make_run
from sdbench.runner.probe import FoundDevice
from sdbench.schema import Run
from sdbench.store.privacy import recorded_environment, redact


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
        machine={"chip": "Test", "cores_physical": 2, "memory_bytes": 8_000_000_000},
    )


def run_of(prepared: Prepared) -> Run:
    model = msgspec.structs.replace(prepared.model.outline(), sha256="0" * 64)
    return make_run(prepared, model)


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


@pytest.mark.xfail(strict=True, reason="a folder that only begins like the home folder is cut too")
def test_folder_beside_the_home_folder_is_not_taken_for_it(home: Path) -> None:
    assert redact(f"{home}-old/a.py") == f"{home}-old/a.py"


@pytest.mark.xfail(strict=True, reason="config.model, arm.stack and the stacks' keys are kept raw")
def test_run_file_names_no_home_folder(home: Path) -> None:
    run = run_of(prepared_with(home / "models" / "mine", home / "venv" / "bin" / "python"))
    assert str(home) not in msgspec.json.encode(run).decode()


@pytest.mark.xfail(strict=True, reason="an arm's env is kept raw, secrets included")
def test_run_file_holds_no_secret_of_an_arm() -> None:
    token = "hf_abcdefghijklmnopqrstuvwxyz012345"
    prepared = prepared_with(Path("/models/x"), Path("/usr/bin/python3"))
    config = make_config(arm=[{"name": "mine", "env": {"HF_TOKEN": token}}])
    changed = msgspec.structs.replace(prepared.plan, arms=list(config.arm))
    prepared = Prepared(
        **{
            **{name: getattr(prepared, name) for name in Prepared.__dataclass_fields__},
            "config": config,
            "plan": changed,
        }
    )
    assert token not in msgspec.json.encode(run_of(prepared)).decode()


def test_paths_in_the_home_folder_are_found_again(home: Path) -> None:
    run = run_of(prepared_with(home / "models" / "mine", home / "venv" / "bin" / "python"))
    assert os.path.expanduser(run.model.path) == str(home / "models" / "mine")
    (stack,) = run.stacks.values()
    assert os.path.expanduser(stack.interpreter) == str(home / "venv" / "bin" / "python")


@pytest.mark.xfail(strict=True, reason="workers are started from the redacted path")
@pytest.mark.parametrize("shared", ["/Users/Shared", "/home/lab"])
def test_paths_in_a_shared_folder_are_found_again(home: Path, shared: str) -> None:
    run = run_of(prepared_with(Path(shared, "model"), Path(shared, "venv/bin/python")))
    assert os.path.expanduser(run.model.path) == f"{shared}/model"
    (stack,) = run.stacks.values()
    assert os.path.expanduser(stack.interpreter) == f"{shared}/venv/bin/python"
