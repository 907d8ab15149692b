"""``sdbench board init``: the files of a results repository, and its workflow as sound as ours."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from factories import Called
from real_bundles import FLOAT32, real_bundle, virtual_bundle
from test_workflows import BIN, zizmor
from test_workflows import FOLDER as OUR_WORKFLOWS

from sdbench import __version__
from sdbench.board.site_data import load_site
from sdbench.submissions.repository import WORKFLOW, repository_files

TARGET = f"submissions/m-{'1' * 16}/{FLOAT32.name}.sdbench.zip"


@pytest.fixture
def repository(tmp_path: Path, call: Called) -> Path:
    folder = tmp_path / "board"
    assert call("board", "init", folder)[0] == 0
    return folder


def workflow() -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(repository_files()[WORKFLOW])
    return document


def steps() -> dict[str, str]:
    """The text of every ``run:`` by the step's name."""
    return {
        step["name"]: step["run"]
        for job in workflow()["jobs"].values()
        for step in job["steps"]
        if "run" in step
    }


# --- the files ------------------------------------------------------------------------------------


def test_init_writes_all_files(tmp_path: Path, call: Called) -> None:
    folder = tmp_path / "a" / "board"
    code, out, _ = call("board", "init", folder, "--json")
    document = json.loads(out)
    assert (code, document["replaced"]) == (0, [])
    there = {str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file()}
    assert there == {*document["files"]} == {*repository_files()}
    assert "submissions/README.md" in there


def test_no_placeholder_is_left() -> None:
    for path, data in repository_files().items():
        assert b"@VERSION@" not in data, path
    assert f"sdbench=={__version__}" in repository_files()[WORKFLOW].decode()
    assert __version__ in repository_files()["README.md"].decode()


def test_init_refuses_a_folder_with_something_in_it(tmp_path: Path, call: Called) -> None:
    own = tmp_path / "README.md"
    own.write_text("mine")
    code, _, err = call("board", "init", tmp_path)
    assert code == 2 and "README.md" in err and "--force" in err and err.count("\n") == 1
    assert own.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["README.md"]

    code, out, _ = call("board", "init", tmp_path, "--force")
    assert code == 0 and "README.md (replaced)" in out
    assert own.read_text() != "mine"


def test_a_new_repository_with_a_licence_counts_as_empty(tmp_path: Path, call: Called) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "LICENSE").write_text("CC0")
    assert call("board", "init", tmp_path)[0] == 0
    assert (tmp_path / "LICENSE").read_text() == "CC0"


def test_init_refuses_a_file(tmp_path: Path, call: Called) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = call("board", "init", tmp_path / "file")
    assert code == 2 and err.count("\n") == 1


# --- the workflow ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.github-workflows", WORKFLOW),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/problem.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_the_schemas_hold(schema: str, path: str, repository: Path) -> None:
    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", schema, repository / path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing(repository: Path) -> None:
    done = zizmor(repository)
    assert done.returncode == 0 and "No findings to report" in done.stdout, done.stdout


def test_a_pull_request_has_no_right_and_no_secret() -> None:
    document, text = workflow(), repository_files()[WORKFLOW].decode()
    # YAML 1.1 reads `on` as true
    assert document[True] == {"pull_request": None, "push": {"branches": ["main"]}}
    assert "secrets" not in text and "pull_request_target" not in text
    assert document["permissions"] == {}
    jobs = document["jobs"]
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "verify": {"contents": "read"},
        "build": {"contents": "read"},
        "publish": {"pages": "write", "id-token": "write"},
    }
    assert {name: job["if"] for name, job in jobs.items()} == {
        "verify": "github.event_name == 'pull_request'",
        "build": "github.event_name == 'push'",
        "publish": "github.event_name == 'push'",
    }
    assert not any("run" in step for step in jobs["publish"]["steps"])


def test_nothing_of_a_pull_request_gets_into_a_command() -> None:
    for text in steps().values():
        assert "${{" not in text


def test_actions_have_the_commits_of_our_own_workflows() -> None:
    ours = "\n".join(path.read_text(encoding="utf-8") for path in OUR_WORKFLOWS.glob("*.yml"))
    pins = re.findall(r"uses: \S+@[0-9a-f]{40} # v\S+", repository_files()[WORKFLOW].decode())
    assert len(pins) == repository_files()[WORKFLOW].count(b"uses:")
    assert {*pins} <= {*re.findall(r"uses: \S+@[0-9a-f]{40} # v\S+", ours)}


# --- its steps, run here --------------------------------------------------------------------------


def git(folder: Path, *words: str) -> None:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *settings, *words], check=True, capture_output=True)


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "x")


def run_step(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps()[name]],
        cwd=folder,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )


VERIFY = "Submit what is added to the main branch, and expect the same files"


@pytest.fixture
def submitted(tmp_path: Path, call: Called) -> Path:
    """A checkout whose first commit is the main branch, with one submission."""
    folder = tmp_path / "submitted"
    call("board", "init", folder)
    git(folder, "init", "--quiet")
    place = folder / "submissions/m-0000000000000000/old.sdbench.zip"
    place.parent.mkdir()
    place.write_bytes(b"was verified before")
    commit(folder)
    return folder


def put(folder: Path, data: bytes, path: str = TARGET) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)


def _elsewhere(folder: Path) -> None:
    put(folder, real_bundle(), "submissions/m-2222222222222222/better.sdbench.zip")


def _with_code(folder: Path) -> None:
    put(folder, real_bundle())
    put(folder, b"import os", "submissions/pip.py")


def _with_another_file(folder: Path) -> None:
    put(folder, real_bundle())
    (folder / "README.md").write_text("mine")


def _as_a_link(folder: Path) -> None:
    put(folder, real_bundle(), "kept.zip")
    (folder / TARGET).parent.mkdir(parents=True)
    (folder / TARGET).symlink_to("../../kept.zip")


def _removed(folder: Path) -> None:
    shutil.rmtree(folder / "submissions/m-0000000000000000")


def _replaced(folder: Path) -> None:
    put(folder, b"better", "submissions/m-0000000000000000/old.sdbench.zip")


def _strange_name(folder: Path) -> None:
    put(folder, real_bundle(), "submissions/-x $(touch oops)\n.sdbench.zip")


PULL_REQUESTS: dict[str, tuple[Any, bool, str]] = {
    "a good bundle": (lambda folder: put(folder, real_bundle()), True, f"→ {TARGET}"),
    "nothing in submissions": (
        lambda folder: (folder / "README.md").write_text("mine"),
        True,
        "No submission is added",
    ),
    "a virtual machine": (lambda folder: put(folder, virtual_bundle()), False, "(virtual)"),
    "no bundle": (lambda folder: put(folder, b"no zip"), False, "(unsafe-archive)"),
    "another place": (_elsewhere, False, "better.sdbench.zip"),
    "code in submissions": (_with_code, False, "pip.py"),
    "another file too": (_with_another_file, False, "README.md"),
    "a link": (_as_a_link, False, "kept.zip"),
    "one is removed": (_removed, False, "m-0000000000000000"),
    "one is replaced": (_replaced, False, "old.sdbench.zip"),
    "a strange name": (_strange_name, False, "sdbench.zip"),
}
_QUICK = ("a good bundle", "another place", "one is removed")


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=[] if what in _QUICK else pytest.mark.long)
        for what in PULL_REQUESTS
    ],
)
def test_a_pull_request_is_what_submit_would_have_added(what: str, submitted: Path) -> None:
    change, accepted, words = PULL_REQUESTS[what]
    change(submitted)
    commit(submitted)
    done = run_step(VERIFY, submitted.parent)
    assert (done.returncode == 0) == accepted, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
    assert not (submitted.parent / "oops").exists() and not (submitted / "oops").exists()


BUILD = "Build"


def test_the_board_is_built_of_what_was_submitted(submitted: Path, tmp_path: Path) -> None:
    """The bundle that was put there by hand is refused, and the others are published anyway."""
    put(submitted, real_bundle())
    submitted.rename(tmp_path / "board")
    done = run_step(BUILD, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "refused" in done.stdout and "old.sdbench.zip" in done.stdout
    assert (tmp_path / "site/index.html").is_file()
    rows = load_site(tmp_path / "site")
    assert rows and {row.submission.machine_id for row in rows} == {f"m-{'1' * 16}"}


def test_a_new_repository_has_a_page(tmp_path: Path, repository: Path) -> None:
    done = run_step(BUILD, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No run was submitted yet" in (tmp_path / "site/index.html").read_text()


def test_the_steps_that_install_name_this_version() -> None:
    """They are not run here: they need the network."""
    installed = [
        step["run"]
        for job in workflow()["jobs"].values()
        for step in job["steps"]
        if step.get("name") == "Install"
    ]
    assert installed == [
        f"python -m pip install 'sdbench=={__version__}'",
        f"python -m pip install 'sdbench[board]=={__version__}'",
    ]
