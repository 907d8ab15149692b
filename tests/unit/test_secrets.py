"""One list of secrets: what is recorded, what is shared and what is written for a bug report."""

import json
from pathlib import Path

import msgspec
import pytest
from factories import Called, make_config, make_replicate, make_run, make_stack

from sdbench.privacy.redact_recorded import hidden_run, recorded_environment, redact, redacted
from sdbench.privacy.redact_shared import Private, shared
from sdbench.records import Arm, Run
from sdbench.runs import LoadedRun, RunFolder
from sdbench.runs.secrets import SECRET, holds_secret, is_secret_name, without_secrets

PASSWORD = "hunter2hunter2"
SECRETS = {
    "hub": "hf_abcdefghijklmnopqrstuvwxyz012345",
    "openai": "sk-proj-abcdefghijklmnopqrstuvwxyz012345",
    "github": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github-fine": "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz",
    "gitlab": "glpat-abcdefghij0123456789",
    "slack": "xoxb-123456789012-abcdefghijkl",
    "slack-hook": "hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "aws-secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "google": "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
    "google-oauth": "ya29.a0AfH6SMBabcdefghijklmnop",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN",
    "npm": "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "pypi": "pypi-AgEIcHlwaS5vcmcCJGFiY2RlZmdo0",
    "url": f"postgres://u:{PASSWORD}@h/x",
    "url-user": f"https://{PASSWORD}@example.org/x",
    "url-at": f"redis://u:p@{PASSWORD}@h:6379/0",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "bearer": "Authorization: Bearer abcdefgh12345",
    "named": f"DB_PASSWORD={PASSWORD}",
    "json": f'{{"client_secret": "{PASSWORD}"}}',
    "letters": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
    "serial": "Serial Number (system): C02ABCDEFGH5XYZWVUTS",
    "hardware": "Hardware UUID: 8F0B1C2D-1234-5678-9ABC-DEF012345678",
    "azure": f"AccountKey={PASSWORD}==;EndpointSuffix=x",
}


def core(secret: str) -> str:
    """The part that must not be left."""
    return PASSWORD if PASSWORD in secret else secret.removeprefix("Authorization: Bearer ")[-16:]


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_secret_goes_from_records_shares_and_issues(secret: str) -> None:
    text = f"401 for ({secret}), refused"
    assert core(secret) not in redact(text)
    assert core(secret) not in json.dumps(
        msgspec.to_builtins(redacted(make_replicate(reason=text)))
    )
    run = make_run(label=text)
    (told,) = shared([LoadedRun(Path("x"), run, [], [])], Private(frozenset(), frozenset()))
    assert told.run.label is not None and core(secret) not in told.run.label
    assert holds_secret(secret)
    once = without_secrets(text)
    assert without_secrets(once) == once


@pytest.mark.parametrize(
    "text",
    [
        "hf_hub_download(repo_id=x) in huggingface_hub/file_download.py",
        "sk-learn-contrib, sk-image 0.25",
        "/opt/homebrew/Cellar/python/A1b2C3d4E5f6G7h8",
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "https://github.com/pytorch/pytorch/issues/77764",
        "git@github.com, user@host without a scheme",
        "serial: sequential, serial number unknown",
        "token indices sequence length: 77 > 76",
        "cuda:0 MPSNDArray.mm:761: failed assertion `[MPSTemporaryNDArray initWithDevice]`",
        "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert without_secrets(text) == text
    assert not holds_secret(text)


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "MY_PASSWD",
        "my_password",
        "ssh_key",
        "DB_PWD",
        "Api_Key",
    ],
)
def test_names_of_secret_variables(name: str) -> None:
    assert is_secret_name(name)
    assert recorded_environment({f"CUDA_{name}": "plain"}) == {}


@pytest.mark.parametrize("name", ["PYTORCH_MPS_FAST_MATH", "PWD", "PATH", "OMP_NUM_THREADS"])
def test_names_of_other_variables(name: str) -> None:
    assert not is_secret_name(name)


def run_with(**env: str) -> Run:
    return make_run(make_config(arm=[{"name": "mine", "env": env}]))


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_secret_of_an_arm_is_not_written_down(secret: str) -> None:
    hidden = hidden_run(run_with(SOME_URL=secret))
    assert core(secret) not in json.dumps(msgspec.to_builtins(hidden))
    assert hidden.plan.arms[0].env == {"SOME_URL": SECRET}


def test_variable_in_small_letters_is_not_shared() -> None:
    """As an older sdbench, or another hand, may have written it."""
    run = run_with(db_passwd="opensesame", plain="1")
    (told,) = shared([LoadedRun(Path("x"), run, [], [])], Private(frozenset(), frozenset()))
    assert told.run.plan.arms[0].env == {"db_passwd": SECRET, "plain": "1"}
    assert redacted(run).plan.arms[0] == Arm(name="mine", env={"db_passwd": SECRET, "plain": "1"})


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_bug_report_holds_no_secret_whoever_wrote_the_run(
    call: Called, results: Path, tmp_path: Path, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F11 of the review: the password stood in run.json, in the page and in the issue."""
    config = make_config(
        prompts=[f"a key {secret}"], arm=[{"name": "mine", "env": {"DATABASE_URL": secret}}]
    )
    run = make_run(
        config,
        label=secret,
        stacks={"current": make_stack(torch=secret)},
        machine={"chip": secret, "memory_bytes": 8},
        environment={"PYTORCH_X": secret},
    )
    folder = RunFolder.create(results, run)
    slot = run.plan.slots[0]
    folder.append(make_replicate(slot, outcome="failed", reason=secret, stderr_tail=secret))
    folder.close()
    monkeypatch.setattr("sdbench.cli.repro.collect_env", lambda python: secret)
    code, _, err = call("repro", folder.path, "64x64", "-o", tmp_path / "out")
    assert code == 0, err
    for file in ("repro.py", "issue.md", "environment.txt"):
        assert core(secret) not in (tmp_path / "out" / file).read_text(), file
